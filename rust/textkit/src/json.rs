//! The `tojson` filter as Hugging Face defines it: Python's `json.dumps`, without HTML escapes.

use crate::data::{check_text, Size};
use crate::meter::charge;
use crate::python::to_str;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, Value};
use std::borrow::Cow;

struct Style {
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// `value | tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`
pub fn tojson(value: &Value, args: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let arg = |position: usize, name: &str| -> Result<Option<Value>, Error> {
        match args.get(position) {
            Some(value) => Ok(Some(value.clone())),
            None => kwargs.get::<Option<Value>>(name),
        }
    };
    let ensure_ascii = arg(0, "ensure_ascii")?.is_some_and(|v| v.is_true());
    let indent = match arg(1, "indent")?.filter(|v| !v.is_none()) {
        None => None,
        Some(v) => Some(match v.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(usize::try_from(v)?.min(64)),
        }),
    };
    let (item_separator, key_separator) = match arg(2, "separators")?.filter(|v| !v.is_none()) {
        Some(v) => {
            let text = |index| to_str(&v.get_item_by_index(index)?).map(Cow::into_owned);
            (text(0)?, text(1)?)
        }
        None if indent.is_some() => (",".to_string(), ": ".to_string()),
        None => (", ".to_string(), ": ".to_string()),
    };
    let sort_keys = arg(3, "sort_keys")?.is_some_and(|v| v.is_true());
    kwargs.assert_all_used()?;

    let style = Style { ensure_ascii, indent, item_separator, key_separator, sort_keys };
    charge(Size::of(value).work())?;
    let mut out = String::new();
    style.write(value, 0, &mut out)?;
    charge(out.len())?;
    Ok(Value::from(out))
}

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        check_text(out.len())?;
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => out.push_str(&value.to_string()),
            ValueKind::Number => match f64::try_from(value.clone())? {
                x if x.is_nan() => out.push_str("NaN"),
                x if x.is_infinite() => {
                    out.push_str(if x > 0.0 { "Infinity" } else { "-Infinity" })
                }
                x => out.push_str(&python_float(x)),
            },
            ValueKind::String => self.write_string(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?;
                self.write_items('[', ']', items, depth, out, |item, out| {
                    self.write(&item, depth + 1, out)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.write_items('{', '}', keys.into_iter(), depth, out, |key, out| {
                    let item = value.get_item(&key)?;
                    match key.kind() {
                        ValueKind::String => {
                            self.write_string(key.as_str().unwrap_or_default(), out)
                        }
                        ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                            out.push('"');
                            self.write(&key, depth + 1, out)?;
                            out.push('"');
                        }
                        kind => return Err(refused(&format!("a key of type {kind}"))),
                    }
                    out.push_str(&self.key_separator);
                    self.write(&item, depth + 1, out)
                })?;
            }
            kind => return Err(refused(&format!("a value of type {kind}"))),
        }
        Ok(())
    }

    fn write_items<T>(
        &self,
        open: char,
        close: char,
        items: impl Iterator<Item = T>,
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let new_line = |depth: usize, out: &mut String| -> Result<(), Error> {
            if let Some(indent) = &self.indent {
                check_text(out.len() + depth * indent.len())?;
                out.push('\n');
                (0..depth).for_each(|_| out.push_str(indent));
            }
            Ok(())
        };
        out.push(open);
        let mut empty = true;
        for item in items {
            if !empty {
                check_text(out.len() + self.item_separator.len())?;
                out.push_str(&self.item_separator);
            }
            empty = false;
            new_line(depth + 1, out)?;
            write(item, out)?;
        }
        if !empty {
            new_line(depth, out)?;
        }
        out.push(close);
        Ok(())
    }

    fn write_string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::BadSerialization, format!("{what} cannot be written as JSON"))
}

/// `repr(float)`: the shortest digits that read back the same, an exponent from 1e16 and below 1e-4.
pub fn python_float(x: f64) -> String {
    if !x.is_finite() {
        return x.to_string().to_lowercase();
    }
    let magnitude = x.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{x:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{x:?}")
}
