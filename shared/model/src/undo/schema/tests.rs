use std::sync::LazyLock;

use super::*;
use crate::object::ObjectKey;

/// As a server of Kubernetes 1.34.4 describes it, without descriptions and without what no test needs.
static SERVER: LazyLock<Schemas> = LazyLock::new(|| {
    let mut schemas = Schemas::default();
    for (api_version, json) in [
        ("v1", include_bytes!("../../../tests/fixtures/openapi/v1.json").as_slice()),
        ("apps/v1", include_bytes!("../../../tests/fixtures/openapi/apps_v1.json")),
    ] {
        schemas.insert(api_version.to_owned(), Arc::new(Document::parse(json).unwrap()));
    }
    schemas
});

pub(crate) fn of(group: &str, version: &str, kind: &str) -> Schema<'static> {
    SERVER.of(&object(group, version, kind))
}

fn object(group: &str, version: &str, kind: &str) -> ObjectRef {
    let key =
        ObjectKey { group: group.to_owned(), resource: String::new(), namespace: None, name: String::new() };
    ObjectRef { key, version: version.to_owned(), kind: kind.to_owned() }
}

fn at<'a>(mut schema: Schema<'a>, path: &str) -> Schema<'a> {
    for step in path.split('.') {
        schema = if step == "*" { schema.item() } else { schema.field(step) };
    }
    schema
}

#[test]
fn the_lists_of_a_deployment_are_of_the_kinds_that_the_server_says() {
    let keys = |path: &str| match at(of("apps", "v1", "Deployment"), path).list_kind() {
        ListKind::Map(keys) => keys.join(","),
        ListKind::Set => "a set".to_owned(),
        ListKind::Atomic => "one value".to_owned(),
    };
    for (path, expected) in [
        ("metadata.finalizers", "a set"),
        ("metadata.ownerReferences", "uid"),
        ("spec.template.spec.containers", "name"),
        ("spec.template.spec.containers.*.env", "name"),
        ("spec.template.spec.containers.*.ports", "containerPort,protocol"),
        ("spec.template.spec.containers.*.volumeMounts", "mountPath"),
        ("spec.template.spec.containers.*.args", "one value"),
        ("spec.template.spec.containers.*.envFrom", "one value"),
        ("spec.template.spec.tolerations", "one value"),
        ("spec.template.spec.topologySpreadConstraints", "topologyKey,whenUnsatisfiable"),
        ("spec.template.spec.volumes", "name"),
        ("spec.nowhere", "one value"),
        ("spec.nowhere.*.deeper", "one value"),
    ] {
        assert_eq!(keys(path), expected, "{path}");
    }
}

#[test]
fn a_map_is_one_value_where_the_server_says_so() {
    for (path, expected) in [
        ("spec.selector", true),
        ("spec.template.spec.nodeSelector", true),
        ("spec.template.spec.containers.*.env.*.valueFrom.secretKeyRef", true),
        ("metadata.labels", false),
        ("spec.template.spec", false),
        ("spec.nowhere", false),
    ] {
        assert_eq!(at(of("apps", "v1", "Deployment"), path).is_atomic_map(), expected, "{path}");
    }
}

#[test]
fn keys_have_the_defaults_that_the_server_gives_them() {
    let port = at(of("v1", "", "Service"), "spec.ports.*.protocol");
    assert!(port.default().is_none(), "a kind that is not described has no defaults");
    let port = at(of("", "v1", "Service"), "spec.ports.*.protocol");
    assert_eq!(port.default(), Some(&Value::from("TCP")));
}

#[test]
fn a_custom_resource_is_described_in_place() {
    let document = Document::parse(
        br#"{"openapi": "3.0.0", "components": {"schemas": {"dev.example.v1.Widget": {
            "type": "object",
            "x-kubernetes-group-version-kind": [{"group": "example.dev", "kind": "Widget", "version": "v1"}],
            "properties": {"spec": {"type": "object", "properties": {
                "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                    "items": {"type": "object", "properties": {"id": {"type": "string"}}}},
                "free": {"type": "object", "additionalProperties": true},
                "groups": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"},
                    "x-kubernetes-list-type": "set"}}}}}}}}}"#,
    )
    .unwrap();
    let mut schemas = Schemas::default();
    schemas.insert("example.dev/v1".to_owned(), Arc::new(document));
    let widget = schemas.of(&object("example.dev", "v1", "Widget"));
    assert_eq!(at(widget, "spec.parts").list_kind(), ListKind::Map(&["id".to_owned()]));
    assert_eq!(at(widget, "spec.groups.any").list_kind(), ListKind::Set);
    assert_eq!(at(widget, "spec.free.any").list_kind(), ListKind::Atomic);
}

#[test]
fn a_schema_that_could_not_be_read_is_told_from_one_that_does_not_exist() {
    let mut schemas = Schemas::default();
    schemas.could_not_read("apps/v1".to_owned(), "overloaded".to_owned());
    assert_eq!(schemas.missing(&object("apps", "v1", "Deployment")), Some("overloaded"));
    assert_eq!(schemas.missing(&object("", "v1", "Service")), None);
}
