//! What holds for any scene.

use std::time::Duration;

use backout_model::health::{Live, Scene, Verdict};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use crate::scenes::{
    Judge, adopt, at, crashed_pod, never_pulled, replica_set, running_pod, waiting_pod, web,
};
use crate::stage::{NO_CPU, changed, config, daemons, event, node, rejected, stateful, told, unscheduled};

proptest! {
    #[test]
    fn judging_is_deterministic_and_blind_to_what_is_not_of_the_revision(
        pods in prop::collection::vec(select(pods()), 0..4),
        strangers in prop::collection::vec(select(pods()), 0..3),
        seconds in prop::collection::vec(0_i64..120, 1..5),
    ) {
        let scene = web(pods);
        let mut crowded = scene.clone();
        crowded.pods.extend(strangers.into_iter().enumerate().map(|(i, pod)| adopt(pod, "other", &format!("x{i}"))));
        crowded.replica_sets.push(replica_set("other"));
        crowded.events.push(event("x0", "FailedMount", "secret \"x\" not found", 0, 9));
        crowded.events.push(event("other", "FailedCreate", "exceeded quota", 0, 9));
        crowded.nodes.push(node("x", false, true, 0));
        let (mut one, mut two, mut three) = (Judge::default(), Judge::default(), Judge::default());
        for second in seconds {
            let judgement = one.look(&scene, at(second));
            prop_assert_eq!(&judgement, &two.look(&scene, at(second)));
            prop_assert_eq!(&judgement, &three.look(&crowded, at(second)));
        }
    }

    #[test]
    fn whatever_an_object_looks_like_it_is_judged(
        scene in select(scenes()),
        which in 0_usize..5,
        walk in prop::collection::vec(0_usize..20, 1..7),
        by in select(vec![json!(null), json!(-1), json!(u64::MAX), json!(i64::MAX), json!(i64::MIN), json!("99%"), json!("x"), json!([]), json!([{}]), json!({}), json!(true)]),
        soaking in any::<bool>(),
    ) {
        let mut scene = Scene { soaking, ..scene };
        let mut live = match &scene.judged[0].live {
            Live::Present(live) => live.clone(),
            _ => Value::Null,
        };
        let lists = [&mut scene.pods, &mut scene.events, &mut scene.nodes, &mut scene.replica_sets];
        match lists.into_iter().nth(which).and_then(|list| list.first_mut()) {
            Some(value) => disturb(value, &walk, &by),
            None => disturb(&mut live, &walk, &by),
        }
        scene.judged[0].live = Live::Present(live);
        let mut judge = Judge::default();
        for second in [0, 1, 30, 700] {
            let judgement = judge.look(&scene, at(second));
            prop_assert_eq!(judgement.total, 1);
            judge.sightings.stand_still(Duration::from_secs(5));
        }
    }

    #[test]
    fn a_verdict_that_time_alone_changes_is_announced(pods in prop::collection::vec(select(pods()), 1..4), later in 1_u64..200) {
        let scene = web(pods);
        let mut judge = Judge::default();
        let first = judge.look(&scene, at(0));
        let second = judge.look(&scene, at(i64::try_from(later).unwrap()));
        let announced = first.next.is_some_and(|next| next <= Duration::from_secs(later));
        prop_assert!(announced || kind(&first.verdict) == kind(&second.verdict), "{first:?} {second:?}");
    }
}

fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Ready => "Ready",
        Verdict::Waiting { .. } => "Waiting",
        Verdict::Failed(_) => "Failed",
        Verdict::Undecided { .. } => "Undecided",
    }
}

fn pods() -> Vec<Value> {
    vec![
        running_pod(),
        never_pulled(),
        crashed_pod(1),
        crashed_pod(4),
        crashed_pod(7),
        waiting_pod("ErrImagePull", "manifest unknown"),
        waiting_pod("ImagePullBackOff", "Back-off pulling image \"x\""),
        waiting_pod("CreateContainerConfigError", "secret \"s\" not found"),
        waiting_pod("ContainerCreating", ""),
        unscheduled(NO_CPU),
        unscheduled("persistentvolumeclaim \"data\" not found"),
        rejected(1, "PodOSNotSupported", ""),
        rejected(2, "OutOfcpu", ""),
    ]
}

/// Scenes of all sorts, in which something happens to be told.
fn scenes() -> Vec<Scene> {
    let refused = changed(stateful(0, vec![("db-2", waiting_pod("ContainerCreating", ""))]), |scene| {
        scene.pods.clear();
        scene.events.push(event("db", "FailedCreate", "exceeded quota", 1, 3));
    });
    let nodes = changed(daemons(vec![("a", running_pod()), ("b", crashed_pod(4))]), |scene| {
        scene.nodes.push(node("b", false, true, -900));
    });
    vec![
        web([crashed_pod(4), running_pod(), unscheduled(NO_CPU)]),
        told(5, "FailedMount", "secret \"x\" not found"),
        config("ConfigMap", vec![("user-1", running_pod()), ("user-2", crashed_pod(2))]),
        refused,
        nodes,
    ]
}

/// Replaces the part of a value at which a walk through it arrives.
fn disturb(value: &mut Value, walk: &[usize], by: &Value) {
    let Some((step, rest)) = walk.split_first() else {
        *value = by.clone();
        return;
    };
    let part = match value {
        Value::Object(fields) if !fields.is_empty() => {
            let index = step % fields.len();
            fields.values_mut().nth(index)
        }
        Value::Array(items) if !items.is_empty() => {
            let index = step % items.len();
            items.get_mut(index)
        }
        _ => None,
    };
    match part {
        Some(part) => disturb(part, rest, by),
        None => *value = by.clone(),
    }
}
