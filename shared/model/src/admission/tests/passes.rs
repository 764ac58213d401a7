use serde_json::{Value, json};

use super::*;
use crate::{identity::Exempt, names};

#[test]
fn a_write_that_changes_nothing_gets_the_old_tags_back() {
    let tags = json!({"app": "web", names::RELEASE: "shop", names::REVISION: "4", names::UNDO: "u-1"});
    let forged = json!({"app": "web", names::RELEASE: "mine", names::UNDO: "u-1"});
    for (old, new, expected) in [
        (tags.clone(), tags.clone(), json!(null)),
        (
            tags,
            forged.clone(),
            json!([{"op": "add", "path": "/metadata/labels/backout.dev~1release", "value": "shop"},
                   {"op": "add", "path": "/metadata/labels/backout.dev~1revision", "value": "4"}]),
        ),
        (
            json!({"app": "web"}),
            forged,
            json!([{"op": "remove", "path": "/metadata/labels/backout.dev~1release"},
                   {"op": "remove", "path": "/metadata/labels/backout.dev~1undo"}]),
        ),
        (json!(null), json!({names::UNDO: "u-1"}), json!([{"op": "remove", "path": "/metadata/labels"}])),
        (
            json!({names::UNDO: "u-1"}),
            json!(null),
            json!([{"op": "add", "path": "/metadata/labels", "value": {names::UNDO: "u-1"}}]),
        ),
        (json!(null), json!({}), json!(null)),
    ] {
        let mut new = deployment(&new, 1);
        new["metadata"]["managedFields"] = json!([{"manager": "other"}]);
        new["status"] = json!({"replicas": 7});
        decide(&update(&deployment(&old, 1), &new), None, |decision| match decision {
            Decision::Pass { why: Pass::NoChange, patch } => assert_eq!(operations(patch.as_ref()), expected),
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn a_put_of_another_resource_version_cannot_commit_and_leaves_no_record() {
    let old = deployment(&json!({}), 1);
    let mut new = deployment(&json!({}), 2);
    new["metadata"]["resourceVersion"] = json!("811");
    assert_eq!(passed(&update(&old, &new)), Pass::CannotCommit);
    for version in [json!("812"), json!(""), json!(null)] {
        new["metadata"]["resourceVersion"] = version;
        recording(&update(&old, &new), None, |recording| {
            assert_eq!(recording.draft.header.resource_version.as_deref(), Some("812"));
        });
    }
}

#[test]
fn what_is_no_deployers_write_passes_untouched() {
    let write = update(&deployment(&json!({}), 1), &deployment(&json!({}), 2));
    let with = |key: &str, value: Value| {
        let mut review = write.clone();
        review["request"][key] = value;
        passed(&review)
    };
    assert_eq!(with("dryRun", json!(true)), Pass::Exempt(Exempt::DryRun));
    assert_eq!(with("subResource", json!("status")), Pass::OtherOperation);
    assert_eq!(with("operation", json!("CONNECT")), Pass::OtherOperation);
    assert_eq!(with("userInfo", json!({"username": "system:node:a"})), Pass::Exempt(Exempt::Component));
    let mut cluster_scoped = write.clone();
    cluster_scoped["request"]["namespace"] = json!("");
    for image in ["object", "oldObject"] {
        cluster_scoped["request"][image]["metadata"].as_object_mut().unwrap().remove("namespace");
    }
    assert_eq!(passed(&cluster_scoped), Pass::ClusterScoped);
}
