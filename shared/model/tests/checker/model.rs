//! The states and what must hold in each, as the checker asks for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use backout_model::release::Phase;
use serde_json::Value;
use stateright::{Model, Property};

use super::{
    state::{Action, Event, State},
    truth::{Broken, INVARIANTS, content},
};

/// Within so many seconds a revision is decided when nothing happens any more: settle, what is in flight, deadline,
/// soak, and the time that a watcher watches after its start.
const DECIDED_WITHIN: i64 = 5 + 40 + 30 + 5 + 60 + 20;

/// How it ends when nothing happens any more.
#[derive(Debug, PartialEq)]
pub(crate) struct End {
    outcome: (u64, Option<Phase>),
    objects: Vec<Value>,
    records: usize,
    broken: Broken,
}

/// How it ends, and after which time it is decided.
type Ending = (Arc<End>, i64);

/// Everything that can happen, within the budget of the first states.
pub(crate) struct Cluster {
    pub(crate) beginnings: Vec<State>,
    ends: Mutex<HashMap<u64, Ending>>,
}

impl Cluster {
    pub(crate) fn new(beginnings: Vec<State>) -> Self {
        Self { beginnings, ends: Mutex::default() }
    }

    /// How it ends from here when nothing happens any more.
    fn end(&self, state: &State) -> Ending {
        let mut state = state.clone();
        state.world.unreadable.clear();
        let mut path: Vec<(u64, i64)> = Vec::new();
        let (end, mut after) = loop {
            if let Some(ending) = self.ends.lock().unwrap().get(&state.digest()) {
                break ending.clone();
            }
            if path.iter().any(|(digest, _)| *digest == state.digest()) {
                break (Arc::new(Self::endless(&state)), 0);
            }
            let (next, pause, rests) = state.alone();
            let is_under_way = |state: &State| {
                state.world.status.phase.is_some_and(|it| it.is_undecided() || it == Phase::RollingBack)
            };
            path.push((state.digest(), if is_under_way(&next) { pause } else { 0 }));
            if rests {
                break (Arc::new(Self::at_rest(&next)), 0);
            }
            state = next;
        };
        let mut ends = self.ends.lock().unwrap();
        for (digest, pause) in path.into_iter().rev() {
            after += pause;
            ends.insert(digest, (end.clone(), after));
        }
        (end, after)
    }

    fn endless(state: &State) -> End {
        let mut end = Self::at_rest(state);
        end.broken.insert(7, format!("it goes on for ever: {state:?}"));
        end
    }

    fn at_rest(state: &State) -> End {
        let status = &state.world.status;
        let mut broken = state.truth.broken.clone();
        if status.phase.is_some_and(|phase| phase.is_undecided() || phase == Phase::RollingBack) {
            broken.insert(7, format!("it rests undecided: {state:?}"));
        }
        let objects = state.world.objects.values().filter_map(|object| {
            let mut object = content(Some(object))?;
            // Names of records depend on when they were made.
            object["metadata"].as_object_mut()?.remove("labels");
            Some(object)
        });
        End {
            outcome: (status.revision, status.phase),
            objects: objects.collect(),
            records: state.world.records(),
            broken,
        }
    }

    /// What is broken in a state, or would be if nothing happened any more, wherever the watcher died.
    fn judge(&self, state: &State) -> Broken {
        let (end, after) = self.end(state);
        let mut broken = end.broken.clone();
        if after > DECIDED_WITHIN {
            broken.entry(7).or_insert_with(|| format!("it is decided after {after} s"));
        }
        let is_like = |other: &End| {
            (other.outcome, &other.objects, other.records) == (end.outcome, &end.objects, end.records)
        };
        let killed = (0..).map_while(|dies| Some((dies, self.end(&state.killed(dies)?).0)));
        for (dies, other) in killed.take(8) {
            if !is_like(&other) {
                let what =
                    format!("killed after {dies} changes it ends otherwise: {other:?} instead of {end:?}");
                broken.entry(6).or_insert(what);
            }
            for (number, what) in &other.broken {
                broken.entry(*number).or_insert_with(|| format!("killed after {dies} changes: {what}"));
            }
        }
        broken
    }

    pub(crate) fn broken<'a>(&self, state: &'a State) -> &'a Broken {
        state.judged.get_or_init(|| self.judge(state))
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.beginnings.clone()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.depth == 0 {
            return;
        }
        let events = state.events();
        actions.extend(events.iter().copied().map(Action::Event));
        for after in [0, 6, 20] {
            actions.push(Action::Look { after, dies: None, raced: None });
        }
        if state.budget.crashes > 0 {
            actions.extend((0..4).map(|dies| Action::Look { after: 6, dies: Some(dies), raced: None }));
        }
        if state.budget.races > 0 {
            for event in events.into_iter().chain([Event::OtherWatcher]) {
                let at = |index| Action::Look { after: 6, dies: None, raced: Some((index, event)) };
                actions.extend((0..2).map(at));
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        state.after(action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds<const NUMBER: usize>(cluster: &Cluster, state: &State) -> bool {
            !cluster.broken(state).contains_key(&NUMBER)
        }
        vec![
            Property::always(INVARIANTS[0], holds::<1>),
            Property::always(INVARIANTS[1], holds::<2>),
            Property::always(INVARIANTS[2], holds::<3>),
            Property::always(INVARIANTS[3], holds::<4>),
            Property::always(INVARIANTS[4], holds::<5>),
            Property::always(INVARIANTS[5], holds::<6>),
            Property::always(INVARIANTS[6], holds::<7>),
            Property::always(INVARIANTS[7], holds::<8>),
        ]
    }
}
