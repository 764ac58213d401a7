//! What holds for any scene.

use std::time::Duration;

use backout_model::health::Verdict;
use proptest::{prelude::*, sample::select};
use serde_json::Value;

use crate::scenes::{
    Judge, adopt, at, crashed_pod, never_pulled, replica_set, running_pod, waiting_pod, web,
};

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
        let (mut one, mut two, mut three) = (Judge::default(), Judge::default(), Judge::default());
        for second in seconds {
            let judgement = one.look(&scene, at(second));
            prop_assert_eq!(&judgement, &two.look(&scene, at(second)));
            prop_assert_eq!(&judgement, &three.look(&crowded, at(second)));
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
    ]
}
