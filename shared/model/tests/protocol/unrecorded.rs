//! What deployers wrote past the webhook: nothing is undone by half, and people are told.

use std::collections::BTreeMap;

use backout_model::{
    names::{ReleaseKey, ReleaseName},
    object::{ObjectKey, ObjectRef},
    protocol::{Effect, Observed, Survey},
    release::{Phase, Subject},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::admissionregistration::v1::MutatingWebhookConfiguration,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Value, json};

use super::world::{FOREVER, World, bad_upgrade, data, healthy, reference, seconds};

use Phase::{Healthy, Held, Open, Progressing, RolledBack, RollingBack, Soaking};

fn shop() -> ReleaseKey {
    ReleaseKey::new("shop", ReleaseName::from_mark("shop").unwrap())
}

fn past_webhook() -> ObjectRef {
    reference("Deployment", "web")
}

/// A failed upgrade of which one object was written past the webhook.
fn failed() -> World {
    let mut world = healthy();
    world.past_webhook = Some(vec![past_webhook()]);
    bad_upgrade(&mut world);
    world.run(120, || FOREVER);
    world
}

#[test]
fn what_is_not_recorded_as_a_whole_is_not_rolled_back_and_people_are_told_of_what() {
    let mut world = failed();
    assert_eq!(world.phases, [Open, RollingBack, Held]);
    assert!(world.written.is_empty(), "{:?}", world.written);
    assert_eq!(world.status.unrecorded, [Subject::from(&past_webhook())]);
    let message = &world.status.message;
    assert!(message.starts_with("Not rolled back, Deployment shop/web: it was written while"), "{message}");
    assert_eq!(world.status.evidence.as_deref(), Some("evidence"));
    assert_eq!(world.status.fence, None);
    world.run(500, || FOREVER);
    assert_eq!(world.phases, [Open, RollingBack, Held]);
}

#[test]
fn by_hand_the_rest_is_undone_and_what_stays_is_listed() {
    let before = healthy().state();
    let mut world = failed();
    world.request = Some("rollback");
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, RollingBack, Held, RollingBack, RolledBack]);
    assert_eq!(world.state(), before);
    let listed: Vec<_> = world.status.unrestored.iter().map(|it| &it.object).collect();
    assert_eq!(listed, [&Subject::from(&past_webhook())]);
}

#[test]
fn who_accepts_it_beforehand_has_the_rest_undone_at_once() {
    let mut world = healthy();
    world.policy.accept_unverified = true;
    world.past_webhook = Some(vec![past_webhook()]);
    bad_upgrade(&mut world);
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, RollingBack, RolledBack]);
    assert_eq!(world.status.unrestored.len(), 1, "{:?}", world.status.unrestored);
}

#[test]
fn one_that_is_judged_again_and_fails_again_is_held_again() {
    let mut world = failed();
    world.request = Some("resume");
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, RollingBack, Held, Progressing, Held]);
    assert!(world.written.is_empty(), "{:?}", world.written);
}

#[test]
fn a_healthy_revision_tells_what_could_not_have_been_undone() {
    let mut world = healthy();
    world.past_webhook = Some(vec![past_webhook()]);
    world.deploy("ConfigMap", "a", data("two"));
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, Soaking, Healthy]);
    assert_eq!(world.status.unrecorded, [Subject::from(&past_webhook())]);
    let told: Vec<_> = world.notices.iter().filter(|it| it.reason == "WrittenUnrecorded").collect();
    assert_eq!(told.len(), 1, "{:?}", world.notices);
    world.past_webhook = None;
    world.deploy("ConfigMap", "a", data("three"));
    world.run(120, || FOREVER);
    assert!(world.status.unrecorded.is_empty());
}

#[test]
fn it_is_looked_for_before_anything_is_touched_and_not_again_once_the_rollback_has_begun() {
    let mut world = healthy();
    world.past_webhook = Some(Vec::new());
    bad_upgrade(&mut world);
    world.until(RollingBack);
    let (decision, _) = world.look(FOREVER);
    assert_eq!(decision.effects, [Effect::Survey]);
    world.look(FOREVER);
    world.look(FOREVER);
    assert!(world.status.evidence.is_some());
    // Written meanwhile, or found by the next watcher: it is too late to undo nothing.
    world.past_webhook = Some(vec![past_webhook()]);
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, RollingBack, RolledBack]);
}

