//! Clients that mark their own transactions, and wait while they are judged.

use backout_model::release::Phase;
use serde_json::json;

use super::world::{FOREVER, data, failed_job, held_when_begun, helm, installed};

use Phase::{Healthy, Held, Open, RolledBack, RollingBack, Soaking};

#[test]
fn a_client_that_waits_for_a_failed_revision_is_fenced_until_its_next_transaction() {
    let mut world = installed();
    let before = world.state();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("Job", "migrate", failed_job());
    while world.status.phase != Some(RollingBack) {
        world.look(FOREVER);
        assert_eq!(world.written, [], "the fence is up before the first restore");
        world.now += jiff::SignedDuration::from_secs(1);
    }
    let fence = world.status.fence.clone().unwrap();
    assert_eq!((fence.revision, fence.user.as_str()), (2, "alice"));
    assert!(fence.message.contains("Job shop/migrate"), "{}", fence.message);
    world.run(60, || FOREVER);
    assert_eq!(world.state(), before);
    assert!(world.status.fence.is_some());
    // The webhook holds its answer until the fence is down: the write is admitted, not committed.
    world.admit("Secret", "sh.helm.release.v1.web.v2", Some(json!({})));
    world.look(FOREVER);
    assert_eq!(world.status.fence, None);
    assert_eq!(world.status.phase, Some(RolledBack));
}

#[test]
fn a_client_that_waits_for_what_is_judged_again_may_finish() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("Job", "migrate", failed_job());
    world.until(RollingBack);
    world.request = Some("hold");
    world.run(10, || FOREVER);
    assert_eq!((world.status.phase, world.status.fence.is_some()), (Some(Held), true));
    world.outside("Job", "migrate", |job| {
        job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    });
    world.request = Some("resume");
    world.look(FOREVER);
    assert_eq!((world.status.phase, &world.status.fence), (Some(Open), &None));
    helm(&mut world, 2, "deployed");
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 2));
}

#[test]
fn what_is_held_by_hand_stays_so_when_its_client_ends() {
    for end in ["deployed", "failed"] {
        let mut world = installed();
        let before = world.state();
        helm(&mut world, 2, "pending-upgrade");
        world.deploy("Job", "migrate", failed_job());
        world.look(FOREVER);
        world.request = Some("hold");
        world.look(FOREVER);
        assert_eq!((world.status.phase, world.status.revision), (Some(Held), 2));
        // A hook.
        world.deploy("ConfigMap", "hook", data("made"));
        world.run(10, || FOREVER);
        helm(&mut world, 1, "superseded");
        helm(&mut world, 2, end);
        let state = world.state();
        world.run(120, || FOREVER);
        assert_eq!((world.status.phase, world.status.revision), (Some(Held), 2), "{end}");
        assert_eq!(world.state(), state, "{end}");
        world.request = Some("rollback");
        world.run(120, || FOREVER);
        assert_eq!((world.status.phase, world.state()), (Some(RolledBack), before), "{end}");
        assert_eq!(world.records(), 0, "{end}");
    }
}

#[test]
fn what_is_held_by_hand_when_its_client_has_just_begun_is_held_with_all_that_the_client_still_writes() {
    for tool in ["helm", "helm-controller", "terraform-provider-helm_v3"] {
        let mut world = installed();
        let before = world.state();
        world.by.1 = tool;
        held_when_begun(&mut world);
        world.deploy("Job", "migrate", failed_job());
        world.run(120, || FOREVER);
        assert_eq!((world.status.phase, world.status.revision), (Some(Held), 2), "{tool}");
        helm(&mut world, 2, "failed");
        world.request = Some("rollback");
        world.run(120, || FOREVER);
        assert_eq!((world.status.phase, world.state()), (Some(RolledBack), before), "{tool}");
    }
}

#[test]
fn a_fix_by_hand_of_what_is_held_while_its_client_waits_is_the_next_revision() {
    let mut world = installed();
    held_when_begun(&mut world);
    world.by = ("bob", "kubectl-edit");
    world.deploy("ConfigMap", "a", data("mended"));
    world.run(120, || FOREVER);
    // Not while the client is in the middle of what would be committed.
    assert_eq!((world.status.phase, world.status.revision), (Some(Soaking), 3));
    world.by = ("alice", "helm");
    helm(&mut world, 2, "deployed");
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 3));
}

#[test]
fn a_client_that_waits_is_fenced_when_what_another_deploys_meanwhile_fails() {
    let mut world = installed();
    let before = world.state();
    held_when_begun(&mut world);
    world.by = ("bob", "kubectl");
    world.deploy("Job", "migrate", failed_job());
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.state()), (Some(RolledBack), before));
    let fence = world.status.fence.unwrap();
    assert_eq!((fence.revision, fence.user.as_str()), (3, "alice"));
}

#[test]
fn the_next_transaction_of_a_client_whose_last_one_is_held_is_another_revision() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("two"));
    world.look(FOREVER);
    world.request = Some("hold");
    world.look(FOREVER);
    helm(&mut world, 2, "failed");
    helm(&mut world, 3, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("three"));
    helm(&mut world, 3, "deployed");
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 3));
}

#[test]
fn a_transaction_that_began_just_when_the_verdict_fell_is_not_fenced() {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("Job", "migrate", failed_job());
    world.until(RollingBack);
    // One that waits until the fence is down is no transaction yet.
    let knock = world.admit("Secret", "sh.helm.release.v1.web.v3", Some(json!({})));
    world.look(FOREVER);
    assert!(world.status.fence.is_some());
    world.commit(&knock.0, knock.1);
    world.look(FOREVER);
    assert_eq!((world.status.phase, &world.status.fence), (Some(RollingBack), &None));
}

#[test]
fn a_client_that_dies_in_the_middle_is_rolled_back_when_the_deadline_has_passed() {
    let mut world = installed();
    let before = world.state();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("two"));
    world.run(590, || FOREVER);
    assert_eq!(world.status.phase, Some(Open));
    world.run(30, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(world.status.failure.as_ref().unwrap().reason, "ClientGone");
    assert_eq!(world.state(), before);
}
