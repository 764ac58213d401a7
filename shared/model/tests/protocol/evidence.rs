//! What was seen is secured before it is destroyed, and holds nothing up.

use backout_model::{
    protocol::Effect,
    release::{Action, Phase},
};
use serde_json::json;

use super::world::{FOREVER, World, bad_upgrade, data, healthy, reference, seconds};

use Phase::{Healthy, Held, Notified, Progressing, RolledBack, RollingBack};

/// A failed upgrade whose verdict is stored, and nothing more.
fn failed(action: Action, phase: Phase) -> World {
    let mut world = healthy();
    world.policy.on_upgrade_failure = action;
    bad_upgrade(&mut world);
    world.until(phase);
    assert_eq!((&world.status.evidence, &world.status.evidence_missing), (&None, &None));
    world
}

fn gathers(world: &mut World) -> bool {
    let (decision, _) = world.look(0);
    let gathers = decision.effects.contains(&Effect::Evidence);
    let restores = decision.effects.iter().any(|effect| matches!(effect, Effect::Restore(_)));
    assert!(!(gathers && restores), "{:?}", decision.effects);
    gathers
}

#[test]
fn the_evidence_about_every_failure_is_secured_before_anything_else_is_done() {
    for (action, phase) in [(Action::Rollback, RollingBack), (Action::Hold, Held), (Action::Notify, Notified)]
    {
        let mut world = failed(action, phase);
        assert!(gathers(&mut world), "{phase:?}");
        world.look(FOREVER);
        assert!(world.written.is_empty(), "{:?}", world.written);
        let (decision, _) = world.look(FOREVER);
        assert_eq!(decision.status.evidence.as_deref(), Some("evidence"));
        world.run(120, || FOREVER);
        let end = if phase == RollingBack { RolledBack } else { phase };
        assert_eq!(world.status.phase, Some(end));
        assert_eq!(world.status.history[0].evidence.as_deref(), Some("evidence"), "{phase:?}");
        assert_eq!(world.written.is_empty(), phase != RollingBack);
        assert!(!gathers(&mut world), "{phase:?}");
    }
}

#[test]
fn where_there_is_no_evidence_the_rollback_goes_on_and_the_status_says_why() {
    let mut world = failed(Action::Rollback, RollingBack);
    world.evidence = Err("forbidden".to_owned());
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.text("a")), (Some(RolledBack), json!("one")));
    assert_eq!(world.status.evidence_missing.as_deref(), Some("forbidden"));
    assert_eq!(world.status.history[0].evidence, None);
}

#[test]
fn a_watcher_that_dies_before_it_says_where_the_evidence_is_leaves_it_to_the_next_one() {
    let mut world = failed(Action::Rollback, RollingBack);
    world.look(FOREVER);
    world.restart();
    assert!(gathers(&mut world), "it is not known what came of it");
    assert!(world.written.is_empty());
    world.look(FOREVER);
    // The status, and not a single restore.
    world.look(1);
    assert!(world.written.is_empty());
    world.restart();
    assert!(!gathers(&mut world), "what would be seen now is something else");
}

#[test]
fn evidence_that_could_not_be_had_is_not_gathered_amid_the_rollback() {
    let mut world = failed(Action::Rollback, RollingBack);
    world.evidence = Err("no answer".to_owned());
    world.look(FOREVER);
    world.look(1);
    world.restart();
    world.evidence = Ok("too late".to_owned());
    assert!(!gathers(&mut world));
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, &world.status.evidence), (Some(RolledBack), &None));
}

#[test]
fn watchers_that_die_over_the_evidence_hold_the_rollback_up_for_a_minute_at_most() {
    let mut world = failed(Action::Rollback, RollingBack);
    let decided = world.now;
    while gathers(&mut world) {
        world.restart();
        world.now += seconds(10);
        assert!(world.now.duration_since(decided) <= seconds(70), "for ever");
    }
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.text("a")), (Some(RolledBack), json!("one")));
    assert_eq!(world.status.evidence_missing.as_deref(), Some("no watcher has secured it within 60 s"));
}

#[test]
fn a_revision_that_fails_again_when_it_is_judged_again_is_told_of_anew() {
    let mut world = failed(Action::Hold, Held);
    world.run(120, || FOREVER);
    world.request = Some("resume");
    world.evidence = Ok("another".to_owned());
    world.until(Progressing);
    assert_eq!((&world.status.evidence, world.gathered), (&None, None));
    world.run(120, || FOREVER);
    assert_eq!(world.phases.last(), Some(&Held));
    assert_eq!(world.status.evidence.as_deref(), Some("another"));
    assert_eq!(world.status.history[0].evidence.as_deref(), Some("another"));
}

#[test]
fn who_resumes_what_was_held_is_saved_from_a_rollback_by_half_too() {
    let mut world = failed(Action::Hold, Held);
    world.run(120, || FOREVER);
    world.policy.on_upgrade_failure = Action::Rollback;
    world.past_webhook = Some(vec![reference("Deployment", "web")]);
    world.request = Some("resume");
    world.run(120, || FOREVER);
    assert_eq!(world.phases.last(), Some(&Held));
    assert!(world.written.is_empty(), "{:?}", world.written);
}

#[test]
fn the_next_revision_begins_without_the_evidence_of_the_last_one() {
    let mut world = failed(Action::Rollback, RollingBack);
    world.run(120, || FOREVER);
    world.deploy("ConfigMap", "a", data("three"));
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, &world.status.evidence), (Some(Healthy), &None));
    let known: Vec<_> = world.status.history.iter().map(|past| past.evidence.as_deref()).collect();
    assert_eq!(known, [None, Some("evidence"), None]);
}
