//! What others do while a release is under way, and what the cluster does not do: the log must bear it.

use super::world::{FOREVER, World, bad_upgrade, data, failed_job, healthy, helm, key, seconds};
use backout_model::{
    names,
    protocol::{Watched, step},
    release::{Action, Phase},
};
use serde_json::json;

use Phase::{Healthy, Held, Open, Progressing, RolledBack, RollingBack, Soaking};

#[test]
fn an_object_that_cannot_be_read_is_waited_for_and_then_restored() {
    let mut world = healthy();
    let before = world.state();
    bad_upgrade(&mut world);
    world.until(RollingBack);
    world.unreadable.insert(key("ConfigMap", "a"));
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(RollingBack));
    assert!(world.status.unrestored[0].reason.contains("no answer"), "{:?}", world.status.unrestored);
    world.unreadable.clear();
    world.run(60, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(world.state(), before);
}

#[test]
fn what_an_outsider_makes_of_a_restored_object_is_not_undone_again() {
    for tracked in [true, false] {
        let mut world = if tracked { healthy() } else { World::new() };
        if !tracked {
            world.outside_create("ConfigMap", "a", &json!({"data": {"text": "one"}}));
        }
        world.meddler = Some((key("ConfigMap", "a"), |object| object["data"]["text"] = json!("mine")));
        world.deploy("ConfigMap", "a", data("two"));
        world.deploy("Job", "migrate", failed_job());
        world.run(120, || FOREVER);
        assert_eq!(world.status.phase, Some(RolledBack), "{tracked}");
        assert_eq!(world.text("a"), json!("mine"));
        assert!(world.written.len() <= 3, "{:?}", world.written);
    }
}

#[test]
fn a_deployers_write_during_the_rollback_is_kept_and_is_the_next_revision() {
    for restored in [false, true] {
        let mut world = healthy();
        let before = world.state();
        bad_upgrade(&mut world);
        world.until(RollingBack);
        if restored {
            // The evidence comes first.
            world.look(FOREVER);
            assert_eq!(world.text("a"), json!("two"));
            world.look(FOREVER);
            assert_eq!(world.text("a"), json!("one"));
        }
        world.deploy("ConfigMap", "a", data("three"));
        world.run(200, || FOREVER);
        assert_eq!(world.text("a"), json!("three"));
        assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 3));
        assert!(!world.state().contains_key("jobs/migrate"));
        assert_eq!(world.state()["configmaps/b"], before["configmaps/b"]);
        assert_eq!(world.records(), 0);
    }
}

#[test]
fn a_revision_that_began_during_a_rollback_goes_back_to_the_last_healthy_state_too() {
    let mut world = healthy();
    let before = world.state();
    bad_upgrade(&mut world);
    world.until(RollingBack);
    world.deploy("ConfigMap", "a", data("three"));
    world.deploy("Job", "again", failed_job());
    world.run(300, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(RolledBack), 3));
    assert_eq!(world.state(), before);
    assert_eq!(world.records(), 0);
}

#[test]
fn a_hold_that_no_permission_can_lift_is_not_tried_over_and_over() {
    let mut world = healthy();
    world.policy.accept_unverified = true;
    bad_upgrade(&mut world);
    world.outside("ConfigMap", "a", |a| {
        a["metadata"]["labels"][names::UNDO] = json!(format!("u-{}", "0".repeat(40)));
    });
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, RollingBack, Held]);
    assert_eq!(world.written, []);
    // A change of the Release asks for another try.
    world.generation += 1;
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, RollingBack, Held, RollingBack, Held]);
}

#[test]
fn records_that_cannot_commit_any_more_are_collected_without_another_event() {
    let mut world = healthy();
    world.admit("ConfigMap", "a", data("lost"));
    world.outside("ConfigMap", "a", |a| a["metadata"]["annotations"] = json!({"x": "y"}));
    world.run(120, || FOREVER);
    assert_eq!(world.records(), 0);
}

#[test]
fn records_of_a_held_revision_are_verified_before_the_server_forgets() {
    let mut world = healthy();
    world.policy.on_upgrade_failure = Action::Hold;
    bad_upgrade(&mut world);
    world.run(250, || FOREVER);
    assert_eq!(world.status.phase, Some(Held));
    assert_eq!(world.unverified(), 0);
    assert!(world.looks < 100, "{}", world.looks);
}

