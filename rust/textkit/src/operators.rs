//! The operators of templates on texts, lists and maps, as Python has them and with a price.
//!
//! `program.rs` puts these in place of the engine's instructions. Their names are no identifiers, so a
//! template cannot call or replace them.

use crate::data::{self, check_text, List, Namespace, Size};
use crate::meter::{charge, ITEM};
use crate::python::to_str;
use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};
use std::cmp::Ordering;

pub const ADD: &str = "+";
pub const MULTIPLY: &str = "*";
pub const CONCAT: &str = "~";
pub const EQUAL: &str = "==";
pub const NOT_EQUAL: &str = "!=";
pub const LESS: &str = "<";
pub const LESS_EQUAL: &str = "<=";
pub const GREATER: &str = ">";
pub const GREATER_EQUAL: &str = ">=";
pub const IN: &str = "in";
pub const ITEM_OF: &str = "[]";
pub const SLICE: &str = "[:]";
pub const LIST: &str = "[,]";
pub const MAP: &str = "{,}";
pub const SET_ATTRIBUTE: &str = ".=";
/// Its argument, after asking for the price of looking at all of it.
pub const PRICED: &str = "$";
/// A macro that was just defined; the engine keeps all until the rendering ends.
pub const DEFINED: &str = "macro $";

const MACRO_WORK: usize = 64 << 10;

pub fn register(environment: &mut Environment) {
    environment.add_function(ADD, add);
    environment.add_function(MULTIPLY, multiply);
    environment.add_function(CONCAT, concat);
    let compare = |environment: &mut Environment, name, holds: fn(&Value, &Value) -> bool| {
        environment.add_function(name, move |a: &Value, b: &Value| -> Result<bool, Error> {
            charge(Size::of(a).work().min(Size::of(b).work()))?;
            Ok(holds(a, b))
        });
    };
    compare(environment, EQUAL, |a, b| a == b);
    compare(environment, NOT_EQUAL, |a, b| a != b);
    compare(environment, LESS, |a, b| a < b);
    compare(environment, LESS_EQUAL, |a, b| a <= b);
    compare(environment, GREATER, |a, b| a > b);
    compare(environment, GREATER_EQUAL, |a, b| a >= b);
    environment.add_function(IN, contains);
    environment.add_function(ITEM_OF, item_of);
    environment.add_function(SLICE, slice);
    environment.add_function(LIST, |items: Rest<Value>| data::list(items.0));
    environment.add_function(MAP, |flat: Rest<Value>| {
        data::map(flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())))
    });
    environment.add_function(SET_ATTRIBUTE, set_attribute);
    environment
        .add_function(PRICED, |value: Value| charge(Size::of(&value).work()).map(|()| value));
    environment.add_function(DEFINED, |value: Value| charge(MACRO_WORK).map(|()| value));
}

fn impossible(operator: &str, a: &Value, b: &Value) -> Error {
    let (a, b) = (a.kind(), b.kind());
    let text = format!("tried to use {operator} operator on unsupported types {a} and {b}");
    Error::new(ErrorKind::InvalidOperation, text)
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn add(a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(left), Some(right)) = (a.as_str(), b.as_str()) {
        return Ok(Value::from(joined(left, right)?));
    }
    if is_list(a) && is_list(b) {
        return data::list(a.try_iter()?.chain(b.try_iter()?));
    }
    numbers(ADD, a, b, i128::checked_add, |a, b| a + b)
}

fn multiply(a: &Value, b: &Value) -> Result<Value, Error> {
    let (many, times) = if b.as_str().is_some() || is_list(b) { (b, a) } else { (a, b) };
    let text = many.as_str();
    if text.is_none() && !is_list(many) {
        return numbers(MULTIPLY, a, b, i128::checked_mul, |a, b| a * b);
    }
    if !times.is_integer() {
        return Err(impossible(MULTIPLY, a, b));
    }
    // As in Python, a negative number of times is none.
    let times = usize::try_from(times.as_i64().unwrap_or(i64::MAX)).unwrap_or(0);
    match text {
        Some(text) => {
            let bytes = text.len().saturating_mul(times);
            check_text(bytes)?;
            charge(bytes)?;
            Ok(Value::from(text.repeat(times)))
        }
        None if many.len() == Some(0) => data::list([]),
        None => data::list((0..times).flat_map(|_| many.try_iter().into_iter().flatten())),
    }
}

