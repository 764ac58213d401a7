//! Where the transaction of a client stands when its revision is judged, held, or judged again.

use backout_model::release::{Action, Phase};
use serde_json::json;

use super::world::{FOREVER, World, ask, data, failed_job, helm, history, installed, listed};

use Phase::{Healthy, Held, Open, RolledBack};

#[test]
fn what_is_judged_again_is_not_committed_while_its_client_is_in_the_middle() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.look(FOREVER);
    ask(&mut world, "hold");
    // A hook without the mark of the release is at work for some minutes.
    ask(&mut world, "resume");
    assert_ne!(world.status.phase, Some(Healthy), "{:?}", history(&world));
}

#[test]
fn and_helm_is_left_with_a_version_that_can_be_upgraded() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.look(FOREVER);
    ask(&mut world, "hold");
    ask(&mut world, "resume");
    // The hook is over; what Helm makes then fails, and Helm says so.
    world.deploy("ConfigMap", "a", data("bad"));
    helm(&mut world, 2, "failed");
    world.run(200, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    // `helm upgrade` refuses to work on a version that is pending.
    assert!(!history(&world).values().any(|status| status.starts_with("pending")), "{:?}", history(&world));
}

#[test]
fn what_its_client_has_called_failed_while_it_was_held_is_not_healthy_when_it_is_judged_again() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("half"));
    world.look(FOREVER);
    ask(&mut world, "hold");
    helm(&mut world, 2, "failed");
    world.run(10, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Held), 2));
    ask(&mut world, "resume");
    assert_ne!(world.status.phase, Some(Healthy));
}

#[test]
fn what_a_client_that_is_gone_has_left_by_half_is_not_healthy_when_it_is_judged_again() {
    let mut world = installed();
    world.policy.on_upgrade_failure = Action::Hold;
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("half"));
    world.run(700, || FOREVER);
    assert_eq!(world.status.failure.as_ref().map(|it| it.reason.as_str()), Some("ClientGone"));
    ask(&mut world, "resume");
    assert_ne!(world.status.phase, Some(Healthy), "{:?}", history(&world));
}

#[test]
fn a_fix_by_another_does_not_commit_what_a_client_is_in_the_middle_of() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.look(FOREVER);
    ask(&mut world, "hold");
    world.by = ("bob", "kubectl-edit");
    world.deploy("ConfigMap", "a", data("mended"));
    world.run(120, || FOREVER);
    world.by = ("alice", "helm");
    helm(&mut world, 2, "failed");
    world.run(200, || FOREVER);
    assert!(!history(&world).values().any(|status| status.starts_with("pending")), "{:?}", history(&world));
}

#[test]
fn a_client_that_waits_for_an_object_that_has_more_time_is_not_gone() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    let job = json!({"spec": {"completions": 1}, "metadata": {"name": "slow", "namespace": "shop",
        "annotations": {"backout.dev/deadline": "30m"}}});
    world.deploy("Job", "slow", Some(job));
    world.run(900, || FOREVER);
    assert_eq!(world.status.phase, Some(Open), "{:?}", world.status.failure);
}

/// Two versions, uninstalled, and installed again while that soaks.
fn installed_again() -> World {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("two"));
    helm(&mut world, 1, "superseded");
    helm(&mut world, 2, "deployed");
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 2));
    helm(&mut world, 2, "uninstalling");
    world.by.1 = "";
    for (kind, name) in
        [("ConfigMap", "a"), ("Secret", "sh.helm.release.v1.web.v1"), ("Secret", "sh.helm.release.v1.web.v2")]
    {
        world.deploy(kind, name, None);
    }
    world.by.1 = "helm";
    world.run(5, || FOREVER);
    helm(&mut world, 1, "pending-install");
    world
}

#[test]
fn an_install_right_after_an_uninstall_is_not_cut_short() {
    let mut world = installed_again();
    world.deploy("ConfigMap", "a", data("again"));
    // A hook without the mark of the release is at work.
    world.run(200, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Open), 3), "{:?}", history(&world));
}

#[test]
fn an_install_right_after_an_uninstall_that_its_client_calls_failed_is_not_healthy() {
    let mut world = installed_again();
    world.deploy("ConfigMap", "a", data("again"));
    helm(&mut world, 1, "failed");
    world.run(200, || FOREVER);
    assert_ne!(world.status.phase, Some(Healthy), "{:?}", history(&world));
}

#[test]
fn who_waits_for_an_install_right_after_an_uninstall_is_fenced() {
    let mut world = installed_again();
    world.deploy("Job", "migrate", failed_job());
    world.run(60, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert!(world.status.fence.is_some());
}

#[test]
fn a_client_that_failed_is_told_by_its_own_secret_and_not_by_one_of_the_application() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("Secret", "web-tls", data("key"));
    helm(&mut world, 2, "failed");
    world.run(60, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    let failure = world.status.failure.clone().unwrap();
    assert_eq!(failure.object.name, "sh.helm.release.v1.web.v2", "{}", world.status.message);
}

#[test]
fn what_was_installed_again_and_failed_leaves_the_restored_history_alone() {
    let mut world = installed_again();
    world.deploy("Job", "migrate", failed_job());
    world.run(60, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    let before = listed(&[("v1", "superseded"), ("v2", "deployed")]);
    assert_eq!(history(&world), before);
    // Its client goes on, if it may.
    if world.status.fence.is_none() {
        helm(&mut world, 1, "failed");
    }
    world.run(200, || FOREVER);
    assert_eq!((world.status.revision, history(&world)), (3, before));
}