/// An upgrade that has begun long after anything else.
fn begun() -> Observed {
    let mut world = healthy();
    world.now = World::new().now + seconds(200);
    world.status.history.clear();
    world.deploy("ConfigMap", "a", data("two"));
    world.observe()
}

/// An object of the release as a list tells of it, with what one manager did to it so many seconds after the first record.
fn listed(manager: &str, subresource: &str, after: i64, metadata: Value) -> ObjectMeta {
    let at = World::new().now + seconds(200 + after);
    let mut metadata = metadata;
    metadata["managedFields"] = json!([
        {"manager": manager, "operation": "Update", "subresource": subresource, "time": at.to_string()}
    ]);
    serde_json::from_value(metadata).unwrap()
}

#[test]
fn a_write_without_a_record_is_a_deployers_to_an_object_of_the_release_since_it_began() {
    let (release, seen) = (shop(), begun());
    let survey = Survey::of(&release, &seen).unwrap();
    let settle = i64::try_from(seen.policy.settle.as_secs()).unwrap();
    let label = |key: &str, value: &str| {
        let labels: BTreeMap<_, _> = [(key, value)].into();
        json!({"labels": labels})
    };
    let controlled = json!({"ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u", "controller": true}]});
    for (what, kind, name, metadata, unrecorded) in [
        ("by a deployer", "Deployment", "web", listed("kubectl-set", "", 1, json!({})), true),
        ("just before", "Deployment", "web", listed("helm", "", -settle, json!({})), true),
        ("long before", "Deployment", "web", listed("helm", "", -settle - 1, json!({})), false),
        ("scaled", "Deployment", "web", listed("kubectl", "scale", 1, json!({})), true),
        ("status", "Deployment", "web", listed("kubectl", "status", 1, json!({})), false),
        ("by an operator", "Deployment", "web", listed("operator", "", 1, json!({})), false),
        ("by a controller", "Deployment", "web", listed("kube-controller-manager", "", 1, json!({})), false),
        ("controlled", "Deployment", "web", listed("kubectl", "", 1, controlled), false),
        ("with its record", "ConfigMap", "a", listed("kubectl", "", 0, json!({})), false),
        ("after its record", "ConfigMap", "a", listed("kubectl", "", 2, json!({})), true),
        (
            "of another release",
            "Deployment",
            "web",
            listed("kubectl", "", 1, label("backout.dev/release-name", "other")),
            false,
        ),
        ("Helm's own", "Secret", "sh.helm.release.v1.shop.v2", listed("helm", "", 1, json!({})), true),
        ("another's", "Secret", "sh.helm.release.v1.web.v2", listed("helm", "", 1, json!({})), false),
    ] {
        let ObjectRef { key, .. } = reference(kind, name);
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..metadata };
        assert_eq!(survey.is_unrecorded(&key, &metadata), unrecorded, "{what}");
    }
    let event = ObjectKey { resource: "events".into(), ..reference("Secret", "x").key };
    assert!(!survey.is_unrecorded(&event, &listed("kubectl", "", 1, json!({}))));
}

#[test]
fn there_is_nothing_to_look_for_where_the_webhook_has_failed_closed_all_the_time() {
    let (release, seen) = (shop(), begun());
    let survey = Survey::of(&release, &seen).unwrap();
    let registration = |policies: [Option<&str>; 2],
                        manager: &str,
                        after: i64|
     -> MutatingWebhookConfiguration {
        let at: Timestamp = World::new().now + seconds(200 + after);
        let webhooks = policies.map(|policy| {
            json!({"name": "a.b.c", "admissionReviewVersions": ["v1"], "clientConfig": {}, "sideEffects": "None",
                "failurePolicy": policy})
        });
        let fields = json!([{"manager": manager, "operation": "Update", "time": at.to_string()}]);
        let body = json!({"metadata": {"name": "x", "managedFields": fields}, "webhooks": webhooks});
        serde_json::from_value(body).unwrap()
    };
    let (closed, open) = ([Some("Fail"), None], [Some("Fail"), Some("Ignore")]);
    for (policies, manager, after, needed) in [
        (closed, "kubectl", -1000, false),
        (closed, "backout", 1, false),
        (closed, "kubectl", 1, true),
        (open, "kubectl", -1000, true),
    ] {
        let registration = registration(policies, manager, after);
        assert_eq!(survey.is_needed(Some(&registration)), needed, "{policies:?} {manager} {after}");
    }
    assert!(survey.is_needed(None));
}
