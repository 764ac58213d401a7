//! A rollback, or a way back, that was stopped amid: what is said of it, and where it leads from there.

use std::collections::BTreeMap;

use backout_model::release::Phase;
use serde_json::{Value, json};

use super::world::{FOREVER, World, ask, bad_upgrade, data, failed_job, healthy, key, texts};

use Phase::{Healthy, Held, RolledBack, RollingBack};

/// Revisions 1 to 3, and the way back to the first, stopped by hand after one write of several.
fn stopped() -> (World, BTreeMap<u64, BTreeMap<String, Value>>) {
    let mut world = World::new();
    world.packs = Some(BTreeMap::new());
    let mut states = BTreeMap::new();
    for (revision, text) in [(1, "one"), (2, "two"), (3, "three")] {
        world.deploy("ConfigMap", "a", data(text));
        world.deploy("Secret", "b", data(text));
        world.run(200, || FOREVER);
        assert_eq!((world.status.revision, world.status.phase), (revision, Some(Healthy)));
        states.insert(revision, texts(&world));
    }
    world.written.clear();
    world.request = Some("rollback to=1");
    world.until(RollingBack);
    while world.written.is_empty() {
        world.look(1);
    }
    ask(&mut world, "hold");
    assert_eq!((world.status.revision, world.status.phase), (4, Some(Held)));
    assert!(texts(&world) != states[&1] && texts(&world) != states[&3]);
    (world, states)
}

#[test]
fn who_asks_for_the_last_healthy_state_while_a_way_back_is_stopped_does_not_get_an_older_one() {
    let (mut world, states) = stopped();
    assert_eq!(world.status.healthy_revision, Some(3));
    ask(&mut world, "rollback to=3");
    let answer = world.status.answer.clone().unwrap();
    assert!(answer.refused || texts(&world) == states[&3], "{answer:?}: {:?}", texts(&world));
}

#[test]
fn after_a_way_back_that_was_stopped_no_way_leads_to_a_state_that_is_not_there_any_more() {
    let (mut world, states) = stopped();
    world.deploy("ConfigMap", "x", data("new"));
    world.run(200, || FOREVER);
    assert_eq!((world.status.revision, world.status.phase), (5, Some(Healthy)));
    ask(&mut world, "rollback to=3");
    let answer = world.status.answer.clone().unwrap();
    assert!(
        answer.refused || texts(&world) == states[&3],
        "{answer:?}: {} {:?}",
        world.status.message,
        texts(&world)
    );
}

#[test]
fn a_rollback_that_was_stopped_half_way_is_not_told_to_be_left_as_it_is() {
    let mut world = healthy();
    bad_upgrade(&mut world);
    world.until(RollingBack);
    while world.text("a") != json!("one") {
        world.look(FOREVER);
    }
    world.policy.suspend = true;
    world.run(60, || FOREVER);
    assert!(!world.status.message.contains("left as it is"), "{}", world.status.message);
}

#[test]
fn what_is_half_undone_is_not_committed_as_healthy() {
    let mut world = healthy();
    let before = texts(&world);
    bad_upgrade(&mut world);
    let after = texts(&world);
    world.refused.insert(key("ConfigMap", "a"));
    world.run(300, || FOREVER);
    assert_eq!((world.status.phase, world.status.is_stalled()), (Some(RollingBack), true));
    // What the runbook says of a rollback that stalls.
    ask(&mut world, "hold");
    assert_eq!(world.status.phase, Some(Held));
    let half = texts(&world);
    assert!(half != before && half != after);
    println!("hold: {:?}\n{}", world.status.answer, world.status.message);
    ask(&mut world, "resume");
    assert_ne!(world.status.phase, Some(Healthy), "{}: {half:?}", world.status.message);
}

#[test]
fn who_holds_a_rollback_half_way_is_told_so() {
    let mut world = healthy();
    bad_upgrade(&mut world);
    world.refused.insert(key("ConfigMap", "a"));
    world.run(300, || FOREVER);
    ask(&mut world, "hold");
    let answer = world.status.answer.clone().unwrap();
    assert!(!answer.message.contains("is left as it is"), "{answer:?}");
    assert!(!world.status.message.starts_with("Failed, and held for you"), "{}", world.status.message);
}

#[test]
fn a_way_back_that_is_no_more_is_not_called_done() {
    let (mut world, states) = stopped();
    world.deploy("ConfigMap", "x", data("new"));
    world.deploy("Job", "migrate", failed_job());
    world.run(200, || FOREVER);
    assert_eq!((world.status.revision, world.status.phase), (5, Some(RolledBack)));
    assert_ne!(texts(&world), states[&3]);
    // Both it and the revisions that it has undone by half.
    let half: Vec<_> =
        world.status.history.iter().filter(|past| past.half_undone).map(|past| past.revision).collect();
    assert_eq!(half, [4, 3, 2]);
    let told: Vec<_> =
        world.notices.iter().filter(|it| it.reason == "WayBackLeft").map(|it| it.message.clone()).collect();
    assert!(
        matches!(&told[..], [told] if told.contains("not all was back in the state of revision 1")),
        "{told:?}"
    );
}

#[test]
fn a_deploy_during_a_way_back_leaves_no_way_to_a_state_that_is_not_there_any_more() {
    let mut world = World::new();
    world.packs = Some(BTreeMap::new());
    let mut states = BTreeMap::new();
    for (revision, text) in [(1, "one"), (2, "two"), (3, "three")] {
        world.deploy("ConfigMap", "a", data(text));
        world.deploy("ConfigMap", "b", data(text));
        world.run(200, || FOREVER);
        states.insert(revision, texts(&world));
    }
    world.request = Some("rollback to=1");
    world.until(RollingBack);
    // Nobody has asked for anything else.
    world.deploy("ConfigMap", "a", data("mended"));
    world.run(200, || FOREVER);
    assert_eq!((world.status.revision, world.status.phase), (5, Some(Healthy)));
    ask(&mut world, "rollback to=3");
    let answer = world.status.answer.clone().unwrap();
    assert!(answer.refused || texts(&world) == states[&3], "{answer:?}: {:?}", texts(&world));
}
