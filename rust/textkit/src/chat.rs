//! A conversation as a client sends it, made into what chat templates expect.

use crate::{Error, Result};
use serde::Serialize;
use serde_json::{json, Map, Value};
use std::io::{self, Write};

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

    /// What agents' histories have where they have nothing, read as nothing: as transformers does, keys
    /// that are null are left out, so that no template prints "None"; as vLLM does, a content that is not
    /// there is an empty text. `tool_calls: []` are none.
    pub fn normalize(&mut self) {
        for message in self.messages_mut() {
            message.retain(|key, value| {
                let is_empty = key == "tool_calls" && value.as_array().is_some_and(Vec::is_empty);
                !value.is_null() && !is_empty
            });
            let content = message.entry("content").or_insert_with(|| "".into());
            if content.as_array().is_some_and(Vec::is_empty) {
                *content = "".into();
            }
            name_reasoning(message);
        }
    }

    /// For templates that show calls of tools only where the content is null.
    pub fn without_empty_contents_of_calls(&mut self) {
        for message in self.messages_mut() {
            if message.contains_key("tool_calls") && message["content"] == "" {
                message["content"] = Value::Null;
            }
        }
    }

    /// Joins the text parts of the messages whose role `takes_parts` does not hold for: their place in
    /// the template takes one string.
    pub fn join_parts(&mut self, takes_parts: impl Fn(&str) -> bool) -> Result<()> {
        for (index, message) in self.messages_mut().enumerate() {
            let takes_parts = takes_parts(role_of(message));
            let Some(Value::Array(parts)) = message.get("content") else { continue };
            // There is no model here that takes others.
            let texts = (0..).zip(parts).map(|(at, part)| part_text(index, at, part));
            let text = texts.collect::<Result<Vec<_>>>()?.join("\n");
            if !takes_parts {
                message["content"] = text.into();
            }
        }
        Ok(())
    }

    /// OpenAI's clients send the arguments of past tool calls as a JSON text, which the model wrote and
    /// which may be cut off or no object; most templates want the object.
    pub fn shape_arguments(&mut self, form: ArgumentForm) {
        for message in self.messages_mut() {
            let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
            for call in calls.into_iter().flatten() {
                let holder = match call.get_mut("function") {
                    Some(Value::Object(function)) => function,
                    _ => match call.as_object_mut() {
                        Some(call) => call,
                        None => continue,
                    },
                };
                let arguments = holder.entry("arguments").or_insert(Value::Null);
                *arguments = form.shape(std::mem::take(arguments));
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
        let system = match system.get("content") {
            Some(Value::Array(parts)) => {
                let texts = parts.iter().filter_map(|part| part_text(0, 0, part).ok());
                texts.collect::<Vec<_>>().join("\n")
            }
            content => content.and_then(Value::as_str).unwrap_or_default().to_string(),
        };
        match messages[0].get_mut("content") {
            Some(Value::String(text)) => text.insert_str(0, &format!("{system}\n")),
            Some(Value::Array(parts)) => {
                parts.insert(0, json!({"type": "text", "text": format!("{system}\n")}))
            }
            _ => messages[0]["content"] = system.into(),
        }
    }

    fn messages_mut(&mut self) -> impl Iterator<Item = &mut Map<String, Value>> {
        let messages = self.messages.as_array_mut().into_iter().flatten();
        messages.filter_map(Value::as_object_mut)
    }
}

pub fn role_of(message: &Map<String, Value>) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

/// A message's reasoning has several names; as in transformers, templates find it under those that they
/// read.
fn name_reasoning(message: &mut Map<String, Value>) {
    let names = ["reasoning_content", "thinking", "reasoning"];
    let Some(reasoning) = names.iter().find_map(|name| message.get(*name)).cloned() else { return };
    message.entry("thinking").or_insert_with(|| reasoning.clone());
    message.insert("reasoning_content".into(), reasoning);
}

/// What a template takes as the arguments of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ArgumentForm {
    /// A JSON text.
    Text,
    /// An object; what is none may be a text.
    ObjectOrText,
    /// An object and nothing else.
    Object,
}

impl ArgumentForm {
    fn shape(self, arguments: Value) -> Value {
        // No arguments, in all the ways in which servers and models write that.
        let parsed = match &arguments {
            Value::String(text) if text.trim().is_empty() => Some(Value::Null),
            Value::String(text) => serde_json::from_str(text).ok(),
            other => Some(other.clone()),
        };
        let parsed = match parsed {
            Some(Value::Null) => Some(Value::Object(Map::new())),
            parsed => parsed,
        };
        let is_object = parsed.as_ref().is_some_and(Value::is_object);
        match (self, parsed, arguments) {
            (Self::ObjectOrText | Self::Object, Some(object), _) if is_object => object,
            (Self::Object, ..) => Value::Object(Map::new()),
            (_, _, Value::String(text)) if !text.trim().is_empty() && text.trim() != "null" => {
                Value::String(text)
            }
            (_, Some(value), _) => Value::String(python_json(&value)),
            (_, None, other) => other,
        }
    }
}

