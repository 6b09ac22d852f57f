//! Python methods of strings that templates call and the engine lacks or gets wrong, and a limit for all.

use crate::builtins::{format_price, replace_price, split_price, whole};
use crate::data::{adopt, check_nodes, shallow_work, Size};
use crate::meter::charge;
use crate::python::join_items;
use minijinja::value::{from_args, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

pub fn method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    charge(price(value, name, args)?)?;
    if let Some(text) = value.as_str() {
        if let Some(result) = string_method(text, name, args) {
            return adopt(result?);
        }
    }
    adopt(pycompat::unknown_method_callback(state, value, name, args)?)
}

fn price(value: &Value, name: &str, args: &[Value]) -> Result<usize, Error> {
    let all = || [std::slice::from_ref(value), args].concat();
    match (name, value.kind()) {
        ("format", _) => format_price(&all()),
        ("replace", _) => replace_price(&all()),
        ("split" | "rsplit", _) => split_price(&all()),
        ("splitlines", _) => {
            let text = value.as_str().unwrap_or_default();
            check_nodes(text.matches(['\n', '\r']).count())?;
            Ok(text.len())
        }
        ("count", ValueKind::Seq) => Ok(Size::of(value).work()),
        // strip("many characters") compares each of the text with all.
        ("strip" | "lstrip" | "rstrip", _) => {
            let characters = args.first().and_then(Value::as_str).map_or(1, str::len);
            Ok(shallow_work(value).saturating_mul(characters))
        }
        _ => Ok(shallow_work(value).saturating_add(whole(args)?)),
    }
}

fn string_method(text: &str, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match name {
        // Positions are counted in characters.
        "find" | "index" => from_args(args).and_then(|(what,): (&str,)| {
            found(name, text.find(what).map(|at| text[..at].chars().count()))
        }),
        "rfind" | "rindex" => from_args(args).and_then(|(what,): (&str,)| {
            found(name, text.rfind(what).map(|at| text[..at].chars().count()))
        }),
        "count" => from_args(args).map(|(what,): (&str,)| match what {
            "" => Value::from(text.chars().count() + 1),
            what => Value::from(text.matches(what).count()),
        }),
        "join" => from_args(args)
            .and_then(|(items,): (&Value,)| join_items(items, text, None).map(Value::from)),
        "removeprefix" => from_args(args)
            .map(|(prefix,): (&str,)| Value::from(text.strip_prefix(prefix).unwrap_or(text))),
        "removesuffix" => from_args(args)
            .map(|(suffix,): (&str,)| Value::from(text.strip_suffix(suffix).unwrap_or(text))),
        "partition" => from_args(args).and_then(|(separator,): (&str,)| {
            partition(separator, text.split_once(separator), (text, "", ""))
        }),
        "rpartition" => from_args(args).and_then(|(separator,): (&str,)| {
            partition(separator, text.rsplit_once(separator), ("", "", text))
        }),
        "rsplit" => from_args(args).and_then(|(separator, limit): (Option<&str>, Option<i64>)| {
            rsplit(text, separator, limit)
        }),
        _ => return None,
    })
}

fn found(name: &str, position: Option<usize>) -> Result<Value, Error> {
    match position {
        Some(position) => Ok(Value::from(position)),
        None if name.ends_with("find") => Ok(Value::from(-1)),
        None => Err(Error::new(ErrorKind::InvalidOperation, "substring not found")),
    }
}

fn partition(
    separator: &str,
    parts: Option<(&str, &str)>,
    otherwise: (&str, &str, &str),
) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let (before, middle, after) = match parts {
        Some((before, after)) => (before, separator, after),
        None => otherwise,
    };
    Ok([before, middle, after].into_iter().map(Value::from).collect())
}

fn rsplit(text: &str, separator: Option<&str>, limit: Option<i64>) -> Result<Value, Error> {
    let limit = match limit {
        Some(limit) if limit >= 0 => limit as usize + 1,
        _ => usize::MAX,
    };
    let mut parts: Vec<&str> = match separator {
        Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        Some(separator) => text.rsplitn(limit, separator).collect(),
        None => rsplit_white_space(text, limit),
    };
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect())
}

fn rsplit_white_space(text: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end();
    while !rest.is_empty() {
        let cut = rest.rfind(char::is_whitespace).filter(|_| parts.len() + 1 < limit);
        let Some(cut) = cut else {
            parts.push(rest.trim_start());
            break;
        };
        parts.push(rest[cut..].trim_start());
        rest = rest[..cut].trim_end();
    }
    parts
}
