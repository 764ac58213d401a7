//! The life of a revision, step by step, in a cluster in miniature.

use std::collections::BTreeSet;

use super::world::{FOREVER, World, bad_upgrade, data, failed_job, healthy, helm};
use backout_model::{
    names,
    release::{Action, Phase},
};
use serde_json::json;

use Phase::{Healthy, Held, Notified, Open, Progressing, RolledBack, RollingBack, Soaking};

#[test]
fn a_release_that_becomes_ready_and_stays_so_is_healthy_and_its_records_go() {
    let mut world = healthy();
    assert_eq!(world.status.revision, 1);
    assert_eq!(world.status.healthy_revision, Some(1));
    assert_eq!(world.records(), 0);
    assert_eq!(world.written, []);
    world.run(60, || FOREVER);
    assert_eq!(world.phases, []);
}

#[test]
fn a_failed_upgrade_is_put_back_to_what_was_there_before() {
    let mut world = healthy();
    let before = world.state();
    bad_upgrade(&mut world);
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, RollingBack, RolledBack]);
    assert_eq!(world.state(), before);
    assert_eq!(world.records(), 0);
    assert_eq!(world.status.unrestored, []);
    assert_eq!(world.status.healthy_revision, Some(1));
    assert_eq!(world.status.failure.as_ref().unwrap().reason, "JobFailed");
    assert_eq!(world.status.history.len(), 2);
}

#[test]
fn a_failed_install_is_taken_down() {
    let mut world = World::new();
    world.deploy("ConfigMap", "a", data("one"));
    world.deploy("Job", "migrate", failed_job());
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, RollingBack, RolledBack]);
    assert!(world.objects.is_empty());
}

#[test]
fn nothing_is_undone_while_the_deployer_is_still_writing() {
    let mut world = healthy();
    for n in 0..10 {
        world.deploy("Job", "migrate", failed_job());
        world.deploy("ConfigMap", "a", data(&n.to_string()));
        world.run(3, || FOREVER);
    }
    assert_eq!(world.phases, [Open]);
    assert_eq!(world.written, []);
}

#[test]
fn a_write_before_the_verdict_opens_the_revision_again() {
    let mut world = healthy();
    world.deploy("ConfigMap", "a", data("two"));
    world.run(20, || FOREVER);
    assert_eq!(world.status.phase, Some(Soaking));
    world.deploy("ConfigMap", "a", data("three"));
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, Soaking, Open, Soaking, Healthy]);
    assert_eq!(world.status.revision, 2);
}

#[test]
fn a_failure_during_the_soak_is_rolled_back_too() {
    let mut world = healthy();
    let before = world.state();
    world.deploy(
        "Job",
        "migrate",
        Some(json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}})),
    );
    world.run(20, || FOREVER);
    assert_eq!(world.status.phase, Some(Soaking));
    world.outside("Job", "migrate", |job| job["status"] = failed_job().unwrap()["status"].clone());
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, Soaking, RollingBack, RolledBack]);
    assert_eq!(world.state(), before);
}

#[test]
fn what_was_not_tried_is_told_while_it_soaks_and_when_it_is_committed() {
    let mut world = healthy();
    let set = |image: &str| {
        json!({"spec": {"replicas": 1, "template": {"image": image}, "updateStrategy": {"type": "OnDelete"}},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 0}})
    };
    world.deploy("StatefulSet", "db", Some(set("one")));
    world.run(120, || FOREVER);
    world.notices.clear();
    world.deploy("StatefulSet", "db", Some(set("two")));
    world.run(30, || FOREVER);
    assert_eq!(world.status.phase, Some(Soaking));
    assert!(world.status.problems[0].starts_with("StatefulSet shop/db: its pods are replaced only when"));
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(Healthy));
    let told: Vec<_> = world.notices.iter().map(|notice| (notice.reason, notice.warning)).collect();
    assert_eq!(told, [("HealthUncertain", true), ("Healthy", false)]);
}

#[test]
fn what_is_not_ready_when_the_deadline_passes_has_failed() {
    let mut world = healthy();
    let before = world.state();
    world.deploy("Job", "migrate", Some(json!({"spec": {"completions": 1}})));
    world.run(599, || FOREVER);
    assert_eq!(world.phases, [Open, Progressing]);
    world.run(60, || FOREVER);
    assert_eq!(world.phases, [Open, Progressing, RollingBack, RolledBack]);
    assert_eq!(world.status.failure.as_ref().unwrap().reason, "NotReadyInTime");
    assert_eq!(world.state(), before);
}

