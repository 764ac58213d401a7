//! What others do to the objects of a release meanwhile, and releases to each other.

use std::time::Duration;

use super::world::{FOREVER, World, bad_upgrade, data, failed_job, healthy, key, seconds};
use backout_model::release::{Phase, Policy};
use serde_json::json;

use Phase::{Healthy, Held, Notified, RolledBack, RollingBack};

#[test]
fn an_object_of_the_release_that_somebody_else_deletes_is_missed() {
    for existed in [true, false] {
        let mut world = if existed { healthy() } else { World::new() };
        world.deploy("ConfigMap", "a", data("two"));
        world.run(3, || FOREVER);
        world.outside_delete("ConfigMap", "a");
        world.run(200, || FOREVER);
        assert_eq!(
            world.status.failure.as_ref().map(|it| it.reason.as_str()),
            Some("Disappeared"),
            "{existed}"
        );
    }
}

#[test]
fn what_an_outsider_makes_where_the_release_had_made_something_stays() {
    let mut world = healthy();
    bad_upgrade(&mut world);
    world.until(RollingBack);
    world.outside_delete("ConfigMap", "c");
    world.outside_create("ConfigMap", "c", &json!({"data": {"text": "theirs"}}));
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(world.text("c"), json!("theirs"));
    assert!(!world.written.iter().any(|(object, _)| object == "ConfigMap shop/c"));
}

#[test]
fn an_object_that_its_operator_makes_again_each_time_is_deleted_once() {
    let mut world = healthy();
    bad_upgrade(&mut world);
    world.until(RollingBack);
    for _ in 0..200 {
        world.look(FOREVER);
        if !world.objects.contains_key(&key("ConfigMap", "c")) {
            world.outside_create("ConfigMap", "c", &json!({"data": {"text": "theirs"}}));
        }
    }
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(world.written.iter().filter(|(object, _)| object == "ConfigMap shop/c").count(), 1);
}

#[test]
fn an_outsiders_object_in_the_place_of_a_deleted_one_is_not_touched() {
    let mut world = World::new();
    world.outside_create("ConfigMap", "a", &json!({"data": {"text": "one"}}));
    world.deploy("ConfigMap", "a", None);
    world.deploy("Job", "migrate", failed_job());
    world.until(RollingBack);
    world.outside_create("ConfigMap", "a", &json!({"data": {"text": "theirs"}}));
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(world.text("a"), json!("theirs"));
    assert!(!world.written.iter().any(|(object, _)| object == "ConfigMap shop/a"), "{:?}", world.written);
    assert!(world.status.unrestored[0].reason.contains("replaced"), "{:?}", world.status.unrestored);
}

#[test]
fn a_rollback_that_is_refused_goes_on_with_the_rest_and_gives_way_to_the_next_revision() {
    let mut world = healthy();
    bad_upgrade(&mut world);
    world.refused.insert(key("ConfigMap", "a"));
    world.run(1000, || FOREVER);
    assert_eq!(world.status.phase, Some(RollingBack));
    assert!(world.status.message.contains("ConfigMap shop/a"), "{}", world.status.message);
    assert!(!world.state().contains_key("configmaps/c"), "the rest is restored");
    world.deploy("ConfigMap", "a", data("three"));
    world.run(200, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 3));
    assert_eq!(world.text("a"), json!("three"));
}

#[test]
fn a_refused_rollback_gives_way_to_a_write_of_another_object_too_but_not_at_once() {
    let mut world = healthy();
    let before = world.state();
    bad_upgrade(&mut world);
    world.refused.insert(key("ConfigMap", "a"));
    world.run(30, || FOREVER);
    world.deploy("ConfigMap", "x", data("fix"));
    world.run(20, || FOREVER);
    assert_eq!(world.status.phase, Some(RollingBack));
    world.run(60, || FOREVER);
    assert_eq!(world.status.revision, 3);
    // The target of the next rollback is still the last healthy state.
    world.refused.clear();
    world.deploy("Job", "again", failed_job());
    world.run(200, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(RolledBack), 3));
    assert_eq!(world.state(), before);
}

#[test]
fn to_suspend_a_release_ends_its_rollback() {
    let mut world = healthy();
    bad_upgrade(&mut world);
    world.refused.insert(key("ConfigMap", "a"));
    world.run(30, || FOREVER);
    world.policy.suspend = true;
    world.written.clear();
    world.run(60, || FOREVER);
    assert_eq!(world.status.phase, Some(Notified));
    assert_eq!(world.written, []);
}

#[test]
fn what_is_kept_does_not_count_as_holding_up_the_rollback() {
    let mut world = healthy();
    bad_upgrade(&mut world);
    world.deploy("PersistentVolumeClaim", "disk", Some(json!({"spec": {}})));
    world.until(RollingBack);
    let (decision, _) = world.look(0);
    assert!(decision.status.message.starts_with("Rolling back: "), "{}", decision.status.message);
    let stalled = decision.status.conditions.iter().find(|it| it.type_ == "Stalled").unwrap();
    assert_eq!(stalled.status, "False");
}

