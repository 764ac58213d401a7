//! What is asked for, and what is made of the answers.

use std::collections::BTreeSet;

use backout_model::{
    evidence::{Done, stored, wanted},
    health::Live,
    names,
    protocol::Observed,
    release::Subject,
    rollback::Proof,
};
use serde_json::{Value, json};

use crate::scene::{NOW, Scene, crashing, log_of, object, secret};

#[test]
fn the_verdict_the_conditions_the_last_words_the_warnings_and_the_changes_are_all_there() {
    let mut scene = Scene::new();
    scene.crashes(crashing("web-2-x", "no such table", json!({})), "first\nlast\n");
    scene.warns("web-2-x", "Back-off restarting", NOW);
    scene.warns("web-2-x", "of an earlier revision", "2025-12-31T00:00:00Z");
    scene.warns("other", "of another pod", NOW);
    let told = scene.evidence();
    assert_eq!(told.release, "shop/shop");
    assert_eq!(
        (told.failure.object.as_str(), told.failure.reason.as_str()),
        ("Deployment shop/web", "Crashes")
    );
    let conditions: Vec<_> =
        told.conditions.iter().map(|it| (it.object.as_str(), it.type_.as_str())).collect();
    assert_eq!(conditions, [("Deployment shop/web", "Available")]);
    let [container] = &told.containers[..] else { panic!("{told:#?}") };
    assert_eq!((container.pod.as_str(), container.image.as_str()), ("shop/web-2-x", "web:2"));
    assert_eq!((container.exit_code, container.restarts), (Some(3), 2));
    assert_eq!((container.state.as_str(), container.reason.as_str()), ("waiting", "CrashLoopBackOff"));
    assert_eq!(container.termination_message, "no such table");
    assert_eq!(
        (container.log.len(), &container.previous_log[..]),
        (0, &["first".to_owned(), "last".to_owned()][..])
    );
    let events: Vec<_> = told.events.iter().map(|it| (it.message.as_str(), it.count)).collect();
    assert_eq!(events, [("Back-off restarting", 3)]);
    let [change] = &told.changes[..] else { panic!("{told:#?}") };
    assert_eq!((change.object.as_str(), change.operation), ("Deployment shop/web", Done::Changed));
    assert_eq!(told.notes, Vec::<String>::new());
}

#[test]
fn of_each_container_the_instances_are_asked_for_that_there_is_a_log_of() {
    let running = json!({"running": {}});
    let ended = json!({"terminated": {"exitCode": 1}});
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let pulls = json!({"waiting": {"reason": "ErrImagePull"}});
    for (state, last, instances) in [
        (&waiting, &ended, vec![true]),
        (&ended, &json!({}), vec![false]),
        (&ended, &ended, vec![false, true]),
        (&running, &ended, vec![false, true]),
        (&running, &json!({}), vec![false]),
        (&pulls, &json!({}), vec![]),
    ] {
        let mut scene = Scene::new();
        let mut pod = crashing("p", "", json!({}));
        let status = &mut pod["status"]["containerStatuses"][0];
        (status["state"], status["lastState"]) = (state.clone(), last.clone());
        scene.seen.pods.push(pod);
        let asked: Vec<_> = wanted(&scene.seen).logs;
        let expected: Vec<_> = instances.into_iter().map(|previous| log_of("p", previous)).collect();
        assert_eq!(asked, expected, "{state} {last}");
    }
}

#[test]
fn the_pod_that_the_verdict_names_comes_first() {
    let mut scene = Scene::new();
    scene.seen.pods.extend(["p-1", "p-2", "p-3"].map(|name| crashing(name, "", json!({}))));
    scene.seen.status.failure.as_mut().unwrap().message = "container app of pod p-2 crashed".to_owned();
    let told = scene.evidence();
    let pods: Vec<_> = told.containers.iter().map(|it| it.pod.as_str()).collect();
    assert_eq!(pods, ["shop/p-2", "shop/p-1", "shop/p-3"]);
}

