//! The fence: for the client that waits, and for nobody else, until it begins anew.

use backout_model::release::{Action, Phase};
use serde_json::json;

use super::world::{
    FOREVER, World, ask, data, failed_job, fenced, helm, history, installed, key, listed, seconds, texts,
};

use Phase::{Held, Open, Progressing, RolledBack, RollingBack, Soaking};

#[test]
fn the_next_transaction_of_a_fenced_client_is_let_in_while_what_another_has_deployed_is_judged() {
    for phase in [Progressing, Soaking] {
        let mut world = fenced();
        world.by = ("bob", "kubectl");
        match phase {
            Progressing => world.deploy("Job", "slow", Some(json!({"spec": {"completions": 1}}))),
            _ => world.deploy("ConfigMap", "a", data("two")),
        }
        world.run(20, || FOREVER);
        assert_eq!(world.status.phase, Some(phase));
        world.by = ("alice", "helm");
        // The webhook holds its answer until the fence is down, for some seconds.
        world.admit("Secret", "sh.helm.release.v1.web.v2", Some(json!({})));
        world.run(10, || FOREVER);
        assert_eq!(world.status.fence, None, "{phase:?}");
    }
}

#[test]
fn a_rollback_that_stalls_gives_way_to_the_next_transaction_of_the_fenced_client() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("Job", "migrate", failed_job());
    world.refused.insert(key("ConfigMap", "a"));
    world.run(300, || FOREVER);
    assert_eq!((world.status.phase, world.status.is_stalled()), (Some(RollingBack), true));
    world.admit("Secret", "sh.helm.release.v1.web.v2", Some(json!({})));
    world.run(10, || FOREVER);
    assert_eq!(world.status.fence, None, "{:?} {}", world.status.phase, world.status.message);
}

#[test]
fn the_fence_is_not_taken_down_by_the_very_transaction_that_it_is_for() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("Job", "migrate", failed_job());
    world.until(RollingBack);
    world.request = Some("hold");
    world.run(10, || FOREVER);
    assert_eq!((world.status.phase, world.status.fence.is_some()), (Some(Held), true));
    world.run(60, || FOREVER);
    assert!(world.status.fence.is_some());
    world.by = ("bob", "kubectl");
    world.deploy("ConfigMap", "x", data("new"));
    world.run(3, || FOREVER);
    assert_eq!(world.status.phase, Some(Open));
    assert!(world.status.fence.is_some());
}

#[test]
fn who_is_fenced_is_who_waits_and_not_who_has_made_the_version() {
    let mut world = installed();
    world.policy.on_upgrade_failure = Action::Hold;
    world.by.0 = "bob";
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("two"));
    helm(&mut world, 2, "failed");
    world.run(60, || FOREVER);
    assert_eq!(world.status.phase, Some(Held));
    world.by.0 = "alice";
    helm(&mut world, 2, "uninstalling");
    world.deploy("ConfigMap", "a", None);
    world.run(3, || FOREVER);
    world.request = Some("rollback");
    world.run(60, || FOREVER);
    assert_eq!(world.status.fence.as_ref().map(|fence| fence.user.as_str()), Some("alice"));
}

#[test]
fn who_waits_for_what_is_held_untouched_is_not_told_that_it_is_rolled_back() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("Job", "migrate", failed_job());
    world.history.clear();
    world.run(60, || FOREVER);
    assert_eq!((world.status.phase, world.written.len()), (Some(Held), 0));
    assert_eq!(world.status.fence, None);
}

