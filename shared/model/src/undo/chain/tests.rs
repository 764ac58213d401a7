use serde_json::json;

use super::*;
use crate::{
    names::{ReleaseKey, ReleaseName, UNDO},
    object::ObjectRef,
    undo::Replicas,
};

fn name(n: u8) -> RecordName {
    RecordName::from_digest(&[n; 32])
}

fn entry(n: u8, operation: Operation, before: Option<(&str, &str)>, undo: Option<RecordName>) -> Entry {
    Entry {
        name: name(n),
        position: Position(1000 + u64::from(n)),
        resource_version: (1000 + u64::from(n)).to_string(),
        pieces: 0,
        created: "2026-01-01T00:00:10Z".parse().unwrap(),
        age: Duration::from_secs(1),
        header: Header {
            operation,
            object: ObjectRef {
                key: ObjectKey {
                    group: String::new(),
                    resource: "configmaps".into(),
                    namespace: Some("shop".into()),
                    name: "c".into(),
                },
                version: "v1".into(),
                kind: "ConfigMap".into(),
            },
            generate_name: None,
            uid: before.map(|(uid, _)| uid.to_owned()),
            resource_version: before.map(|(_, rv)| rv.to_owned()),
            undo,
            replicas: None,
            release: ReleaseKey::new("shop", ReleaseName::from_mark("shop").unwrap()),
            release_uid: None,
            revision: 1,
            begins: false,
            captured: false,
            user: "alice".into(),
            tool: "kubectl".into(),
            request: format!("request-{n}"),
        },
        owner: None,
        verified: None,
    }
}

