//! Properties of undoing records, over small objects shaped like those of Kubernetes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use backout_model::{
    names,
    object::{ObjectKey, ObjectRef},
    undo::{
        merge::{self, Undone, same},
        schema::{Document, Schemas},
    },
};
use proptest::{
    collection::btree_map,
    option,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Map, Value, json};

/// A server's word on the lists of the objects here.
static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let by_name = |properties: Value| {
        json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
               "items": {"properties": properties}})
    };
    let pods = json!({"properties": {"containers": by_name(json!({"env": by_name(json!({}))}))}});
    let thing = json!({
        "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Thing"}],
        "properties": {
            "metadata": {"properties": {"finalizers": {"x-kubernetes-list-type": "set"}}},
            "spec": {"properties": {"template": {"properties": {"spec": pods}}}},
        },
    });
    let document = json!({"components": {"schemas": {"Thing": thing}}});
    let mut schemas = Schemas::default();
    schemas.insert("v1".to_owned(), Arc::new(Document::parse(document.to_string().as_bytes()).unwrap()));
    schemas
});

fn undo(live: &Value, before: &Value, after: &Value) -> Undone {
    let key = ObjectKey {
        group: String::new(),
        resource: "things".to_owned(),
        namespace: None,
        name: "x".to_owned(),
    };
    let thing = ObjectRef { key, version: "v1".to_owned(), kind: "Thing".to_owned() };
    merge::undo(live, before, after, SCHEMAS.of(&thing))
}

/// Any object that a write may leave; the result of each call is a state of the same object.
fn object() -> impl Strategy<Value = Value> {
    let tags = option::of(select(vec!["u-1", "u-2", "u-3"]));
    let metadata =
        (strings(&["app", "tier"]), option::of(strings(&["note"])), finalizers(), tags, 1..100_u32);
    let spec = (option::of(0..4_i64), strings(&["disk", "zone"]), containers(), option::of(arguments()));
    (metadata, spec, option::of(strings(&["a", "b", "c.d"]))).prop_map(|(metadata, spec, data)| {
        let (mut labels, annotations, finalizers, tag, version) = metadata;
        labels.extend(tag.map(|tag| (names::UNDO.to_owned(), json!(tag))));
        let (replicas, selector, containers, arguments) = spec;
        present(json!({
            "apiVersion": "v1", "kind": "Thing", "data": data, "status": {"seen": version},
            "metadata": {"name": "x", "uid": "u", "resourceVersion": version.to_string(), "annotations": annotations,
                         "labels": (!labels.is_empty()).then_some(labels), "finalizers": finalizers},
            "spec": {"replicas": replicas, "arguments": arguments,
                     "template": {"spec": {"nodeSelector": selector, "containers": containers}}},
        }))
    })
}

fn strings(keys: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
    btree_map(select(keys), select(vec!["1", "2", "3"]), 0..=keys.len())
        .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect())
}

fn finalizers() -> impl Strategy<Value = Option<Vec<&'static str>>> {
    option::of(subsequence(vec!["f", "g"], 1..=2).prop_shuffle())
}

fn arguments() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(vec!["-v", "-q"]), 0..3)
}

fn containers() -> impl Strategy<Value = Vec<Value>> {
    let shapes = prop::array::uniform3((0..3_u8, option::of(named("A", "B")), option::of(arguments())));
    let names = subsequence(vec!["app", "proxy", "log"], 0..=3).prop_shuffle();
    (names, shapes).prop_map(|(names, shapes)| {
        let pairs = names.into_iter().zip(shapes);
        pairs
            .map(|(name, (image, env, args))| {
                present(json!({"name": name, "image": image, "env": env, "args": args}))
            })
            .collect()
    })
}

fn named(one: &'static str, other: &'static str) -> impl Strategy<Value = Vec<Value>> {
    (subsequence(vec![one, other], 0..=2).prop_shuffle(), 0..3_u8).prop_map(|(names, value)| {
        names.into_iter().map(|name| json!({"name": name, "value": value})).collect()
    })
}

/// The object without the fields that are null.
fn present(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, present(value)))
            .collect(),
        other => other,
    }
}

/// What the server keeps of an object: no empty lists and maps, but its structs.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, without_empty(value)))
            .filter(|(key, value)| {
                key == "spec" || key == "template" || (*value != json!({}) && *value != json!([]))
            })
            .collect(),
        other => other,
    }
}