#[test]
fn a_record_is_confirmed_for_good_even_when_the_ones_that_name_it_are_collected() {
    let mut world = healthy();
    let before = world.state();
    world.deploy("ConfigMap", "a", data("two"));
    world.admit("ConfigMap", "a", data("never"));
    world.outside("ConfigMap", "a", |a| a["metadata"]["annotations"] = json!({"x": "y"}));
    world.deploy("Job", "migrate", failed_job());
    world.until(RollingBack);
    // Dies between the PUT and the patch of the owners, and is away for a while.
    while world.text("a") != json!("one") {
        world.look(1);
    }
    world.restart();
    world.now += seconds(60);
    world.run(100, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(
        world.state()["configmaps/a"]["metadata"]["managedFields"],
        before["configmaps/a"]["metadata"]["managedFields"]
    );
}

#[test]
fn restored_objects_are_watched_until_they_are_ready_again() {
    let set = |text: &str, ready: i64| {
        Some(json!({"spec": {"replicas": 1, "text": text}, "status": {"replicas": 1, "updatedReplicas": 1,
            "readyReplicas": ready, "availableReplicas": ready,
            "conditions": [{"type": "Available", "status": if ready > 0 { "True" } else { "False" }}]}}))
    };
    for recovers in [true, false] {
        let mut world = World::new();
        world.deploy("Deployment", "web", set("one", 1));
        world.run(120, || FOREVER);
        assert_eq!(world.status.phase, Some(Healthy));
        world.deploy("Deployment", "web", set("two", 0));
        world.deploy("Job", "migrate", failed_job());
        world.run(60, || FOREVER);
        assert_eq!(world.status.phase, Some(RolledBack));
        assert_eq!(world.status.ready, "0/1");
        let written = world.written.len();
        if recovers {
            world.outside("Deployment", "web", |web| web["status"] = set("", 1).unwrap()["status"].clone());
        }
        world.run(700, || FOREVER);
        assert_eq!(world.status.ready, if recovers { "1/1" } else { "0/1" });
        assert!(
            world.status.message.contains(if recovers { "1/1" } else { "0/1" }),
            "{}",
            world.status.message
        );
        assert_eq!(world.written.len(), written, "never undone again");
        assert_eq!(world.records(), 0);
    }
}

#[test]
fn what_another_release_wrote_since_is_left_to_it() {
    let mut world = healthy();
    world.deploy("ConfigMap", "a", data("two"));
    world.foreign("ConfigMap", "a", "theirs");
    world.deploy("Job", "migrate", failed_job());
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(world.text("a"), json!("theirs"));
    assert!(world.status.unrestored[0].reason.contains("another release"), "{:?}", world.status.unrestored);
}

#[test]
fn a_record_under_one_that_is_gone_is_neither_forgotten_nor_guessed() {
    let mut world = healthy();
    world.deploy("ConfigMap", "a", data("two"));
    world.foreign("ConfigMap", "a", "theirs");
    world.forget_foreign();
    world.deploy("Job", "migrate", failed_job());
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(Held));
    assert_eq!(world.written, []);
    assert_eq!(world.records(), 2);
}

#[test]
fn the_override_of_an_outsider_is_told_once() {
    let mut world = healthy();
    world.deploy("ConfigMap", "a", data("two"));
    world.outside("ConfigMap", "a", |a| a["data"]["text"] = json!("mine"));
    world.deploy("Job", "migrate", failed_job());
    world.refused.insert(key("ConfigMap", "a"));
    world.run(120, || FOREVER);
    world.refused.clear();
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    let told = world.notices.iter().filter(|notice| notice.reason == "Overridden").count();
    assert_eq!(told, 1);
}

#[test]
fn the_status_stays_small_whatever_happens() {
    let mut world = World::new();
    world.policy = Policy { settle: Duration::from_secs(1), history_limit: 100, ..Policy::default() };
    for round in 0..110 {
        for claim in 0..30 {
            world.deploy(
                "PersistentVolumeClaim",
                &format!("disk-{round}-{claim}"),
                Some(json!({"spec": {}})),
            );
        }
        world.deploy("Job", "migrate", failed_job());
        world.run(120, || FOREVER);
        assert_eq!(world.status.phase, Some(RolledBack));
    }
    let size = serde_json::to_string(&world.status).unwrap().len();
    assert!(size < 300_000, "{size}");
}

#[test]
fn an_untracked_object_that_was_replaced_is_made_again_once() {
    let mut world = World::new();
    world.patience = 300;
    // Applied by the same tool before the namespace opted in.
    world.outside_create("ConfigMap", "a", &json!({"data": {"text": "one"}}));
    world.outside("ConfigMap", "a", |a| a["metadata"]["managedFields"][0]["manager"] = json!("kubectl"));
    let before = world.state();
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("ConfigMap", "a", None);
    world.deploy("ConfigMap", "a", data("three"));
    world.deploy("Job", "migrate", failed_job());
    world.run(200, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(world.state(), before);
}

#[test]
fn who_writes_between_a_restore_and_its_owners_does_not_become_the_owner() {
    let mut world = healthy();
    world.outside("ConfigMap", "a", |a| a["metadata"]["managedFields"][0]["manager"] = json!("helm"));
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("Job", "migrate", failed_job());
    world.until(RollingBack);
    while world.text("a") != json!("one") {
        world.look(FOREVER);
    }
    let owners = world.objects[&key("ConfigMap", "a")]["metadata"]["managedFields"].clone();
    assert_eq!(owners[0]["manager"], "backout");
    let (record, mut after) = world.admit("ConfigMap", "a", Some(json!({"immutable": true})));
    after.as_mut().unwrap()["metadata"]["managedFields"] = owners;
    world.commit(&record, after);
    world.run(120, || FOREVER);
    let owners = &world.objects[&key("ConfigMap", "a")]["metadata"]["managedFields"];
    assert_eq!((owners[0]["manager"].as_str(), owners.as_array().map(Vec::len)), (Some("helm"), Some(1)));
}
