//! The C interface: pointers to values and back, and a net under every call.

use crate::chat::Chat;
use crate::growth;
use crate::guard::{self, Guard, Rendered};
use crate::meter;
use crate::template::{Limits, Template};
use crate::tokenizer::{Tokenizer, ADD_SPECIAL, PARSE_SPECIAL};
use crate::{Error, Kind, Result};
use std::any::Any;
use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct View {
    data: *const u8,
    size: usize,
}

impl View {
    /// As long as `text` lives.
    pub fn of(text: &str) -> Self {
        Self { data: text.as_ptr(), size: text.len() }
    }
}

/// tk_chat.
#[repr(C)]
pub struct ChatView {
    messages: View,
    tools: View,
    documents: View,
    variables: View,
    add_generation_prompt: i32,
    now_unix_s: i64,
}

#[repr(C)]
pub struct Text {
    data: *mut u8,
    size: usize,
}

#[repr(C)]
pub struct Ids {
    data: *mut u32,
    size: usize,
}

#[repr(C)]
pub struct Vocab {
    size: u32,
    bytes: *const u8,
    offsets: *const u32,
    flags: *const u8,
    strip_space: u8,
}

fn give<T>(values: Box<[T]>) -> (*mut T, usize) {
    let size = values.len();
    if size == 0 {
        return (std::ptr::null_mut(), 0);
    }
    (Box::into_raw(values).cast::<T>(), size)
}

/// Frees what `give` handed out.
unsafe fn take_back<T>(data: *mut T, size: usize) {
    if !data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)));
    }
}

pub unsafe fn put_text(out: *mut Text, text: String) {
    let (data, size) = give(text.into_bytes().into_boxed_slice());
    out.write(Text { data, size });
}

unsafe fn put_ids(out: *mut Ids, ids: Vec<u32>) {
    let (data, size) = give(ids.into_boxed_slice());
    out.write(Ids { data, size });
}

pub unsafe fn bytes<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        return &[];
    }
    std::slice::from_raw_parts(data, size)
}

pub unsafe fn text<'a>(view: View, what: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes(view.data, view.size)).map_err(|e| {
        Error::invalid(format!("{what} is not UTF-8: byte {} is wrong", e.valid_up_to()))
    })
}

unsafe fn chat(view: &ChatView) -> Result<Chat> {
    Chat::new(
        text(view.messages, "messages")?,
        text(view.tools, "tools")?,
        text(view.documents, "documents")?,
        text(view.variables, "chat_template_kwargs")?,
        view.add_generation_prompt != 0,
        view.now_unix_s,
    )
}

thread_local! {
    static PANIC_TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a call; a panic of any crate below becomes an error that says where it was.
fn guarded(error: *mut Text, call: impl FnOnce() -> Result<()>) -> i32 {
    let result = catch(call);
    match result {
        Ok(()) => 0,
        Err(e) => {
            // SAFETY: the caller passes a writable tk_text, as textkit.h says.
            unsafe { put_text(error, e.text) };
            e.kind as i32
        }
    }
}

pub fn catch<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            PANIC_TEXT.with(|text| *text.borrow_mut() = panic_text(info));
            if cfg!(test) {
                eprintln!("{info}"); // of a test that failed
            }
        }));
    });
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(panic_error(payload)))
}

/// For the log: without the directories that this was built in, escaped and short, since it may
/// quote a client's text.
fn panic_text(info: &PanicHookInfo) -> String {
    const MAX_CHARS: usize = 200;
    let payload = info.payload();
    let said = payload.downcast_ref::<&str>().copied();
    let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let said: String = said.unwrap_or_default().escape_debug().take(MAX_CHARS).collect();
    let Some(place) = info.location() else { return said };
    let file = place.file().rsplit('/').next().unwrap_or_default();
    format!("{file}:{}: {said}", place.line())
}

fn panic_error(payload: Box<dyn Any + Send>) -> Error {
    // Dropping it could panic again.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    let text = PANIC_TEXT.with(|text| std::mem::take(&mut *text.borrow_mut()));
    Error::new(Kind::Panic, text)
}

unsafe fn free<T>(object: *mut T) {
    if !object.is_null() {
        let _ = catch(|| {
            drop(Box::from_raw(object));
            Ok(())
        });
    }
}

#[no_mangle]
pub extern "C" fn tk_exit_when_out_of_memory(status: i32) {
    meter::exit_when_out_of_memory(status);
}

#[no_mangle]
pub unsafe extern "C" fn tk_text_free(text: Text) {
    take_back(text.data, text.size);
}

#[no_mangle]
pub unsafe extern "C" fn tk_ids_free(ids: Ids) {
    take_back(ids.data, ids.size);
}

