//! What a revision changed, as the images of its records tell.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Change, Done, Field, SecretKey,
    redact::{REDACTED, Redactor},
    wanted::{Findings, secret_key},
};
use crate::{
    names,
    object::SERVER_METADATA,
    protocol::Observed,
    rollback::Track,
    undo::{Operation, Record, chain::Entry},
};

/// How many objects are shown, and fields of each.
const OBJECTS: usize = 200;
const FIELDS: usize = 50;
/// The longest value that is shown, in bytes.
pub(super) const VALUE: usize = 300;
/// What kubectl keeps of an object: all of it, once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The records of the revision that took effect, with their images as far as they were read.
pub(super) struct Changes<'a>(Vec<(&'a Track, Vec<Read<'a>>)>);

/// A record, and what it changed if it was read.
type Read<'a> = (&'a Entry, Result<&'a Record, &'a str>);

/// The records of an object that the revision wrote, and all that a rollback would undo with them.
pub(super) fn revised<'a>(seen: &Observed, track: &'a Track) -> impl Iterator<Item = &'a Entry> + use<'a> {
    let cut = seen.cut();
    track.effective().filter(move |entry| entry.position <= cut)
}

/// What the revision did to an object; nothing if it is neither there nor was.
pub(super) fn done(seen: &Observed, track: &Track) -> Option<Done> {
    done_by(&revised(seen, track).collect::<Vec<_>>())
}

fn done_by(records: &[&Entry]) -> Option<Done> {
    let was = records.first()?.header.operation != Operation::Create;
    let is = records.last()?.header.operation != Operation::Delete;
    let makes_another =
        |entry: &&Entry| matches!(entry.header.operation, Operation::Create | Operation::Delete);
    match (was, is) {
        (false, false) => None,
        (false, true) => Some(Done::Created),
        (true, false) => Some(Done::Deleted),
        (true, true) if records.iter().any(makes_another) => Some(Done::Replaced),
        (true, true) => Some(Done::Changed),
    }
}

impl<'a> Changes<'a> {
    pub(super) fn of(seen: &'a Observed, found: &'a Findings) -> Self {
        let read = |entry: &'a Entry| {
            let observed = seen.proofs.get(&entry.name).and_then(|proof| proof.record());
            let record = match (observed, found.records.get(&entry.name)) {
                (Some(record), _) | (None, Some(Ok(record))) => Ok(record),
                (None, Some(Err(why))) => Err(why.as_str()),
                (None, None) => Err("it took too long to read, or too much room"),
            };
            (entry, record)
        };
        let of_track = |track: &'a Track| (track, revised(seen, track).map(read).collect::<Vec<_>>());
        Self(seen.tracks.iter().map(of_track).filter(|(_, records)| !records.is_empty()).collect())
    }

    /// All images that were read.
    pub(super) fn images(&self) -> impl Iterator<Item = &'a Value> {
        let records = self.0.iter().flat_map(|(_, records)| records).filter_map(|(_, record)| record.ok());
        records.flat_map(|record| [&record.body.before, &record.body.after].into_iter().flatten())
    }

    /// The Secrets with states that were not read, and why.
    pub(super) fn unread_secrets(&self) -> impl Iterator<Item = (SecretKey, String)> {
        self.0.iter().filter_map(|(track, records)| {
            let why = records.iter().find_map(|(_, record)| record.err())?;
            Some((secret_key(track)?, format!("the undo record of it: {why}")))
        })
    }

    /// What people are shown.
    pub(super) fn tell(&self, secrets: &Redactor, notes: &mut Vec<String>) -> Vec<Change> {
        let changes = self.0.iter().filter_map(|(track, records)| change(track, records, secrets, notes));
        let mut changes: Vec<_> = changes.collect();
        if changes.len() > OBJECTS {
            notes.push(format!("left out: the changes of {} more objects", changes.len() - OBJECTS));
            changes.truncate(OBJECTS);
        }
        changes
    }
}

