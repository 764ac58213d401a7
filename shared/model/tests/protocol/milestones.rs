//! What is counted and logged of a revision's life.

use std::time::Duration;

use backout_model::{
    health::reasons,
    names::{ReleaseKey, ReleaseName},
    protocol::{Milestone, milestones, newcomers, strays},
    release::{Action, Phase},
};

use super::world::{FOREVER, World, bad_upgrade, data, healthy, seconds};

use Milestone::{Failed, Healthy, RollbackBegan, RollbackEnded};

/// What is reached in so many seconds, and which writes turn out to be another revision's than the webhook thought.
fn life(world: &mut World, seconds: i64) -> (Vec<Milestone>, Vec<u64>) {
    let (mut reached, mut strayed) = (Vec::new(), Vec::new());
    let end = world.now + self::seconds(seconds);
    while world.now < end {
        let (seen, before) = (world.observe(), world.status.clone());
        world.look(FOREVER);
        reached.extend(milestones(&before, &world.status));
        strayed.extend(strays(&seen, &world.status).iter().map(|entry| entry.header.revision));
        world.now += self::seconds(1);
    }
    (reached, strayed)
}

#[test]
fn a_healthy_revision_is_one_verdict() {
    let mut world = World::new();
    world.deploy("ConfigMap", "a", data("one"));
    assert_eq!(life(&mut world, 120), (vec![Healthy], vec![]));
}

#[test]
fn a_rollback_is_a_verdict_a_beginning_and_an_end_with_its_time() {
    let mut world = healthy();
    bad_upgrade(&mut world);
    let (reached, strayed) = life(&mut world, 120);
    let [failed, began, RollbackEnded { phase: Phase::RolledBack, took, unrestored: 0 }] = reached[..] else {
        panic!("{reached:?}")
    };
    assert_eq!((failed, began, strayed), (Failed(reasons::JOB_FAILED), RollbackBegan, vec![]));
    // One look a second, and a restore needs some.
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn what_is_held_or_only_reported_is_a_verdict_and_no_rollback() {
    for action in [Action::Hold, Action::Notify] {
        let mut world = healthy();
        world.policy.on_upgrade_failure = action;
        bad_upgrade(&mut world);
        assert_eq!(life(&mut world, 120).0, [Failed(reasons::JOB_FAILED)], "{action:?}");
    }
}

#[test]
fn a_rollback_that_is_stopped_by_hand_ends_as_held() {
    let mut world = healthy();
    bad_upgrade(&mut world);
    world.until(Phase::RollingBack);
    world.request = Some("hold id=1");
    let (reached, _) = life(&mut world, 60);
    assert!(matches!(reached[..], [RollbackEnded { phase: Phase::Held, .. }]), "{reached:?}");
}

#[test]
fn a_write_under_another_number_than_its_revision_has_is_told_when_that_is_cut() {
    let mut world = healthy();
    let (record, after) = world.admit("ConfigMap", "a", data("two"));
    world.commit(&record, after);
    world.log.get_mut(&record.name).unwrap().0.header.revision = 7;
    world.deploy("ConfigMap", "b", data("two"));
    assert_eq!(life(&mut world, 120), (vec![Healthy], vec![7]));
}

#[test]
fn a_record_is_new_at_one_look_and_only_if_no_verdict_has_fallen_on_it() {
    let mut world = healthy();
    let (old, after) = world.admit("ConfigMap", "a", data("two"));
    world.commit(&old, after);
    world.deploy("ConfigMap", "a", data("three"));
    let mut entries: Vec<_> = world.log.values().map(|(entry, ..)| entry.clone()).collect();
    entries.sort_by_key(|entry| entry.position);
    let new = |judged| newcomers(&entries, judged).count();
    assert_eq!((new(world.status.judged()), new(entries[0].position), new(entries[1].position)), (2, 1, 0));
    let later: Vec<_> = entries
        .iter()
        .cloned()
        .map(|mut it| {
            it.age = Duration::from_secs(1);
            it
        })
        .collect();
    assert_eq!(newcomers(&later, world.status.judged()).count(), 0);
}

#[test]
fn a_verdict_has_fallen_on_all_up_to_the_cut_once_the_revision_is_decided() {
    let mut world = healthy();
    let committed = world.status.judged();
    assert_eq!(committed, world.status.healthy());
    world.policy.on_upgrade_failure = Action::Hold;
    bad_upgrade(&mut world);
    world.look(FOREVER);
    assert_eq!((world.status.phase, world.status.judged()), (Some(Phase::Open), committed));
    world.until(Phase::Held);
    assert_eq!(Some(world.status.judged()), world.status.sealed());
    assert!(world.status.judged() > world.status.healthy());
}

#[test]
fn a_revision_is_named_by_namespace_release_and_number() {
    let key = ReleaseKey::new("shop", ReleaseName::from_mark("web").unwrap());
    assert_eq!(key.revision(7).to_string(), "shop/web#7");
}

#[test]
fn a_reason_that_is_none_of_the_words_is_counted_as_other() {
    assert_eq!(reasons::metric_label("CrashLoop"), "CrashLoop");
    assert_eq!(reasons::metric_label("shop/web"), "Other");
}
