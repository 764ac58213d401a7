use serde_json::json;

use super::*;
use crate::undo::schema::tests::of;

mod lists;

/// By the schema of the kind that `live` says it is; of a Deployment if it says nothing.
fn undo(live: &Value, before: &Value, after: &Value) -> Undone {
    let kind = live.get("kind").and_then(Value::as_str).unwrap_or("Deployment");
    let group = if kind == "Deployment" { "apps" } else { "" };
    super::undo(live, before, after, of(group, "v1", kind))
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "812", "generation": 3,
            "labels": {"app": "web", names::RELEASE: "shop", names::REVISION: "6", names::UNDO: "u-6"},
            "annotations": {"deployment.kubernetes.io/revision": "3"},
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {"name": "app", "image": "shop/web:6", "args": ["--port", "80"],
                         "env": [{"name": "MODE", "value": "a"}, {"name": "COLOR", "value": "red"}],
                         "ports": [{"containerPort": 80, "protocol": "TCP"}]},
                        {"name": "proxy", "image": "shop/proxy:2"},
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
        },
        "status": {"replicas": 3},
    })
}

/// What a deployer makes of [`deployment`].
fn upgraded() -> Value {
    let mut after = deployment();
    after["metadata"]["labels"][names::REVISION] = json!("7");
    after["metadata"]["labels"][names::UNDO] = json!("u-7");
    after["metadata"]["labels"]["version"] = json!("7");
    let spec = &mut after["spec"]["template"]["spec"];
    spec["containers"][0]["image"] = json!("shop/web:7");
    spec["containers"][0]["env"] = json!([{"name": "FLAG", "value": "on"}, {"name": "MODE", "value": "b"}]);
    spec["volumes"] = json!([{"name": "cache", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]);
    spec["initContainers"] = json!([{"name": "migrate", "image": "shop/migrate:7"}]);
    after
}

/// What the server makes of what was admitted.
fn stored(admitted: &Value) -> Value {
    let mut live = admitted.clone();
    live["metadata"]["resourceVersion"] = json!("1060");
    live["metadata"]["generation"] = json!(4);
    live["metadata"]["managedFields"] = json!([{"manager": "helm"}]);
    live["status"] = json!({"replicas": 4, "unavailableReplicas": 1});
    live
}

#[test]
fn an_upgrade_that_nobody_else_touched_is_undone_exactly() {
    let live = stored(&upgraded());
    let undone = undo(&live, &deployment(), &upgraded());
    assert!(same(&undone.object, &deployment()), "{:#}", undone.object);
    assert_eq!(undone.overridden, Vec::<String>::new());
}

#[test]
fn what_the_server_owns_stays_live() {
    let live = stored(&upgraded());
    let undone = undo(&live, &deployment(), &upgraded()).object;
    assert_eq!(undone["status"], live["status"]);
    for field in ["resourceVersion", "generation", "managedFields", "uid"] {
        assert_eq!(undone["metadata"][field], live["metadata"][field], "{field}");
    }
}

#[test]
fn what_others_wrote_meanwhile_survives() {
    let mut live = stored(&upgraded());
    live["spec"]["replicas"] = json!(8);
    live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("4");
    live["metadata"]["annotations"]["example.com/seen"] = json!("yes");
    let sidecar = json!({"name": "mesh", "image": "mesh:1"});
    live["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(sidecar.clone());
    let undone = undo(&live, &deployment(), &upgraded());

    let mut expected = deployment();
    expected["spec"]["replicas"] = json!(8);
    expected["metadata"]["annotations"] =
        json!({"deployment.kubernetes.io/revision": "4", "example.com/seen": "yes"});
    expected["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(sidecar);
    assert!(same(&undone.object, &expected), "{:#}", undone.object);
    assert_eq!(undone.overridden, Vec::<String>::new());
}

#[test]
fn where_the_release_and_others_changed_the_same_field_the_state_before_wins_and_is_named() {
    let mut live = stored(&upgraded());
    live["spec"]["template"]["spec"]["containers"][0]["image"] = json!("shop/web:7-hotfix");
    live["spec"]["template"]["spec"]["containers"][0]["env"][1]["value"] = json!("c");
    live["metadata"]["labels"]["version"] = json!("7.1");
    live["spec"]["template"]["spec"]["volumes"][0] =
        json!({"name": "cache", "emptyDir": {"medium": "Memory"}});
    let undone = undo(&live, &deployment(), &upgraded());
    assert!(same(&undone.object, &deployment()), "{:#}", undone.object);
    assert_eq!(
        undone.overridden,
        [
            "metadata.labels.version",
            "spec.template.spec.containers[name=app].env[name=MODE].value",
            "spec.template.spec.containers[name=app].image",
            "spec.template.spec.volumes[name=cache]",
        ]
    );
}

#[test]
fn names_with_dots_are_quoted_in_paths() {
    let config = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"app.conf": value}});
    let undone = undo(&config("theirs"), &config("before"), &config("after"));
    assert_eq!(undone.object, config("before"));
    assert_eq!(undone.overridden, ["data[app.conf]"]);
}

