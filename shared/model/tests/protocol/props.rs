//! Whatever deployers and others do, and wherever the watcher dies: a failed revision leaves nothing behind, a healthy
//! one is left alone.

use std::collections::BTreeMap;

use super::world::{FOREVER, World, data, failed_job, key, seconds};
use backout_model::{names, object::Image, release::Phase, undo::Record};
use proptest::prelude::*;
use serde_json::{Value, json};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Event {
    /// A deployer writes an object, creating it if need be.
    Write(usize, u8),
    Delete(usize),
    /// A write is admitted, and commits some events later, if at all.
    Admit(usize, u8),
    Commit,
    /// Somebody else writes another field.
    Outside(usize, u8),
    /// The watcher works for so many seconds.
    Wait(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let object = || 0..NAMES.len();
    prop_oneof![
        4 => (object(), any::<u8>()).prop_map(|(object, text)| Event::Write(object, text)),
        2 => object().prop_map(Event::Delete),
        2 => (object(), any::<u8>()).prop_map(|(object, text)| Event::Admit(object, text)),
        1 => Just(Event::Commit),
        2 => (object(), any::<u8>()).prop_map(|(object, text)| Event::Outside(object, text)),
        2 => (0..4_i64).prop_map(Event::Wait),
    ]
}

/// Writes of a deployer while a rollback is under way: after so many looks of the watcher, of which object, and whether
/// it is deleted.
type Late = (usize, usize, bool);

fn late() -> impl Strategy<Value = Vec<Late>> {
    prop::collection::vec((0..4_usize, 0..NAMES.len(), any::<bool>()), 1..6)
}

/// Where the watcher dies: after how many changes, look by look; later it lives.
fn lives() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![2 => Just(FOREVER), 3 => 0..4_usize], 0..40)
}

/// Objects that are there before: of a healthy revision, of nobody, or not at all.
fn beginning() -> impl Strategy<Value = [u8; 4]> {
    prop::array::uniform4(0..3_u8)
}

struct Play {
    world: World,
    pending: Vec<(Record, Option<Value>, jiff::Timestamp)>,
    lives: std::vec::IntoIter<usize>,
}

impl Play {
    fn begin(beginning: [u8; 4], lives: Vec<usize>) -> Self {
        let mut world = World::new();
        world.patience = 2_000;
        for (name, state) in NAMES.iter().zip(beginning) {
            match state {
                1 => world.deploy("ConfigMap", name, data("before")),
                2 => world.outside_create("ConfigMap", name, &json!({"data": {"text": "before"}})),
                _ => {}
            }
        }
        world.run(200, || FOREVER);
        assert_eq!(world.records(), 0);
        world.phases.clear();
        world.deployed.clear();
        world.made.clear();
        Self { world, pending: Vec::new(), lives: lives.into_iter() }
    }

    fn happen(&mut self, event: &Event) {
        let world = &mut self.world;
        let there =
            |world: &World, object: usize| world.objects.contains_key(&key("ConfigMap", NAMES[object]));
        match *event {
            Event::Write(object, text) => world.deploy("ConfigMap", NAMES[object], data(&text.to_string())),
            Event::Delete(object) if there(world, object) => world.deploy("ConfigMap", NAMES[object], None),
            Event::Admit(object, text) => {
                let (record, after) = world.admit("ConfigMap", NAMES[object], data(&text.to_string()));
                self.pending.push((record, after, world.now));
            }
            Event::Commit => self.commit(),
            Event::Outside(object, text) if there(world, object) => {
                world.outside("ConfigMap", NAMES[object], |it| {
                    it["metadata"]["annotations"]["seen"] = json!(text);
                });
            }
            Event::Wait(time) => self.wait(time),
            Event::Delete(_) | Event::Outside(..) => {}
        }
    }

    /// The oldest admitted write commits, if the API server still works on it.
    fn commit(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let (record, after, admitted) = self.pending.remove(0);
        if self.world.now.duration_since(admitted) < seconds(34) {
            self.world.commit(&record, after);
        }
    }

    fn wait(&mut self, time: i64) {
        let Self { world, lives, .. } = self;
        world.run(time, || lives.next().unwrap_or(FOREVER));
    }

    /// A revision of `events` fails, and a deployer goes on writing: returns what it left of each object, and whether it
    /// came between a restore and the patch that gives the fields back to their owners: then these may be lost.
    fn is_written_while_it_rolls_back(
        &mut self,
        events: &[Event],
        late: &[Late],
    ) -> (BTreeMap<&'static str, Option<String>>, bool) {
        for event in events {
            self.happen(event);
        }
        self.pending.clear();
        self.world.deploy("Job", "migrate", failed_job());
        while self.world.status.phase != Some(Phase::RollingBack) {
            self.world.turn(FOREVER);
        }
        let (mut last, mut between) = (BTreeMap::new(), false);
        for (turn, (looks, object, delete)) in late.iter().enumerate() {
            for _ in 0..*looks {
                let survives = self.lives.next().unwrap_or(FOREVER);
                self.world.turn(survives);
            }
            let name = NAMES[*object];
            let there = self.world.objects.get(&key("ConfigMap", name));
            between |= there.is_some_and(is_ours);
            let text = (!delete || there.is_none()).then(|| format!("late {turn}"));
            self.world.deploy("ConfigMap", name, text.as_deref().and_then(data));
            last.insert(name, text);
        }
        (last, between)
    }

    /// Lets outsiders go on with their work while the watcher does its own, and the API server with what it works on.
    fn end(&mut self, outside: &[(usize, u8)]) {
        for (object, text) in outside {
            let survives = self.lives.next().unwrap_or(FOREVER);
            self.world.turn(survives);
            self.happen(&Event::Outside(*object, *text));
            if text % 3 == 0 {
                self.commit();
            }
        }
        self.wait(300);
    }
}

