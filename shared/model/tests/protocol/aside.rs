//! One failing pod is kept for a person to look into.

use std::time::Duration;

use backout_model::{names, release::Phase};
use serde_json::{Value, json};

use super::world::{FOREVER, World, bad_upgrade, healthy, key, seconds};

use Phase::{RolledBack, RollingBack};

/// A failed upgrade with a pod that fails, of an owner of this kind, to be kept for two minutes.
fn failed(owner: &str) -> World {
    let mut world = healthy();
    world.policy.keep_failing_pod = Duration::from_mins(2);
    bad_upgrade(&mut world);
    let uid = world.objects[&key("ConfigMap", "a")]["metadata"]["uid"].clone();
    world.pods.push(json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "a-1", "namespace": "shop", "uid": "pod", "resourceVersion": "7", "labels": {"app": "a"},
            "annotations": {"note": "mine"},
            "ownerReferences": [{"kind": owner, "name": "a", "uid": uid, "controller": true}]},
        "spec": {"nodeName": "node"}, "status": {"phase": "Running"}}));
    world.until(RollingBack);
    world
}

fn told(world: &World, reason: &str) -> usize {
    world.notices.iter().filter(|notice| notice.reason == reason).count()
}

#[test]
fn a_failing_pod_is_taken_out_before_anything_is_restored_and_deleted_when_its_time_is_over() {
    for dies_after in [FOREVER, 0, 1, 2] {
        let mut world = failed("ReplicaSet");
        let mut turn = 0;
        world.run(60, || {
            turn += 1;
            if turn % 3 == 0 { dies_after } else { FOREVER }
        });
        assert_eq!(world.status.phase, Some(RolledBack), "{dies_after}");
        assert_eq!(world.written[0], ("set aside".to_owned(), "a-1".to_owned()), "{:?}", world.written);
        assert_eq!(world.written.iter().filter(|(what, _)| what == "set aside").count(), 1);
        let aside = world.status.aside.clone().unwrap();
        assert_eq!((aside.revision, aside.uid.as_str()), (2, "pod"));
        let metadata = &world.pods[0]["metadata"];
        assert_eq!(metadata["labels"], json!({names::ASIDE: "shop"}));
        let owner = &metadata["ownerReferences"][0];
        assert_eq!((&owner["kind"], &owner["controller"]), (&json!("Release"), &Value::Null));
        let until = aside.until.0.to_string();
        assert_eq!(metadata["annotations"], json!({"note": "mine", names::ASIDE_UNTIL: until}));
        assert_eq!(told(&world, "PodKept"), 1, "{:?}", world.notices);
        world.run(120, || FOREVER);
        assert_eq!((world.pods.len(), &world.status.aside), (0, &None));
    }
}

#[test]
fn a_pod_whose_place_its_workload_needs_is_not_taken_and_people_are_told() {
    let mut world = failed("StatefulSet");
    world.run(60, || FOREVER);
    assert_eq!((world.status.phase, &world.status.aside), (Some(RolledBack), &None));
    assert_eq!(world.pods[0]["metadata"]["labels"], json!({"app": "a"}));
    assert_eq!((told(&world, "PodKept"), told(&world, "NoPodKept")), (0, 1));
}

#[test]
fn none_is_kept_unasked() {
    let mut world = failed("ReplicaSet");
    world.policy.keep_failing_pod = Duration::ZERO;
    world.run(60, || FOREVER);
    assert_eq!((world.status.phase, &world.status.aside), (Some(RolledBack), &None));
    assert_eq!(
        (world.pods[0]["metadata"]["labels"] == json!({"app": "a"}), told(&world, "NoPodKept")),
        (true, 0)
    );
}

#[test]
fn a_pod_that_cannot_be_taken_out_holds_up_nothing_for_long() {
    let mut world = failed("DaemonSet");
    world.keeps_pods = true;
    let begin = world.now;
    while world.written.is_empty() {
        world.run(1, || FOREVER);
    }
    let waited = world.now.duration_since(begin);
    assert!(seconds(14) <= waited && waited <= seconds(18), "{waited}");
    assert_eq!((told(&world, "NoPodKept"), &world.status.aside), (1, &None));
    world.run(60, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
}

#[test]
fn one_that_somebody_deleted_or_gave_back_is_forgotten() {
    let mut world = failed("ReplicaSet");
    world.run(60, || FOREVER);
    world.pods.clear();
    world.run(5, || FOREVER);
    assert_eq!(world.status.aside, None);
}