#[test]
fn a_watcher_that_starts_anew_verifies_by_the_age_of_the_record() {
    let mut world = healthy();
    world.policy.on_upgrade_failure = Action::Hold;
    bad_upgrade(&mut world);
    world.run(140, || FOREVER);
    world.restart();
    world.run(60, || FOREVER);
    assert_eq!(world.unverified(), 0);
}

#[test]
fn a_blind_time_neither_counts_nor_keeps_the_watcher_busy() {
    let mut world = healthy();
    world.echo = true;
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("Job", "migrate", Some(json!({"spec": {"completions": 1}})));
    world.run(30, || FOREVER);
    assert_eq!(world.status.phase, Some(Progressing));
    world.unreadable.insert(key("ConfigMap", "a"));
    let stored = world.stored;
    world.run(300, || FOREVER);
    assert!(world.stored - stored <= 2, "{}", world.stored - stored);
    world.unreadable.clear();
    world.run(540, || FOREVER);
    assert_eq!(world.status.phase, Some(Progressing), "300 of 870 s do not count");
    world.run(60, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
}

#[test]
fn a_client_is_not_gone_because_the_cluster_was() {
    let mut world = World::new();
    helm(&mut world, 1, "pending-install");
    world.deploy("ConfigMap", "a", data("one"));
    world.run(60, || FOREVER);
    world.now += seconds(900);
    world.run(60, || FOREVER);
    assert_eq!(world.phases, [Open]);
    helm(&mut world, 1, "deployed");
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(Healthy));
}

#[test]
fn the_deadline_does_not_fall_at_the_first_look_of_a_watcher() {
    let mut world = healthy();
    world.deploy("Job", "migrate", Some(json!({"spec": {"completions": 1}})));
    world.run(30, || FOREVER);
    world.restart();
    world.now += seconds(3600);
    world.run(20, || FOREVER);
    assert_eq!(world.status.phase, Some(Progressing));
    world.run(60, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
}

#[test]
fn the_soak_is_watched_from_its_begin_to_its_end() {
    let mut world = healthy();
    world.deploy("ConfigMap", "a", data("two"));
    world.run(20, || FOREVER);
    assert_eq!(world.status.phase, Some(Soaking));
    world.restart();
    world.now += seconds(3600);
    world.run(50, || FOREVER);
    assert_eq!(world.status.phase, Some(Soaking));
    world.run(30, || FOREVER);
    assert_eq!(world.status.phase, Some(Healthy));
}

#[test]
fn the_wall_clock_of_another_watcher_makes_no_verdict_come_sooner() {
    let at = std::time::Duration::from_secs;
    let mut waiting = healthy();
    waiting.deploy("Job", "migrate", Some(json!({"spec": {"completions": 1}})));
    let mut soaking = healthy();
    soaking.deploy("ConfigMap", "a", data("two"));
    // Not yet, and a watcher an hour ahead of the one that has stored the times; then by its own clock it is over.
    for (world, phase, verdict) in
        [(&mut waiting, Progressing, RollingBack), (&mut soaking, Soaking, Healthy)]
    {
        world.run(20, || FOREVER);
        assert_eq!(world.status.phase, Some(phase));
        let mut seen = world.observe();
        for (watched, decided) in [(5, phase), (3600, verdict)] {
            seen.watched = Watched { sealed: Some(at(watched)), ready: Some(at(watched)) };
            let decision = step(&seen, world.now + seconds(3600));
            assert_eq!(decision.status.phase, Some(decided), "after {watched} s");
        }
    }
}

#[test]
fn a_write_that_is_refused_again_and_again_keeps_no_revision_open() {
    let mut world = healthy();
    world.deploy("ConfigMap", "a", data("two"));
    world.run(10, || FOREVER);
    for n in 0..8 {
        world.admit("ConfigMap", "b", data(&format!("refused {n}")));
        world.run(10, || FOREVER);
    }
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 2), "{:#?}", world.status);
}

#[test]
fn a_write_that_commits_at_the_moment_of_the_verdict_is_heard_first() {
    let mut world = healthy();
    world.deploy(
        "Job",
        "migrate",
        Some(json!({"spec": {}, "status": {"startTime": "2026-01-01T00:00:00Z"}})),
    );
    world.run(10, || FOREVER);
    assert_eq!(world.status.phase, Some(Progressing));
    let (record, after) =
        world.admit("Job", "migrate", Some(json!({"spec": {"completions": 2}, "status": {}})));
    world.outside("ConfigMap", "b", |b| b["data"]["text"] = json!("not of it"));
    world.objects.get_mut(&key("Job", "migrate")).unwrap()["status"] =
        failed_job().unwrap()["status"].clone();
    world.look(FOREVER);
    assert_eq!(world.status.phase, Some(Progressing));
    world.commit(&record, after);
    world.look(FOREVER);
    assert_eq!(world.status.phase, Some(Open));
}