fn numbers(
    operator: &str,
    a: &Value,
    b: &Value,
    integers: fn(i128, i128) -> Option<i128>,
    floats: fn(f64, f64) -> f64,
) -> Result<Value, Error> {
    let is_float = |value: &Value| value.is_number() && !value.is_integer();
    if is_float(a) || is_float(b) {
        let pair = f64::try_from(a.clone()).ok().zip(f64::try_from(b.clone()).ok());
        let (a, b) = pair.ok_or_else(|| impossible(operator, a, b))?;
        return Ok(Value::from(floats(a, b)));
    }
    let pair = i128::try_from(a.clone()).ok().zip(i128::try_from(b.clone()).ok());
    let (x, y) = pair.ok_or_else(|| impossible(operator, a, b))?;
    match integers(x, y) {
        Some(result) => Ok(i64::try_from(result).map_or_else(|_| result.into(), Value::from)),
        None => {
            let text = format!("unable to calculate {x} {operator} {y}");
            Err(Error::new(ErrorKind::InvalidOperation, text))
        }
    }
}

fn concat(a: &Value, b: &Value) -> Result<Value, Error> {
    Ok(Value::from(joined(&to_str(a)?, &to_str(b)?)?))
}

fn joined(a: &str, b: &str) -> Result<String, Error> {
    check_text(a.len() + b.len())?;
    charge(a.len() + b.len())?;
    Ok([a, b].concat())
}

fn contains(value: &Value, container: &Value) -> Result<bool, Error> {
    charge(Size::of(value).work())?;
    charge(shallow_or_deep(container))?;
    if let Some(text) = container.as_str() {
        return Ok(text.contains(&*to_str(value)?));
    }
    match container.kind() {
        ValueKind::Undefined => Ok(false),
        ValueKind::Map => {
            Ok(container.as_object().is_some_and(|map| map.get_value(value).is_some()))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            Ok(container.try_iter()?.any(|item| item == *value))
        }
        _ => Err(Error::new(
            ErrorKind::InvalidOperation,
            "cannot perform a containment check on this value",
        )),
    }
}

/// A map is asked for one key; the items of a list are all compared.
fn shallow_or_deep(container: &Value) -> usize {
    match container.kind() {
        ValueKind::Map => ITEM,
        _ => Size::of(container).work(),
    }
}

fn item_of(container: &Value, key: &Value) -> Result<Value, Error> {
    charge(container.as_str().map_or(0, str::len) + key.as_str().map_or(0, str::len))?;
    container.get_item(key)
}

fn set_attribute(value: Value, target: &Value, name: &str) -> Result<(), Error> {
    match target.downcast_object_ref::<Namespace>() {
        Some(namespace) => namespace.set(name, value),
        None => {
            let text = format!("can only assign to namespaces, not {}", target.kind());
            Err(Error::new(ErrorKind::InvalidOperation, text))
        }
    }
}

fn slice(value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let value = &data::adopt(value.clone())?;
    let range = |len: usize| Indices::new(len, start, stop, step);
    if let Some(text) = value.as_str() {
        charge(text.len() * size_of::<char>())?;
        let chars: Vec<char> = text.chars().collect();
        return Ok(Value::from(range(chars.len())?.map(|i| chars[i]).collect::<String>()));
    }
    if let Some(list) = value.downcast_object_ref::<List>() {
        let items = list.items();
        return data::list(range(items.len())?.map(|i| items[i].clone()));
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => data::list([]),
        kind => {
            let text = format!("value of type {kind} cannot be sliced");
            Err(Error::new(ErrorKind::InvalidOperation, text))
        }
    }
}

/// The positions that `[start:stop:step]` takes of a sequence.
struct Indices {
    next: i64,
    stop: i64,
    step: i64,
}

impl Indices {
    fn new(len: usize, start: &Value, stop: &Value, step: &Value) -> Result<Self, Error> {
        let number = |value: &Value| -> Result<Option<i64>, Error> {
            if value.is_none() {
                return Ok(None);
            }
            i64::try_from(value.clone()).map(Some)
        };
        let step = number(step)?.unwrap_or(1);
        if step == 0 {
            return Err(Error::new(ErrorKind::InvalidOperation, "cannot slice by step size of 0"));
        }
        let len = len as i64;
        let (first, last) = if step > 0 { (0, len) } else { (-1, len - 1) };
        let within = |position: i64| {
            let position = if position < 0 { position.saturating_add(len) } else { position };
            position.clamp(first, last)
        };
        let (begin, end) = if step > 0 { (first, last) } else { (last, first) };
        Ok(Self {
            next: number(start)?.map_or(begin, within),
            stop: number(stop)?.map_or(end, within),
            step,
        })
    }
}

impl Iterator for Indices {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let towards = if self.step > 0 { Ordering::Less } else { Ordering::Greater };
        if self.next.cmp(&self.stop) != towards {
            return None;
        }
        let position = self.next;
        self.next = self.next.saturating_add(self.step);
        usize::try_from(position).ok()
    }
}
