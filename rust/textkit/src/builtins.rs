//! The engine's filters and tests behind limits. Those that a text or a number could make run for long
//! have checks of their own; what is not named here does not exist.

use crate::data::{adopt, check_nodes, check_text, list, map, shallow_work, Namespace, Size};
use crate::meter::{charge, over_limit, ITEM};
use minijinja::value::{DynObject, Kwargs, Rest};
use minijinja::{filters, tests, Environment, Error, ErrorKind, State, Value};
use std::borrow::Cow;

/// Widths and counts that a template gives.
const MAX_WIDTH: i64 = 4096;

/// What a call costs, or why it is refused.
type Price = fn(&[Value]) -> Result<usize, Error>;

pub fn register(environment: &mut Environment) {
    for name in ["groupby", "pprint", "zip", "chain"] {
        environment.remove_filter(name);
    }
    register_filters(environment);
    register_tests(environment);
    environment.add_function("range", range);
    environment.add_function("dict", |value: Option<Value>, members: Kwargs| {
        map(pairs(value.as_ref()).chain(members_of(&members)))
    });
    environment.add_function("namespace", |value: Option<Value>, members: Kwargs| {
        let namespace = Namespace::default();
        for (name, value) in pairs(value.as_ref()).chain(members_of(&members)) {
            namespace.set(name.as_str().unwrap_or_default(), value)?;
        }
        Ok::<_, Error>(Value::from_object(namespace))
    });
}

fn register_filters(environment: &mut Environment) {
    let mut add = |name: &'static str, filter: Value, price: Price| {
        let call = move |state: &State, args: Rest<Value>| {
            charge(price(&args)?)?;
            adopt(filter.call(state, &args)?)
        };
        environment.add_filter(name, call);
    };
    add("escape", Value::from_function(filters::escape), whole);
    add("e", Value::from_function(filters::escape), whole);
    add("lower", Value::from_function(filters::lower), whole);
    add("upper", Value::from_function(filters::upper), whole);
    add("title", Value::from_function(filters::title), whole);
    add("capitalize", Value::from_function(filters::capitalize), whole);
    add("trim", Value::from_function(filters::trim), whole);
    add("replace", Value::from_function(filters::replace), replace_price);
    add("split", Value::from_function(filters::split), split_price);
    add("lines", Value::from_function(filters::lines), lines_price);
    add("list", Value::from_function(filters::list), each);
    add("reverse", Value::from_function(filters::reverse), shallow);
    add("items", Value::from_function(filters::items), shallow);
    add("attr", Value::from_function(filters::attr), shallow);
    add("bool", Value::from_function(filters::bool), shallow);
    add("float", Value::from_function(filters::float), shallow);
    add("abs", Value::from_function(filters::abs), shallow);
    add("default", Value::from_function(filters::default), free);
    add("d", Value::from_function(filters::default), free);
    add("round", Value::from_function(filters::round), width_price);
    add("batch", Value::from_function(filters::batch), width_price);
    add("slice", Value::from_function(filters::slice), width_price);
    add("format", Value::from_function(filters::format), format_price);
    add("select", Value::from_function(filters::select), each);
    add("reject", Value::from_function(filters::reject), each);
    add("selectattr", Value::from_function(filters::selectattr), each);
    add("rejectattr", Value::from_function(filters::rejectattr), each);
    add("map", Value::from_function(filters::map), each);
    add("sum", Value::from_function(filters::sum), each);
    add("min", Value::from_function(filters::min), each_whole);
    add("max", Value::from_function(filters::max), each_whole);
    add("sort", Value::from_function(filters::sort), sort_price);
    add("dictsort", Value::from_function(filters::dictsort), sort_price);
    add("unique", Value::from_function(filters::unique), sort_price);
}

/// Tests that look at whole values; the others take no time.
fn register_tests(environment: &mut Environment) {
    let mut add = |names: &[&'static str], test: Value| {
        for name in names {
            let test = test.clone();
            environment.add_test(*name, move |state: &State, args: Rest<Value>| {
                charge(whole(&args)?)?;
                Ok::<_, Error>(test.call(state, &args)?.is_true())
            });
        }
    };
    add(&["eq", "equalto", "=="], Value::from_function(tests::is_eq));
    add(&["ne", "!="], Value::from_function(tests::is_ne));
    add(&["lt", "lessthan", "<"], Value::from_function(tests::is_lt));
    add(&["le", "<="], Value::from_function(tests::is_le));
    add(&["gt", "greaterthan", ">"], Value::from_function(tests::is_gt));
    add(&["ge", ">="], Value::from_function(tests::is_ge));
    add(&["in"], Value::from_function(tests::is_in));
    add(&["sameas"], Value::from_function(tests::is_sameas));
    add(&["lower"], Value::from_function(tests::is_lower));
    add(&["upper"], Value::from_function(tests::is_upper));
    add(&["startingwith"], Value::from_function(tests::is_startingwith));
    add(&["endingwith"], Value::from_function(tests::is_endingwith));
}