#[test]
fn policy_decides_whether_a_failure_is_undone_held_or_only_told() {
    use backout_model::release::{Action, Policy};
    for (policy, end) in [
        (Policy { on_upgrade_failure: Action::Hold, ..Policy::default() }, Held),
        (Policy { on_upgrade_failure: Action::Notify, ..Policy::default() }, Notified),
        (Policy { suspend: true, ..Policy::default() }, Notified),
    ] {
        let mut world = healthy();
        world.policy = policy;
        bad_upgrade(&mut world);
        let after = world.state();
        world.run(120, || FOREVER);
        assert_eq!(world.phases, [Open, end]);
        assert_eq!(world.state(), after);
        assert_eq!(world.written, []);
        assert_eq!(world.records(), 4, "what is not committed stays in the log");
    }
}

#[test]
fn the_release_after_a_held_one_rolls_back_to_the_last_healthy_state() {
    use backout_model::release::{Action, Policy};
    let mut world = healthy();
    let before = world.state();
    world.policy.on_upgrade_failure = Action::Hold;
    bad_upgrade(&mut world);
    world.run(60, || FOREVER);
    world.policy = Policy::default();
    world.deploy("ConfigMap", "a", data("three"));
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, Held, Open, RollingBack, RolledBack]);
    assert_eq!(world.state(), before);
}

#[test]
fn a_write_that_was_admitted_but_never_committed_is_forgotten() {
    let mut world = healthy();
    let before = world.state();
    world.admit("ConfigMap", "a", data("refused"));
    world.run(120, || FOREVER);
    assert_eq!(world.phases, []);
    assert_eq!(world.state(), before);
    assert_eq!(world.records(), 0);
}

#[test]
fn what_others_changed_meanwhile_survives_the_rollback() {
    let mut world = healthy();
    world.deploy("ConfigMap", "a", data("two"));
    world.outside("ConfigMap", "a", |object| object["metadata"]["annotations"] = json!({"seen": "yes"}));
    world.deploy("Job", "migrate", failed_job());
    world.run(120, || FOREVER);
    let state = world.state();
    assert_eq!(state["configmaps/a"]["data"], json!({"text": "one"}));
    assert_eq!(state["configmaps/a"]["metadata"]["annotations"], json!({"seen": "yes"}));
    assert_eq!(state.len(), 2);
}

#[test]
fn an_object_that_was_deleted_and_made_anew_goes_back_to_the_old_one() {
    let mut world = healthy();
    let before = world.state();
    world.deploy("ConfigMap", "a", None);
    world.deploy("ConfigMap", "a", data("another"));
    world.deploy("Job", "migrate", failed_job());
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Open, RollingBack, RolledBack]);
    assert_eq!(world.state(), before);
}

#[test]
fn what_holds_data_is_kept_and_reported() {
    let mut world = healthy();
    world.deploy("PersistentVolumeClaim", "disk", Some(json!({"spec": {}})));
    world.deploy("Job", "migrate", failed_job());
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(world.status.unrestored.len(), 1);
    assert_eq!(world.status.unrestored[0].object.kind, "PersistentVolumeClaim");
    assert!(world.state().contains_key("persistentvolumeclaims/disk"));
    assert!(!world.state().contains_key("jobs/migrate"));
}

#[test]
fn a_client_that_marks_its_end_is_not_cut_short_and_not_waited_for() {
    let mut world = World::new();
    helm(&mut world, 1, "pending-install");
    world.deploy("ConfigMap", "a", data("one"));
    world.run(60, || FOREVER);
    assert_eq!(world.phases, [Open]);
    helm(&mut world, 1, "deployed");
    world.run(2, || FOREVER);
    assert_eq!(world.phases, [Open, Soaking]);
}

/// A watcher killed after any number of its changes, once, ends where an undisturbed one does.
#[test]
fn a_crash_after_any_effect_reaches_the_same_end() {
    let end = |crash_at: usize| {
        let mut world = healthy();
        bad_upgrade(&mut world);
        let mut done = 0;
        // One change at a time: the budget of each life of the watcher.
        let mut crashed = false;
        world.run(300, || {
            if crashed || done > 200 {
                return FOREVER;
            }
            done += 1;
            crashed = done == crash_at;
            if crashed { 0 } else { FOREVER }
        });
        (world.state(), world.status.phase, world.records())
    };
    let undisturbed = end(usize::MAX);
    for crash_at in 1..60 {
        assert_eq!(end(crash_at), undisturbed, "crash at look {crash_at}");
    }
}

