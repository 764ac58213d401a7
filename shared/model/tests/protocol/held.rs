//! What is held, with all that its client still writes, and how it goes on.

use backout_model::names;
use backout_model::release::{Action, Phase};
use serde_json::json;

use super::world::{
    FOREVER, ask, bad_upgrade, data, failed_job, healthy, held_when_begun, helm, installed, key, seconds,
};

use Phase::{Held, Progressing, RolledBack};

#[test]
fn what_is_held_stays_so_with_its_client_whoever_else_was_first_in_the_revision() {
    let mut world = installed();
    world.by = ("bob", "kubectl");
    world.deploy("ConfigMap", "x", data("bob's"));
    world.by = ("alice", "helm");
    held_when_begun(&mut world);
    assert_eq!((world.status.phase, world.status.revision), (Some(Held), 2));
    world.deploy("Job", "migrate", failed_job());
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Held), 2));
}

#[test]
fn an_uninstall_that_is_held_is_not_committed_when_it_ends() {
    let mut world = installed();
    let before = world.state();
    helm(&mut world, 1, "uninstalling");
    world.look(FOREVER);
    world.request = Some("hold");
    world.look(FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Held), 2));
    world.by.1 = "";
    world.deploy("ConfigMap", "a", None);
    world.deploy("Secret", "sh.helm.release.v1.web.v1", None);
    world.run(120, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Held), 2));
    ask(&mut world, "rollback");
    assert_eq!(world.state(), before);
}

#[test]
fn what_its_client_writes_while_it_is_held_is_noted() {
    let mut world = installed();
    let before = world.state();
    held_when_begun(&mut world);
    world.deploy("ConfigMap", "a", data("two"));
    world.run(10, || FOREVER);
    // A controller replaces its labels.
    world.outside("ConfigMap", "a", |a| {
        a["metadata"]["labels"].as_object_mut().unwrap().remove(names::UNDO);
    });
    world.run(120, || FOREVER);
    helm(&mut world, 2, "failed");
    world.run(10, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Held), 2));
    ask(&mut world, "rollback");
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(world.text("a"), before["configmaps/a"]["data"]["text"]);
}

#[test]
fn what_somebody_else_deletes_of_it_comes_back() {
    let mut world = installed();
    held_when_begun(&mut world);
    world.deploy("ConfigMap", "a", data("two"));
    world.run(10, || FOREVER);
    world.outside_delete("ConfigMap", "a");
    world.run(120, || FOREVER);
    helm(&mut world, 2, "failed");
    world.run(10, || FOREVER);
    ask(&mut world, "rollback");
    assert_eq!(world.status.phase, Some(RolledBack));
    assert!(world.objects.contains_key(&key("ConfigMap", "a")));
}

#[test]
fn a_failing_pod_is_kept_when_what_is_held_by_policy_is_rolled_back_by_hand() {
    let mut world = healthy();
    world.policy.keep_failing_pod = std::time::Duration::from_mins(2);
    world.policy.on_upgrade_failure = Action::Hold;
    bad_upgrade(&mut world);
    let uid = world.objects[&key("ConfigMap", "a")]["metadata"]["uid"].clone();
    world.pods.push(json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "a-1", "namespace": "shop", "uid": "pod", "resourceVersion": "7", "labels": {"app": "a"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "a", "uid": uid, "controller": true}]},
        "spec": {"nodeName": "node"}, "status": {"phase": "Running"}}));
    world.run(60, || FOREVER);
    assert_eq!(world.status.phase, Some(Held));
    world.request = Some("rollback");
    world.run(30, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    let told: Vec<_> =
        world.notices.iter().map(|it| it.reason).filter(|it| it.ends_with("PodKept")).collect();
    assert_eq!(told, ["PodKept"]);
    world.now += seconds(1);
}

#[test]
fn a_fix_by_who_was_first_in_what_is_held_with_anothers_client_is_a_revision() {
    let mut world = installed();
    world.by = ("bob", "kubectl");
    world.deploy("ConfigMap", "x", data("bob's"));
    world.by = ("alice", "helm");
    held_when_begun(&mut world);
    helm(&mut world, 2, "failed");
    world.run(60, || FOREVER);
    assert_eq!(world.status.phase, Some(Held));
    world.by = ("bob", "kubectl");
    world.deploy("ConfigMap", "x", data("mended"));
    world.run(120, || FOREVER);
    assert_eq!(world.status.revision, 3, "{}", world.status.message);
}

#[test]
fn time_in_which_it_was_held_is_no_time_in_which_it_could_not_be_observed() {
    let mut world = healthy();
    world.deploy("Job", "slow", Some(json!({"spec": {"completions": 1}})));
    world.run(20, || FOREVER);
    assert_eq!(world.status.phase, Some(Progressing));
    world.unreadable.insert(key("Job", "slow"));
    world.run(5, || FOREVER);
    ask(&mut world, "hold");
    world.unreadable.clear();
    world.now += seconds(24 * 3600);
    world.request = Some("resume");
    world.run(1200, || FOREVER);
    assert_ne!(
        world.status.phase,
        Some(Progressing),
        "it fails at {:?}, now {}",
        world.status.deadline_at,
        world.now
    );
}

#[test]
fn who_asks_for_a_rollback_of_this_revision_is_told_what_else_goes_back() {
    let mut world = healthy();
    world.policy.on_upgrade_failure = Action::Notify;
    // Two deploys whose verdicts nobody minds, and one that somebody wants undone.
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("Job", "migrate", failed_job());
    world.run(60, || FOREVER);
    world.deploy("ConfigMap", "a", data("three"));
    world.run(60, || FOREVER);
    world.deploy("ConfigMap", "b", data("four"));
    world.run(60, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Phase::Notified), 4));
    ask(&mut world, "rollback");
    assert_eq!(world.status.phase, Some(RolledBack));
    // README: "puts everything back to the state before the current revision".
    let answer = world.status.answer.clone().unwrap();
    assert!(
        world.text("a") == json!("three") || answer.message != "revision 4 is rolled back",
        "a: {}: {answer:?}, {}",
        world.text("a"),
        world.status.message
    );
}
