//! Where in an object a field lies.

use std::fmt;

use serde_json::Value;

use super::super::schema::{ListKind, Schema};

/// The way from the top of an object to a field.
#[derive(Default)]
pub(super) struct Path<'a>(Vec<Step<'a>>);

/// One step of a [`Path`].
pub(super) enum Step<'a> {
    /// Into the field of this name.
    Field(&'a str),
    /// Into this item of a list with this schema.
    Item(&'a Value, Schema<'a>),
}

impl<'a> Path<'a> {
    pub(super) fn push(&mut self, step: Step<'a>) {
        self.0.push(step);
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }
}

/// As a person writes it: `spec.ports[port=80,protocol=TCP].name`, `metadata.annotations[example.com/a]`.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if name.contains(['.', '/', '[']) => write!(f, "[{name}]")?,
                Step::Field(name) if depth == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Item(item, list) => write!(f, "[{}]", item_text(item, *list))?,
            }
        }
        Ok(())
    }
}

fn item_text(item: &Value, list: Schema<'_>) -> String {
    let ListKind::Map(keys) = list.list_kind() else { return scalar_text(item) };
    let pairs = keys.iter().map(|key| {
        let value = item.get(key).or_else(|| list.item().field(key).default());
        format!("{key}={}", value.map(scalar_text).unwrap_or_default())
    });
    pairs.collect::<Vec<_>>().join(",")
}

fn scalar_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