#[no_mangle]
pub unsafe extern "C" fn tk_tokenizer_growth(json: View, out: *mut u64, error: *mut Text) -> i32 {
    guarded(error, || {
        out.write(growth::growth(text(json, "the file")?)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn tk_tokenizer_new(
    json: View,
    more_tokens: View,
    out: *mut *mut Tokenizer,
    error: *mut Text,
) -> i32 {
    guarded(error, || {
        let more_tokens = text(more_tokens, "added_tokens_decoder")?;
        let json = text(json, "the file")?;
        out.write(Box::into_raw(Box::new(Tokenizer::new(json, more_tokens)?)));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn tk_tokenizer_free(tokenizer: *mut Tokenizer) {
    free(tokenizer);
}

#[no_mangle]
pub unsafe extern "C" fn tk_tokenizer_vocab(tokenizer: *const Tokenizer) -> Vocab {
    let vocab = (*tokenizer).vocab();
    Vocab {
        size: vocab.flags.len() as u32,
        bytes: vocab.bytes.as_ptr(),
        offsets: vocab.offsets.as_ptr(),
        flags: vocab.flags.as_ptr(),
        strip_space: vocab.strip_space as u8,
    }
}

#[no_mangle]
pub unsafe extern "C" fn tk_tokenizer_token_id(tokenizer: *const Tokenizer, name: View) -> i64 {
    let id = catch(|| Ok((*tokenizer).token_id(text(name, "the token")?)));
    id.ok().flatten().map_or(-1, i64::from)
}

#[no_mangle]
pub unsafe extern "C" fn tk_tokenizer_encode(
    tokenizer: *const Tokenizer,
    view: View,
    flags: u32,
    out: *mut Ids,
    error: *mut Text,
) -> i32 {
    guarded(error, || {
        let text = text(view, "the text")?;
        let ids =
            (*tokenizer).encode(text, flags & ADD_SPECIAL != 0, flags & PARSE_SPECIAL != 0)?;
        put_ids(out, ids);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn tk_tokenizer_encode_typed(
    tokenizer: *const Tokenizer,
    view: View,
    typed: *const u32,
    num_typed: usize,
    out: *mut Ids,
    error: *mut Text,
) -> i32 {
    guarded(error, || {
        let text = text(view, "the text")?;
        put_ids(out, (*tokenizer).encode_typed(text, bytes(typed, num_typed))?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn tk_tokenizer_special_tokens(
    tokenizer: *const Tokenizer,
    out: *mut Text,
    error: *mut Text,
) -> i32 {
    guarded(error, || {
        put_text(out, serde_json::json!((*tokenizer).special_tokens()).to_string());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn tk_tokenizer_guard(
    tokenizer: *const Tokenizer,
    out: *mut *const Guard,
    error: *mut Text,
) -> i32 {
    guarded(error, || {
        out.write((*tokenizer).guard()?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn tk_guard_new(
    special_tokens: View,
    out: *mut *mut Guard,
    error: *mut Text,
) -> i32 {
    guarded(error, || {
        let special: Vec<String> = serde_json::from_str(text(special_tokens, "special tokens")?)
            .map_err(|e| Error::invalid(format!("special tokens: {e}")))?;
        out.write(Box::into_raw(Box::new(Guard::new(&special)?)));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn tk_guard_free(guard: *mut Guard) {
    free(guard);
}

#[no_mangle]
pub unsafe extern "C" fn tk_tokenizer_decode(
    tokenizer: *const Tokenizer,
    ids: *const u32,
    num_ids: usize,
    skip_special: i32,
    out: *mut Text,
    error: *mut Text,
) -> i32 {
    guarded(error, || {
        put_text(out, (*tokenizer).decode(bytes(ids, num_ids), skip_special != 0)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn tk_template_new(
    source: View,
    variables: View,
    limits: *const Limits,
    out: *mut *mut Template,
    error: *mut Text,
) -> i32 {
    guarded(error, || {
        let variables = text(variables, "the special tokens")?;
        let template = Template::new(text(source, "the chat template")?, variables, *limits)?;
        out.write(Box::into_raw(Box::new(template)));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn tk_template_free(template: *mut Template) {
    free(template);
}

#[no_mangle]
pub unsafe extern "C" fn tk_template_render(
    template: *const Template,
    guard: *const Guard,
    view: *const ChatView,
    out_text: *mut Text,
    out_typed: *mut Ids,
    out_has_typed: *mut i32,
    error: *mut Text,
) -> i32 {
    guarded(error, || {
        let template = &*template;
        let mut chat = chat(&*view)?;
        template.adapt(&mut chat)?;
        let rendered = match guard.as_ref() {
            Some(guard) => guard::render(template, guard, &chat)?,
            None => Rendered { text: template.render(&chat)?, typed: None },
        };
        put_text(out_text, rendered.text);
        out_has_typed.write(rendered.typed.is_some().into());
        put_ids(out_typed, rendered.typed.unwrap_or_default());
        Ok(())
    })
}
