//! A conversation as a client sends it, made into what chat templates expect.

use crate::{Error, Result};
use serde_json::{json, Map, Value};

#[derive(Clone)]
pub struct Chat {
    pub messages: Value,
    pub tools: Value,
    pub documents: Value,
    pub variables: Map<String, Value>,
    pub add_generation_prompt: bool,
    pub now_unix_s: i64,
}

impl Chat {
    pub fn new(
        messages: &str,
        tools: &str,
        documents: &str,
        variables: &str,
        add_generation_prompt: bool,
        now_unix_s: i64,
    ) -> Result<Self> {
        let messages = parse(messages, "messages")?;
        let Value::Array(items) = &messages else {
            return Err(Error::invalid("messages is not an array"));
        };
        if let Some(index) = items.iter().position(|message| !message.is_object()) {
            return Err(Error::invalid(format!("messages[{index}] is not an object")));
        }
        let variables = parse_object(variables, "chat_template_kwargs")?;
        for name in ["messages", "tools", "documents", "add_generation_prompt"] {
            if variables.contains_key(name) {
                return Err(Error::invalid(format!("chat_template_kwargs must not hold {name}")));
            }
        }
        Ok(Self {
            messages,
            tools: parse_list(tools, "tools")?,
            documents: parse_list(documents, "documents")?,
            variables,
            add_generation_prompt,
            now_unix_s,
        })
    }

    /// Joins the text parts of each message, for templates that take a content of one string.
    pub fn join_parts(&mut self) -> Result<()> {
        self.for_each_content(|index, content| {
            let Value::Array(parts) = content else { return Ok(()) };
            let mut text = String::new();
            for (part_index, part) in parts.iter().enumerate() {
                if part_index > 0 {
                    text.push('\n');
                }
                text.push_str(part_text(index, part_index, part)?);
            }
            *content = Value::String(text);
            Ok(())
        })
    }

    /// Refuses parts that are not text: there is no model here that takes others.
    pub fn check_parts(&mut self) -> Result<()> {
        self.for_each_content(|index, content| {
            let Value::Array(parts) = content else { return Ok(()) };
            parts
                .iter()
                .enumerate()
                .try_for_each(|(part_index, part)| part_text(index, part_index, part).map(|_| ()))
        })
    }

    /// OpenAI's clients send the arguments of past tool calls as a JSON text; most templates want the
    /// object.
    pub fn parse_arguments(&mut self) {
        let messages = self.messages.as_array_mut().into_iter().flatten();
        let calls = messages.filter_map(|message| message.get_mut("tool_calls")?.as_array_mut());
        for call in calls.flatten() {
            let Some(arguments) = call.get_mut("function").and_then(|f| f.get_mut("arguments"))
            else {
                continue;
            };
            let parsed = arguments.as_str().map(serde_json::from_str::<Value>);
            if let Some(Ok(parsed @ Value::Object(_))) = parsed {
                *arguments = parsed;
            }
        }
    }

    /// Puts the text of a leading system message in front of the user's first message.
    pub fn merge_system(&mut self) {
        let Some(messages) = self.messages.as_array_mut() else { return };
        if messages.first().and_then(|message| message.get("role")) != Some(&"system".into()) {
            return;
        }
        if messages.get(1).and_then(|message| message.get("role")) != Some(&"user".into()) {
            messages[0]["role"] = "user".into();
            return;
        }
        let system = messages.remove(0);
        let system = system.get("content").and_then(Value::as_str).unwrap_or_default();
        match messages[0].get_mut("content") {
            Some(Value::String(text)) => text.insert_str(0, &format!("{system}\n")),
            Some(Value::Array(parts)) => {
                parts.insert(0, json!({"type": "text", "text": format!("{system}\n")}))
            }
            _ => messages[0]["content"] = system.into(),
        }
    }

    fn for_each_content(
        &mut self,
        mut call: impl FnMut(usize, &mut Value) -> Result<()>,
    ) -> Result<()> {
        let messages = self.messages.as_array_mut().into_iter().flatten();
        for (index, message) in messages.enumerate() {
            if let Some(content) = message.get_mut("content") {
                call(index, content)?;
            }
        }
        Ok(())
    }
}

fn part_text(index: usize, part_index: usize, part: &Value) -> Result<&str> {
    let what = format!("messages[{index}].content[{part_index}]");
    if let Some(kind) = part.get("type").and_then(Value::as_str).filter(|kind| *kind != "text") {
        return Err(Error::invalid(format!("{what}: type '{kind}' is not supported, only 'text'")));
    }
    part.as_str()
        .or_else(|| part.get("text").and_then(Value::as_str))
        .ok_or_else(|| Error::invalid(format!("{what} has no text")))
}

fn parse(json: &str, what: &str) -> Result<Value> {
    serde_json::from_str(json).map_err(|e| Error::invalid(format!("{what}: {e}")))
}

fn parse_list(json: &str, what: &str) -> Result<Value> {
    if json.is_empty() {
        return Ok(Value::Null);
    }
    let value = parse(json, what)?;
    if !value.is_array() {
        return Err(Error::invalid(format!("{what} is not an array")));
    }
    Ok(value)
}

pub fn parse_object(json: &str, what: &str) -> Result<Map<String, Value>> {
    if json.is_empty() {
        return Ok(Map::new());
    }
    match parse(json, what)? {
        Value::Object(object) => Ok(object),
        _ => Err(Error::invalid(format!("{what} is not an object"))),
    }
}