#[test]
fn the_newest_failing_pods_of_the_object_to_blame_come_first_and_only_so_many() {
    let mut scene = Scene::new();
    for number in 0..9 {
        let mut pod = crashing(&format!("web-{number}"), "", json!({}));
        pod["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:0{number}:00Z"));
        scene.seen.pods.push(pod);
    }
    let mut other = crashing("other", "", json!({}));
    other["metadata"]["ownerReferences"][0]["uid"] = json!("somebody");
    let mut going = crashing("going", "", json!({}));
    going["metadata"]["deletionTimestamp"] = json!(NOW);
    scene.seen.pods.extend([other, going]);
    let wanted = wanted(&scene.seen);
    let pods: Vec<_> = wanted.logs.iter().map(|log| log.pod.as_str()).collect();
    assert_eq!(pods, ["web-8", "web-7", "web-6", "web-5", "web-4"]);
    assert_eq!(wanted.notes, ["left out: 0 more failing containers, 4 more failing pods"]);
}

#[test]
fn all_secrets_that_a_failing_pod_uses_are_asked_for_but_those_that_were_seen() {
    let spec = json!({
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "by-env", "key": "a"}}}, {"name": "B", "value": "b"}],
        "envFrom": [{"secretRef": {"name": "by-env-from"}}, {"configMapRef": {"name": "no-secret"}}],
    });
    let mut pod = crashing("p", "", spec);
    pod["spec"]["initContainers"] = json!([{"name": "i", "envFrom": [{"secretRef": {"name": "by-init"}}]}]);
    pod["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "by-volume"}},
        {"name": "w", "projected": {"sources": [{"secret": {"name": "by-projection"}}, {"serviceAccountToken": {}}]}}]);
    let mut scene = Scene::new();
    scene.seen.pods.push(pod);
    let asked =
        |seen: &Observed| wanted(seen).secrets.into_iter().map(|(_, name)| name).collect::<BTreeSet<_>>();
    let all = ["by-env", "by-env-from", "by-init", "by-projection", "by-volume"];
    assert_eq!(asked(&scene.seen), all.map(str::to_owned).into());
    scene.wrote("Secret", "by-env", &[(None, Some(object("Secret", "by-env", json!({}))))]);
    assert_eq!(asked(&scene.seen), all[1..].iter().copied().map(str::to_owned).collect());
}

#[test]
fn only_records_are_read_that_tell_something_those_of_secrets_first() {
    let map = |name: &str, text: &str| Some(object("ConfigMap", name, json!({"data": {"a": text}})));
    let mut scene = Scene::new();
    scene.wrote("ConfigMap", "made", &[(None, map("made", "1")), (map("made", "1"), map("made", "2"))]);
    scene.wrote("ConfigMap", "gone", &[(map("gone", "1"), None)]);
    scene.wrote("ConfigMap", "read", &[(map("read", "1"), map("read", "2"))]);
    scene.wrote("ConfigMap", "again", &[(map("again", "1"), None), (None, map("again", "2"))]);
    scene.wrote("Secret", "s", &[(None, Some(secret("s", "some-value")))]);
    let read = scene.seen.tracks[3].entries[0].name.clone();
    let record = scene.found.records[&read].clone().unwrap();
    scene.seen.proofs.insert(read, Proof::Verified(record));
    let name = |track: usize, entry: usize| scene.seen.tracks[track].entries[entry].name.clone();
    assert_eq!(wanted(&scene.seen).records, [name(5, 0), name(0, 0), name(4, 0), name(4, 1)]);
}

#[test]
fn what_could_not_be_had_is_said() {
    let mut scene = Scene::new();
    scene.crashes(crashing("p", "", json!({})), "");
    scene.found.logs.insert(log_of("p", true), Err("no route to host".to_owned()));
    scene.found.events.clear();
    scene.found.records.values_mut().for_each(|record| *record = Err("forbidden".to_owned()));
    scene.seen.blind = Some("LIST pods of back: timeout".to_owned());
    let told = scene.evidence();
    assert_eq!(told.containers[0].missing, ["its previous log could not be had: no route to host"]);
    assert_eq!(
        told.notes,
        [
            "pods could not be listed: LIST pods of back: timeout",
            "the Events of shop could not be had in time",
            "not all that was changed in Deployment shop/web is shown: forbidden",
        ]
    );
}

