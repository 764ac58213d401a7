use serde_json::{Value, json};

use super::*;
use crate::{names, release::Phase, undo::Operation};

#[test]
fn an_update_is_recorded_with_both_images_and_the_object_is_tagged() {
    let previous = "u-0123456789012345678901234567890123456789";
    let old = deployment(&json!({"app": "web", names::UNDO: previous}), 1);
    let new = deployment(&json!({"app": "web", names::UNDO: previous}), 2);
    recording(&update(&old, &new), None, |recording| {
        let header = &recording.draft.header;
        assert_eq!(header.operation, Operation::Update);
        assert_eq!(header.object.to_string(), "Deployment shop/web");
        assert_eq!(header.object.api_version(), "apps/v1");
        assert_eq!((header.uid.as_deref(), header.resource_version.as_deref()), (Some("d-1"), Some("812")));
        assert_eq!(header.undo.as_ref().unwrap().as_str(), previous);
        assert_eq!(header.release.to_string(), "shop/shop");
        assert_eq!((header.revision, header.release_uid.as_deref()), (1, None));
        assert_eq!((header.user.as_str(), header.tool.as_str()), ("alice", "kubectl-edit"));
        assert_eq!(
            operations(recording.patch.as_ref()),
            json!([
                {"op": "add", "path": "/metadata/labels/backout.dev~1release", "value": "shop"},
                {"op": "add", "path": "/metadata/labels/backout.dev~1revision", "value": "1"},
                {"op": "add", "path": "/metadata/labels/backout.dev~1undo", "value": recording.draft.name.as_str()},
            ])
        );
    });
}

#[test]
fn a_creation_is_recorded_without_a_before_image() {
    let mut new = deployment(&Value::Null, 1);
    for field in ["labels", "uid", "resourceVersion"] {
        new["metadata"].as_object_mut().unwrap().remove(field);
    }
    recording(&review("CREATE", &Value::Null, &new), None, |recording| {
        let header = &recording.draft.header;
        assert_eq!(header.operation, Operation::Create);
        assert_eq!((&header.uid, &header.resource_version, &header.generate_name), (&None, &None, &None));
        assert_eq!(header.request, "r-1");
        let patch = operations(recording.patch.as_ref());
        assert_eq!(patch[0]["path"], "/metadata/labels");
        assert_eq!(patch[0]["value"][names::UNDO], recording.draft.name.as_str());
    });
}

#[test]
fn an_object_without_a_name_is_recorded_by_the_beginning_of_its_name() {
    let mut new = deployment(&json!({}), 1);
    new["metadata"] = json!({"generateName": "web-", "namespace": "shop"});
    let mut review = review("CREATE", &Value::Null, &new);
    review["request"]["name"] = json!("");
    recording(&review, None, |recording| {
        assert_eq!(recording.draft.header.object.key.name, "");
        assert_eq!(recording.draft.header.generate_name.as_deref(), Some("web-"));
    });
}

#[test]
fn a_deletion_is_recorded_and_never_patched_even_by_deletecollection() {
    let mut review = review("DELETE", &deployment(&json!({}), 1), &Value::Null);
    review["request"]["name"] = json!("");
    review["request"]["options"] = json!({"kind": "DeleteOptions"});
    recording(&review, None, |recording| {
        assert_eq!(recording.draft.header.operation, Operation::Delete);
        assert_eq!(recording.draft.header.object.key.name, "web");
        assert_eq!(recording.draft.header.tool, "");
        assert_eq!(recording.patch, None);
    });
}

#[test]
fn a_scale_is_recorded_for_the_scaled_object_and_has_nothing_to_tag() {
    let scale = |spec: Value| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": spec,
               "metadata": {"name": "web", "namespace": "shop", "uid": "d-1", "resourceVersion": "812"}})
    };
    let review = |old: Value, new: Value| {
        let mut review = update(&scale(old), &scale(new));
        review["request"]["subResource"] = json!("scale");
        review["request"]["kind"] = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        review
    };
    recording(&review(json!({"replicas": 3}), json!({})), None, |recording| {
        let header = &recording.draft.header;
        assert_eq!(header.operation, Operation::Scale);
        assert_eq!(header.object.to_string(), "Deployment shop/web");
        let replicas = header.replicas.unwrap();
        assert_eq!((replicas.before, replicas.after), (3, 0));
        assert_eq!(recording.patch, None);
    });
    assert_eq!(passed(&review(json!({"replicas": 3}), json!({"replicas": 3}))), Pass::NoChange);
}

#[test]
fn tags_that_a_user_brings_are_overwritten() {
    let forged = json!({names::RELEASE: "other", names::REVISION: "9", names::UNDO: "u-9"});
    recording(&review("CREATE", &Value::Null, &deployment(&forged, 1)), None, |recording| {
        let patch = operations(recording.patch.as_ref());
        let values: Vec<_> =
            patch.as_array().unwrap().iter().map(|op| op["value"].as_str().unwrap()).collect();
        assert_eq!(values, ["shop", "1", recording.draft.name.as_str()]);
    });
}

#[test]
fn removing_a_finalizer_of_a_terminating_object_is_an_update_like_any_other() {
    let mut old = deployment(&json!({}), 1);
    old["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut new = old.clone();
    old["metadata"]["finalizers"] = json!(["example.com/f"]);
    new["metadata"]["finalizers"] = json!([]);
    recording(&update(&old, &new), None, |recording| {
        assert_eq!(recording.draft.header.operation, Operation::Update);
    });
}

#[test]
fn the_revision_is_that_of_the_releases_next_write() {
    let write = update(&deployment(&json!({}), 1), &deployment(&json!({}), 2));
    for (phase, revision, warned) in [
        (Phase::Open, 7, false),
        (Phase::Soaking, 7, false),
        (Phase::Healthy, 8, true),
        (Phase::RolledBack, 8, true),
    ] {
        let release = release(ReleaseStatus { phase: Some(phase), revision: 7, ..Default::default() });
        recording(&write, Some(&release), |recording| {
            assert_eq!(recording.draft.header.revision, revision);
            // The Release may have been deleted since the webhook saw it at rest.
            let uid = (!warned).then_some("rel-1");
            assert_eq!(recording.draft.header.release_uid.as_deref(), uid);
            assert_eq!(recording.warning.is_some(), warned, "{phase:?}");
        });
    }
}