fn change(
    track: &Track,
    records: &[Read<'_>],
    secrets: &Redactor,
    notes: &mut Vec<String>,
) -> Option<Change> {
    let object = track.object.to_string();
    let operation = done_by(&records.iter().map(|(entry, _)| *entry).collect::<Vec<_>>())?;
    if matches!(operation, Done::Created | Done::Deleted) {
        return Some(Change { object, operation, fields: Vec::new() });
    }
    if let Some(why) = records.iter().find_map(|(entry, read)| match read {
        Err(why) if entry.header.operation != Operation::Scale => Some(why),
        _ => None,
    }) {
        notes.push(format!("not all that was changed in {object} is shown: {why}"));
    }
    let mut changed = BTreeMap::new();
    if operation == Done::Replaced {
        let [first, last] = [records.first()?, records.last()?].map(|(_, record)| record.ok());
        let images =
            (first.and_then(|it| it.body.before.as_ref()), last.and_then(|it| it.body.after.as_ref()));
        if let (Some(before), Some(after)) = images {
            compare("", &content(before), &content(after), &mut changed);
        }
    } else {
        for (entry, record) in records {
            changed_by(entry, record.ok(), &mut changed);
        }
    }
    changed.retain(|_, (before, after)| before != after);
    let is_secret = secret_key(track).is_some();
    if changed.len() > FIELDS {
        notes.push(format!("left out: {} more fields of {object}", changed.len() - FIELDS));
    }
    let fields = changed.into_iter().take(FIELDS).map(|(path, (before, after))| {
        let (before, after) =
            if is_secret { hidden((before, after)) } else { shown((before, after), secrets) };
        Field { path, before, after }
    });
    Some(Change { object, operation, fields: fields.collect() })
}

fn changed_by(entry: &Entry, record: Option<&Record>, changed: &mut BTreeMap<String, Sides>) {
    if let Some(replicas) = entry.header.replicas {
        note(changed, "spec.replicas", Some(&replicas.before.into()), Some(&replicas.after.into()));
    } else if let Some(record) = record
        && let (Some(before), Some(after)) = (&record.body.before, &record.body.after)
    {
        compare("", &content(before), &content(after), changed);
    }
}

type Sides = (Option<Value>, Option<Value>);

/// A field that was changed again has the last of its values.
fn note(changed: &mut BTreeMap<String, Sides>, path: &str, before: Option<&Value>, after: Option<&Value>) {
    let sides = changed.entry(path.to_owned()).or_insert_with(|| (before.cloned(), None));
    sides.1 = after.cloned();
}

/// What a deployer writes of an object.
fn content(image: &Value) -> Value {
    let mut content = image.as_object().cloned().unwrap_or_default();
    content.remove("status");
    if let Some(metadata) = content.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !SERVER_METADATA.contains(&field.as_str()));
        let mut leave_out = |map: &str, keys: &[&str]| {
            if let Some(map) = metadata.get_mut(map).and_then(Value::as_object_mut) {
                map.retain(|key, _| !keys.contains(&key.as_str()));
            }
        };
        leave_out("labels", &names::TAGS);
        leave_out("annotations", &[LAST_APPLIED]);
    }
    Value::Object(content)
}

/// Notes the smallest fields in which the values differ.
fn compare(path: &str, before: &Value, after: &Value, changed: &mut BTreeMap<String, Sides>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(before), Value::Object(after)) => {
            compare_all(before, after, |key| join(path, key), changed);
        }
        (Value::Array(old), Value::Array(new)) => match (by_name(old), by_name(new)) {
            (Some(old), Some(new)) => compare_all(&old, &new, |name| format!("{path}[{name}]"), changed),
            _ => note(changed, path, Some(before), Some(after)),
        },
        _ => note(changed, path, Some(before), Some(after)),
    }
}

fn compare_all(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    path: impl Fn(&str) -> String,
    changed: &mut BTreeMap<String, Sides>,
) {
    for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
        match (before.get(key), after.get(key)) {
            (Some(before), Some(after)) => compare(&path(key), before, after, changed),
            // A map is shown key by key.
            (None, Some(Value::Object(after))) if !after.is_empty() => {
                compare(&path(key), &Value::Object(Map::new()), &Value::Object(after.clone()), changed);
            }
            (Some(Value::Object(before)), None) if !before.is_empty() => {
                compare(&path(key), &Value::Object(before.clone()), &Value::Object(Map::new()), changed);
            }
            (before, after) => note(changed, &path(key), before, after),
        }
    }
}

/// The elements of a list by their names, if each has one of its own.
fn by_name(list: &[Value]) -> Option<Map<String, Value>> {
    let named = list.iter().map(|it| Some((it.get("name")?.as_str()?.to_owned(), it.clone())));
    let named: Map<_, _> = named.collect::<Option<_>>()?;
    (named.len() == list.len()).then_some(named)
}

fn join(path: &str, key: &str) -> String {
    let is_plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    match (path.is_empty(), is_plain) {
        (true, _) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (false, false) => format!("{path}[{key}]"),
    }
}

fn hidden((before, after): Sides) -> (Option<String>, Option<String>) {
    let hide = |value: Option<Value>| value.map(|_| REDACTED.to_owned());
    (hide(before), hide(after))
}

fn shown((before, after): Sides, secrets: &Redactor) -> (Option<String>, Option<String>) {
    let text = |value: Option<Value>| {
        let value = value?;
        Some(secrets.whole(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    };
    let (before, after) = (text(before), text(after));
    match (&before, &after) {
        (Some(old), Some(new)) if old.len().max(new.len()) > VALUE || old.contains('\n') => {
            let (old, new) = different_lines(old, new);
            (Some(old), Some(new))
        }
        _ => (before, after),
    }
}

/// The lines from the first to the last that differ.
fn different_lines(before: &str, after: &str) -> (String, String) {
    let [before, after] = [before, after].map(|text| text.lines().collect::<Vec<_>>());
    let same = |(one, other): &(&&str, &&str)| one == other;
    let head = before.iter().zip(&after).take_while(same).count();
    let most = before.len().min(after.len()) - head;
    let tail = before.iter().rev().zip(after.iter().rev()).take(most).take_while(same).count();
    let middle = |lines: &[&str]| lines.get(head..lines.len() - tail).unwrap_or_default().join("\n");
    (middle(&before), middle(&after))
}
