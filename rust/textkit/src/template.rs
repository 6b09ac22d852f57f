//! Chat templates in the environment that Hugging Face renders them in.

use crate::chat::{parse_object, ArgumentForm, Chat};
use crate::ffi::catch;
use crate::meter::{self, refused, Refusal};
use crate::program::{Program, Texts};
use crate::{builtins, data, operators, python, source, strings, Error, Kind, Result};
use minijinja::{Environment, ErrorKind, Value};
use serde_json::{json, Map, Value as Json};
use std::collections::BTreeMap;

/// TK_MAX_TEMPLATE_BYTES; real templates stay under 40 KB.
const MAX_SOURCE_BYTES: usize = 256 << 10;

/// Of what compiling needs for each byte of the source, at most: it nests by two bytes per level. What a
/// template makes nests far less. Pages that are never touched cost nothing.
const STACK_PER_SOURCE_BYTE: usize = 1 << 10;
const LEAST_STACK_BYTES: usize = 64 << 20;

const MAX_RECURSION: usize = 100;

/// Of what the caller is told; a template's own message may be as long as any text.
const MAX_ERROR_CHARS: usize = 2000;

/// tk_limits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Limits {
    pub base_steps: u64,
    pub steps_per_message: u64,
    pub max_steps: u64,
    pub max_output_bytes: usize,
}

/// What of a conversation the template understands, as found by rendering small ones.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// By role: whether a content of several parts is gone through; else it must be one string.
    parts: [bool; ROLES.len()],
    /// A system message comes out; else its text goes into the first message of the user.
    system: bool,
    arguments: ArgumentForm,
    /// Calls of tools are shown only beside a content that is null.
    null_contents: bool,
}

/// The user's stands for all others.
const ROLES: [&str; 4] = ["user", "system", "assistant", "tool"];

pub struct Template {
    environment: Environment<'static>,
    program: Program,
    variables: Map<String, serde_json::Value>,
    limits: Limits,
    form: Form,
}

type EngineResult<T> = std::result::Result<T, minijinja::Error>;

fn raise_exception(message: String) -> EngineResult<Value> {
    Err(refused(Kind::Raised, message))
}

