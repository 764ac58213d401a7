//! Giving the fields of a restored object back to their owners.
//!
//! A restore is a PUT, and the server books every field whose value it changes on [`names::FIELD_MANAGER`], taking it
//! from its owners. So for every write that is undone:
//!
//! - a field whose value the write changed goes back to those who owned it before the write;
//! - any other field is given back by those who took it with the write, and goes back to those who gave it up;
//! - all else stays as it is live, but nothing is ours.
//!
//! Several records of one object are undone together, newest first ([`restored_all`]). The state before the first
//! and the state after the last would not do: what others took between the records would look like the release's.
//! A record of [`Operation::Scale`](super::Operation::Scale) has no whole objects and takes no part.
//!
//! Guarantees: if nobody but the release wrote, the entries are those of before. What others own of the fields that
//! the release did not touch, they keep. Restoring twice is restoring once.

mod fields;

use serde_json::Value;

use self::fields::{Fields, read_fields, value_at, write_fields};
use crate::names;

/// The `metadata.managedFields` to set by a patch after `live`, as it is since our PUT, had one record undone; without
/// `after`, as it is since we created it again from `before`.
///
/// An entry with the fields that it had before has its `time` from then, too. Entries left without fields are gone.
pub fn restored(live: &Value, before: &Value, after: Option<&Value>) -> Value {
    match after {
        Some(after) => restored_all(live, [(before, after)]),
        None => recreated(live, before, []),
    }
}

/// As [`restored`], for several records of one object, newest first: each with its state before and after.
pub fn restored_all<'a>(live: &Value, undone: impl IntoIterator<Item = (&'a Value, &'a Value)>) -> Value {
    let (entries, oldest) = undo_all(Entries::of_object(live), undone);
    entries.write(&oldest)
}

/// The same after an object was created again: from `image`, the last one recorded of it, with `undone` undone on that.
///
/// Nobody owns what a restore does not write: `status`.
pub fn recreated<'a>(
    live: &Value,
    image: &Value,
    undone: impl IntoIterator<Item = (&'a Value, &'a Value)>,
) -> Value {
    let (mut before, _) = undo_all(Entries::of_object(image), undone);
    for entry in &mut before.0 {
        entry.fields.retain(|field| field.first() != Some(&"f:status"));
    }
    let mut entries = Entries::of_object(live).without_ours();
    for entry in &before.0 {
        entries.give(entry, entry.fields.iter().cloned());
    }
    entries.write(&before)
}

/// The same where others have gone on from a restored object: only what is still ours goes back to its owners in
/// `before`.
pub fn handed_back(live: &Value, before: &Value) -> Value {
    let before = Entries::of_object(before).without_ours();
    let (ours, mut entries) = Entries::of_object(live).split_ours();
    for entry in &before.0 {
        let back = entry.fields.iter().filter(|field| ours.contains(field));
        entries.give(entry, back.cloned());
    }
    entries.write(&Entries::default())
}

/// Whether a patch that sets the managedFields of `live` to `wanted` would change more than times and the order,
/// which is the server's.
pub fn needs_restoring(live: &Value, wanted: &Value) -> bool {
    let (live, wanted) = (Entries::of_object(live), Entries::read(wanted.as_array()));
    let lacks = |one: &Entries<'_>, other: &Entries<'_>| {
        one.0.iter().any(|entry| other.find(entry.key).is_none_or(|found| found.fields != entry.fields))
    };
    lacks(&live, &wanted) || lacks(&wanted, &live)
}

/// The entries after all of `undone`, and those of the oldest state before.
fn undo_all<'a, 'r: 'a>(
    live: Entries<'a>,
    undone: impl IntoIterator<Item = (&'r Value, &'r Value)>,
) -> (Entries<'a>, Entries<'a>) {
    let mut live = live.without_ours();
    let (mut given, mut oldest) = (Entries::default(), Entries::default());
    for (before, after) in undone {
        let change = Change::read(before, after);
        change.take_back(&mut live);
        change.take_back(&mut given);
        change.give_back(&mut given);
        oldest = change.had;
    }
    for entry in &given.0 {
        live.give(entry, entry.fields.iter().cloned());
    }
    (live, oldest)
}

/// One write that is undone.
struct Change<'a> {
    before: &'a Value,
    after: &'a Value,
    had: Entries<'a>,
    has: Entries<'a>,
}

