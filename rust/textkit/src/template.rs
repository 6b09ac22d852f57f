//! Chat templates in the environment that Hugging Face renders them in.

use crate::chat::{parse_object, Chat};
use crate::ffi::catch;
use crate::meter::{self, refused, Refusal};
use crate::program::Program;
use crate::{builtins, data, json, operators, python, strings, Error, Kind, Result};
use minijinja::{Environment, ErrorKind, Value};
use serde_json::Map;
use std::collections::BTreeMap;

/// Real templates stay under 40 KB.
const MAX_SOURCE_BYTES: usize = 128 << 10;

/// Compiling nests by two bytes of source per level; what a template makes nests far less. Pages that
/// are never touched cost nothing.
const STACK_BYTES: usize = 128 << 20;

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
        let source = without_generation_tags(source);
        let program = on_large_stack(move || Program::new(source).map_err(|e| render_error(&e)))?;
        let mut template = Self {
            environment: environment(),
            program,
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
        let text = on_large_stack(|| {
            let mut environment = self.environment.clone();
            environment.set_fuel(Some(steps));
            let root = self.root(chat).map_err(|e| render_error(&e))?;
            meter::start(steps);
            self.program.run(&environment, root).map_err(|e| render_error(&e))
        })?;
        if text.len() > max_output_bytes {
            let text = format!("the chat template wrote over {max_output_bytes} bytes");
            return Err(Error::new(Kind::Limit, text));
        }
        Ok(text)
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
    environment.add_filter("tojson", json::tojson);
    environment
}

fn on_large_stack<T: Send>(call: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || catch(call))
            .map_err(|e| Error::new(Kind::Limit, format!("no thread for the chat template: {e}")))?
            .join()
            .unwrap_or_else(|_| Err(Error::new(Kind::Panic, "the chat template's thread failed")))
    })
}

fn render_error(error: &minijinja::Error) -> Error {
    let short = |text: &str| text.chars().take(MAX_ERROR_CHARS).collect::<String>();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(Refusal(refusal)) = cause.downcast_ref::<Refusal>() {
            return Error::new(refusal.kind, short(&refusal.text));
        }
        source = cause.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => Error::new(Kind::Limit, "the chat template ran for too many steps"),
        _ => Error::invalid(short(&error.to_string())),
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
