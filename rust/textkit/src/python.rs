//! Values as Python prints them, and the filters and tests of Jinja2 that the engine lacks or has otherwise.

use crate::builtins::each;
use crate::data::{check_text, shallow_work, Size};
use crate::json::python_float;
use crate::meter::charge;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{escape_formatter, Environment, Error, ErrorKind, Output, State, Value};
use std::borrow::Cow;
use std::fmt::Write;

pub fn register(environment: &mut Environment) {
    environment.set_formatter(print);
    environment.add_filter("string", string);
    environment.add_filter("safe", string);
    environment.add_filter("join", join);
    environment.add_filter("int", int);
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_filter("first", |value: &Value| end(value, false));
    environment.add_filter("last", |value: &Value| end(value, true));
    environment.add_filter("indent", indent);
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_iterable);
}

fn string(value: &Value) -> Result<String, Error> {
    charge(shallow_work(value))?;
    to_str(value).map(Cow::into_owned)
}

fn print(out: &mut Output, state: &State, value: &Value) -> Result<(), Error> {
    charge(shallow_work(value))?;
    check_text(value.as_str().map_or(0, str::len))?;
    match value.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::Number => {
            out.write_str(&to_str(value)?).map_err(Error::from)
        }
        _ => escape_formatter(out, state, value),
    }
}

/// `str(value)`
pub fn to_str(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.as_str() {
        Some(text) => Ok(text.into()),
        None if value.is_undefined() => Ok("".into()),
        None => {
            charge(Size::of(value).work())?;
            let mut out = String::new();
            write_repr(value, &mut out)?;
            Ok(out.into())
        }
    }
}

/// `repr(value)`
fn write_repr(value: &Value, out: &mut String) -> Result<(), Error> {
    check_text(out.len())?;
    match value.kind() {
        ValueKind::String => write_quoted(value.as_str().unwrap_or_default(), out),
        ValueKind::Number if !value.is_integer() => {
            out.push_str(&python_float(f64::try_from(value.clone())?))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_repr(&item, out)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_repr(&key, out)?;
                out.push_str(": ");
                write_repr(&value.get_item(&key)?, out)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn write_quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

fn join(value: &Value, separator: Option<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let separator = match separator {
        Some(separator) => Some(separator),
        None => kwargs.get("d")?,
    };
    let separator = separator.unwrap_or_default();
    let attribute: Option<Value> = kwargs.get("attribute")?;
    kwargs.assert_all_used()?;
    join_items(value, &to_str(&separator)?, attribute.as_ref())
}

pub fn join_items(
    value: &Value,
    separator: &str,
    attribute: Option<&Value>,
) -> Result<String, Error> {
    charge(each(std::slice::from_ref(value))?)?;
    let mut out = String::new();
    for (index, item) in value.try_iter()?.enumerate() {
        let item = match attribute {
            Some(attribute) => item.get_item(attribute)?,
            None => item,
        };
        let item = to_str(&item)?;
        check_text(out.len() + separator.len() + item.len())?;
        if index > 0 {
            out.push_str(separator);
        }
        out.push_str(&item);
    }
    charge(out.len())?;
    Ok(out)
}

/// `int(value, default=0, base=10)`: what is no number is the default.
fn int(value: &Value, args: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let default =
        args.first().cloned().or(kwargs.get("default")?).unwrap_or_else(|| Value::from(0));
    let base = args.get(1).cloned().or(kwargs.get("base")?).and_then(|base| base.as_i64());
    kwargs.assert_all_used()?;
    let base = base.and_then(|base| u32::try_from(base).ok()).unwrap_or(10);
    charge(shallow_work(value))?;
    if !(2..=36).contains(&base) {
        return Err(Error::new(ErrorKind::InvalidOperation, "int: the base must be in 2..36"));
    }
    if let Some(text) = value.as_str() {
        let text = text.trim();
        let number = i64::from_str_radix(text, base).ok();
        let number = number.or_else(|| text.parse::<f64>().ok().map(|number| number as i64));
        return Ok(number.map_or(default, Value::from));
    }
    match value.kind() {
        ValueKind::Bool => Ok(Value::from(value.is_true() as i64)),
        ValueKind::Number if value.is_integer() => Ok(value.clone()),
        ValueKind::Number => Ok(Value::from(f64::try_from(value.clone())? as i64)),
        _ => Ok(default),
    }
}

fn length(value: &Value) -> Result<usize, Error> {
    charge(value.as_str().map_or(0, str::len))?;
    match value.len() {
        Some(length) => Ok(length),
        None if value.is_undefined() => Ok(0),
        None => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("a value of type {} has no length", value.kind()),
        )),
    }
}

fn end(value: &Value, last: bool) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let c = if last { text.chars().next_back() } else { text.chars().next() };
        return Ok(c.map_or(Value::UNDEFINED, Value::from));
    }
    charge(shallow_work(value))?;
    let mut items = value.try_iter()?;
    let item = if last { items.last() } else { items.next() };
    Ok(item.unwrap_or(Value::UNDEFINED))
}

/// `indent(text, width=4, first=False, blank=False)`; unlike the engine's own, an end of line at the end
/// of the text stays.
fn indent(text: &str, args: Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    const MAX_WIDTH: usize = 64;
    let arg = |position: usize, name: &str| -> Result<Option<Value>, Error> {
        Ok(args.get(position).cloned().or(kwargs.get(name)?))
    };
    let indent = match arg(0, "width")? {
        None => " ".repeat(4),
        Some(width) => match width.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(usize::try_from(width)?.min(MAX_WIDTH)),
        },
    };
    let first = arg(1, "first")?.is_some_and(|value| value.is_true());
    let blank = arg(2, "blank")?.is_some_and(|value| value.is_true());
    kwargs.assert_all_used()?;
    charge(text.len())?;
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        check_text(out.len() + indent.len() + line.len())?;
        if index > 0 {
            out.push('\n');
        }
        if if index == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&indent);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn is_iterable(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::String
            | ValueKind::Seq
            | ValueKind::Map
            | ValueKind::Iterable
            | ValueKind::Undefined
    )
}