impl<'a> Change<'a> {
    fn read(before: &'a Value, after: &'a Value) -> Self {
        let (ours, mut had) = Entries::of_object(before).split_ours();
        let has = Entries::of_object(after).without_ours();
        // What a restore had not given back to its owner yet: whoever took it from us is the only one who is known.
        for entry in &has.0 {
            had.give(entry, entry.fields.iter().filter(|field| ours.contains(field)).cloned());
        }
        Self { before, after, had, has }
    }

    /// From those who took fields with the write.
    fn take_back(&self, entries: &mut Entries<'a>) {
        for Entry { key, fields, .. } in &mut entries.0 {
            fields.retain(|field| self.had.owns(*key, field) || !self.has.owns(*key, field));
        }
    }

    /// To those who owned the fields before the write: of those that it changed, to them alone.
    fn give_back(&self, given: &mut Entries<'a>) {
        for entry in &mut given.0 {
            entry.fields.retain(|field| !self.changed(field));
        }
        for entry in &self.had.0 {
            let back = entry.fields.iter().filter(|field| {
                !self.has.owns(entry.key, field)
                    // In the terms of another API version nothing may lie there: then the owner of before counts.
                    || value_at(self.before, field).is_none()
                    || self.changed(field)
            });
            given.give(entry, back.cloned());
        }
    }

    fn changed(&self, field: &[&str]) -> bool {
        value_at(self.before, field) != value_at(self.after, field)
    }
}

/// What the server tells entries apart by.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key<'a> {
    manager: &'a str,
    operation: &'a str,
    subresource: &'a str,
    api_version: &'a str,
}

#[derive(Clone)]
struct Entry<'a> {
    key: Key<'a>,
    fields: Fields<'a>,
    source: &'a Value,
}

impl<'a> Entry<'a> {
    fn read(source: &'a Value) -> Self {
        let text = |field| source.get(field).and_then(Value::as_str).unwrap_or_default();
        let key = Key {
            manager: text("manager"),
            operation: text("operation"),
            subresource: text("subresource"),
            api_version: text("apiVersion"),
        };
        Self { key, fields: read_fields(source.get("fieldsV1")), source }
    }
}

#[derive(Clone, Default)]
struct Entries<'a>(Vec<Entry<'a>>);

impl<'a> Entries<'a> {
    fn of_object(object: &'a Value) -> Self {
        Self::read(object.pointer("/metadata/managedFields").and_then(Value::as_array))
    }

    fn read(entries: Option<&'a Vec<Value>>) -> Self {
        let entries = entries.into_iter().flatten().map(Entry::read);
        Self(entries.filter(|entry| !entry.fields.is_empty()).collect())
    }

    fn without_ours(self) -> Self {
        self.split_ours().1
    }

    /// Our entries, and those of others.
    fn split_ours(self) -> (Self, Self) {
        let (ours, others) = self.0.into_iter().partition(|entry| entry.key.manager == names::FIELD_MANAGER);
        (Self(ours), Self(others))
    }

    fn find(&self, key: Key<'_>) -> Option<&Entry<'a>> {
        self.0.iter().find(|entry| entry.key == key)
    }

    fn owns(&self, key: Key<'_>, field: &[&str]) -> bool {
        self.find(key).is_some_and(|entry| entry.fields.contains(field))
    }

    fn contains(&self, field: &[&str]) -> bool {
        self.0.iter().any(|entry| entry.fields.contains(field))
    }

    /// Adds fields to the entry with the key of `like`.
    fn give(&mut self, like: &Entry<'a>, fields: impl Iterator<Item = Vec<&'a str>>) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.key == like.key) {
            entry.fields.extend(fields);
        } else {
            self.0.push(Entry { key: like.key, fields: fields.collect(), source: like.source });
        }
    }

    /// The entries that have fields, in the order of `before`, then in their own.
    fn write(&self, before: &Self) -> Value {
        let known = before.0.iter().filter_map(|entry| Some((self.find(entry.key)?, Some(entry))));
        let others =
            self.0.iter().filter(|entry| before.find(entry.key).is_none()).map(|entry| (entry, None));
        let present = known.chain(others).filter(|(entry, _)| !entry.fields.is_empty());
        let written = present.map(|(entry, before)| {
            let unchanged = before.filter(|before| before.fields == entry.fields);
            let mut written = unchanged.map_or(entry.source, |before| before.source).clone();
            if let Some(written) = written.as_object_mut() {
                written.insert("fieldsV1".to_owned(), write_fields(&entry.fields));
            }
            written
        });
        written.collect()
    }
}

#[cfg(test)]
mod tests;