#[test]
fn what_the_kubelet_says_of_a_log_that_it_has_no_more_is_not_shown_as_the_containers_words() {
    let mut scene = Scene::new();
    scene.crashes(
        crashing("p", "", json!({})),
        "unable to retrieve container logs for containerd://d35c4aad\n",
    );
    let told = scene.evidence();
    assert_eq!(told.containers[0].previous_log, Vec::<String>::new());
    assert_eq!(
        told.containers[0].missing,
        ["its previous log could not be had: unable to retrieve container logs for containerd://d35c4aad"]
    );
    assert_eq!(told.notes, Vec::<String>::new());
}

#[test]
fn where_nobody_knows_which_object_is_to_blame_all_of_them_are_looked_at() {
    let mut scene = Scene::new();
    scene.seen.status.failure.as_mut().unwrap().object = Subject::default();
    scene.crashes(crashing("web-2-x", "", json!({})), "said");
    scene.warns("web-2-x", "Back-off", NOW);
    let told = scene.evidence();
    assert_eq!((told.containers.len(), told.events.len()), (1, 1), "{told:#?}");
    // As little says a client's own mark, which lies in a Secret.
    let mark = || Some(object("Secret", "sh.helm.release.v1.web.v2", json!({})));
    scene.wrote("Secret", "sh.helm.release.v1.web.v2", &[(None, mark())]);
    let blamed = Subject::from(&scene.seen.tracks[1].object);
    scene.seen.status.failure.as_mut().unwrap().object = blamed;
    scene.seen.replica_sets[0]["metadata"]["namespace"] = json!("shop");
    scene.warns("web-2", "of the ReplicaSet", NOW);
    let told = scene.evidence();
    assert_eq!((told.containers.len(), told.events.len()), (1, 2), "{told:#?}");
    scene.seen.tracks.iter_mut().for_each(|track| track.live = Live::Absent);
    let told = scene.evidence();
    assert_eq!((told.containers.len(), told.events.len(), told.changes.len()), (0, 0, 2), "{told:#?}");
}

#[test]
fn the_secret_is_the_releases_and_holds_what_was_told() {
    let mut scene = Scene::new();
    scene.crashes(crashing("p", "", json!({})), "said");
    let told = scene.evidence();
    let key = names::ReleaseKey::new("shop", names::ReleaseName::from_mark("shop").unwrap());
    let secret = stored::secret(&key, "release-uid", "backout.dev/v1alpha1", &told);
    assert_eq!(secret.metadata.name.as_deref(), Some("backout-evidence-shop-2"));
    assert_eq!(secret.type_.as_deref(), Some("backout.dev/evidence"));
    assert_eq!(stored::revision_of(&secret.metadata, "release-uid"), Some(2));
    assert_eq!(stored::revision_of(&secret.metadata, "another"), None);
    assert_eq!(stored::decided_at(&secret.metadata), Some(NOW));
    let data = &secret.data.unwrap()[stored::KEY].0;
    let read: Value = serde_json::from_slice(data).unwrap();
    assert_eq!(read["containers"][0]["previousLog"], json!(["said"]));
    assert_eq!(read["decidedAt"], json!(NOW));
    let owner = &secret.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.uid.as_str(), owner.controller), ("release-uid", Some(true)));
}

#[test]
fn names_of_releases_that_are_long_give_names_of_secrets_that_are_valid_and_different() {
    let long = |end: &str| format!("{}{end}", "a".repeat(62));
    let names = [stored::name(&long("b"), 7), stored::name(&long("c"), 7), stored::name(&long("b"), 8)];
    assert!(names.iter().all(|name| name.len() <= 253), "{names:?}");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 3);
}
