//! Whatever three states of an object are: a write that nobody disturbed is undone, and to undo twice is to undo once.
#![no_main]

use std::sync::{Arc, LazyLock};

use backout_fuzz::Bytes;
use backout_model::{
    object::{ObjectKey, ObjectRef},
    undo::{
        merge::{same, to_create, undo},
        ownership,
        schema::{Document, Schemas},
    },
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// A server's word on the lists of the objects here.
static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let list = |items: Value| json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {"properties": items}});
    let pods = json!({"properties": {"containers": list(json!({"env": list(json!({})), "ports": list(json!({}))}))}});
    let thing = json!({
        "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Thing"}],
        "properties": {
            "metadata": {"properties": {"finalizers": {"x-kubernetes-list-type": "set"}}},
            "spec": {"properties": {"containers": list(json!({})), "template": {"properties": {"spec": pods}}}},
        },
    });
    let document = json!({"components": {"schemas": {"Thing": thing}}});
    let mut schemas = Schemas::default();
    schemas.insert("v1".to_owned(), Arc::new(Document::parse(document.to_string().as_bytes()).unwrap()));
    schemas
});

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let (before, after, live) = (bytes.object(), bytes.object(), bytes.object());
    let of = |kind: &str| {
        let key = ObjectKey {
            group: String::new(),
            resource: "things".to_owned(),
            namespace: None,
            name: "c".to_owned(),
        };
        ObjectRef { key, version: "v1".to_owned(), kind: kind.to_owned() }
    };
    for kind in ["Thing", "Unknown"] {
        let undone = |live: &Value| undo(live, &before, &after, SCHEMAS.of(&of(kind)));
        let quiet = undone(&after);
        assert!(same(&quiet.object, &before), "{:#}\nis not {before:#}", quiet.object);
        assert!(quiet.overridden.is_empty(), "{:?}", quiet.overridden);
        let once = undone(&live).object;
        let twice = undone(&once).object;
        assert_eq!(twice, once);
        let size = |value: &Value| value.to_string().len();
        assert!(size(&once) <= size(&before) + size(&after) + size(&live));
    }
    let _ = to_create(&before);
    let restored = ownership::restored(&live, &before, Some(&after));
    let _ = ownership::needs_restoring(&live, &restored);
    let _ = ownership::handed_back(&live, &before);
});
