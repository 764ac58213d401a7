//! The special rules.

use std::collections::BTreeMap;

use super::story::*;
use backout_model::{
    health::Live,
    names::{self},
    object::{ObjectKey, ObjectRef, Position},
    rollback::{Options, Plan, Proof, Restore, Write, plan},
    undo::{
        Replicas,
        chain::{Entry, Standing},
        schema::Schemas,
    },
};
use serde_json::{Value, json};

#[test]
fn an_object_that_others_put_in_its_place_is_not_touched() {
    let deleted = || Story::map().deleted(map("u1", 5, None, "one"));
    assert!(deleted().now(map("theirs", 90, None, "other")).left().contains("replaced"));
    // Neither deleted because the release wrote it too.
    let written = deleted().updated(map("theirs", 90, None, "other"), map("theirs", 90, None, "more"));
    assert!(written.now(map("theirs", 91, Some(2), "more")).left().contains("replaced"));
    let created = Story::map()
        .created(map("", 0, None, "new"))
        .updated(map("theirs", 90, None, "other"), map("theirs", 90, None, "more"));
    assert!(created.now(map("theirs", 91, Some(2), "more")).left().contains("replaced"));
    // Nor because somebody claims to have found there what the release had made.
    let mut claimed = Story::map()
        .created(map("", 0, None, "new"))
        .updated(map("theirs", 90, Some(1), "new"), map("theirs", 90, Some(1), "more"));
    claimed.track.chain.standings = vec![Standing::Confirmed, Standing::Claimed];
    let claimed = claimed.proved(2, |it| Proof::Unverified(it, "compacted".into()));
    assert!(claimed.now(map("theirs", 91, None, "other")).left().contains("replaced"));
}

#[test]
fn a_field_that_somebody_else_changed_too_goes_back_and_is_named() {
    let story = Story::map().updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two")).now(map(
        "u1",
        20,
        Some(1),
        "mine",
    ));
    let Write::Update { body, overridden } = story.write() else { panic!() };
    assert_eq!((&body["data"]["text"], overridden), (&json!("one"), vec!["data.text".to_owned()]));
    // But not again once it was put back.
    story.now(map("u1", 30, Some(9), "mine")).is_done();
}

#[test]
fn a_scale_is_undone_where_it_still_stands() {
    let sized = |version, replicas: i64| {
        let mut object = stored("apps", "Deployment", "u1", version, Some(9), "one");
        object["spec"] = json!({"replicas": replicas});
        object
    };
    let story = || Story::of("apps", "Deployment").scaled(sized(5, 2), Replicas { before: 2, after: 5 });
    let Write::Update { body, .. } = story().now(sized(8, 5)).write() else { panic!() };
    assert_eq!(body["spec"]["replicas"], json!(2));
    story().now(sized(9, 2)).is_done();
    story().now(sized(9, 7)).is_done();
    assert!(story().left().contains("only its replicas"));
    // Whatever pointer the object has: a scale sees none.
    let mut tagged = sized(8, 5);
    tagged["metadata"]["labels"] = json!({names::UNDO: record(7).as_str()});
    assert!(matches!(story().now(tagged).write(), Write::Update { .. }));
}