fn live(uid: &str, rv: &str, undo: Option<&RecordName>) -> Live {
    let mut object = json!({"metadata": {"uid": uid, "resourceVersion": rv,
        "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {}}, "spec": {"replicas": 2}});
    if let Some(undo) = undo {
        object["metadata"]["labels"][UNDO] = json!(undo.as_str());
    }
    Live::Present(object)
}

fn old(mut entry: Entry) -> Entry {
    entry.age = IN_FLIGHT;
    entry
}

fn checked(entry: Entry) -> Entry {
    Entry { verified: Some(Verification::Verified), ..entry }
}

fn read(entries: &[Entry], live: &Live) -> Vec<Standing> {
    Chain::read(entries, live, &BTreeSet::new(), None).standings
}

use Standing::{Aborted, Claimed, Confirmed, Pending};

#[test]
fn a_write_is_confirmed_by_the_pointer_on_the_object() {
    let update = entry(1, Operation::Update, Some(("x", "7")), None);
    assert_eq!(read(&[update], &live("x", "9", Some(&name(1)))), [Confirmed]);
}

#[test]
fn a_write_is_confirmed_by_the_pointer_that_a_later_record_found() {
    let first = entry(1, Operation::Create, None, None);
    let second = entry(2, Operation::Update, Some(("x", "7")), Some(name(1)));
    assert_eq!(
        read(&[first.clone(), second.clone()], &live("x", "9", Some(&name(2)))),
        [Confirmed, Confirmed]
    );
    assert_eq!(read(&[first, second], &live("x", "7", Some(&name(1)))), [Confirmed, Pending]);
}

#[test]
fn a_write_whose_compare_and_swap_was_lost_is_aborted_at_once() {
    let lost = entry(1, Operation::Update, Some(("x", "7")), None);
    let won = entry(2, Operation::Update, Some(("x", "8")), None);
    assert_eq!(read(&[lost, won], &live("x", "9", Some(&name(2)))), [Aborted, Confirmed]);
}

#[test]
fn a_write_that_could_still_commit_is_pending_until_no_request_lives_that_long() {
    let update = entry(1, Operation::Update, Some(("x", "7")), None);
    assert_eq!(read(std::slice::from_ref(&update), &live("x", "7", None)), [Pending]);
    assert_eq!(read(&[old(update)], &live("x", "7", None)), [Aborted]);
    let create = entry(1, Operation::Create, None, None);
    assert_eq!(read(std::slice::from_ref(&create), &Live::Absent), [Pending]);
    assert_eq!(read(&[old(create)], &Live::Absent), [Aborted]);
}

#[test]
fn a_create_whose_name_is_taken_by_an_older_object_is_aborted() {
    let create = entry(1, Operation::Create, None, None);
    assert_eq!(read(&[create], &live("x", "7", None)), [Aborted]);
}

#[test]
fn a_delete_is_claimed_when_the_object_is_gone_or_terminating_or_another() {
    let delete = checked(entry(1, Operation::Delete, Some(("x", "7")), None));
    let delete = std::slice::from_ref(&delete);
    assert_eq!(read(delete, &Live::Absent), [Claimed]);
    assert_eq!(read(delete, &live("y", "9", None)), [Claimed]);
    assert_eq!(read(delete, &live("x", "7", None)), [Pending]);
    let mut terminating = live("x", "9", None);
    if let Live::Present(object) = &mut terminating {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:11Z");
    }
    assert_eq!(read(delete, &terminating), [Claimed]);
}

#[test]
fn a_scale_is_claimed_by_where_the_replicas_went() {
    let scale = |n, before, after| {
        let mut scale = checked(entry(n, Operation::Scale, Some(("x", &format!("{n}"))), None));
        scale.header.replicas = Some(Replicas { before, after });
        scale
    };
    assert_eq!(read(&[scale(1, 1, 2)], &live("x", "9", None)), [Claimed]);
    assert_eq!(read(&[scale(1, 1, 5)], &live("x", "9", None)), [Aborted]);
    assert_eq!(read(&[scale(1, 1, 5), scale(2, 5, 2)], &live("x", "9", None)), [Claimed, Claimed]);
}

#[test]
fn nothing_is_concluded_from_an_object_that_cannot_be_read() {
    let update = old(entry(1, Operation::Update, Some(("x", "7")), None));
    assert_eq!(read(&[update], &Live::Unreadable("timeout".into())), [Pending]);
}

#[test]
fn a_pointer_that_leads_nowhere_is_dangling_unless_it_was_there_before() {
    let chain = |lost: u8, verified: Option<Verification>| {
        let update = entry(1, Operation::Update, Some(("x", "7")), Some(name(9)));
        let live = live("x", "9", Some(&name(lost)));
        Chain::read(&[Entry { verified, ..update }], &live, &BTreeSet::new(), Some(&name(lost)))
    };
    let verified = || Some(Verification::Verified);
    assert_eq!(chain(8, verified()).dangling, Some(name(8)));
    assert_eq!(chain(9, verified()).dangling, None);
    // Whoever makes up a record need not know what was there before.
    let unknown = chain(8, None);
    assert_eq!((unknown.dangling, unknown.standings), (None, vec![Pending]));
    assert_eq!(unknown.disputed, BTreeSet::from([name(1)]));
    let refuted = chain(8, Some(Verification::Refuted(String::new())));
    assert_eq!(
        (refuted.dangling, refuted.standings, refuted.disputed),
        (None, vec![Aborted], BTreeSet::new())
    );
}

#[test]
fn a_claim_that_does_not_know_the_pointer_is_verified_before_it_counts() {
    let live = live("x", "9", Some(&name(8)));
    let read = |outcome: Option<Verification>| {
        let mut update = old(entry(1, Operation::Update, Some(("x", "7")), Some(name(7))));
        update.verified = outcome;
        let chain = Chain::read(&[update], &live, &BTreeSet::new(), Some(&name(8)));
        (chain.standings[0], chain.dangling.is_some(), chain.disputed.len())
    };
    assert_eq!(read(None), (Pending, false, 1));
    assert_eq!(read(Some(Verification::Refuted(String::new()))), (Aborted, false, 0));
    assert_eq!(read(Some(Verification::Verified)), (Claimed, true, 0));
    assert_eq!(read(Some(Verification::Unverified(String::new()))), (Claimed, true, 0));
}

#[test]
fn a_creation_of_what_was_there_long_before_tells_nothing_of_the_pointer() {
    let live = live("x", "9", Some(&name(8)));
    // One of what is new might be true, and is checked.
    for (created, standing, disputed) in
        [("2026-01-01T00:00:10Z", Pending, 1), ("2026-01-01T00:02:00Z", Aborted, 0)]
    {
        let mut create = entry(1, Operation::Create, None, None);
        create.created = created.parse().unwrap();
        let chain = Chain::read(&[create], &live, &BTreeSet::new(), Some(&name(8)));
        assert_eq!((chain.standings, chain.dangling), (vec![standing], None), "{created}");
        assert_eq!(chain.disputed.len(), disputed, "{created}");
    }
}

#[test]
fn a_generated_name_is_learnt_from_the_next_record() {
    let mut create = entry(1, Operation::Create, None, None);
    create.header.object.key.name = String::new();
    let update = entry(2, Operation::Update, Some(("x", "7")), Some(name(1)));
    let groups = by_object(vec![create, update], &BTreeSet::new());
    let found: Vec<_> =
        groups.iter().map(|((key, nameless), all)| (&*key.name, nameless, all.len())).collect();
    assert_eq!(found, [("c", &None, 2)]);
}

#[test]
fn the_records_of_an_object_up_to_an_undone_one_count_no_more() {
    let named = |n, object: &str| {
        let mut entry = entry(n, Operation::Update, Some(("u", "5")), None);
        entry.header.object.key.name = object.into();
        entry
    };
    let log = vec![named(1, "a"), named(2, "b"), named(3, "a"), named(4, "a"), named(5, "b")];
    let groups = by_object(log.clone(), &BTreeSet::from([name(3), name(5)]));
    let found: Vec<_> = groups.values().flatten().map(|it| &it.name).collect();
    assert_eq!(found, [&name(4)]);
    assert_eq!(by_object(log, &BTreeSet::new()).len(), 2);
}

#[test]
fn what_a_record_found_on_the_object_counts_only_where_it_is_borne_out() {
    let create = entry(1, Operation::Create, None, None);
    let delete = entry(2, Operation::Delete, Some(("x", "7")), Some(name(1)));
    let read = |verified: Option<Verification>| {
        let delete = Entry { verified, ..delete.clone() };
        Chain::read(&[old(create.clone()), delete], &Live::Absent, &BTreeSet::new(), None)
    };
    let unknown = read(None);
    assert_eq!((unknown.standings, unknown.disputed), (vec![Pending, Pending], BTreeSet::from([name(2)])));
    let outcome = |verified| read(Some(verified)).standings;
    assert_eq!(outcome(Verification::Verified), [Confirmed, Claimed]);
    assert_eq!(outcome(Verification::Refuted(String::new())), [Aborted, Aborted]);
    assert_eq!(outcome(Verification::Unverified(String::new())), [Aborted, Claimed]);
    // Where the object's own pointer leads to it nothing is in dispute.
    let update = entry(2, Operation::Update, Some(("x", "7")), Some(name(1)));
    let chain = Chain::read(&[create, update], &live("x", "9", Some(&name(2))), &BTreeSet::new(), None);
    assert_eq!((chain.standings, chain.disputed), (vec![Confirmed, Confirmed], BTreeSet::new()));
}

#[test]
fn a_scale_sees_no_pointers_and_leaves_none_dangling() {
    let mut scale = checked(entry(1, Operation::Scale, Some(("x", "7")), None));
    scale.header.replicas = Some(Replicas { before: 1, after: 2 });
    let live = live("x", "9", Some(&name(8)));
    let chain = Chain::read(&[scale], &live, &BTreeSet::new(), Some(&name(8)));
    assert_eq!((chain.standings, chain.dangling), (vec![Claimed], None));
}

#[test]
fn a_deletion_that_seems_to_have_come_true_is_checked_before_it_counts() {
    let delete = entry(1, Operation::Delete, Some(("invented", "7")), None);
    for live in [Live::Absent, live("x", "9", None)] {
        let read = |verified: Option<Verification>| {
            let delete = Entry { verified, ..delete.clone() };
            Chain::read(&[delete], &live, &BTreeSet::new(), None)
        };
        let unknown = read(None);
        assert_eq!((unknown.standings, unknown.disputed), (vec![Pending], BTreeSet::from([name(1)])));
        for (outcome, standing) in [
            (Verification::Verified, Claimed),
            (Verification::Unverified(String::new()), Claimed),
            (Verification::Refuted(String::new()), Aborted),
        ] {
            let known = read(Some(outcome));
            assert_eq!((known.standings, known.disputed), (vec![standing], BTreeSet::new()));
        }
    }
}

#[test]
fn a_deletion_that_came_to_nothing_tells_nothing_of_the_pointer() {
    let live = live("x", "9", Some(&name(8)));
    let deletion = old(checked(entry(2, Operation::Delete, Some(("x", "7")), Some(name(7)))));
    let update = old(checked(entry(1, Operation::Update, Some(("x", "7")), Some(name(7)))));
    let read = |entries: &[Entry]| Chain::read(entries, &live, &BTreeSet::new(), Some(&name(8)));
    let alone = read(std::slice::from_ref(&deletion));
    assert_eq!((alone.standings, alone.dangling), (vec![Aborted], None));
    let both = read(&[update, deletion]);
    assert_eq!((both.standings, both.dangling), (vec![Claimed, Aborted], Some(name(8))));
}