/// What somebody who is not the release does to an object.
#[derive(Clone, Debug)]
enum Outside {
    Annotate(&'static str),
    Label(&'static str),
    Data(&'static str),
    Scale(i64),
    Arguments(&'static str),
    Image(&'static str, u8),
    DropContainer(&'static str),
    FirstContainer,
    LastContainer,
    LastEnv(&'static str),
    Finalizer,
    Status,
}

fn outside() -> impl Strategy<Value = Vec<Outside>> {
    let name = || select(vec!["app", "proxy", "log"]);
    let value = || select(vec!["x", "y"]);
    let one = prop_oneof![
        value().prop_map(Outside::Annotate),
        value().prop_map(Outside::Label),
        value().prop_map(Outside::Data),
        (7..9_i64).prop_map(Outside::Scale),
        value().prop_map(Outside::Arguments),
        (name(), 7..9_u8).prop_map(|(name, image)| Outside::Image(name, image)),
        name().prop_map(Outside::DropContainer),
        Just(Outside::FirstContainer),
        Just(Outside::LastContainer),
        name().prop_map(Outside::LastEnv),
        Just(Outside::Finalizer),
        Just(Outside::Status),
    ];
    prop::collection::vec(one, 0..4)
}

impl Outside {
    /// Whether the release has left alone what this touches.
    fn is_disjoint(&self, before: &Value, after: &Value) -> bool {
        let agree = |pointer: &str| before.pointer(pointer) == after.pointer(pointer);
        let both = |name: &str| Some((container(before, name)?, container(after, name)?));
        match self {
            Self::Scale(_) => agree("/spec/replicas"),
            Self::Arguments(_) => agree("/spec/arguments"),
            Self::Image(name, _) => {
                both(name).is_some_and(|(before, after)| before["image"] == after["image"])
            }
            Self::DropContainer(name) => both(name).is_some_and(|(before, after)| before == after),
            Self::LastEnv(name) => both(name).is_some(),
            // In a list that the release changed its order counts.
            Self::FirstContainer => agree("/spec/template/spec/containers"),
            _ => true,
        }
    }

    fn apply(&self, object: &mut Value) {
        let nested = &mut object["spec"]["template"]["spec"]["containers"];
        match self {
            Self::Annotate(value) => object["metadata"]["annotations"]["outside"] = json!(value),
            Self::Label(value) => object["metadata"]["labels"]["outside"] = json!(value),
            Self::Data(value) => object["data"]["outside"] = json!(value),
            Self::Scale(replicas) => object["spec"]["replicas"] = json!(replicas),
            Self::Arguments(value) => object["spec"]["arguments"] = json!([value]),
            Self::Image(name, image) => {
                if let Some(container) = position(nested, name).map(|at| &mut nested[at]) {
                    container["image"] = json!(image);
                }
            }
            Self::DropContainer(name) => {
                if let Some(at) = position(nested, name) {
                    nested.as_array_mut().map(|containers| containers.remove(at));
                }
            }
            Self::FirstContainer => {
                append(nested, &json!({"name": "first", "image": 9}));
                if let Some(containers) = nested.as_array_mut() {
                    containers.rotate_right(1);
                }
            }
            Self::LastContainer => append(nested, &json!({"name": "last", "image": 9})),
            Self::LastEnv(name) => {
                if let Some(at) = position(nested, name) {
                    append(&mut nested[at]["env"], &json!({"name": "OUTSIDE", "value": 9}));
                }
            }
            Self::Finalizer => append(&mut object["metadata"]["finalizers"], &json!("outside")),
            Self::Status => object["status"] = json!({"seen": "outside"}),
        }
    }
}

fn append(value: &mut Value, item: &Value) {
    if value.is_null() {
        *value = json!([]);
    }
    let Some(list) = value.as_array_mut() else { return };
    if !list.contains(item) {
        list.push(item.clone());
    }
}

fn position(containers: &Value, name: &str) -> Option<usize> {
    containers.as_array()?.iter().position(|container| container["name"] == name)
}

fn container<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let containers = &object["spec"]["template"]["spec"]["containers"];
    containers.get(position(containers, name)?)
}

fn with(object: &Value, outside: &[Outside]) -> Value {
    let mut object = object.clone();
    for change in outside {
        change.apply(&mut object);
    }
    object
}

proptest! {
    #[test]
    fn undoing_an_undisturbed_write_gives_the_state_before(before in object(), after in object()) {
        let undone = undo(&after, &before, &after);
        prop_assert!(same(&undone.object, &before), "{:#}", undone.object);
        prop_assert_eq!(&undone.object["metadata"]["resourceVersion"], &after["metadata"]["resourceVersion"]);
        prop_assert_eq!(&undone.object["status"], &after["status"]);
        prop_assert!(undone.overridden.is_empty());
    }

    #[test]
    fn undoing_a_write_that_changed_nothing_changes_nothing_but_tags(live in object(), image in object()) {
        let Undone { object, overridden } = undo(&live, &image, &image);
        let mut expected = live;
        let tag = image.pointer("/metadata/labels").and_then(|labels| labels.get(names::UNDO));
        if let Some(labels) = expected["metadata"]["labels"].as_object_mut() {
            labels.remove(names::UNDO);
        }
        if let Some(tag) = tag {
            expected["metadata"]["labels"][names::UNDO] = tag.clone();
        }
        let empty = expected["metadata"]["labels"] == json!({}) && image["metadata"].get("labels").is_none();
        if empty || expected["metadata"]["labels"].is_null() {
            expected["metadata"].as_object_mut().unwrap().remove("labels");
        }
        prop_assert_eq!(object, expected);
        prop_assert!(overridden.is_empty());
    }

    #[test]
    fn what_others_change_beside_the_release_survives(
        before in object(),
        after in object(),
        outside in outside(),
    ) {
        let mut outside: Vec<_> = outside.into_iter().filter(|one| one.is_disjoint(&before, &after)).collect();
        outside.sort_by_key(|one| !matches!(one, Outside::DropContainer(_)));
        let undone = undo(&with(&after, &outside), &before, &after);
        let expected = with(&before, &outside);
        prop_assert!(same(&undone.object, &expected), "{:#}\nexpected {expected:#}", undone.object);
        prop_assert!(undone.overridden.is_empty(), "{:?}", undone.overridden);
    }

    #[test]
    fn undoing_twice_is_undoing_once(live in object(), before in object(), after in object(), outside in outside()) {
        let once = undo(&with(&live, &outside), &before, &after).object;
        let twice = undo(&once, &before, &after);
        prop_assert_eq!(&twice.object, &once);
    }

    #[test]
    fn a_server_that_drops_empty_fields_changes_nothing_about_the_result(
        live in object(),
        before in object(),
        after in object(),
        outside in outside(),
    ) {
        let [before, after] = [before, after].map(without_empty);
        let once = without_empty(undo(&without_empty(with(&live, &outside)), &before, &after).object);
        let twice = without_empty(undo(&once, &before, &after).object);
        prop_assert_eq!(twice, once);
    }

    #[test]
    fn undoing_newest_first_gives_the_first_state(states in prop::collection::vec(object(), 2..6)) {
        let live = states.last().cloned().unwrap();
        let undone = states.windows(2).rev().fold(live, |live, write| undo(&live, &write[0], &write[1]).object);
        prop_assert!(same(&undone, &states[0]), "{undone:#}");
    }

    #[test]
    fn undoing_several_records_again_changes_nothing(
        states in prop::collection::vec((object(), outside()), 2..5),
    ) {
        // Others write between the records.
        let befores = states.iter().map(|(state, outside)| with(state, outside));
        let writes: Vec<_> = befores.zip(states.iter().skip(1).map(|(state, _)| state)).collect();
        let undo_all = |live: Value| {
            writes.iter().rev().fold(live, |live, (before, after)| undo(&live, before, after).object)
        };
        let (newest, outside) = states.last().cloned().unwrap();
        let once = undo_all(with(&newest, &outside));
        prop_assert_eq!(undo_all(once.clone()), once);
    }

    #[test]
    fn no_item_is_lost_or_doubled(live in object(), before in object(), after in object(), outside in outside()) {
        let live = with(&live, &outside);
        let undone = undo(&live, &before, &after).object;
        let names = |object: &Value| -> Vec<String> {
            let containers = object["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
            containers.iter().map(|container| container["name"].as_str().unwrap().to_owned()).collect()
        };
        let (live, before, after) = (names(&live), names(&before), names(&after));
        let unique: BTreeSet<_> = names(&undone).into_iter().collect();
        prop_assert_eq!(unique.len(), names(&undone).len());
        for name in ["app", "proxy", "log", "first", "last"].map(str::to_owned) {
            let (was, is) = (before.contains(&name), after.contains(&name));
            let expected = if was == is { live.contains(&name) } else { was };
            let contested = was && is && !live.contains(&name);
            prop_assert!(contested || unique.contains(&name) == expected, "{name}");
        }
    }
}