#[test]
fn the_tags_go_back_to_those_before_whatever_is_live() {
    let mut live = stored(&upgraded());
    live["metadata"]["labels"][names::UNDO] = json!("u-forged");
    let mut before = deployment();
    before["metadata"].as_object_mut().unwrap().remove("labels");
    let mut after = upgraded();
    after["metadata"]["labels"] = json!({names::RELEASE: "shop", names::UNDO: "u-7"});
    live["metadata"]["labels"]
        .as_object_mut()
        .unwrap()
        .retain(|label, _| names::TAGS.contains(&label.as_str()));
    let undone = undo(&live, &before, &after);
    assert_eq!(undone.object["metadata"].get("labels"), None);
    assert_eq!(undone.overridden, Vec::<String>::new());
}

#[test]
fn labels_of_others_outlive_the_tags_of_an_object_that_had_no_labels() {
    let object = |labels: Value| json!({"metadata": {"name": "c", "labels": labels}});
    let before = json!({"metadata": {"name": "c"}});
    let undone = undo(
        &object(json!({names::UNDO: "u-7", "theirs": "x"})),
        &before,
        &object(json!({names::UNDO: "u-7", "ours": "x"})),
    );
    assert_eq!(undone.object, object(json!({"theirs": "x"})));
}

#[test]
fn a_map_that_the_release_added_goes_unless_others_have_put_something_in() {
    let config = |data: Value| json!({"metadata": {"name": "c"}, "data": data});
    let before = json!({"metadata": {"name": "c"}});
    let after = config(json!({"a": "1"}));
    assert_eq!(undo(&after, &before, &after).object, before);
    let live = config(json!({"a": "2"}));
    let undone = undo(&live, &before, &after);
    assert_eq!(undone, Undone { object: before.clone(), overridden: vec!["data.a".to_owned()] });
    let live = config(json!({"a": "1", "theirs": "x"}));
    assert_eq!(undo(&live, &before, &after).object, config(json!({"theirs": "x"})));
}

#[test]
fn a_map_that_the_release_removed_comes_back_beside_what_others_put_there() {
    let config = |data: Value| json!({"metadata": {"name": "c"}, "data": data});
    let after = json!({"metadata": {"name": "c"}});
    let before = config(json!({"a": "1"}));
    assert_eq!(undo(&after, &before, &after).object, before);
    let undone = undo(&config(json!({"theirs": "x"})), &before, &after);
    assert_eq!(undone.object, config(json!({"a": "1", "theirs": "x"})));
}

