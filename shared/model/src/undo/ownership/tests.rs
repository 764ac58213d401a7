use serde_json::{Map, json};

use super::*;

fn entry(manager: &str, operation: &str, subresource: &str, time: &str, fields: impl Into<Value>) -> Value {
    let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "time": time,
                           "fieldsType": "FieldsV1", "fieldsV1": fields.into()});
    if !subresource.is_empty() {
        entry["subresource"] = json!(subresource);
    }
    entry
}

fn object(image: &str, replicas: i64, entries: impl Into<Value>) -> Value {
    json!({"metadata": {"managedFields": entries.into()}, "spec": {
        "replicas": replicas, "template": {"spec": {"containers": [{"name": "app", "image": image}]}},
    }})
}

fn image_field() -> Value {
    json!({"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {".": {}, "f:name": {}, "f:image": {}}}}}})
}

/// The fields of a manager that owns the container, and those of `more` beside it.
fn spec(more: &[&str]) -> Value {
    let mut spec = image_field();
    for field in more {
        spec[field] = json!({});
    }
    json!({"f:spec": spec})
}

/// What is left of [`image_field`] when our PUT has changed the image.
fn without_image(more: &[&str]) -> Value {
    let mut left = spec(more);
    left["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"app\"}"]
        .as_object_mut()
        .unwrap()
        .remove("f:image");
    left
}

fn only_image() -> Value {
    json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {"f:image": {}}}}}}})
}

#[test]
fn fields_that_our_put_took_go_back_to_the_manager_that_had_them() {
    let before = object("web:1", 3, json!([entry("kubectl", "Apply", "", "t1", spec(&["f:replicas"]))]));
    let after = object("web:2", 3, json!([entry("kubectl", "Apply", "", "t2", spec(&["f:replicas"]))]));
    let status =
        entry("kube-controller-manager", "Update", "status", "t3", json!({"f:status": {"f:replicas": {}}}));
    let live = object(
        "web:1",
        3,
        json!([
            entry("kubectl", "Apply", "", "t2", without_image(&["f:replicas"])),
            status,
            entry(names::FIELD_MANAGER, "Update", "", "t4", only_image()),
        ]),
    );
    let wanted = restored(&live, &before, Some(&after));
    assert_eq!(wanted, json!([before["metadata"]["managedFields"][0], status]));
    assert!(needs_restoring(&live, &wanted));
}

#[test]
fn what_an_outsider_took_meanwhile_stays_the_outsiders() {
    let before = object("web:1", 3, json!([entry("helm", "Update", "", "t1", spec(&["f:replicas"]))]));
    let after = object("web:2", 3, json!([entry("helm", "Update", "", "t2", spec(&["f:replicas"]))]));
    let scaler = entry("autoscaler", "Update", "scale", "t3", json!({"f:spec": {"f:replicas": {}}}));
    let live = object(
        "web:1",
        8,
        json!([
            entry("helm", "Update", "", "t2", without_image(&[])),
            scaler,
            entry(names::FIELD_MANAGER, "Update", "", "t4", only_image()),
        ]),
    );
    let wanted = restored(&live, &before, Some(&after));
    assert_eq!(wanted, json!([entry("helm", "Update", "", "t2", spec(&[])), scaler]));
}

