//! Kinds that do not come back by their spec alone.

use backout_model::{
    protocol::Notice,
    rollback::{Options, Write},
};
use serde_json::{Value, json};

use super::story::*;

fn job(uid: &str, version: u32, pointer: u8, condition: Option<&str>) -> Value {
    let mut job = stored("batch", "Job", uid, version, Some(pointer), "one");
    job["status"] = json!({"conditions": [{"type": condition, "status": "True"}]});
    job
}

#[test]
fn a_job_that_had_ended_is_not_created_again() {
    for end in ["Complete", "Failed"] {
        let deleted = || Story::of("batch", "Job").deleted(job("u1", 5, 9, Some(end)));
        assert!(deleted().left().contains("would run again"));
        let replaced = deleted().created(job("", 0, 2, None));
        assert_eq!(replaced.now(job("u2", 25, 2, None)).write(), deletion("u2", "25", true));
    }
    for state in [None, Some("Suspended"), Some("SuccessCriteriaMet")] {
        let running = Story::of("batch", "Job").deleted(job("u1", 5, 9, state));
        assert!(matches!(running.write(), Write::Create { .. }));
    }
    // A custom resource of that name ends in its own ways.
    let mut other = job("u1", 5, 9, Some("Complete"));
    other["apiVersion"] = json!("example.com/v1");
    assert!(matches!(Story::of("example.com", "Job").deleted(other).write(), Write::Create { .. }));
}

#[test]
fn a_job_that_has_gone_by_itself_is_not_created_again() {
    let passing = |ttl: Option<u32>| {
        let mut job = job("u1", 5, 9, None);
        job["spec"] = json!({"ttlSecondsAfterFinished": ttl});
        if ttl.is_none() {
            job["spec"] = json!({});
        }
        let mut labelled = job.clone();
        labelled["metadata"]["labels"]["a"] = json!("b");
        Story::of("batch", "Job").updated(job.clone(), labelled.clone())
    };
    assert!(passing(Some(60)).left().contains("would run again"));
    assert!(matches!(passing(None).write(), Write::Create { .. }));
    let deleted = passing(Some(60)).deleted(passing(Some(60)).proofs.values().find_map(after).unwrap());
    assert!(matches!(deleted.write(), Write::Create { .. }));
}

fn after(proof: &backout_model::rollback::Proof) -> Option<Value> {
    proof.record()?.body.after.clone()
}

#[test]
fn what_was_made_immutable_makes_way_for_what_it_was() {
    for kind in ["ConfigMap", "Secret"] {
        let state = |version, pointer, text, immutable: Option<bool>| {
            let mut object = stored("", kind, "u1", version, Some(pointer), text);
            if let Some(immutable) = immutable {
                object["immutable"] = json!(immutable);
            }
            object
        };
        let made = |before: Option<bool>| {
            let change = (state(5, 9, "one", before), state(5, 9, "two", Some(true)));
            Story::of("", kind).updated(change.0, change.1)
        };
        for before in [None, Some(false)] {
            let live = made(before).now(state(15, 1, "two", Some(true)));
            assert_eq!(live.write(), deletion("u1", "15", true));
            let Write::Create { body } = made(before).write() else { panic!("it is not made again") };
            assert_eq!(
                (&body["data"]["text"], body.get("immutable")),
                (&json!("one"), before.map(Value::from).as_ref())
            );
        }
        // Immutable before and after: only its metadata can have changed, and that goes back in place.
        let labelled =
            Story::of("", kind).updated(state(5, 9, "one", Some(true)), state(5, 9, "one", Some(true)));
        assert!(matches!(labelled.now(state(15, 1, "one", Some(true))).write(), Write::Update { .. }));
    }
}

#[test]
fn pods_that_a_daemon_set_keeps_until_they_are_deleted_are_deleted_if_the_revision_made_them() {
    let set = |strategy: &str| {
        let mut set = stored("apps", "DaemonSet", "u1", 20, Some(9), "one");
        set["metadata"]["generation"] = json!(4);
        set["metadata"]["annotations"] = json!({"deprecated.daemonset.template.generation": "3"});
        set["spec"] = json!({"updateStrategy": {"type": strategy}});
        set["status"] = json!({"observedGeneration": 4});
        set
    };
    let pod = |name: &str, generation: &str, created: &str| {
        json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "7",
            "creationTimestamp": created, "labels": {"pod-template-generation": generation},
            "ownerReferences": [{"uid": "u1", "controller": true}]}})
    };
    let (before, during) = ("2026-01-01T00:59:00Z", "2026-01-01T01:00:05Z");
    let pods = [pod("web-old", "1", before), pod("web-bad", "2", during), pod("web-new", "3", during)];
    let freed = |strategy: &str| {
        let story = Story::of("apps", "DaemonSet").updated(set(strategy), set(strategy)).now(set(strategy));
        let plan = story.plan_with(&pods, Options::default());
        assert_eq!(plan.waiting, []);
        plan.writes.into_iter().map(|restore| restore.object.key.name).collect::<Vec<_>>()
    };
    assert_eq!(freed("OnDelete"), ["web-bad"]);
    assert_eq!(freed("RollingUpdate"), Vec::<String>::new());
}

#[test]
fn that_an_object_is_another_one_than_before_is_told() {
    let told = |story: Story| {
        let plan = story.plan();
        let [restore] = &plan.writes[..] else { panic!("{plan:#?}") };
        Notice::of_restore(restore)
            .map(|notice| (notice.reason, notice.about == Some(restore.object.clone())))
    };
    assert_eq!(told(Story::map().deleted(map("u1", 5, Some(9), "one"))), Some(("CreatedAgain", true)));
    let updated = || Story::map().updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two"));
    assert_eq!(told(updated().now(map("u1", 15, Some(1), "two"))), None);
    assert_eq!(told(updated().now(map("u1", 15, Some(1), "mine"))), Some(("Overridden", true)));
}