#[test]
fn what_holds_data_is_deleted_only_when_asked_and_nothing_is_that_is_to_be_kept() {
    for (group, kind) in [
        ("", "PersistentVolumeClaim"),
        ("", "Namespace"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ] {
        let live = |wish: Option<&str>| {
            let mut live = stored(group, kind, "u1", 15, Some(1), "new");
            live["metadata"]["annotations"] = json!({names::ON_ROLLBACK: wish});
            Story::of(group, kind).created(live.clone()).now(live)
        };
        assert!(live(None).left().contains("holds data"));
        assert_eq!(live(Some("delete")).write(), deletion("u1", "15", false));
    }
    for annotation in [names::ON_ROLLBACK, "helm.sh/resource-policy"] {
        let mut live = map("u1", 15, Some(1), "new");
        live["metadata"]["annotations"] = json!({annotation: "keep"});
        let created = Story::map().created(live.clone()).now(live.clone());
        assert!(created.left().contains("annotation"));
        live["metadata"]["labels"][names::UNDO] = json!(record(2).as_str());
        let replaced = Story::map().deleted(map("u0", 5, Some(9), "one")).created(live.clone()).now(live);
        assert!(replaced.left().contains("annotation"));
    }
}

#[test]
fn privileges_are_taken_away_but_given_back_only_when_allowed() {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let role = |version, pointer, text| stored(GROUP, "Role", "u1", version, Some(pointer), text);
    let created = Story::of(GROUP, "Role").created(role(0, 9, "new")).now(role(15, 1, "new"));
    assert_eq!(created.write(), deletion("u1", "15", false));
    for story in [
        Story::of(GROUP, "Role").updated(role(5, 9, "one"), role(5, 9, "two")).now(role(15, 1, "two")),
        Story::of(GROUP, "Role").deleted(role(5, 9, "one")),
    ] {
        assert!(story.left().contains("--restore-rbac"));
        let allowed = Options { restore_rbac: true, ..Options::default() };
        assert_eq!(story.plan_with(&[], allowed).writes.len(), 1);
    }
}

#[test]
fn what_is_being_deleted_or_cannot_be_read_is_waited_for() {
    let terminating = |pointer| {
        let mut live = map("u1", 20, Some(pointer), "two");
        live["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        live
    };
    let created = || Story::map().created(map("", 0, None, "new"));
    let updated = || Story::map().updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two"));
    let mut unreadable = updated();
    unreadable.track.live = Live::Unreadable("forbidden".into());
    let mut unknown = updated();
    unknown.track.live = Live::Unreadable("forbidden".into());
    unknown.track.chain.standings = vec![Standing::Pending];
    for (story, why) in [
        (created().now(terminating(1)), "finalizers"),
        (updated().now(terminating(1)), "created again"),
        (Story::map().deleted(map("u1", 5, Some(9), "one")).now(terminating(9)), "created again"),
        (unreadable, "forbidden"),
        (unknown, "forbidden"),
    ] {
        let plan = story.plan();
        assert_eq!((plan.writes.len(), plan.waiting.len(), plan.unrestored.len()), (0, 1, 0), "{plan:#?}");
        assert!(plan.waiting[0].reason.contains(why), "{plan:#?}");
        // What nobody can keep any more is undone; the rest is not yet.
        assert_eq!(plan.undone.is_empty(), why != "finalizers");
    }
}

#[test]
fn what_was_on_its_way_out_before_the_release_is_not_made_again() {
    let going = |text| {
        let mut object = map("u1", 5, Some(9), text);
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object
    };
    Story::map().updated(going("one"), going("two")).is_done();
}

#[test]
fn a_state_before_that_is_in_doubt_holds_everything() {
    let good = || {
        let mut story = Story::map().created(map("", 0, None, "new")).now(map("u7", 15, Some(1), "new"));
        story.track.object.key.name = "good".into();
        story
    };
    let updated = || {
        let story = Story::map().updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two"));
        story.now(map("u1", 20, Some(1), "two"))
    };
    let unverified = updated().proved(1, |it| Proof::Unverified(it, "compacted".into()));
    let mut dangling = updated();
    dangling.track.chain.dangling = Some(record(8));
    for (story, why) in [
        (unverified, "acceptUnverified"),
        (updated().proved(1, |_| Proof::Refuted("forged".into())), "forged"),
        (dangling, "does not exist"),
    ] {
        let plan = plan(
            &[good().track, story.track],
            SPAN,
            &story.proofs,
            &Schemas::default(),
            &[],
            Options::default(),
        );
        assert!(plan.hold.as_ref().is_some_and(|hold| hold.reason.contains(why)), "{plan:#?}");
        assert_eq!(plan.writes, []);
    }
    let accepted = Options { accept_unverified: true, ..Options::default() };
    let unverified = updated().proved(1, |it| Proof::Unverified(it, "compacted".into()));
    assert_eq!(unverified.plan_with(&[], accepted).writes.len(), 1);
}

#[test]
fn nothing_is_touched_before_every_state_is_known() {
    let mut good = Story::map().created(map("", 0, None, "new")).now(map("u7", 15, Some(1), "new"));
    good.track.object.version = "v2".into();
    let updated = || {
        let story = Story::map().updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two"));
        story.now(map("u1", 20, Some(1), "two"))
    };
    let mut overloaded = Schemas::default();
    overloaded.could_not_read("v1".into(), "overloaded".into());
    for (story, schemas, why) in [
        (updated().proved(1, |_| Proof::Unknown("timeout".into())), Schemas::default(), "timeout"),
        (updated(), overloaded, "overloaded"),
    ] {
        let tracks = [good.track.clone(), story.track];
        let plan = plan(&tracks, SPAN, &story.proofs, &schemas, &[], Options::default());
        assert_eq!((plan.writes.len(), plan.waiting.len(), plan.hold), (0, 1, None));
        assert!(plan.waiting[0].reason.contains(why));
    }
}

#[test]
fn a_refuted_claim_that_no_object_bears_out_is_left_out() {
    let forged = || {
        Story::map()
            .deleted(map("u0", 4, None, "evil"))
            .proved(1, |_| Proof::Refuted("the server had stored something else".into()))
    };
    assert!(forged().left().contains("not believed"));
    // What was really done to the object is undone all the same, and its proof is asked for.
    let story = forged().updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two")).now(map(
        "u1",
        20,
        Some(2),
        "two",
    ));
    assert_eq!(story.track.needed(CUT, &story.proofs)[0].name, record(2));
    assert!(matches!(story.write(), Write::Update { .. }));
}