/// The objects without what others write into them.
fn without_others(world: &World) -> BTreeMap<String, Value> {
    let mut state = world.state();
    for object in state.values_mut() {
        object["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    state
}

/// The objects without who owns their fields.
fn contents(mut objects: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    for object in objects.values_mut() {
        object["metadata"].as_object_mut().unwrap().remove("managedFields");
    }
    objects
}

/// Whether anything in the object is ours.
fn is_ours(object: &Value) -> bool {
    Image(object).managers().any(|manager| manager == names::FIELD_MANAGER)
}

fn uids(world: &World) -> Vec<String> {
    world.objects.values().filter_map(|object| Image(object).uid().map(str::to_owned)).collect()
}

fn seen(world: &World) -> BTreeMap<String, Value> {
    let objects = world.objects.values();
    objects
        .filter_map(|object| {
            Some((Image(object).uid()?.to_owned(), object.pointer("/metadata/annotations/seen")?.clone()))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_failed_revision_leaves_nothing_behind(
        beginning in beginning(),
        events in prop::collection::vec(event(), 0..12),
        lives in lives(),
        outside in prop::collection::vec((0..NAMES.len(), any::<u8>()), 0..20),
    ) {
        let mut play = Play::begin(beginning, lives);
        let before = without_others(&play.world);
        for event in &events {
            play.happen(event);
        }
        play.world.deploy("Job", "migrate", failed_job());
        play.end(&outside);
        let world = &play.world;
        prop_assert_eq!(world.status.phase, Some(Phase::RolledBack), "{:#?}", world.status);
        prop_assert_eq!(without_others(world), before);
        prop_assert_eq!(world.records(), 0);
        prop_assert!(world.written.iter().all(|(object, _)| world.deployed.contains(object)), "{:?}", world.written);
        prop_assert!(world.deleted.is_subset(&world.made), "{:?} {:?}", world.deleted, world.made);
        prop_assert!(!world.objects.values().any(is_ours));
    }

    #[test]
    fn what_others_write_into_an_object_that_stays_survives_a_rollback(
        events in prop::collection::vec(event(), 0..12),
        lives in lives(),
        outside in prop::collection::vec((0..NAMES.len(), any::<u8>()), 1..20),
    ) {
        let mut play = Play::begin([1, 1, 2, 2], lives);
        let uids = uids(&play.world);
        for event in &events {
            play.happen(event);
        }
        play.world.deploy("Job", "migrate", failed_job());
        // Their last words come before the watcher can have decided, and after.
        for (object, text) in &outside {
            play.happen(&Event::Outside(*object, *text));
        }
        let said = seen(&play.world);
        play.end(&[]);
        let heard = seen(&play.world);
        for uid in uids.iter().filter(|uid| play.world.objects.values().any(|it| Image(it).uid() == Some(uid))) {
            prop_assert_eq!(heard.get(uid), said.get(uid));
        }
    }

    #[test]
    fn a_healthy_revision_is_left_alone(
        beginning in beginning(),
        events in prop::collection::vec(event(), 0..12),
        lives in lives(),
    ) {
        let mut play = Play::begin(beginning, lives);
        for event in &events {
            play.happen(event);
        }
        let deployed = play.world.state();
        play.end(&[]);
        let world = &play.world;
        prop_assert!(matches!(world.status.phase, Some(Phase::Healthy) | None), "{:#?}", world.status);
        prop_assert_eq!(world.state(), deployed);
        prop_assert_eq!(&world.written, &[]);
        prop_assert_eq!(world.records(), 0);
    }

    #[test]
    fn what_deployers_write_during_a_rollback_is_kept(
        beginning in beginning(),
        events in prop::collection::vec(event(), 0..8),
        lives in lives(),
        late in late(),
    ) {
        let mut play = Play::begin(beginning, lives);
        let (last, _) = play.is_written_while_it_rolls_back(&events, &late);
        play.wait(600);
        let world = &play.world;
        prop_assert_eq!(world.status.phase, Some(Phase::Healthy), "{:#?}", world.status);
        prop_assert_eq!(world.records(), 0);
        for (name, text) in last {
            let found = world.objects.get(&key("ConfigMap", name));
            prop_assert_eq!(found.map(|it| it["data"]["text"].clone()), text.map(Value::from), "{}", name);
        }
        prop_assert!(!world.objects.contains_key(&key("Job", "migrate")));
        prop_assert!(!world.objects.values().any(is_ours));
    }

    #[test]
    fn what_fails_after_writes_during_a_rollback_goes_back_to_the_last_healthy_state(
        beginning in beginning(),
        events in prop::collection::vec(event(), 0..8),
        lives in lives(),
        late in late(),
    ) {
        let mut play = Play::begin(beginning, lives);
        let before = without_others(&play.world);
        let (_, between) = play.is_written_while_it_rolls_back(&events, &late);
        play.world.deploy("Job", "again", failed_job());
        play.wait(600);
        let world = &play.world;
        prop_assert_eq!(world.status.phase, Some(Phase::RolledBack), "{:#?}", world.status);
        let [is, was] =
            [without_others(world), before].map(|state| if between { contents(state) } else { state });
        prop_assert_eq!(is, was);
        prop_assert_eq!(world.records(), 0);
        prop_assert!(world.deleted.is_subset(&world.made), "{:?} {:?}", world.deleted, world.made);
        prop_assert!(!world.objects.values().any(is_ours));
    }
}