#[test]
fn a_watcher_that_dies_after_every_single_change_still_gets_there() {
    for survives in 1..4 {
        let mut world = healthy();
        let before = world.state();
        bad_upgrade(&mut world);
        let mut life = 0;
        world.run(600, || {
            life += 1;
            // Every other life is long enough to observe without dying.
            if life % 2 == 0 { survives } else { FOREVER }
        });
        assert_eq!(world.state(), before);
        assert_eq!(world.status.phase, Some(RolledBack));
        assert_eq!(world.records(), 0);
    }
}

#[test]
fn only_objects_of_the_release_are_ever_written() {
    let mut world = healthy();
    world.deploy("ConfigMap", "bystander", data("x"));
    world.run(120, || FOREVER);
    world.written.clear();
    bad_upgrade(&mut world);
    world.run(120, || FOREVER);
    let written: BTreeSet<_> = world.written.iter().map(|(object, _)| object.as_str()).collect();
    assert_eq!(
        written,
        ["ConfigMap shop/a", "ConfigMap shop/b", "ConfigMap shop/c", "Job shop/migrate"].into()
    );
    assert!(world.state()["configmaps/bystander"]["metadata"]["labels"].get(names::UNDO).is_some());
}

#[test]
fn a_repair_by_hand_after_a_held_transaction_is_judged_by_itself() {
    for status in ["failed", "pending-upgrade"] {
        let mut world = World::new();
        helm(&mut world, 1, "pending-install");
        world.deploy("ConfigMap", "a", data("one"));
        helm(&mut world, 1, "deployed");
        world.run(120, || FOREVER);
        world.policy.on_upgrade_failure = Action::Hold;
        helm(&mut world, 2, "pending-upgrade");
        world.deploy("ConfigMap", "a", data("bad"));
        helm(&mut world, 2, status);
        world.run(1000, || FOREVER);
        assert_eq!(world.status.phase, Some(Held), "{status}");
        world.policy.on_upgrade_failure = Action::Rollback;
        world.deploy("ConfigMap", "a", data("mended"));
        world.run(120, || FOREVER);
        assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 3), "{status}");
        assert_eq!(world.text("a"), json!("mended"));
    }
}

#[test]
fn each_write_gets_the_whole_time_to_become_ready() {
    let mut world = healthy();
    for n in 0..16 {
        let name = format!("job-{n}");
        world.deploy(
            "Job",
            &name,
            Some(json!({"spec": {}, "status": {"startTime": "2026-01-01T00:00:00Z"}})),
        );
        world.run(20, || FOREVER);
        world.outside("Job", &name, |job| {
            job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        });
        world.run(30, || FOREVER);
    }
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 2), "{:#?}", world.status);
}

#[test]
fn the_hook_that_failed_is_to_blame_and_not_the_client_that_reports_it() {
    let mut world = World::new();
    helm(&mut world, 1, "pending-install");
    world.deploy("ConfigMap", "a", data("one"));
    helm(&mut world, 1, "deployed");
    world.run(120, || FOREVER);
    helm(&mut world, 2, "pending-upgrade");
    world.deploy(
        "Job",
        "migrate",
        Some(json!({"spec": {}, "status": {"startTime": "2026-01-01T00:00:00Z"}})),
    );
    helm(&mut world, 2, "failed");
    // The job was looked at a moment before the client's own word.
    world.look(FOREVER);
    world.outside("Job", "migrate", |job| job["status"] = failed_job().unwrap()["status"].clone());
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(world.status.failure.as_ref().unwrap().reason, "JobFailed");
}

/// A script that tries again every six seconds: `until kubectl apply -f .; do sleep 5; done`, of which one object is
/// refused by a policy and another one has failed.
#[test]
fn a_write_that_is_refused_every_few_seconds_does_not_put_off_the_verdict_for_ever() {
    for pause in [10, 6] {
        let mut world = healthy();
        bad_upgrade(&mut world);
        for n in 0..300 {
            world.admit("ConfigMap", "d", data(&format!("refused {n}")));
            world.run(pause, || FOREVER);
        }
        assert_eq!(
            world.status.phase,
            Some(RolledBack),
            "tried every {pause} s for {} s: {:?}",
            300 * pause,
            world.phases
        );
    }
}