#[test]
fn a_struct_that_others_removed_comes_back_whole_where_the_release_changed_it() {
    let probe = |path: &str| json!({"metadata": {"name": "c"}, "probe": {"get": {"path": path, "port": 80}, "period": 9}});
    let undone = undo(&json!({"metadata": {"name": "c"}}), &probe("/"), &probe("/health"));
    assert_eq!(undone, Undone { object: probe("/"), overridden: vec!["probe".to_owned()] });
}

#[test]
fn a_plain_map_that_others_emptied_gets_back_only_what_the_release_changed() {
    let notes = |notes: Value| json!({"metadata": {"name": "c", "annotations": notes}});
    let none = json!({"metadata": {"name": "c"}});
    let (before, after) = (notes(json!({"x": "1"})), notes(json!({"x": "1", "new": "1"})));
    assert_eq!(undo(&notes(json!({"new": "1"})), &before, &after).object, notes(json!({})));
    assert_eq!(undo(&none, &before, &after), Undone { object: none.clone(), overridden: Vec::new() });
    let undone = undo(&none, &before, &notes(json!({"x": "2"})));
    assert_eq!(undone, Undone { object: before, overridden: vec!["metadata.annotations.x".to_owned()] });
}

#[test]
fn the_live_version_and_kind_stay() {
    let object = |version: &str| json!({"apiVersion": version, "kind": "X", "metadata": {"name": "x"}});
    assert_eq!(undo(&object("b/v1"), &object("a/v1"), &object("c/v1")).object, object("b/v1"));
}

#[test]
fn a_scale_is_undone_and_says_so_if_others_scaled_since() {
    let scaled =
        |replicas: i64| json!({"kind": "Deployment", "spec": {"replicas": replicas, "paused": true}});
    let replicas = Replicas { before: 3, after: 0 };
    for live in [0, 3] {
        let undone = undo_replicas(&scaled(live), replicas);
        assert_eq!(undone, Undone { object: scaled(3), overridden: Vec::new() });
    }
    let undone = undo_replicas(&scaled(5), replicas);
    assert_eq!(undone, Undone { object: scaled(3), overridden: vec!["spec.replicas".to_owned()] });
}

#[test]
fn the_body_to_create_has_nothing_of_the_server_and_all_of_the_users() {
    let mut image = deployment();
    let metadata = &mut image["metadata"];
    metadata["finalizers"] = json!(["example.com/f"]);
    metadata["ownerReferences"] = json!([{"uid": "o"}]);
    for field in SERVER_METADATA {
        metadata[field] = json!("x");
    }
    let body = to_create(&image);
    let mut fields: Vec<_> = body["metadata"].as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["annotations", "finalizers", "labels", "name", "namespace", "ownerReferences"]);
    assert_eq!(body["metadata"]["labels"], image["metadata"]["labels"]);
    assert_eq!(body.get("status"), None);
    assert_eq!(body["spec"], image["spec"]);
    assert!(same(&body, &image));
}

#[test]
fn a_job_is_created_again_without_the_selector_of_its_old_uid() {
    let labels = json!({"batch.kubernetes.io/controller-uid": "u", "controller-uid": "u", "job-name": "j"});
    let mut job = json!({"kind": "Job", "metadata": {"name": "j"}, "spec": {
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
        "template": {"metadata": {"labels": labels}},
    }});
    let spec = json!({"template": {"metadata": {"labels": {"job-name": "j"}}}});
    assert_eq!(to_create(&job)["spec"], spec);
    job["spec"]["manualSelector"] = json!(true);
    assert_eq!(to_create(&job)["spec"], job["spec"]);
}

#[test]
fn tags_count_for_sameness_and_what_the_server_owns_does_not() {
    let mut other = stored(&deployment());
    assert!(same(&deployment(), &other));
    other["metadata"]["labels"][names::UNDO] = json!("u-8");
    assert!(!same(&deployment(), &other));
    other = deployment();
    other["spec"]["paused"] = json!(true);
    assert!(!same(&deployment(), &other));
    assert!(!same(&other, &deployment()));
}