#[test]
fn what_a_halted_rollback_has_put_back_stays_so_when_its_last_record_goes() {
    let mut world = healthy();
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("ConfigMap", "c", data("new"));
    world.deploy("ConfigMap", "c", data("newer"));
    world.admit("ConfigMap", "c", data("never"));
    world.outside("ConfigMap", "c", |c| c["metadata"]["annotations"] = json!({"x": "y"}));
    world.deploy("Job", "migrate", failed_job());
    world.until(RollingBack);
    world.deploy("ConfigMap", "a", data("three"));
    while world.objects.contains_key(&key("ConfigMap", "c")) {
        world.look(FOREVER);
    }
    assert_eq!(world.status.phase, Some(RollingBack));
    world.now += seconds(45);
    world.run(600, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 3), "{:#?}", world.status);
    assert_eq!(world.text("a"), json!("three"));
}

#[test]
fn owners_that_the_server_does_not_keep_are_reported_and_not_tried_for_ever() {
    let mut world = healthy();
    world.outside("ConfigMap", "a", |a| {
        let mut old = a["metadata"]["managedFields"][0].clone();
        old["manager"] = json!("old");
        a["metadata"]["managedFields"].as_array_mut().unwrap().push(old);
    });
    bad_upgrade(&mut world);
    world.unkept = Some("old");
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack), "{:#?}", world.status);
    assert_eq!(world.status.unrestored.len(), 1, "{:#?}", world.status.unrestored);
    assert_eq!(world.text("a"), json!("one"));
}

#[test]
fn a_write_that_commits_late_is_undone_with_the_others() {
    let mut world = healthy();
    let before = world.state();
    let (record, after) = world.admit("ConfigMap", "b", data("late"));
    bad_upgrade_but_b(&mut world);
    world.run(20, || FOREVER);
    assert_eq!((world.status.phase, world.text("a")), (Some(RollingBack), json!("one")));
    assert!(world.commit(&record, after));
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.state()), (Some(RolledBack), before));
    assert_eq!(world.records(), 0);
}

#[test]
fn a_revision_is_committed_only_when_all_its_writes_are_known() {
    let mut world = healthy();
    world.policy.soak = std::time::Duration::from_secs(5);
    let (record, after) = world.admit("ConfigMap", "b", data("late"));
    world.deploy("ConfigMap", "a", data("two"));
    world.run(30, || FOREVER);
    assert_eq!(world.status.phase, Some(Soaking));
    assert!(world.commit(&record, after));
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 2));
    assert_eq!((world.text("b"), world.records()), (json!("late"), 0));
}

#[test]
fn a_write_that_is_refused_again_and_again_does_not_keep_the_revision_from_its_cut() {
    let mut world = healthy();
    world.deploy("ConfigMap", "a", data("two"));
    for n in 0..6 {
        world.admit("ConfigMap", "b", data(&format!("refused {n}")));
        world.run(20, || FOREVER);
    }
    world.run(60, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 2), "{:#?}", world.status);
}

/// Found by the model checker: the API server may begin a deletion with a stale object of its cache.
#[test]
fn a_deletion_that_came_to_nothing_fails_no_release_when_what_it_did_not_see_is_forgotten() {
    let mut world = healthy();
    world.policy.soak = std::time::Duration::from_secs(15);
    let before = world.objects[&key("ConfigMap", "a")].clone();
    world.deploy("ConfigMap", "a", data("two"));
    world.run(20, || FOREVER);
    assert_eq!(world.status.phase, Some(Soaking));
    let now = world.objects.insert(key("ConfigMap", "a"), before).unwrap();
    world.admit("ConfigMap", "a", None);
    world.objects.insert(key("ConfigMap", "a"), now);
    world.run(900, || FOREVER);
    assert_eq!(world.phases, [Open, Soaking, Healthy]);
    assert_eq!((world.text("a"), world.records()), (json!("two"), 0));
}

#[test]
fn an_object_that_was_written_twice_goes_back_to_what_it_was_before_both() {
    let mut world = healthy();
    let before = world.state();
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("ConfigMap", "a", data("three"));
    world.deploy("Job", "migrate", failed_job());
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.state()), (Some(RolledBack), before));
}

fn bad_upgrade_but_b(world: &mut World) {
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("Job", "migrate", failed_job());
}
