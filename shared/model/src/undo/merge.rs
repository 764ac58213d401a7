//! Undoing one record on a live object, field by field.
//!
//! Guarantees: if nobody but the release changed the object, the result is the state before, to the order of its
//! lists. What the release did not change stays as it is live. A list whose items cannot be told apart by their
//! merge keys is one value: no item is ever lost or doubled. Undoing twice is undoing once. Which lists have keys, and
//! which maps are one value, the server's own [`Schema`] says.
//!
//! Assumptions: the three objects are of one uid and in one API version.

mod list;
mod path;

use serde_json::{Map, Value};

use self::{
    list::Keyed,
    path::{Path, Step},
};
use super::{record::Replicas, schema::Schema};
use crate::{names, object::SERVER_METADATA};

/// The live object with a record undone.
#[derive(Clone, Debug, PartialEq)]
pub struct Undone {
    /// The object to write.
    pub object: Value,
    /// The fields that somebody else changed too and where the value before the release won, such as
    /// `spec.template.spec.containers[name=app].image`.
    pub overridden: Vec<String>,
}

/// Undoes on `live` what made `after` of `before`, and nothing else.
///
/// Fields where `before` and `after` differ get the value before; fields where they agree keep the live value. The
/// tags of the webhook go back to those of `before`; `apiVersion`, `kind`, `status` and what the server owns in
/// `metadata` stay as they are live.
pub fn undo(live: &Value, before: &Value, after: &Value, schema: Schema<'_>) -> Undone {
    let mut merge = Merge::default();
    let object = merge.object(Field { live: Some(live), before: Some(before), after: Some(after), schema });
    Undone { object, overridden: merge.overridden }
}

/// Undoes a scale on the scaled object: `spec.replicas` goes back to the number before.
pub fn undo_replicas(live: &Value, replicas: Replicas) -> Undone {
    let scaled = live.get("spec").and_then(|spec| spec.get("replicas")).and_then(Value::as_i64);
    let mut object = live.clone();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("replicas".to_owned(), Value::from(replicas.before));
    }
    let expected = [Some(replicas.before), Some(replicas.after)].contains(&scaled);
    let overridden = if expected { Vec::new() } else { vec!["spec.replicas".to_owned()] };
    Undone { object, overridden }
}

/// The body that creates an object again from its image: without `status` and what the server owns in `metadata`.
pub fn to_create(image: &Value) -> Value {
    let mut body = image.clone();
    let Some(object) = body.as_object_mut() else {
        return body;
    };
    object.remove("status");
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !SERVER_METADATA.contains(&field.as_str()));
    }
    if image.get("kind").and_then(Value::as_str) == Some("Job") {
        forget_generated_selector(object);
    }
    body
}

/// Whether two states of an object are the same in all that a restore writes: tags count, `status` and what the
/// server owns in `metadata` do not.
pub fn same(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else {
        return a == b;
    };
    same_but(a, b, &["metadata", "status"])
        && match (a.get("metadata"), b.get("metadata")) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => same_but(a, b, &SERVER_METADATA),
            (a, b) => a == b,
        }
}

fn same_but(a: &Map<String, Value>, b: &Map<String, Value>, ignored: &[&str]) -> bool {
    let relevant = |field: &&String| !ignored.contains(&field.as_str());
    a.keys().filter(relevant).eq(b.keys().filter(relevant))
        && a.iter().filter(|(field, _)| relevant(field)).all(|(field, value)| b.get(field) == Some(value))
}

/// The server makes a Job's selector of its uid, and refuses one made of another (batch/job strategy,
/// `generateSelector`).
fn forget_generated_selector(job: &mut Map<String, Value>) {
    const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
    let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if spec.get("manualSelector").and_then(Value::as_bool) == Some(true) {
        return;
    }
    spec.remove("selector");
    let labels = spec.get_mut("template").and_then(|template| template.pointer_mut("/metadata/labels"));
    if let Some(labels) = labels.and_then(Value::as_object_mut) {
        labels.retain(|label, _| !UID_LABELS.contains(&label.as_str()));
    }
}

/// One field in the three states; absent where the state lacks it.
#[derive(Clone, Copy)]
struct Field<'a> {
    live: Option<&'a Value>,
    before: Option<&'a Value>,
    after: Option<&'a Value>,
    schema: Schema<'a>,
}

impl<'a> Field<'a> {
    fn child(self, name: &str) -> Self {
        let get = |value: Option<&'a Value>| value.and_then(|value| value.get(name));
        Self {
            live: get(self.live),
            before: get(self.before),
            after: get(self.after),
            schema: self.schema.field(name),
        }
    }

