//! Chat templates in the environment that Hugging Face renders them in.

use crate::chat::{parse_object, Chat};
use crate::ffi::catch;
use crate::{json, python, strings, Error, Kind, Result};
use minijinja::{context, AutoEscape, Environment, ErrorKind, Value};
use serde_json::Map;
use std::fmt;
use std::io::{self, Write};

/// Real templates stay under 40 KB.
const MAX_SOURCE_BYTES: usize = 128 << 10;

/// The engine recurses over what a template nests, and frees it the same way; a template can nest a
/// value by one level with each step. So templates run on a stack that is large enough for the worst of
/// them. Pages that are never touched cost nothing.
const STACK_BYTES_PER_STEP: usize = 640; // 270 to 450 were measured
const MIN_STACK_BYTES: usize = 128 << 20; // compiling nests by two characters of source per level

const MAX_RECURSION: usize = 100;
const NAME: &str = "chat_template";

/// tk_limits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Limits {
    base_steps: u64,
    steps_per_message: u64,
    max_steps: u64,
    max_output_bytes: usize,
}

/// What of a conversation the template understands, as found by rendering small ones.
#[derive(Clone, Copy)]
struct Form {
    /// Messages may have a content of several parts; else it must be one string.
    parts: bool,
    /// A system message comes out; else its text goes into the first message of the user.
    system: bool,
    /// Arguments of tool calls are objects; else they are JSON texts.
    argument_objects: bool,
}

pub struct Template {
    environment: Environment<'static>,
    variables: Map<String, serde_json::Value>,
    limits: Limits,
    form: Form,
}

/// The template's own refusal, so that it can be told from an error of the template.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn raise_exception(message: String) -> std::result::Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception")
        .with_source(Raised(message)))
}

impl Template {
    pub fn new(source: &str, variables: &str, limits: Limits) -> Result<Self> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Error::invalid(format!(
                "the chat template has {} bytes; the limit is {MAX_SOURCE_BYTES}",
                source.len()
            )));
        }
        let source = without_generation_tags(source);
        let environment = on_large_stack(0, move || {
            let mut environment = Environment::new();
            environment.set_trim_blocks(true);
            environment.set_lstrip_blocks(true);
            environment.set_auto_escape_callback(|_| AutoEscape::None);
            environment.set_recursion_limit(MAX_RECURSION);
            environment.set_unknown_method_callback(strings::method);
            environment.remove_global("debug"); // prints all variables
            python::register(&mut environment);
            environment.add_function("raise_exception", raise_exception);
            environment.add_filter("tojson", json::tojson);
            environment.add_template_owned(NAME, source).map_err(|e| render_error(&e))?;
            Ok(environment)
        })?;
        let mut template = Self {
            environment,
            variables: parse_object(variables, "the special tokens")?,
            limits,
            form: Form { parts: true, system: true, argument_objects: true },
        };
        template.form = template.probe()?;
        Ok(template)
    }

    fn probe(&self) -> Result<Form> {
        // Whether the marks of these messages come out, and not as part of a printed list or object.
        let shows = |messages: &str, marks: &[&str]| -> Result<bool> {
            let rendered = self.render(&Chat::new(messages, "", "", "", true, 0)?);
            Ok(rendered.is_ok_and(|text| {
                let bare =
                    |mark: &&str| text.contains(*mark) && !text.contains(&format!("'{mark}'"));
                marks.iter().all(bare)
            }))
        };
        let user = r#"{"role": "user", "content": "U7e"}"#;
        let parts = r#"[{"role": "user", "content": [{"type": "text", "text": "U7e"}]}]"#;
        let system = format!(r#"[{{"role": "system", "content": "S7m"}}, {user}]"#);
        let call = |arguments: &str| {
            format!(
                r#"[{user}, {{"role": "assistant", "content": "", "tool_calls": [{{"id": "c12345678",
                    "type": "function", "function": {{"name": "f", "arguments": {arguments}}}}}]}}]"#
            )
        };
        Ok(Form {
            parts: shows(parts, &["U7e"])?,
            system: shows(&system, &["S7m", "U7e"])? || !shows(&format!("[{user}]"), &["U7e"])?,
            argument_objects: shows(&call(r#"{"A7g": 1}"#), &["A7g"])?
                || !shows(&call(r#""{\"A7g\": 1 }""#), &["A7g"])?,
        })
    }

    /// Brings the messages into the form that this template takes.
    pub fn adapt(&self, chat: &mut Chat) -> Result<()> {
        if self.form.parts {
            chat.check_parts()?;
        } else {
            chat.join_parts()?;
        }
        if self.form.argument_objects {
            chat.parse_arguments();
        }
        if !self.form.system {
            chat.merge_system();
        }
        Ok(())
    }

    pub fn render(&self, chat: &Chat) -> Result<String> {
        let Limits { base_steps, steps_per_message, max_steps, max_output_bytes } = self.limits;
        let num_messages = chat.messages.as_array().map_or(0, Vec::len) as u64;
        let steps = steps_per_message.saturating_mul(num_messages).saturating_add(base_steps);
        let steps = steps.min(max_steps);
        on_large_stack(steps, || {
            let mut environment = self.environment.clone();
            environment.set_fuel(Some(steps));
            let now_unix_s = chat.now_unix_s;
            let strftime_now = move |format: &str| strftime(now_unix_s, format);
            let mut variables = self.variables.clone();
            variables.extend(chat.variables.clone());
            let variables = context! {
                messages => chat.messages,
                tools => chat.tools,
                documents => chat.documents,
                add_generation_prompt => chat.add_generation_prompt,
                strftime_now => Value::from_function(strftime_now),
                ..Value::from_serialize(&variables)
            };
            let mut out = Output { text: Vec::new(), max: max_output_bytes, over: false };
            let template = environment.get_template(NAME).map_err(|e| render_error(&e))?;
            let result = template.render_captured_to(variables, &mut out).map(|_| ());
            if out.over {
                return Err(Error::new(
                    Kind::Limit,
                    format!("the chat template wrote over {} bytes", out.max),
                ));
            }
            result.map_err(|e| render_error(&e))?;
            String::from_utf8(out.text).map_err(|e| Error::invalid(e.to_string()))
        })
    }
}

fn on_large_stack<T: Send>(steps: u64, call: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let stack_bytes = (steps as usize).saturating_mul(STACK_BYTES_PER_STEP).max(MIN_STACK_BYTES);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(stack_bytes)
            .spawn_scoped(scope, || catch(call))
            .map_err(|e| Error::new(Kind::Limit, format!("no thread for the chat template: {e}")))?
            .join()
            .unwrap_or_else(|_| Err(Error::new(Kind::Panic, "the chat template's thread failed")))
    })
}

