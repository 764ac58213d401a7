//! Back to the state of an older revision.

use std::collections::BTreeMap;

use super::world::{FOREVER, World, ask, data, failed_job, healthy};
use backout_model::release::Phase;
use serde_json::{Value, json};

use Phase::{Healthy, Held, RolledBack, RollingBack};

type State = BTreeMap<String, Value>;

/// Four healthy revisions: the first makes `a` and `b`, the second changes `a` and makes `c`, the third fails, the fourth
/// changes `a` and deletes `b`, the fifth makes `d`; and the state that each left.
fn revisions() -> (World, BTreeMap<u64, State>) {
    let mut world = World::new();
    world.packs = Some(BTreeMap::new());
    let writes: [&[(&str, Option<Value>)]; 5] = [
        &[("a", data("one")), ("b", data("one"))],
        &[("a", data("two")), ("c", data("two"))],
        &[("a", data("bad"))],
        &[("a", data("four")), ("a", data("four again")), ("b", None)],
        &[("d", data("five"))],
    ];
    let mut states = BTreeMap::new();
    for (revision, writes) in (1..).zip(writes) {
        for (name, content) in writes {
            world.deploy("ConfigMap", name, content.clone());
        }
        if revision == 3 {
            world.deploy("Job", "migrate", failed_job());
        }
        world.run(200, || FOREVER);
        let phase = if revision == 3 { RolledBack } else { Healthy };
        assert_eq!((world.status.revision, world.status.phase), (revision, Some(phase)));
        states.insert(revision, world.state());
    }
    assert_eq!(world.records(), 0);
    world.phases.clear();
    world.written.clear();
    (world, states)
}

#[test]
fn all_goes_back_to_the_state_of_any_healthy_revision() {
    for (request, to) in [("rollback to=4", 4), ("rollback to=2", 2), ("rollback to=1", 1)] {
        let (mut world, states) = revisions();
        ask(&mut world, request);
        assert_eq!(world.phases, [RollingBack, RolledBack], "{:?}", world.status.answer);
        assert_eq!(world.state(), states[&to], "{to}");
        assert_eq!((world.status.revision, world.status.healthy_revision), (6, Some(to)));
        assert_eq!(world.status.unrestored, []);
    }
}

#[test]
fn from_there_the_way_goes_further_back_and_not_forward() {
    let (mut world, states) = revisions();
    ask(&mut world, "rollback to=4");
    ask(&mut world, "rollback to=5");
    assert!(world.status.answer.as_ref().unwrap().refused);
    assert_eq!(world.state(), states[&4]);
    ask(&mut world, "rollback to=1");
    assert_eq!(world.state(), states[&1]);
    assert_eq!((world.status.revision, world.status.healthy_revision), (7, Some(1)));
}

#[test]
fn a_deploy_after_it_is_undone_to_the_state_that_was_gone_back_to() {
    let (mut world, states) = revisions();
    ask(&mut world, "rollback to=2");
    world.deploy("ConfigMap", "a", data("seven"));
    world.deploy("Job", "migrate", failed_job());
    world.run(200, || FOREVER);
    assert_eq!((world.status.revision, world.status.phase), (7, Some(RolledBack)));
    assert_eq!(world.state(), states[&2]);
    world.deploy("ConfigMap", "a", data("eight"));
    world.run(200, || FOREVER);
    assert_eq!(world.status.phase, Some(Healthy));
    ask(&mut world, "rollback to=1");
    assert_eq!(world.state(), states[&1]);
}

#[test]
fn what_others_have_changed_since_survives() {
    let (mut world, states) = revisions();
    world.outside("ConfigMap", "a", |a| a["data"]["theirs"] = json!("kept"));
    ask(&mut world, "rollback to=1");
    let mut expected = states[&1].clone();
    expected.get_mut("configmaps/a").unwrap()["data"]["theirs"] = json!("kept");
    assert_eq!(world.state(), expected);
}

#[test]
fn wherever_the_watcher_dies_it_gets_there() {
    for dies in 0..6 {
        let (mut world, states) = revisions();
        world.request = Some("rollback to=1");
        let mut lives = 0;
        world.run(400, || {
            lives += 1;
            if lives % 2 == 1 && lives < 20 { dies } else { FOREVER }
        });
        assert_eq!(world.phases, [RollingBack, RolledBack], "{dies}");
        assert_eq!(world.state(), states[&1], "{dies}");
    }
}

#[test]
fn where_there_is_no_way_back_the_answer_says_which_there_are() {
    let (mut world, states) = revisions();
    for (request, why) in [
        ("rollback to=3", "there is no way back to revision 3; there is to 4, 2 and 1"),
        ("rollback to=9", "there is no way back to revision 9; there is to 4, 2 and 1"),
        (
            "rollback",
            "there is nothing to roll back: revision 5 is Healthy; to go back to an older state say which \
                      revision: 4, 2 and 1",
        ),
    ] {
        ask(&mut world, request);
        assert_eq!(world.status.answer.as_ref().unwrap().message, why);
    }
    assert_eq!((world.state(), world.written.len()), (states[&5].clone(), 0));
    let mut world = healthy();
    ask(&mut world, "rollback to=1");
    assert!(world.status.answer.as_ref().unwrap().message.starts_with("there is nothing to roll back"));
}

