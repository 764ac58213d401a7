use std::sync::Arc;

use super::*;
use crate::{
    object::{ObjectKey, ObjectRef},
    undo::schema::{Document, Schemas},
};

fn containers(object: &Value) -> &Value {
    &object["spec"]["template"]["spec"]["containers"]
}

#[test]
fn finalizers_are_a_set() {
    let object = |finalizers: &[&str]| json!({"metadata": {"name": "c", "finalizers": finalizers}});
    let none = json!({"metadata": {"name": "c"}});
    let undone =
        undo(&object(&["new", "theirs", "kept"]), &object(&["old", "kept"]), &object(&["kept", "new"]));
    assert_eq!(undone, Undone { object: object(&["old", "kept", "theirs"]), overridden: Vec::new() });
    // Done by its controller meanwhile: the release had nothing to do with it.
    assert_eq!(undo(&object(&["new"]), &object(&["done"]), &object(&["done", "new"])).object, object(&[]));
    assert_eq!(undo(&object(&["new", "more"]), &none, &object(&["new"])).object, object(&["more"]));
    assert_eq!(undo(&object(&["new"]), &none, &object(&["new"])).object, none);
}

#[test]
fn ports_of_a_service_merge_by_port_and_protocol() {
    let service = |ports: Value| json!({"kind": "Service", "metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": ports}});
    let before = service(json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "name": "tcp"}]));
    let after = service(json!([
        {"port": 53, "protocol": "TCP", "name": "dns"}, {"port": 53, "protocol": "UDP"}, {"port": 80}
    ]));
    let live = service(json!([
        {"port": 53, "protocol": "TCP", "name": "dns", "nodePort": 30001},
        {"port": 53, "protocol": "UDP", "nodePort": 30002},
        {"port": 80, "nodePort": 30003},
    ]));
    let undone = undo(&live, &before, &after);
    assert_eq!(
        undone.object["spec"]["ports"],
        json!([
            {"port": 53, "protocol": "UDP", "nodePort": 30002},
            {"port": 53, "name": "tcp", "nodePort": 30001},
        ])
    );
    assert_eq!(undone.overridden, ["spec.ports[port=80,protocol=TCP]"]);
}

#[test]
fn a_list_whose_items_cannot_be_told_apart_is_one_value() {
    let with = |names: &[&str]| {
        let mut object = deployment();
        let env: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        object["spec"]["template"]["spec"]["containers"][0]["env"] = json!(env);
        object
    };
    let undone = undo(&with(&["A", "A", "C"]), &with(&["A"]), &with(&["A", "B"]));
    assert_eq!(undone.object, with(&["A"]));
    assert_eq!(undone.overridden, ["spec.template.spec.containers[name=app].env"]);
}

#[test]
fn a_list_with_an_item_that_lacks_its_key_is_one_value() {
    let document = json!({"components": {"schemas": {"Widget": {
        "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Widget"}],
        "properties": {"parts": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                                 "items": {"properties": {"id": {}}}}},
    }}}});
    let document = Document::parse(document.to_string().as_bytes()).unwrap();
    let mut schemas = Schemas::default();
    schemas.insert("v1".to_owned(), Arc::new(document));
    let key = ObjectKey {
        group: String::new(),
        resource: "widgets".to_owned(),
        namespace: None,
        name: "w".to_owned(),
    };
    let schema = schemas.of(&ObjectRef { key, version: "v1".to_owned(), kind: "Widget".to_owned() });
    let with = |parts: Value| json!({"parts": parts});
    let (one, other) = (with(json!([{"id": "a"}])), with(json!([{"id": "b"}])));
    let theirs = with(json!([{"id": "b"}, {"id": "theirs"}]));
    assert_eq!(
        super::super::undo(&theirs, &one, &other, schema).object,
        with(json!([{"id": "a"}, {"id": "theirs"}]))
    );
    let nameless = with(json!([{"id": "b"}, {"size": 1}]));
    assert_eq!(super::super::undo(&nameless, &one, &other, schema).object, one);
}

#[test]
fn lists_without_keys_are_one_value() {
    let with = |args: Value| {
        let mut object = deployment();
        object["spec"]["template"]["spec"]["containers"][0]["args"] = args;
        object
    };
    let undone = undo(&with(json!(["a", "b", "theirs"])), &with(json!(["a"])), &with(json!(["a", "b"])));
    assert_eq!(undone.object, with(json!(["a"])));
    assert_eq!(undone.overridden, ["spec.template.spec.containers[name=app].args"]);
}

#[test]
fn an_item_that_others_removed_stays_away_unless_the_release_changed_it() {
    let mut live = stored(&upgraded());
    let list = live["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
    list.pop();
    let undone = undo(&live, &deployment(), &upgraded());
    assert_eq!(containers(&undone.object).as_array().unwrap().len(), 1);
    assert_eq!(undone.overridden, Vec::<String>::new());

    live["spec"]["template"]["spec"]["containers"] = json!([{"name": "proxy", "image": "shop/proxy:2"}]);
    let undone = undo(&live, &deployment(), &upgraded());
    assert_eq!(containers(&undone.object), containers(&deployment()));
    assert_eq!(undone.overridden, ["spec.template.spec.containers[name=app]"]);
}

#[test]
fn items_of_others_follow_those_of_before_in_their_order() {
    let volumes = |names: &[&str]| {
        let volumes: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"metadata": {"name": "p"}, "spec": {"template": {"spec": {"volumes": volumes}}}})
    };
    let undone = undo(
        &volumes(&["x", "b", "y", "new", "z", "a"]),
        &volumes(&["a", "gone", "b"]),
        &volumes(&["b", "new", "a"]),
    );
    assert_eq!(
        undone,
        Undone { object: volumes(&["a", "gone", "b", "x", "y", "z"]), overridden: Vec::new() }
    );
}