#[test]
fn only_images_that_count_are_asked_for() {
    let story = Story::map()
        .created(map("", 0, None, "new"))
        .updated(map("u1", 5, Some(1), "new"), map("u1", 5, Some(1), "newer"));
    assert_eq!(story.track.needed(CUT, &BTreeMap::new()), Vec::<&Entry>::new());
    let story = Story::map()
        .deleted(map("u1", 5, Some(9), "one"))
        .created(map("", 0, None, "another"))
        .updated(map("u2", 15, Some(2), "another"), map("u2", 15, Some(2), "more"));
    let names: Vec<_> = story.track.needed(CUT, &BTreeMap::new()).iter().map(|it| &it.name).collect();
    assert_eq!(names, [&record(1)]);
}

#[test]
fn what_deployers_wrote_after_the_cut_is_the_next_revisions() {
    let late = |story: Story, before: Value, after: Value| {
        let mut story = story.updated(before, after);
        story.track.entries.last_mut().unwrap().position = Position(CUT.0 + 1);
        story
    };
    let updated = || Story::map().updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two"));
    let unrestored = late(updated(), map("u1", 20, Some(1), "two"), map("u1", 20, Some(1), "three"));
    let plan = unrestored.now(map("u1", 21, Some(2), "three")).plan();
    assert_eq!((plan.writes.len(), plan.yielded.len()), (0, 1), "{plan:#?}");
    let restored = late(updated(), map("u1", 20, Some(9), "one"), map("u1", 20, Some(9), "three"));
    restored.now(map("u1", 21, Some(2), "three")).is_done();
    let deleted = Story::map().deleted(map("u1", 5, Some(9), "one"));
    let made_again = late(deleted, map("u2", 20, Some(9), "one"), map("u2", 20, Some(9), "three"));
    made_again.now(map("u2", 21, Some(2), "three")).is_done();
}

#[test]
fn what_another_release_wrote_since_or_was_written_in_another_version_is_left() {
    let updated = || Story::map().updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two"));
    assert!(updated().now(map("u1", 21, Some(77), "theirs")).left().contains("another release"));
    let mut story = updated();
    story.track.object.version = "v2".into();
    assert!(story.now(map("u1", 21, Some(1), "two")).left().contains("v1 and as v2"));
}

#[test]
fn labels_that_somebody_took_off_do_not_pass_for_a_restored_object() {
    let story = || Story::map().updated(map("u1", 5, None, "one"), map("u1", 5, None, "two"));
    assert!(matches!(story().now(map("u1", 20, None, "two")).write(), Write::Update { .. }));
    story().now(map("u1", 20, None, "one")).is_done();
    story().now(map("u1", 20, None, "mine")).is_done();
}