/// As Python's json.dumps writes it.
fn python_json(value: &Value) -> String {
    struct Spaced;
    impl serde_json::ser::Formatter for Spaced {
        fn begin_array_value<W: ?Sized + Write>(
            &mut self,
            to: &mut W,
            first: bool,
        ) -> io::Result<()> {
            to.write_all(if first { b"" } else { b", " })
        }
        fn begin_object_key<W: ?Sized + Write>(
            &mut self,
            to: &mut W,
            first: bool,
        ) -> io::Result<()> {
            to.write_all(if first { b"" } else { b", " })
        }
        fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
            to.write_all(b": ")
        }
    }
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Spaced);
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(out).unwrap_or_default(),
        Err(_) => value.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(message: Value) -> Value {
        let messages = Value::Array(vec![message]).to_string();
        let mut chat = Chat::new(&messages, "", "", "", true, 0).unwrap();
        chat.normalize();
        chat.messages[0].take()
    }

    #[test]
    fn nothing_reads_as_nothing() {
        let empty = json!({"role": "assistant", "content": ""});
        for message in [
            json!({"role": "assistant"}),
            json!({"role": "assistant", "content": null}),
            json!({"role": "assistant", "content": []}),
            json!({"role": "assistant", "content": "", "tool_calls": null}),
            json!({"role": "assistant", "content": "", "tool_calls": []}),
            json!({"role": "assistant", "content": null, "name": null, "refusal": null, "audio": null}),
        ] {
            assert_eq!(normalized(message), empty);
        }
        let other = json!({"role": "tool", "content": "x", "name": "n", "mine": [null]});
        assert_eq!(normalized(other.clone()), other);
    }

    #[test]
    fn reasoning_is_found_by_each_name() {
        for name in ["reasoning_content", "thinking", "reasoning"] {
            let message = normalized(json!({"role": "assistant", "content": "c", name: "why"}));
            assert_eq!(message["reasoning_content"], "why");
            assert_eq!(message["thinking"], "why");
        }
        let message = normalized(json!({"role": "assistant", "thinking": "b", "reasoning": "c"}));
        assert_eq!(message["reasoning_content"], "b");
    }

    #[test]
    fn arguments_take_each_form() {
        use ArgumentForm::{Object, ObjectOrText, Text};
        let none = json!({});
        for (sent, text, object_or_text, object) in [
            (json!("{\"a\":1}"), json!("{\"a\":1}"), json!({"a": 1}), json!({"a": 1})),
            (
                json!({"a": [1, "é"]}),
                json!("{\"a\": [1, \"é\"]}"),
                json!({"a": [1, "é"]}),
                json!({"a": [1, "é"]}),
            ),
            (json!(""), json!("{}"), none.clone(), none.clone()),
            (json!(" \n"), json!("{}"), none.clone(), none.clone()),
            (json!("null"), json!("{}"), none.clone(), none.clone()),
            (json!(null), json!("{}"), none.clone(), none.clone()),
            (json!("{\"a\": \"b"), json!("{\"a\": \"b"), json!("{\"a\": \"b"), none.clone()),
            (json!("[\"a\"]"), json!("[\"a\"]"), json!("[\"a\"]"), none.clone()),
            (json!(["a", 1]), json!("[\"a\", 1]"), json!("[\"a\", 1]"), none.clone()),
            (json!("3"), json!("3"), json!("3"), none.clone()),
            (json!(true), json!("true"), json!("true"), none.clone()),
        ] {
            assert_eq!(Text.shape(sent.clone()), text, "{sent}");
            assert_eq!(ObjectOrText.shape(sent.clone()), object_or_text, "{sent}");
            assert_eq!(Object.shape(sent.clone()), object, "{sent}");
        }
    }

    #[test]
    fn arguments_that_are_missing_are_none() {
        let call = json!({"id": "c", "function": {"name": "f"}});
        let flat = json!({"name": "f"});
        let messages = json!([{"role": "assistant", "tool_calls": [call, flat]}]).to_string();
        let mut chat = Chat::new(&messages, "", "", "", true, 0).unwrap();
        chat.shape_arguments(ArgumentForm::Object);
        assert_eq!(chat.messages[0]["tool_calls"][0]["function"]["arguments"], json!({}));
        assert_eq!(chat.messages[0]["tool_calls"][1]["arguments"], json!({}));
    }
}
