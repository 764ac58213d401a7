//! Kinds that do not come back by their spec alone.

use backout_model::{
    object::ObjectRef,
    protocol::Notice,
    rollback::{Options, Write, without_taken},
};
use serde_json::{Value, json};

use super::story::*;

fn job(uid: &str, version: u32, pointer: u8, condition: Option<&str>) -> Value {
    let mut job = stored("batch", "Job", uid, version, Some(pointer), "one");
    job["status"] = json!({"conditions": [{"type": condition, "status": "True"}]});
    job
}

#[test]
fn a_job_that_had_ended_is_not_created_again() {
    for end in ["Complete", "Failed"] {
        let deleted = || Story::of("batch", "Job").deleted(job("u1", 5, 9, Some(end)));
        assert!(deleted().left().contains("would run again"));
        let replaced = deleted().created(job("", 0, 2, None));
        assert_eq!(replaced.now(job("u2", 25, 2, None)).write(), deletion("u2", "25", true));
    }
    for state in [None, Some("Suspended"), Some("SuccessCriteriaMet")] {
        let running = Story::of("batch", "Job").deleted(job("u1", 5, 9, state));
        assert!(matches!(running.write(), Write::Create { .. }));
    }
    // A custom resource of that name ends in its own ways.
    let mut other = job("u1", 5, 9, Some("Complete"));
    other["apiVersion"] = json!("example.com/v1");
    assert!(matches!(Story::of("example.com", "Job").deleted(other).write(), Write::Create { .. }));
}

#[test]
fn a_job_that_has_gone_by_itself_is_not_created_again() {
    let passing = |ttl: Option<u32>| {
        let mut job = job("u1", 5, 9, None);
        job["spec"] = json!({"ttlSecondsAfterFinished": ttl});
        if ttl.is_none() {
            job["spec"] = json!({});
        }
        let mut labelled = job.clone();
        labelled["metadata"]["labels"]["a"] = json!("b");
        Story::of("batch", "Job").updated(job.clone(), labelled.clone())
    };
    assert!(passing(Some(60)).left().contains("would run again"));
    assert!(matches!(passing(None).write(), Write::Create { .. }));
    let deleted = passing(Some(60)).deleted(passing(Some(60)).proofs.values().find_map(after).unwrap());
    assert!(matches!(deleted.write(), Write::Create { .. }));
}

fn after(proof: &backout_model::rollback::Proof) -> Option<Value> {
    proof.record()?.body.after.clone()
}

#[test]
fn what_was_made_immutable_makes_way_for_what_it_was() {
    for kind in ["ConfigMap", "Secret"] {
        let state = |version, pointer, text, immutable: Option<bool>| {
            let mut object = stored("", kind, "u1", version, Some(pointer), text);
            if let Some(immutable) = immutable {
                object["immutable"] = json!(immutable);
            }
            object
        };
        let made = |before: Option<bool>| {
            let change = (state(5, 9, "one", before), state(5, 9, "two", Some(true)));
            Story::of("", kind).updated(change.0, change.1)
        };
        for before in [None, Some(false)] {
            let live = made(before).now(state(15, 1, "two", Some(true)));
            assert_eq!(live.write(), deletion("u1", "15", true));
            let Write::Create { body } = made(before).write() else { panic!("it is not made again") };
            assert_eq!(
                (&body["data"]["text"], body.get("immutable")),
                (&json!("one"), before.map(Value::from).as_ref())
            );
        }
        // Immutable before and after: only its metadata can have changed, and that goes back in place.
        let labelled =
            Story::of("", kind).updated(state(5, 9, "one", Some(true)), state(5, 9, "one", Some(true)));
        assert!(matches!(labelled.now(state(15, 1, "one", Some(true))).write(), Write::Update { .. }));
    }
}

#[test]
fn pods_that_a_daemon_set_keeps_until_they_are_deleted_are_deleted_if_the_revision_made_them() {
    let set = |strategy: &str| {
        let mut set = stored("apps", "DaemonSet", "u1", 20, Some(9), "one");
        set["metadata"]["generation"] = json!(4);
        set["metadata"]["annotations"] = json!({"deprecated.daemonset.template.generation": "3"});
        set["spec"] = json!({"updateStrategy": {"type": strategy}});
        set["status"] = json!({"observedGeneration": 4});
        set
    };
    let pod = |name: &str, generation: &str, created: &str| {
        json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "7",
            "creationTimestamp": created, "labels": {"pod-template-generation": generation},
            "ownerReferences": [{"uid": "u1", "controller": true}]}})
    };
    let (before, during) = ("2026-01-01T00:59:00Z", "2026-01-01T01:00:05Z");
    let pods = [pod("web-old", "1", before), pod("web-bad", "2", during), pod("web-new", "3", during)];
    let freed = |strategy: &str| {
        let story = Story::of("apps", "DaemonSet").updated(set(strategy), set(strategy)).now(set(strategy));
        let plan = story.plan_with(&pods, Options::default());
        assert_eq!(plan.waiting, []);
        plan.writes.into_iter().map(|restore| restore.object.key.name).collect::<Vec<_>>()
    };
    assert_eq!(freed("OnDelete"), ["web-bad"]);
    assert_eq!(freed("RollingUpdate"), Vec::<String>::new());
}

