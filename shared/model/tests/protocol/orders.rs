//! What people ask for by hand.

use super::world::{FOREVER, World, bad_upgrade, data, failed_job, healthy, key};
use backout_model::{
    protocol::Effect,
    release::{Action, Phase},
};
use serde_json::json;

use Phase::{Healthy, Held, Notified, Open, Progressing, RolledBack, RollingBack, Soaking};

/// An upgrade that failed and is left as it is, by policy.
fn held() -> World {
    let mut world = healthy();
    world.policy.on_upgrade_failure = Action::Hold;
    bad_upgrade(&mut world);
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, Held]);
    world.phases.clear();
    world
}

fn answer(world: &World) -> (bool, &str) {
    let answer = world.status.answer.as_ref().unwrap();
    (answer.refused, answer.message.as_str())
}

#[test]
fn what_is_held_is_rolled_back_by_hand() {
    let before = healthy().state();
    let mut world = held();
    world.request = Some("rollback");
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [RollingBack, RolledBack]);
    assert_eq!(world.state(), before);
    assert_eq!(world.status.failure.as_ref().unwrap().reason, "JobFailed");
    assert_eq!(answer(&world), (false, "revision 2 is rolled back"));
}

#[test]
fn what_was_only_reported_is_rolled_back_by_hand_too() {
    let mut world = healthy();
    let before = world.state();
    world.policy.on_upgrade_failure = Action::Notify;
    bad_upgrade(&mut world);
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, Notified]);
    world.request = Some("rollback");
    world.run(120, || FOREVER);
    assert_eq!(world.state(), before);
    assert_eq!(world.status.phase, Some(RolledBack));
}

#[test]
fn what_a_revision_changed_is_told_first_and_answered_then_and_nothing_else_happens() {
    for asked_while in [Open, Healthy] {
        let mut world = healthy();
        if asked_while == Open {
            world.deploy("ConfigMap", "a", data("two"));
            world.until(Open);
        }
        let (phases, notices) = (world.phases.len(), world.notices.len());
        world.request = Some("diff id=1");
        let (decision, _) = world.look(FOREVER);
        assert!(decision.effects.contains(&Effect::Tell), "{:?}", decision.effects);
        assert_eq!(decision.status.answer, None);
        let (decision, _) = world.look(FOREVER);
        assert!(!decision.effects.contains(&Effect::Tell), "{:?}", decision.effects);
        assert_eq!(answer(&world), (false, "diff"));
        assert_eq!((world.phases.len(), world.notices.len()), (phases, notices));
    }
}

#[test]
fn a_request_is_carried_out_once_and_a_new_id_makes_it_another() {
    let mut world = held();
    world.request = Some("rollback only=ConfigMap/a");
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [RollingBack, Held]);
    let (stored, notices) = (world.stored, world.notices.len());
    world.run(60, || FOREVER);
    assert_eq!((world.stored, world.notices.len()), (stored, notices));
    world.request = Some("rollback only=ConfigMap/a id=2");
    world.run(60, || FOREVER);
    let (refused, why) = answer(&world);
    assert!(refused && why.contains("there is no ConfigMap/a in the revision"), "{why}");
    assert_eq!(world.phases, [RollingBack, Held]);
}

#[test]
fn only_some_objects_go_back_and_then_the_others() {
    let before = healthy().state();
    let mut world = held();
    let failed = world.state();
    world.request = Some("rollback only=configmaps/a only=ConfigMap/b");
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [RollingBack, Held]);
    let mut expected = failed;
    for name in ["configmaps/a", "configmaps/b"] {
        expected.insert(name.to_owned(), before[name].clone());
    }
    assert_eq!(world.state(), expected);
    assert!(
        world.status.message.starts_with("configmaps/a and ConfigMap/b went back"),
        "{}",
        world.status.message
    );
    world.request = Some("rollback");
    world.run(120, || FOREVER);
    assert_eq!(world.state(), before);
    assert_eq!(world.phases, [RollingBack, Held, RollingBack, RolledBack]);
    assert_eq!(world.records(), 0);
}

#[test]
fn what_was_put_back_alone_stays_so_when_the_rest_is_judged_again_and_is_healthy() {
    let mut world = held();
    world.request = Some("rollback only=Job/migrate only=ConfigMap/a");
    world.run(120, || FOREVER);
    world.request = Some("resume");
    world.run(200, || FOREVER);
    assert_eq!(world.phases, [RollingBack, Held, Progressing, Soaking, Healthy]);
    assert_eq!(world.text("a"), json!("one"));
    assert_eq!(world.text("c"), json!("new"));
    assert_eq!(world.status.failure, None);
    assert_eq!(world.records(), 0);
}

#[test]
fn what_still_fails_when_it_is_judged_again_is_held_again() {
    let mut world = held();
    let state = world.state();
    world.request = Some("resume");
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Progressing, Held]);
    assert_eq!(world.state(), state);
    assert_eq!(world.status.history.len(), 2);
}

#[test]
fn what_was_mended_by_hand_is_healthy_when_it_is_judged_again() {
    let mut world = held();
    world.outside("Job", "migrate", |job| {
        job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    });
    world.request = Some("resume");
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Progressing, Soaking, Healthy]);
}