#[test]
fn revisions_that_fail_again_and_again_do_not_take_the_way_back() {
    let (mut world, states) = revisions();
    world.policy.history_limit = 4;
    for _ in 0..6 {
        world.deploy("Job", "migrate", failed_job());
        world.run(200, || FOREVER);
        assert_eq!(world.status.phase, Some(RolledBack));
    }
    let outcomes = world.status.history.iter().map(|past| past.outcome);
    assert_eq!(outcomes.collect::<Vec<_>>(), [[RolledBack; 4], [Healthy; 4]].concat());
    world.phases.clear();
    ask(&mut world, "rollback to=1");
    assert_eq!(world.phases, [RollingBack, RolledBack], "{:?}", world.status.answer);
    assert_eq!(world.state(), states[&1]);
}

/// The way back to the first revision, stopped by hand after one write of several.
fn stopped() -> (World, BTreeMap<u64, State>) {
    let (mut world, states) = revisions();
    world.request = Some("rollback to=1");
    world.until(RollingBack);
    while world.written.is_empty() {
        world.look(1);
    }
    ask(&mut world, "hold");
    assert_eq!((world.status.revision, world.status.phase), (6, Some(Held)));
    assert!(world.state() != states[&1] && world.state() != states[&5]);
    assert_eq!(
        world.status.message,
        "Stopped, as was asked: not all is back in the state of revision 1. To go on: kubectl backout rollback, or a \
         new deploy"
    );
    (world, states)
}

#[test]
fn one_that_was_stopped_is_finished_when_it_is_asked_for_again() {
    let (mut world, states) = stopped();
    ask(&mut world, "rollback");
    assert_eq!(world.state(), states[&1]);
    assert_eq!((world.status.phase, world.status.healthy_revision), (Some(RolledBack), Some(1)));
}

#[test]
fn one_that_was_stopped_is_no_deploy_to_be_judged() {
    let (mut world, _) = stopped();
    let state = world.state();
    ask(&mut world, "resume");
    let answer = world.status.answer.as_ref().unwrap();
    assert_eq!(
        (answer.refused, answer.message.as_str()),
        (
            true,
            "the rollback was stopped: not all is back in the state of revision 1. To go on: kubectl backout rollback, \
             or a new deploy"
        )
    );
    assert_eq!((world.status.phase, world.state()), (Some(Held), state));
}

#[test]
fn a_deploy_after_one_that_was_stopped_leaves_the_way_back_open() {
    let (mut world, states) = stopped();
    // Whose fields they are was not given back yet.
    let texts = |world: &World| -> Vec<_> {
        world.state().into_iter().map(|(key, object)| (key, object["data"].clone())).collect()
    };
    let before = texts(&world);
    world.deploy("ConfigMap", "a", data("seven"));
    world.deploy("Job", "migrate", failed_job());
    world.run(200, || FOREVER);
    assert_eq!((world.status.revision, world.status.phase), (7, Some(RolledBack)));
    assert_eq!(texts(&world), before);
    world.deploy("ConfigMap", "a", data("eight"));
    world.run(200, || FOREVER);
    assert_eq!((world.status.revision, world.status.phase), (8, Some(Healthy)));
    ask(&mut world, "rollback to=1");
    assert_eq!(world.state(), states[&1]);
}

#[test]
fn it_may_be_asked_for_as_soon_as_a_rollback_is_over() {
    let (mut world, states) = revisions();
    world.request = Some("rollback to=2");
    world.until(RolledBack);
    ask(&mut world, "rollback to=4");
    let answer = world.status.answer.as_ref().unwrap();
    assert_eq!(answer.message, "there is no way back to revision 4; there is to 1");
    assert_eq!((world.state(), world.status.healthy_revision), (states[&2].clone(), Some(2)));

    world.deploy("ConfigMap", "a", data("seven"));
    world.deploy("Job", "migrate", failed_job());
    world.until(RollingBack);
    world.until(RolledBack);
    ask(&mut world, "rollback to=1");
    assert_eq!(
        world.status.answer.as_ref().unwrap().message,
        "all goes back to the state of revision 1, as revision 8"
    );
    assert_eq!((world.state(), world.status.healthy_revision), (states[&1].clone(), Some(1)));
    assert_eq!(world.records(), 0);
}

#[test]
fn a_write_that_may_still_be_made_is_waited_for() {
    let (mut world, states) = revisions();
    // Admitted, and then refused by a quota.
    world.admit("ConfigMap", "a", data("refused"));
    world.run(10, || FOREVER);
    ask(&mut world, "rollback to=1 id=1");
    let answer = world.status.answer.as_ref().unwrap();
    assert_eq!(answer.message, "a write was admitted just now, and may still be made: try again in a minute");
    ask(&mut world, "rollback to=1 id=2");
    assert_eq!(world.state(), states[&1]);
}