#[test]
fn that_an_object_is_another_one_than_before_is_told() {
    let told = |story: Story| {
        let plan = story.plan();
        let [restore] = &plan.writes[..] else { panic!("{plan:#?}") };
        Notice::of_restore(restore)
            .map(|notice| (notice.reason, notice.about == Some(restore.object.clone())))
    };
    assert_eq!(told(Story::map().deleted(map("u1", 5, Some(9), "one"))), Some(("CreatedAgain", true)));
    let updated = || Story::map().updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two"));
    assert_eq!(told(updated().now(map("u1", 15, Some(1), "two"))), None);
    assert_eq!(told(updated().now(map("u1", 15, Some(1), "mine"))), Some(("Overridden", true)));
}

fn service(uid: &str, version: u32, address: &str, port: u32) -> Value {
    let mut service = stored("", "Service", uid, version, Some(9), "one");
    service["spec"] = json!({"clusterIP": address, "clusterIPs": [address], "type": "NodePort",
        "ports": [{"port": 80, "nodePort": port}, {"port": 81}]});
    service
}

#[test]
fn a_service_whose_address_or_port_is_taken_comes_back_with_others_and_that_is_told() {
    let body = service("u1", 5, "10.0.0.5", 30000);
    let object: ObjectRef = Story::of("", "Service").track.object;
    let address = "spec.clusterIPs: Invalid value: [\"10.0.0.5\"]: failed to allocate IP 10.0.0.5: provided IP is already allocated";
    let port = "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated";
    let without = without_taken(&object, &body, address).unwrap();
    assert_eq!((without["spec"].get("clusterIP"), without["spec"].get("clusterIPs")), (None, None));
    assert_eq!(without["spec"]["ports"], body["spec"]["ports"]);
    let without = without_taken(&object, &without, port).unwrap();
    assert_eq!(without["spec"]["ports"], json!([{"port": 80}, {"port": 81}]));
    // Nothing is left to do without.
    assert_eq!(without_taken(&object, &without, port), None);
    assert_eq!(
        without_taken(&object, &body, "spec.clusterIPs: Invalid value: may not change once set"),
        None
    );
    assert_eq!(without_taken(&Story::map().track.object, &body, address), None);

    let deleted = || Story::of("", "Service").deleted(service("u1", 5, "10.0.0.5", 30000));
    deleted().now(service("u2", 25, "10.0.0.5", 30000)).is_done();
    assert!(
        deleted().now(service("u2", 25, "10.0.0.6", 30000)).left().contains("but its address 10.0.0.5 could")
    );
    assert!(
        deleted().now(service("u2", 25, "10.0.0.5", 30001)).left().contains("but its node port 30000 could")
    );
}

#[test]
fn what_the_server_takes_from_a_service_with_its_type_comes_back_with_it() {
    let typed = |version, pointer, type_: &str, port: Option<u32>| {
        let mut service = service("u1", version, "10.0.0.5", 0);
        service["metadata"]["labels"]["backout.dev/undo"] = json!(record(pointer).as_str());
        service["spec"]["type"] = json!(type_);
        service["spec"]["ports"] = json!([{"port": 80, "nodePort": port}, {"port": 81}]);
        if port.is_none() {
            service["spec"]["ports"] = json!([{"port": 80}, {"port": 81}]);
        }
        service
    };
    // As admitted it still has the port; as stored it has not.
    let (before, admitted) = (typed(5, 9, "NodePort", Some(30000)), typed(5, 9, "ClusterIP", Some(30000)));
    let story =
        Story::of("", "Service").updated(before.clone(), admitted).now(typed(15, 1, "ClusterIP", None));
    let Write::Update { body, overridden } = story.write() else { panic!("it is not put back") };
    assert_eq!((&body["spec"], overridden), (&before["spec"], vec![]));

    let mut external = typed(15, 1, "ExternalName", None);
    let mut admitted = external.clone();
    for field in ["clusterIP", "clusterIPs"] {
        external["spec"].as_object_mut().unwrap().remove(field);
    }
    let before = typed(5, 9, "ClusterIP", None);
    admitted["metadata"] = before["metadata"].clone();
    let story = Story::of("", "Service").updated(before.clone(), admitted).now(external);
    let Write::Update { body, overridden } = story.write() else { panic!("it is not put back") };
    assert_eq!((&body["spec"], overridden), (&before["spec"], vec![]));
}