#[test]
fn the_next_transaction_of_a_fenced_client_may_begin_with_making_room_in_its_history() {
    use backout_model::{
        admission::{Decision, Triage, parse, triage},
        identity::Deployers,
        release::{Fence, Release, ReleaseStatus},
    };
    // Of ten versions (Helm's own default of `--history-max`) the oldest one is deleted before the eleventh is made:
    // Storage.Create and removeLeastRecent in Helm's pkg/storage/storage.go.
    let oldest = json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "metadata": {
        "name": "sh.helm.release.v1.front.v1", "namespace": "shop", "uid": "s-1", "resourceVersion": "7",
        "labels": {"name": "front", "owner": "helm", "status": "superseded", "version": "1"}}});
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "r-1", "operation": "DELETE", "namespace": "shop", "name": "sh.helm.release.v1.front.v1",
        "kind": {"group": "", "version": "v1", "kind": "Secret"},
        "resource": {"group": "", "version": "v1", "resource": "secrets"},
        "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
        "object": null, "oldObject": oldest, "dryRun": false, "options": {"kind": "DeleteOptions"}}});
    // The eleventh version failed while Helm waited, and was rolled back long ago: there are ten again.
    let fence = Fence {
        revision: 11,
        user: "alice".to_owned(),
        message: "revision 11 was rolled back".to_owned(),
        ..Fence::default()
    };
    let status = ReleaseStatus {
        fence: Some(fence),
        revision: 11,
        phase: Some(RolledBack),
        ..ReleaseStatus::default()
    };
    let release = Release { status: Some(status), ..Release::default() };
    let body = review.to_string();
    let request = parse(body.as_bytes()).unwrap();
    let Triage::Write(write) = triage(&request, &Deployers::default()).unwrap() else { panic!("no write") };
    match write.decide(Some(&release)) {
        Decision::Record(recording) => assert!(!recording.knocks),
        Decision::Refuse { message } => panic!("refused for ever: {message}"),
        Decision::Pass { .. } => {}
    }
}

/// Helm waits for a revision that has just failed; `late` comes between the watcher's look and its decision's being stored.
fn slips_by(late: impl FnOnce(&mut World)) -> World {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("Job", "migrate", failed_job());
    let mut late = Some(late);
    loop {
        let look = world.decide();
        let decides = look.decision.status.phase == Some(RollingBack);
        if decides {
            late.take().unwrap()(&mut world);
        }
        for change in 0..look.changes() {
            world.change(&look, change);
        }
        if decides {
            break;
        }
        world.now += seconds(1);
    }
    assert!(world.status.fence.is_some());
    world.run(600, || FOREVER);
    world
}

#[test]
fn helm_keeps_a_deployed_version_when_its_last_words_slip_by_the_fence() {
    // Helm marks the last version before it marks its own, which the fence refuses.
    let world = slips_by(|world| helm(world, 1, "superseded"));
    assert_eq!(history(&world), listed(&[("v1", "deployed")]), "{:?} {:?}", world.status.phase, world.phases);
}

#[test]
fn what_slips_by_the_fence_is_undone_with_the_rest_of_its_transaction() {
    let world = slips_by(|world| world.deploy("ConfigMap", "z", data("late")));
    assert!(
        !world.objects.contains_key(&key("ConfigMap", "z")),
        "{:?} {:?}",
        world.status.phase,
        world.phases
    );
}

#[test]
fn helm_does_not_end_well_what_is_half_undone() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("Job", "migrate", failed_job());
    world.until(RollingBack);
    while world.text("a") != json!("one") {
        world.look(1);
    }
    ask(&mut world, "hold");
    assert_eq!((world.status.phase, world.status.fence.is_some()), (Some(Held), true));
    // Somebody takes away by hand what fails, and goes on.
    world.by = ("bob", "kubectl");
    world.deploy("Job", "migrate", None);
    world.run(3, || FOREVER);
    // Helm sees that all is ready, and writes its last words, if it may.
    if world.status.fence.is_none() {
        world.by = ("alice", "helm");
        helm(&mut world, 1, "superseded");
        helm(&mut world, 2, "deployed");
    }
    world.run(200, || FOREVER);
    let deployed = history(&world).get("v2").is_some_and(|status| status == "deployed");
    assert!(!deployed || world.text("a") == json!("two"), "{:?} {:?}", world.status.phase, texts(&world));
}

#[test]
fn a_transaction_of_another_user_does_not_let_go_on_who_waits_for_what_was_undone() {
    let mut world = fenced();
    // The first one still waits for what was taken down, until its own timeout is over.
    world.by.0 = "bob";
    helm(&mut world, 2, "pending-upgrade");
    world.run(3, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Open), 3));
    assert_eq!(world.status.fence.as_ref().map(|fence| fence.user.as_str()), Some("alice"));
}

#[test]
fn helm_calls_no_version_deployed_that_was_undone_when_both_its_last_words_slip_by() {
    let world = slips_by(|world| {
        helm(world, 1, "superseded");
        helm(world, 2, "deployed");
    });
    let deployed = history(&world).get("v2").is_some_and(|status| status == "deployed");
    let text = world.text("a");
    assert_eq!(deployed, text == json!("two"), "{:?} {:?} a: {text}", world.phases, history(&world));
}