fn render_error(error: &minijinja::Error) -> Error {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref::<Raised>() {
            return Error::new(Kind::Raised, message.clone());
        }
        source = cause.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => Error::new(Kind::Limit, "the chat template ran for too many steps"),
        _ => Error::invalid(error.to_string()),
    }
}

struct Output {
    text: Vec<u8>,
    max: usize,
    over: bool,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.max - self.text.len() {
            self.over = true;
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `{% generation %}` marks what the model wrote, for training; for a text it is a block of no effect.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open + 2);
        out.push_str(before);
        rest = tag;
        let Some(close) = tag.find("%}") else { break };
        let name = tag[..close].trim_matches(|c: char| c.is_whitespace() || "+-".contains(c));
        let block = match name {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        out.push_str(&tag[..close].replacen(name, block, 1));
        rest = &tag[close..];
    }
    out.push_str(rest);
    out
}

fn strftime(now_unix_s: i64, format: &str) -> std::result::Result<String, minijinja::Error> {
    const MAX_BYTES: usize = 256;
    let failed = || minijinja::Error::new(ErrorKind::InvalidOperation, "strftime_now: bad format");
    let format = std::ffi::CString::new(format).map_err(|_| failed())?;
    if format.as_bytes().is_empty() {
        return Ok(String::new());
    }
    let mut out = [0u8; MAX_BYTES];
    // SAFETY: all pointers are to locals that outlive the calls; strftime writes at most MAX_BYTES.
    let size = unsafe {
        let now = if now_unix_s == 0 { libc::time(std::ptr::null_mut()) } else { now_unix_s };
        let mut local: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&now, &mut local).is_null() {
            return Err(failed());
        }
        libc::strftime(out.as_mut_ptr().cast(), MAX_BYTES, format.as_ptr(), &local)
    };
    if size == 0 {
        return Err(failed());
    }
    Ok(String::from_utf8_lossy(&out[..size]).into_owned())
}