fn free(_: &[Value]) -> Result<usize, Error> {
    Ok(0)
}

fn shallow(args: &[Value]) -> Result<usize, Error> {
    Ok(args.iter().map(shallow_work).fold(0, usize::saturating_add))
}

pub fn whole(args: &[Value]) -> Result<usize, Error> {
    Ok(args.iter().map(|value| Size::of(value).work()).fold(0, usize::saturating_add))
}

/// Of going along the items, which of a text are its characters.
pub fn each(args: &[Value]) -> Result<usize, Error> {
    if let Some(text) = args.first().and_then(Value::as_str) {
        check_nodes(text.len())?;
        return Ok(text.len() * ITEM);
    }
    shallow(args)
}

fn each_whole(args: &[Value]) -> Result<usize, Error> {
    Ok(each(args)?.saturating_add(whole(args)?))
}

/// A list of n is compared n log n times.
fn sort_price(args: &[Value]) -> Result<usize, Error> {
    let rounds = args.first().and_then(Value::len).unwrap_or(0).max(2).ilog2() as usize;
    Ok(each_whole(args)?.saturating_mul(rounds))
}

/// An argument as the engine turns it into a text.
fn text(args: &[Value], index: usize) -> Cow<'_, str> {
    match args.get(index) {
        Some(value) => value.as_str().map_or_else(|| value.to_string().into(), Cow::from),
        None => "".into(),
    }
}

fn lines_price(args: &[Value]) -> Result<usize, Error> {
    check_nodes(text(args, 0).matches('\n').count())?;
    whole(args)
}

/// Of `text.split(separator)`: the parts are as many as its separators, or less.
pub fn split_price(args: &[Value]) -> Result<usize, Error> {
    let text = text(args, 0);
    check_nodes(match args.get(1).and_then(Value::as_str) {
        Some(separator) => text.matches(separator).count(),
        None => text.split_whitespace().count(),
    })?;
    whole(args)
}

/// Of `text.replace(old, new)`.
pub fn replace_price(args: &[Value]) -> Result<usize, Error> {
    let price = whole(args)?;
    charge(price)?;
    let (all, old, new) = (text(args, 0), text(args, 1), text(args, 2));
    let times = all.matches(&*old).count();
    let kept = all.len() - times.saturating_mul(old.len());
    check_text(kept.saturating_add(times.saturating_mul(new.len())))?;
    Ok(price)
}

fn width_price(args: &[Value]) -> Result<usize, Error> {
    for width in args.iter().skip(1).filter_map(Value::as_i64) {
        check_width(width)?;
    }
    shallow(args)
}

fn check_width(width: i64) -> Result<(), Error> {
    if width.unsigned_abs() > MAX_WIDTH as u64 {
        return Err(over_limit(format!("a width in the chat template is over {MAX_WIDTH}")));
    }
    Ok(())
}

/// Of `text.format(...)` and `text | format(...)`: each place may show all arguments.
pub fn format_price(args: &[Value]) -> Result<usize, Error> {
    let text = text(args, 0);
    for number in text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()) {
        check_width(number.parse().unwrap_or(i64::MAX))?;
    }
    let places = text.matches(['{', '%']).count();
    let shown = whole(args)?.saturating_add(MAX_WIDTH as usize).saturating_mul(places);
    check_text(shown)?;
    Ok(shown)
}

fn range(start: i64, stop: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (start, stop) = stop.map_or((0, start), |stop| (start, stop));
    let step = step.unwrap_or(1);
    let distance = if step > 0 { stop.saturating_sub(start) } else { start.saturating_sub(stop) };
    if step == 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "range: the step must not be 0"));
    }
    let count = distance.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
    check_nodes(usize::try_from(count).unwrap_or(usize::MAX))?;
    list((0..count as i64).map(|index| Value::from(start + index * step)))
}

fn pairs(value: Option<&Value>) -> impl Iterator<Item = (Value, Value)> {
    value.and_then(Value::as_object).and_then(DynObject::try_iter_pairs).into_iter().flatten()
}

fn members_of(members: &Kwargs) -> impl Iterator<Item = (Value, Value)> + '_ {
    members.args().map(|name| (Value::from(name), members.get(name).unwrap_or_default()))
}