impl Template {
    pub fn new(source: &str, variables: &str, limits: Limits) -> Result<Self> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Error::invalid(format!(
                "the chat template has {} bytes; the limit is {MAX_SOURCE_BYTES}",
                source.len()
            )));
        }
        let source = source::prepare(source);
        let stack_bytes = LEAST_STACK_BYTES.max(source.len() * STACK_PER_SOURCE_BYTE);
        let program =
            on_stack(stack_bytes, move || Program::new(source).map_err(|e| render_error(&e, 0)))?;
        let mut template = Self {
            environment: environment(),
            program,
            variables: parse_object(variables, "the special tokens")?,
            limits,
            form: Form {
                parts: [true; ROLES.len()],
                system: true,
                arguments: ArgumentForm::ObjectOrText,
                null_contents: false,
            },
        };
        match template.probe() {
            Ok(form) => template.form = form,
            // What runs too long for two short messages is not tried a dozen times.
            Err(e) if e.kind == Kind::Limit => {}
            Err(e) => return Err(e),
        }
        Ok(template)
    }

    fn probe(&self) -> Result<Form> {
        let rendered = |messages: &Json| -> Result<String> {
            let chat = Chat::new(&messages.to_string(), "", "", "", true, 0)?;
            match self.render(&chat) {
                Err(e) if e.kind == Kind::Limit => Err(e),
                text => Ok(text.unwrap_or_default()),
            }
        };
        // Whether the marks of these messages come out, and not only as part of a printed list or object.
        let shows = |messages: &Json, marks: &[&str], quotes: &[char]| -> Result<bool> {
            let text = rendered(messages)?;
            let bare = |mark: &&str| {
                let without =
                    |text: String, quote: &char| text.replace(&format!("{quote}{mark}{quote}"), "");
                quotes.iter().fold(text.clone(), without).contains(*mark)
            };
            Ok(marks.iter().all(bare))
        };
        let user = json!({"role": "user", "content": "U7e"});
        let call = |content: Json, arguments: Json| {
            json!([user, {"role": "assistant", "content": content, "tool_calls": [
                {"id": "c12345678", "type": "function",
                 "function": {"name": "F7n", "arguments": arguments}}]}])
        };
        let system =
            shows(&json!([{"role": "system", "content": "S7m"}, user]), &["S7m", "U7e"], &['\''])?
                || !shows(&json!([user]), &["U7e"], &['\''])?;

        // In each role two parts, neither of which may be left out or come out as data.
        let parts = json!([{"type": "text", "text": "P7a"}, {"type": "text", "text": "P7b"}]);
        let takes_parts = |messages: Json| shows(&messages, &["P7a", "P7b"], &['\'', '"']);
        let result =
            json!({"role": "tool", "tool_call_id": "c12345678", "name": "F7n", "content": parts});
        let with_result = |arguments: Json| {
            let mut messages = call("".into(), arguments);
            if let Some(messages) = messages.as_array_mut() {
                messages.push(result.clone());
            }
            takes_parts(messages)
        };
        let parts_by_role = [
            takes_parts(json!([{"role": "user", "content": parts}]))?,
            takes_parts(json!([{"role": "system", "content": parts}, user]))?,
            takes_parts(json!([user, {"role": "assistant", "content": parts}, user]))?,
            with_result(json!({"A7g": 1}))? || with_result(json!("{\"A7g\": 1}"))?,
        ];

        let shows_object = shows(&call("".into(), json!({"A7g": 1})), &["A7g"], &['\''])?;
        let shows_text = shows(&call("".into(), json!("{\"A7g\": 1 }")), &["A7g"], &['\''])?;
        let arguments = if !shows_object && shows_text {
            ArgumentForm::Text
        } else if shows(&call("".into(), json!("A7g")), &["A7g"], &[])? {
            ArgumentForm::ObjectOrText
        } else {
            ArgumentForm::Object
        };
        let shows_call = |content: Json| -> Result<bool> {
            let text = rendered(&call(content, json!({"A7g": 1})))?;
            Ok(text.contains("F7n") && !text.contains("None"))
        };
        let null_contents = !shows_call("".into())? && shows_call(Json::Null)?;
        Ok(Form { parts: parts_by_role, system, arguments, null_contents })
    }

    /// Brings the messages into the form that this template takes.
    pub fn adapt(&self, chat: &mut Chat) -> Result<()> {
        chat.normalize();
        chat.join_parts(|role| {
            self.form.parts[ROLES.iter().position(|known| *known == role).unwrap_or(0)]
        })?;
        chat.shape_arguments(self.form.arguments);
        if !self.form.system {
            chat.merge_system();
        }
        if self.form.null_contents {
            chat.without_empty_contents_of_calls();
        }
        Ok(())
    }

    pub fn render(&self, chat: &Chat) -> Result<String> {
        let Limits { base_steps, steps_per_message, max_steps, max_output_bytes } = self.limits;
        let num_messages = chat.messages.as_array().map_or(0, Vec::len) as u64;
        let steps = steps_per_message.saturating_mul(num_messages).saturating_add(base_steps);
        let steps = steps.min(max_steps);
        let text = on_stack(LEAST_STACK_BYTES, || {
            let mut environment = self.environment.clone();
            environment.set_fuel(Some(steps));
            let root = self.root(chat).map_err(|e| render_error(&e, steps))?;
            meter::start(steps);
            self.program.run(&environment, root).map_err(|e| render_error(&e, steps))
        })?;
        if text.len() > max_output_bytes {
            let text = format!("the chat template wrote over {max_output_bytes} bytes");
            return Err(Error::new(Kind::Limit, text));
        }
        Ok(text)
    }

    pub fn texts(&self) -> &Texts {
        self.program.texts()
    }

    /// The variables that a rendering starts from.
    fn root(&self, chat: &Chat) -> EngineResult<Value> {
        let mut root: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, value) in self.variables.iter().chain(&chat.variables) {
            root.insert(name, data::from_json(value)?);
        }
        let now_unix_s = chat.now_unix_s;
        let now = move |format: &str| strftime(now_unix_s, format);
        root.insert("strftime_now", Value::from_function(now));
        root.insert("messages", data::from_json(&chat.messages)?);
        root.insert("tools", data::from_json(&chat.tools)?);
        root.insert("documents", data::from_json(&chat.documents)?);
        root.insert("add_generation_prompt", Value::from(chat.add_generation_prompt));
        Ok(Value::from(root))
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_unknown_method_callback(strings::method);
    environment.remove_global("debug"); // prints all variables
    builtins::register(&mut environment);
    operators::register(&mut environment);
    python::register(&mut environment);
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", crate::json::tojson);
    environment
}

fn on_stack<T: Send>(stack_bytes: usize, call: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(stack_bytes)
            .spawn_scoped(scope, || catch(call))
            .map_err(|e| Error::new(Kind::Limit, format!("no thread for the chat template: {e}")))?
            .join()
            .unwrap_or_else(|_| Err(Error::new(Kind::Panic, "the chat template's thread failed")))
    })
}

/// `steps`: those that it had, where it ran.
fn render_error(error: &minijinja::Error, steps: u64) -> Error {
    let short = |text: &str| text.chars().take(MAX_ERROR_CHARS).collect::<String>();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(Refusal(refusal)) = cause.downcast_ref::<Refusal>() {
            return Error::new(refusal.kind, short(&refusal.text));
        }
        source = cause.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => Error::new(
            Kind::Limit,
            format!("the chat template ran for too many steps: over {steps}"),
        ),
        _ => Error::invalid(short(&error.to_string())),
    }
}

fn strftime(now_unix_s: i64, format: &str) -> EngineResult<String> {
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