#[test]
fn a_manager_that_the_release_brought_keeps_only_what_it_took_since() {
    let before = object("web:1", 3, json!([entry("kubectl", "Apply", "", "t1", spec(&[]))]));
    let brought = entry("helm", "Update", "", "t2", spec(&[]));
    let after = object("web:2", 3, json!([brought]));
    let ours = entry(names::FIELD_MANAGER, "Update", "", "t4", only_image());

    let live = object("web:1", 3, json!([entry("helm", "Update", "", "t2", without_image(&[])), ours]));
    let wanted = restored(&live, &before, Some(&after));
    assert_eq!(wanted, before["metadata"]["managedFields"]);

    let live =
        object("web:1", 3, json!([entry("helm", "Update", "", "t3", without_image(&["f:paused"])), ours]));
    let wanted = restored(&live, &before, Some(&after));
    let since = entry("helm", "Update", "", "t3", json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(wanted, json!([before["metadata"]["managedFields"][0], since]));
}

#[test]
fn a_field_that_the_release_took_from_the_scale_subresource_goes_back_to_it() {
    let scaler = entry("autoscaler", "Update", "scale", "t1", json!({"f:spec": {"f:replicas": {}}}));
    let before = object("web:1", 8, json!([scaler]));
    let after = object(
        "web:1",
        3,
        json!([entry("kubectl", "Apply", "", "t2", json!({"f:spec": {"f:replicas": {}}}))]),
    );
    let ours = entry(names::FIELD_MANAGER, "Update", "", "t4", json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(restored(&object("web:1", 8, json!([ours])), &before, Some(&after)), json!([scaler]));
}

#[test]
fn what_an_outsider_took_between_two_records_stays_the_outsiders() {
    let kubectl = |fields| entry("kubectl", "Apply", "", "t", fields);
    let paused = entry("ops", "Update", "", "t", json!({"f:spec": {"f:paused": {}}}));
    let first =
        [object("web:1", 3, json!([kubectl(spec(&[]))])), object("web:2", 3, json!([kubectl(spec(&[]))]))];
    let second = [
        object("web:2", 3, json!([kubectl(spec(&[])), paused])),
        object("web:3", 3, json!([kubectl(spec(&[])), paused])),
    ];
    let live = object(
        "web:1",
        3,
        json!([
            kubectl(without_image(&[])),
            paused,
            entry(names::FIELD_MANAGER, "Update", "", "t", only_image()),
        ]),
    );
    let undone = [(&second[0], &second[1]), (&first[0], &first[1])];
    assert_eq!(restored_all(&live, undone), json!([kubectl(spec(&[])), paused]));
}

#[test]
fn a_field_that_the_release_took_twice_goes_back_to_its_first_owner_and_stays_there() {
    let one = |manager: &str, image: &str| {
        object(image, 3, json!([entry(manager, "Update", "", "t", only_image())]))
    };
    let (first, theirs) = (one("kubectl", "web:1"), one("ops", "web:2-fix"));
    let undone = [(&theirs, &one("kubectl", "web:3")), (&first, &one("kubectl", "web:2"))];
    let mut live = one(names::FIELD_MANAGER, "web:1");
    let wanted = restored_all(&live, undone);
    assert_eq!(wanted, first["metadata"]["managedFields"]);
    live["metadata"]["managedFields"] = wanted;
    assert!(!needs_restoring(&live, &restored_all(&live, undone)));
}

#[test]
fn an_object_that_was_created_again_gets_its_owners_back_but_not_those_of_its_status() {
    let fields = |more: &str| json!({"f:spec": spec(&[])["f:spec"], more: {"f:replicas": {}}});
    let before = object(
        "web:1",
        3,
        json!([
            entry("kubectl", "Apply", "", "t1", fields("f:status")),
            entry("controller", "Update", "status", "t1", json!({"f:status": {"f:replicas": {}}})),
        ]),
    );
    let status = entry("controller", "Update", "status", "t3", json!({"f:status": {"f:conditions": {}}}));
    let note = entry("ops", "Update", "", "t3", json!({"f:metadata": {"f:annotations": {"f:a": {}}}}));
    let ours = entry(names::FIELD_MANAGER, "Update", "", "t2", spec(&[]));
    let live = object("web:1", 3, json!([ours, status, note]));
    let wanted = restored(&live, &before, None);
    assert_eq!(wanted, json!([entry("kubectl", "Apply", "", "t1", spec(&[])), status, note]));
}

#[test]
fn a_manager_that_writes_in_another_version_gets_its_fields_back() {
    let mut old = entry("kubectl", "Apply", "", "t", json!({"f:spec": {"f:size": {}}}));
    old["apiVersion"] = json!("apps/v1beta1");
    let (before, after) = (object("web:1", 3, json!([old])), object("web:1", 5, json!([old])));
    let ours = entry(names::FIELD_MANAGER, "Update", "", "t", json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(restored(&object("web:1", 3, json!([ours])), &before, Some(&after)), json!([old]));
}

#[test]
fn times_and_order_are_no_reason_to_restore() {
    let (a, b) = (entry("a", "Apply", "", "t1", spec(&[])), entry("b", "Update", "", "t1", only_image()));
    let live = object("web:1", 3, json!([a, b]));
    let mut later = a.clone();
    later["time"] = json!("t2");
    assert!(!needs_restoring(&live, &json!([b, later])));
    assert!(needs_restoring(&live, &json!([a])));
    assert!(needs_restoring(&object("web:1", 3, json!([a])), &json!([a, b])));
    later["fieldsV1"] = only_image();
    assert!(needs_restoring(&live, &json!([later, b])));
}

#[test]
fn an_object_that_nobody_tracks_stays_so() {
    let object = json!({"metadata": {"name": "x"}});
    let wanted = restored(&object, &object, Some(&object));
    assert_eq!(wanted, json!([]));
    assert!(!needs_restoring(&object, &wanted));
}

#[test]
fn sets_of_fields_read_and_write_the_same() {
    let fields = json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {".": {}, "v:\"x\"": {}}},
        "f:spec": {"f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}, "f:a.b": {}},
    });
    assert_eq!(write_fields(&read_fields(Some(&fields))), fields);
    assert_eq!(write_fields(&read_fields(None)), Value::Object(Map::new()));
}

#[test]
fn ways_lead_to_values() {
    let object =
        json!({"metadata": {"finalizers": ["x"]}, "spec": {"ports": [{"port": 80, "protocol": "TCP"}]}});
    let at = |way: &[&str]| value_at(&object, way).cloned();
    assert_eq!(at(&["f:metadata", "f:finalizers", "v:\"x\""]), Some(json!("x")));
    assert_eq!(at(&["f:metadata", "f:finalizers", "i:0"]), Some(json!("x")));
    let port = "k:{\"port\":80,\"protocol\":\"TCP\"}";
    assert_eq!(at(&["f:spec", "f:ports", port, "f:port"]), Some(json!(80)));
    for way in [["f:spec", "f:none"], ["f:spec", "x"], ["f:metadata", "k:{"]] {
        assert_eq!(at(&way), None, "{way:?}");
    }
}

#[test]
fn what_others_went_on_from_before_it_had_its_owners_again_is_handed_back() {
    let ours = entry(names::FIELD_MANAGER, "Update", "", "t2", json!({"f:spec": image_field()}));
    let kubectl = |fields: Value| entry("kubectl", "Apply", "", "t1", fields);
    let before = object("one", 2, [kubectl(json!({"f:spec": image_field()}))]);
    let someone = entry("someone", "Update", "", "t3", json!({"f:spec": {"f:replicas": {}}}));
    let live = object("one", 3, [ours.clone(), someone.clone()]);
    let back = kubectl(json!({"f:spec": image_field()}));
    assert_eq!(handed_back(&live, &before), json!([someone, back]));
    // Whoever took a field from us keeps it when that is undone: nobody else is known.
    let taken = object("two", 2, [kubectl(json!({"f:spec": image_field()}))]);
    let restored = restored(&taken, &object("one", 2, [ours]), Some(&taken));
    assert_eq!(restored, json!([kubectl(json!({"f:spec": image_field()}))]));
}