    /// The names of the fields that the result may have: what only `after` has is gone either way.
    fn names(self) -> impl Iterator<Item = &'a str> {
        let live = self.live.and_then(Value::as_object);
        let before = self.before.and_then(Value::as_object);
        let gone = move |name: &&String| live.is_none_or(|live| !live.contains_key(*name));
        let live = live.into_iter().flat_map(Map::keys);
        live.chain(before.into_iter().flat_map(Map::keys).filter(gone)).map(String::as_str)
    }

    /// Whether a contested field is merged by key: objects throughout, though the release may have added or removed it
    /// whole. One that others removed comes back whole, as half a struct would be none; but a plain map that they
    /// emptied is no different from an absent one.
    fn is_object(self) -> bool {
        if self.schema.is_atomic_map() {
            return false;
        }
        let states = [self.live, self.before, self.after];
        let is_plain =
            |map: &Map<String, Value>| map.values().all(|value| !value.is_object() && !value.is_array());
        states.into_iter().flatten().all(Value::is_object)
            && (self.live.is_some()
                || states.into_iter().flatten().filter_map(Value::as_object).all(is_plain))
    }

    /// Whether an empty result means that the field is to be absent.
    fn may_be_absent(self) -> bool {
        self.live.is_none() || self.before.is_none()
    }

    fn changed_by(self) -> ChangedBy {
        if self.before == self.after {
            ChangedBy::Others
        } else if self.live == self.after || self.live == self.before {
            ChangedBy::Release
        } else {
            ChangedBy::Both
        }
    }
}

/// Who changed a field, if anybody.
enum ChangedBy {
    Others,
    Release,
    Both,
}

#[derive(Default)]
struct Merge<'a> {
    path: Path<'a>,
    overridden: Vec<String>,
}

impl<'a> Merge<'a> {
    fn object(&mut self, object: Field<'a>) -> Value {
        let merged = self.fields(object, |merge, name, field| match name {
            "apiVersion" | "kind" | "status" => field.live.cloned(),
            "metadata" => Some(merge.metadata(field)),
            _ => merge.field(field),
        });
        Value::Object(merged)
    }

    fn metadata(&mut self, metadata: Field<'a>) -> Value {
        let merged = self.fields(metadata, |merge, name, field| match name {
            "labels" => merge.labels(field),
            _ if SERVER_METADATA.contains(&name) => field.live.cloned(),
            _ => merge.field(field),
        });
        Value::Object(merged)
    }

    fn labels(&mut self, labels: Field<'a>) -> Option<Value> {
        let merged = self.fields(labels, |merge, name, field| {
            if names::TAGS.contains(&name) { field.before.cloned() } else { merge.field(field) }
        });
        (!merged.is_empty() || !labels.may_be_absent()).then_some(Value::Object(merged))
    }

    fn fields(
        &mut self,
        object: Field<'a>,
        mut merge: impl FnMut(&mut Self, &'a str, Field<'a>) -> Option<Value>,
    ) -> Map<String, Value> {
        let mut merged = Map::new();
        for name in object.names() {
            self.path.push(Step::Field(name));
            let value = merge(self, name, object.child(name));
            self.path.pop();
            if let Some(value) = value {
                merged.insert(name.to_owned(), value);
            }
        }
        merged
    }

    fn field(&mut self, field: Field<'a>) -> Option<Value> {
        match field.changed_by() {
            ChangedBy::Others => field.live.cloned(),
            ChangedBy::Release => field.before.cloned(),
            ChangedBy::Both => self.contested(field),
        }
    }

    fn contested(&mut self, field: Field<'a>) -> Option<Value> {
        if field.is_object() {
            let merged = self.fields(field, |merge, _, field| merge.field(field));
            return (!merged.is_empty() || !field.may_be_absent()).then_some(Value::Object(merged));
        }
        let lists = [field.live, field.before, field.after].map(|list| Keyed::read(field.schema, list));
        if let [Some(live), Some(before), Some(after)] = lists {
            let items = self.items(field.schema, &live, &before, &after);
            return (!items.is_empty() || !field.may_be_absent()).then_some(Value::Array(items));
        }
        self.before_wins(field)
    }

    /// Merges the items of an associative list: those of `before` in their order, then the others' as they are live.
    ///
    /// To keep the others' beside their neighbours would not be stable: undoing several records, which drop and bring
    /// back the neighbours, could give another order each time.
    fn items(
        &mut self,
        schema: Schema<'a>,
        live: &Keyed<'a>,
        before: &Keyed<'a>,
        after: &Keyed<'a>,
    ) -> Vec<Value> {
        let others = live.items.iter().filter(|(key, _)| before.get(key).is_none());
        let items = before.items.iter().chain(others);
        let merged = items.filter_map(|(key, item)| {
            self.path.push(Step::Item(item, schema));
            let merged = self.item(Field {
                live: live.get(key),
                before: before.get(key),
                after: after.get(key),
                schema: schema.item(),
            });
            self.path.pop();
            merged
        });
        merged.collect()
    }

    fn item(&mut self, field: Field<'a>) -> Option<Value> {
        // A part of an item would be no valid item: where a state lacks it, it is one value.
        let is_one_value = [field.live, field.before, field.after].contains(&None);
        match field.changed_by() {
            ChangedBy::Both if is_one_value => self.before_wins(field),
            _ => self.field(field),
        }
    }

    fn before_wins(&mut self, field: Field<'a>) -> Option<Value> {
        self.overridden.push(self.path.to_string());
        field.before.cloned()
    }
}

#[cfg(test)]
mod tests;