#[test]
fn stuck_pods_of_a_restored_stateful_set_are_freed_and_no_others() {
    let set = |strategy: Value, observed: i64| {
        let mut set = stored("apps", "StatefulSet", "u1", 20, Some(9), "one");
        set["metadata"]["generation"] = json!(4);
        set["spec"] = json!({"updateStrategy": strategy});
        set["status"] = json!({"observedGeneration": observed, "updateRevision": "db-1"});
        set
    };
    let pod = |name: &str, revision: &str, ready: &str, created: &str| {
        json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "7",
            "creationTimestamp": created, "labels": {"controller-revision-hash": revision},
            "ownerReferences": [{"uid": "u1", "controller": true}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    };
    let (before, during) = ("2026-01-01T00:59:00Z", "2026-01-01T01:00:05Z");
    let pods = [
        pod("db-0", "db-1", "False", during),
        pod("db-1", "db-2", "False", during),
        pod("db-2", "db-2", "True", during),
        pod("db-3", "db-0", "False", before),
    ];
    let freed = |live: Value| {
        let before = stored("apps", "StatefulSet", "u1", 5, Some(9), "one");
        let after = stored("apps", "StatefulSet", "u1", 5, Some(9), "two");
        let mut before = before;
        before["spec"] = live["spec"].clone();
        let mut after = after;
        after["spec"] = live["spec"].clone();
        let story = Story::of("apps", "StatefulSet").updated(before, after).now(live);
        let plan = story.plan_with(&pods, Options::default());
        let names: Vec<_> = plan.writes.iter().map(|it| it.object.key.name.clone()).collect();
        (names, plan.waiting.len())
    };
    let rolling = json!({"type": "RollingUpdate"});
    assert_eq!(freed(set(rolling.clone(), 4)), (vec!["db-1".to_owned()], 0));
    assert_eq!(freed(set(rolling, 3)), (vec![], 1), "its controller has not seen it");
    let on_delete = json!({"type": "OnDelete"});
    assert_eq!(freed(set(on_delete, 4)).0, ["db-1", "db-2"]);
    let partition = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
    assert_eq!(freed(set(partition, 4)).0, Vec::<String>::new());
}

#[test]
fn what_others_depend_on_comes_first_and_goes_last() {
    let restore = |kind: &str, write: Write| Restore {
        object: ObjectRef {
            key: ObjectKey {
                group: String::new(),
                resource: String::new(),
                namespace: None,
                name: kind.into(),
            },
            version: "v1".into(),
            kind: kind.into(),
        },
        write,
    };
    let create = || Write::Create { body: json!({}) };
    let delete = || deletion("u", "1", false);
    let own = || Write::Own { resource_version: "1".into(), managed_fields: json!([]) };
    let mut plan = Plan {
        writes: vec![
            restore("Job", delete()),
            restore("Secret", delete()),
            restore("Deployment", create()),
            restore("ConfigMap", Write::Update { body: json!({}), overridden: Vec::new() }),
            restore("Widget", deletion("u", "1", true)),
            restore("Service", own()),
        ],
        ..Plan::default()
    };
    let mut waves = Vec::new();
    while !plan.writes.is_empty() {
        let wave: Vec<_> = plan.wave(|_| false, |_| false).into_iter().cloned().collect();
        plan.writes.retain(|restore| !wave.contains(restore));
        waves.push(wave.iter().map(|restore| restore.object.kind.clone()).collect::<Vec<_>>().join(" "));
    }
    assert_eq!(waves, ["ConfigMap Service", "Deployment", "Widget", "Job", "Secret"]);
}

#[test]
fn what_is_refused_holds_up_nobody() {
    let story = Story::map().deleted(map("u1", 5, Some(9), "one"));
    let mut plan = story.plan();
    let other = Restore { write: deletion("u", "1", false), ..plan.writes[0].clone() };
    plan.writes.push(other.clone());
    let is_refused = |restore: &Restore| *restore != other;
    assert_eq!(plan.wave(is_refused, |_| false), [&other]);
    assert_eq!(plan.wave(is_refused, |_| true).len(), 2);
}