#[test]
fn a_revision_under_way_is_held_before_any_verdict_and_nothing_is_touched() {
    for wait in [1, 20] {
        let mut world = healthy();
        world.deploy("ConfigMap", "a", data("two"));
        world.run(wait, || FOREVER);
        world.request = Some("hold");
        world.deploy("Job", "migrate", failed_job());
        let state = world.state();
        world.run(300, || FOREVER);
        assert_eq!(world.status.phase, Some(Held));
        assert_eq!((world.state(), world.written.len()), (state, 0));
        assert_eq!(world.status.failure, None);
        assert!(world.status.message.contains("kubectl backout resume"), "{}", world.status.message);
    }
}

#[test]
fn a_rollback_is_stopped_where_it_is_and_goes_on_when_asked() {
    let mut world = healthy();
    let before = world.state();
    bad_upgrade(&mut world);
    world.until(RollingBack);
    world.look(1);
    let written = world.written.len();
    world.request = Some("hold");
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.written.len()), (Some(Held), written));
    world.request = Some("rollback");
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(world.state(), before);
}

#[test]
fn a_revision_under_way_is_rolled_back_at_once_when_asked() {
    let mut world = healthy();
    let before = world.state();
    world.deploy("ConfigMap", "a", data("two"));
    world.run(2, || FOREVER);
    world.request = Some("rollback");
    world.run(60, || FOREVER);
    assert_eq!(world.phases, [Open, RollingBack, RolledBack]);
    assert_eq!(world.state(), before);
    assert_eq!(world.status.failure.as_ref().unwrap().reason, "ByHand");
    assert!(world.status.message.contains(": somebody asked for it."), "{}", world.status.message);
}

#[test]
fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let requests =
        ["hold", "resume", "rollback", "rollback to=7", "rollback only=ConfigMap/zzz", "undo", "rollback x"];
    for request in requests {
        let mut world = healthy();
        let status = world.status.clone();
        world.request = Some(request);
        world.run(60, || FOREVER);
        assert!(answer(&world).0, "{request}");
        assert_eq!(world.written, []);
        let mut now = world.status.clone();
        now.answer = None;
        assert_eq!(now, status, "{request}");
        assert_eq!(world.notices.last().unwrap().reason, "RequestRefused");
    }
}

#[test]
fn a_suspended_release_is_not_rolled_back_by_hand_either() {
    let mut world = held();
    world.policy.suspend = true;
    world.request = Some("rollback");
    world.run(60, || FOREVER);
    assert_eq!(world.written, []);
    assert!(answer(&world).1.contains("suspended"));
}

#[test]
fn who_only_looks_is_answered_with_what_was_written_before() {
    let mut world = healthy();
    world.deploy("ConfigMap", "a", data("two"));
    world.request = Some("look id=1");
    world.look(FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Open), 2));
    assert_eq!(answer(&world), (false, "looked"));
    assert!(world.notices.iter().all(|notice| notice.reason != "Requested"));
}

#[test]
fn a_deploy_after_a_hold_is_the_next_revision_and_goes_back_to_the_last_healthy_state() {
    let mut world = healthy();
    let before = world.state();
    world.deploy("ConfigMap", "a", data("two"));
    world.run(2, || FOREVER);
    world.request = Some("hold");
    world.run(10, || FOREVER);
    world.deploy("ConfigMap", "a", data("three"));
    world.deploy("Job", "migrate", failed_job());
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(RolledBack), 3));
    assert_eq!(world.state(), before);
}

#[test]
fn wherever_the_watcher_dies_what_was_asked_for_is_done_once() {
    for dies in 0..3 {
        let before = healthy().state();
        let mut world = held();
        world.request = Some("rollback");
        let mut lives = [dies, dies, FOREVER].into_iter();
        world.run(240, || lives.next().unwrap_or(FOREVER));
        assert_eq!(world.phases, [RollingBack, RolledBack], "{dies}");
        assert_eq!(world.state(), before);
        assert!(!world.objects.contains_key(&key("Job", "migrate")));
    }
}

#[test]
fn what_is_asked_right_after_a_deploy_is_asked_of_that_deploy() {
    for (request, phase) in [("hold", Held), ("rollback", RolledBack)] {
        let mut world = healthy();
        let before = world.state();
        world.deploy("ConfigMap", "a", data("two"));
        let deployed = world.state();
        world.request = Some(request);
        world.run(120, || FOREVER);
        assert_eq!((world.status.phase, world.status.revision), (Some(phase), 2), "{request}");
        assert!(!answer(&world).0, "{request}: {}", answer(&world).1);
        assert_eq!(world.state(), if phase == Held { deployed } else { before });
    }
}

#[test]
fn a_look_right_after_a_deletion_is_answered_once_the_deletion_is_known() {
    let mut world = healthy();
    world.deploy("ConfigMap", "a", None);
    world.request = Some("look id=1");
    world.look(FOREVER);
    assert_eq!(world.status.answer, None);
    world.run(3, || FOREVER);
    assert_eq!(world.status.revision, 2);
    assert_eq!(answer(&world), (false, "looked"));
}
