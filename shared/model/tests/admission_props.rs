//! What must hold for every request: the answer never panics, and its patch always applies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

use backout_model::{
    admission::{Decision, Patch, Triage, parse, triage},
    identity::Deployers,
    names,
    object::same_content,
};
use proptest::{collection::btree_map, option, prelude::*};
use serde_json::{Map, Value, json};

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-z~/]{0,3}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn label_key() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::sample::select(&names::TAGS[..]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["app", "a/b", "a~b", names::MARK]).prop_map(str::to_owned),
    ]
}

fn labels() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => btree_map(label_key(), "[a-z0-9]{0,3}", 0..4).prop_map(|map| json!(map)),
        1 => leaf(),
    ]
}

/// An object as a server may send it, and now and then one as it never would.
fn object() -> impl Strategy<Value = Value> {
    let metadata = (
        option::of(labels()),
        option::of(Just("c")),
        option::of("[0-9]{0,2}"),
        option::weighted(0.2, leaf()),
    )
        .prop_map(|(labels, name, version, annotations)| {
            let mut metadata = Map::new();
            let fields = [
                ("labels", labels),
                ("name", name.map(Value::from)),
                ("resourceVersion", version.map(Value::from)),
                ("annotations", annotations),
            ];
            metadata.extend(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
            Value::Object(metadata)
        });
    let metadata = prop_oneof![9 => metadata, 1 => leaf()];
    (option::weighted(0.95, metadata), option::of(tree()), option::of(tree())).prop_map(
        |(metadata, data, status)| {
            let mut object = Map::new();
            let fields = [("metadata", metadata), ("data", data), ("status", status)];
            object.extend(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
            Value::Object(object)
        },
    )
}

fn review(operation: &str, old: &Value, new: &Value) -> Vec<u8> {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "r", "operation": operation, "namespace": "n", "name": "c",
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "userInfo": {"username": "alice"}, "object": new, "oldObject": old}})
    .to_string()
    .into_bytes()
}

fn apply(patch: &Patch, object: &Value) -> Value {
    let patch: json_patch::Patch = serde_json::from_slice(patch.as_bytes()).unwrap();
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    patched
}

/// The decision's patch, whether it is that of a record, and the record's name.
fn decide(body: &[u8]) -> Option<(Option<Patch>, Option<String>)> {
    let request = parse(body).ok()?;
    let Triage::Write(write) = triage(&request, &Deployers::default()).ok()? else {
        return None;
    };
    match write.decide(None) {
        Decision::Record(recording) => Some((recording.patch, Some(recording.draft.name.to_string()))),
        Decision::Pass { patch, .. } => Some((patch, None)),
        Decision::Refuse { .. } => None,
    }
}

fn without_tags(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(labels) = object.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.retain(|key, _| !names::TAGS.contains(&key.as_str()));
        if labels.is_empty() {
            object["metadata"].as_object_mut().unwrap().remove("labels");
        }
    }
    object
}

proptest! {
    #[test]
    fn the_patch_of_a_creation_applies_to_every_object_and_twice(new in object()) {
        let Some((Some(patch), Some(name))) = decide(&review("CREATE", &Value::Null, &new)) else {
            return Ok(());
        };
        let once = apply(&patch, &new);
        prop_assert_eq!(&apply(&patch, &once), &once);
        prop_assert_eq!(&once["metadata"]["labels"][names::UNDO], &Value::from(name));
        if new.pointer("/metadata/labels").is_some_and(Value::is_object) {
            prop_assert_eq!(without_tags(&once), without_tags(&new));
        }
    }

    #[test]
    fn an_update_that_is_no_change_leaves_the_object_as_it_was(old in object(), labels in labels()) {
        let mut new = old.clone();
        let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) else { return Ok(()) };
        metadata.insert("labels".to_owned(), labels);
        let Some((patch, None)) = decide(&review("UPDATE", &old, &new)) else { return Ok(()) };
        let answered = patch.as_ref().map_or_else(|| new.clone(), |patch| apply(patch, &new));
        prop_assert!(same_content(&old, &answered));
        for tag in names::TAGS {
            let tag_of = |object: &Value| {
                object.get("metadata")?.get("labels")?.get(tag)?.as_str().map(str::to_owned)
            };
            prop_assert_eq!(tag_of(&answered), tag_of(&old));
        }
        if let Some(patch) = patch {
            let again = decide(&review("UPDATE", &old, &apply(&patch, &new)));
            prop_assert_eq!(again, Some((None, None)));
        }
    }

    #[test]
    fn an_update_is_recorded_exactly_if_it_changes_content(old in object(), new in object()) {
        let stated = |object: &Value| object.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
        let commits = stated(&new).is_none_or(|version| version.is_empty() || Some(version) == stated(&old));
        if let Some((_, record)) = decide(&review("UPDATE", &old, &new)) {
            prop_assert!(commits);
            prop_assert_eq!(record.is_some(), !same_content(&old, &new));
        }
    }

    #[test]
    fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = decide(&body);
    }

    #[test]
    fn no_damaged_review_makes_it_panic(new in object(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = review("UPDATE", &new, &new);
        let at = at.index(body.len());
        body[at] = byte;
        let _ = decide(&body);
    }

    #[test]
    fn no_tree_makes_it_panic(request in tree(), operation in prop::sample::select(vec!["CREATE", "UPDATE", "DELETE"])) {
        let _ = decide(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
            .to_string().as_bytes());
        let _ = decide(&review(operation, &request, &request));
    }
}
