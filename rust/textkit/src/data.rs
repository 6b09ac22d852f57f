//! The lists, maps and namespaces that templates work with. The engine's own are lazy, may nest without
//! end and hold themselves; these are complete when made, know their size, and have a limit to it. So
//! whatever walks through one (comparing, printing, freeing) ends soon and needs little stack.

use crate::meter::{charge, over_limit, ITEM};
use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MAX_NODES: usize = 1 << 20;
const MAX_BYTES: usize = 32 << 20;
const MAX_DEPTH: usize = 160;

/// Maps that are smaller are searched one by one.
const MIN_INDEXED: usize = 9;

/// Of a value written out as a tree: what is held twice counts twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Size {
    pub fn of(value: &Value) -> Self {
        if let Some(text) = value.as_str() {
            return Self { nodes: 1, bytes: text.len(), depth: 0 };
        }
        if let Some(list) = value.downcast_object_ref::<List>() {
            return list.size;
        }
        if let Some(map) = value.downcast_object_ref::<Map>() {
            return map.size;
        }
        let mut size = Self { nodes: 1, bytes: 0, depth: 0 };
        if let Some(namespace) = value.downcast_object_ref::<Namespace>() {
            namespace.lock().values().for_each(|value| size.hold(Self::of(value)));
        }
        size
    }

    fn hold(&mut self, item: Self) {
        self.nodes = self.nodes.saturating_add(item.nodes);
        self.bytes = self.bytes.saturating_add(item.bytes);
        self.depth = self.depth.max(item.depth + 1);
    }

    fn check(self) -> Result<Self, Error> {
        check_text(self.bytes)?;
        check_nodes(self.nodes)?;
        if self.depth > MAX_DEPTH {
            return Err(over_limit(format!(
                "the chat template nested a value over {MAX_DEPTH} levels deep"
            )));
        }
        Ok(self)
    }

    /// The work of looking at all of it.
    pub fn work(self) -> usize {
        self.bytes.saturating_add(self.nodes.saturating_mul(ITEM))
    }
}

pub fn check_text(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_BYTES {
        let limit = MAX_BYTES >> 20;
        return Err(over_limit(format!("the chat template made a value of over {limit} MiB")));
    }
    Ok(())
}

pub fn check_nodes(nodes: usize) -> Result<(), Error> {
    if nodes > MAX_NODES {
        return Err(over_limit(format!("the chat template made a list of over {MAX_NODES} items")));
    }
    Ok(())
}

/// The work of going over a text, or once along a list or map.
pub fn shallow_work(value: &Value) -> usize {
    match value.as_str() {
        Some(text) => text.len(),
        None if is_container(value) => value.len().unwrap_or(0).saturating_mul(ITEM),
        None => 0,
    }
}

fn is_container(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map)
}

fn is_ours(value: &Value) -> bool {
    value.downcast_object_ref::<List>().is_some() || value.downcast_object_ref::<Map>().is_some()
}

#[derive(Debug)]
pub struct List {
    items: Vec<Value>,
    size: Size,
}

impl List {
    pub fn items(&self) -> &[Value] {
        &self.items
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.items.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }
}

#[derive(Debug)]
pub struct Map {
    entries: Vec<(Value, Value)>,
    index: HashMap<Value, usize>,
    size: Size,
}

impl Map {
    fn position(&self, key: &Value) -> Option<usize> {
        if is_container(key) {
            return None;
        }
        if self.entries.len() < MIN_INDEXED {
            return self.entries.iter().position(|(other, _)| other == key);
        }
        self.index.get(key).copied()
    }

    fn insert(&mut self, key: Value, value: Value) {
        if let Some(position) = self.position(&key) {
            self.entries[position].1 = value;
            return;
        }
        self.entries.push((key, value));
        let size = self.entries.len();
        if size == MIN_INDEXED {
            let keys = self.entries.iter().enumerate();
            self.index = keys.map(|(position, (key, _))| (key.clone(), position)).collect();
        } else if size > MIN_INDEXED {
            self.index.insert(self.entries[size - 1].0.clone(), size - 1);
        }
    }
}

impl Object for Map {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(self.entries[self.position(key)?].1.clone())
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        if self.entries.len() < MIN_INDEXED {
            let found = self.entries.iter().find(|(other, _)| other.as_str() == Some(key));
            return found.map(|(_, value)| value.clone());
        }
        self.get_value(&Value::from(key))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries.iter().map(|(key, _)| key.clone()).collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// What `{% set name.attribute = ... %}` changes.
#[derive(Debug, Default)]
pub struct Namespace(Mutex<BTreeMap<String, Value>>);

impl Namespace {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, name: &str, value: Value) -> Result<(), Error> {
        let value = member(value)?;
        self.lock().insert(name.to_string(), value);
        Ok(())
    }
}

impl Object for Namespace {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.lock().get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.lock().keys().map(|name| Value::from(name.as_str())).collect())
    }
}

pub fn list(items: impl IntoIterator<Item = Value>) -> Result<Value, Error> {
    let mut all = Vec::new();
    let mut size = Size { nodes: 1, bytes: 0, depth: 0 };
    for item in items {
        let item = member(item)?;
        size.hold(Size::of(&item));
        size.check()?;
        all.push(item);
    }
    charge(all.len() * ITEM)?;
    Ok(Value::from_object(List { items: all, size }))
}

pub fn map(entries: impl IntoIterator<Item = (Value, Value)>) -> Result<Value, Error> {
    let mut map = Map { entries: Vec::new(), index: HashMap::new(), size: Size::default() };
    let mut size = Size { nodes: 1, bytes: 0, depth: 0 };
    for (key, value) in entries {
        if is_container(&key) {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "a list or map cannot be the key of a map",
            ));
        }
        let value = member(value)?;
        charge(Size::of(&key).work())?;
        size.hold(Size::of(&key));
        size.hold(Size::of(&value));
        size.check()?;
        map.insert(key, value);
    }
    map.size = size;
    Ok(Value::from_object(map))
}

/// A value that a list, map or namespace may hold. A namespace in one could hold itself.
fn member(value: Value) -> Result<Value, Error> {
    if value.downcast_object_ref::<Namespace>().is_some() {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "a list, map or namespace cannot hold a namespace",
        ));
    }
    adopt(value)
}

/// A result of the engine's with its lists and maps, at any depth, made ours.
pub fn adopt(value: Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        charge(text.len())?;
        check_text(text.len())?;
        // Texts that count as escaped would escape what they are joined with.
        return Ok(if value.is_safe() { Value::from(text) } else { value });
    }
    let known = is_ours(&value) || value.downcast_object_ref::<Namespace>().is_some();
    if known || !is_container(&value) {
        return Ok(value);
    }
    match value.kind() {
        ValueKind::Map => {
            let pairs = value.as_object().and_then(DynObject::try_iter_pairs);
            map(pairs.into_iter().flatten())
        }
        _ => list(value.try_iter()?),
    }
}

pub fn from_json(value: &serde_json::Value) -> Result<Value, Error> {
    use serde_json::Value as Json;
    Ok(match value {
        Json::Array(items) => list(items.iter().map(from_json).collect::<Result<Vec<_>, _>>()?)?,
        Json::Object(members) => {
            let entry =
                |(key, value): (&String, _)| Ok((Value::from(key.as_str()), from_json(value)?));
            map(members.iter().map(entry).collect::<Result<Vec<_>, Error>>()?)?
        }
        scalar => Value::from_serialize(scalar),
    })
}
