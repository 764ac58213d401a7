//! A restored StatefulSet rolls back although its controller waits for a pod that never gets ready (kubernetes#67250).

use backout_model::{object::Image, release::Phase};
use serde_json::{Value, json};

use super::world::{FOREVER, World, key, reference, seconds};

use Phase::{Open, Progressing, RolledBack, RollingBack};

#[expect(clippy::unnecessary_wraps, reason = "what is deployed is some content, or none")]
fn set(image: &str, replicas: i64) -> Option<Value> {
    let spec = json!({"replicas": replicas, "template": {"image": image}, "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}});
    Some(json!({"spec": spec}))
}

/// A pod of an image: the bad one is on no node.
fn pod(world: &World, set: &Value, ordinal: i64, revision: &str) -> Value {
    let is_bad = set["spec"]["template"]["image"] == "bad";
    let state = if is_bad {
        json!({"waiting": {"reason": "ErrImageNeverPull", "message": "not present"}})
    } else {
        json!({"running": {"startedAt": world.now.to_string()}})
    };
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": format!("db-{ordinal}"), "namespace": "shop", "uid": format!("db-{ordinal}-{}", world.now),
            "resourceVersion": "7", "creationTimestamp": world.now.to_string(),
            "labels": {"controller-revision-hash": revision},
            "ownerReferences": [{"kind": "StatefulSet", "name": "db", "uid": set["metadata"]["uid"], "controller": true}]},
        "spec": {"restartPolicy": "Always"},
        "status": {"phase": if is_bad { "Pending" } else { "Running" },
            "conditions": [{"type": "Ready", "status": if is_bad { "False" } else { "True" }}],
            "containerStatuses": [{"name": "db", "image": "r.example/db", "ready": !is_bad, "restartCount": 0, "state": state}]}})
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True"
}

fn revision(pod: &Value) -> &Value {
    &pod["metadata"]["labels"]["controller-revision-hash"]
}

/// One look of the controller of stateful sets: makes the first pod that is missing, waits for the first that is not
/// ready, whatever revision it is of, and only then replaces the last one of another revision.
fn controller(world: &mut World) {
    let set = world.objects[&key("StatefulSet", "db")].clone();
    let update = format!("db-{}", set["spec"]["template"]["image"].as_str().unwrap());
    let wanted = set["spec"]["replicas"].as_i64().unwrap();
    let named = |world: &World, ordinal: i64| {
        world.pods.iter().position(|pod| pod["metadata"]["name"] == format!("db-{ordinal}"))
    };
    let first =
        (0..wanted).find(|ordinal| named(world, *ordinal).is_none_or(|at| !is_ready(&world.pods[at])));
    let last = (0..wanted)
        .rev()
        .filter_map(|ordinal| named(world, ordinal))
        .find(|at| *revision(&world.pods[*at]) != update);
    match (first, last) {
        (Some(ordinal), _) if named(world, ordinal).is_none() => {
            let pod = pod(world, &set, ordinal, &update);
            world.pods.push(pod);
        }
        (None, Some(at)) => {
            world.pods.remove(at);
        }
        _ => {}
    }
    let count = |holds: &dyn Fn(&Value) -> bool| world.pods.iter().filter(|pod| holds(pod)).count();
    let status = json!({"observedGeneration": set["metadata"]["generation"], "updateRevision": update,
        "replicas": count(&|_| true), "readyReplicas": count(&is_ready), "availableReplicas": count(&is_ready),
        "updatedReplicas": count(&|pod| *revision(pod) == update)});
    if set["status"] != status {
        world.outside("StatefulSet", "db", |set| set["status"] = status);
    }
}

/// So many seconds, in each of which the controller looks, and the watcher, which dies after so many changes.
fn live(world: &mut World, for_seconds: i64, mut dies_after: impl FnMut() -> usize) {
    for _ in 0..for_seconds {
        controller(world);
        if !world.look(dies_after()).1 {
            world.restart();
        }
        world.now += seconds(1);
    }
}

/// A healthy StatefulSet of three pods, to which a revision was deployed that has just failed.
fn failed() -> World {
    let mut world = World::new();
    let mut first = set("good", 3).unwrap();
    first["metadata"] = json!({"name": "db", "namespace": "shop", "generation": 1});
    world.deploy("StatefulSet", "db", Some(first));
    live(&mut world, 120, || FOREVER);
    assert_eq!(world.status.healthy_revision, Some(1), "{:?}", world.phases);
    world.phases.clear();
    world.deploy("StatefulSet", "db", set("bad", 3));
    for _ in 0..60 {
        live(&mut world, 1, || FOREVER);
        if world.status.phase == Some(RollingBack) {
            return world;
        }
    }
    panic!("it does not fail: {:#?}", world.status);
}

fn uids(world: &World) -> Vec<String> {
    let mut uids: Vec<_> = world.pods.iter().map(|pod| Image(pod).uid().unwrap().to_owned()).collect();
    uids.sort();
    uids
}

fn deletions(world: &World) -> Vec<&str> {
    let pods = world.written.iter().filter(|(what, _)| what.starts_with("Pod"));
    pods.map(|(_, uid)| uid.as_str()).collect()
}

#[test]
fn the_pod_that_is_waited_for_is_deleted_once_the_controller_knows_the_restored_spec_and_no_other_one() {
    for dies_after in [FOREVER, 0, 1] {
        let mut world = failed();
        let (before, bad) = (uids(&world), uids(&world)[2].clone());
        let mut turn = 0;
        // The controller is away: the spec is restored, and the pod left alone.
        for _ in 0..20 {
            world.look(FOREVER);
            world.now += seconds(1);
        }
        let live_set = &world.objects[&key("StatefulSet", "db")];
        assert_eq!(live_set["spec"], set("good", 3).unwrap()["spec"]);
        assert_eq!((deletions(&world), world.status.phase), (Vec::<&str>::new(), Some(RollingBack)));
        live(&mut world, 60, || {
            turn += 1;
            if turn % 3 == 0 { dies_after } else { FOREVER }
        });
        assert_eq!(deletions(&world), [bad.as_str()], "{dies_after}");
        assert_eq!(world.phases, [Open, Progressing, RollingBack, RolledBack]);
        assert_eq!(world.status.unrestored, []);
        let after = uids(&world);
        assert_eq!((&after[..2], after.len()), (&before[..2], 3), "the pods that were well are still there");
        assert!(world.pods.iter().all(|pod| is_ready(pod) && revision(pod) == "db-good"), "{:?}", world.pods);
        assert_eq!(world.records(), 0);
    }
}

#[test]
fn without_that_the_controller_waits_forever_and_so_does_the_rollback() {
    let mut world = failed();
    let bad = world.pods.iter().find(|pod| !is_ready(pod)).unwrap().clone();
    let mut stuck = reference("ConfigMap", Image(&bad).meta("name").unwrap()).key;
    stuck.resource = "pods".to_owned();
    world.refused.insert(stuck.clone());
    live(&mut world, 60, || FOREVER);
    assert_eq!((deletions(&world), world.status.phase), (Vec::<&str>::new(), Some(RollingBack)));
    assert!(world.pods.contains(&bad), "its controller does not heal it alone");
    world.refused.remove(&stuck);
    live(&mut world, 60, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack));
    assert!(world.pods.iter().all(is_ready));
}
