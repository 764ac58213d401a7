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

    /// Lets outsiders go on with their work while the watcher does its own.
    fn end(&mut self, outside: &[(usize, u8)]) {
        for (object, text) in outside {
            let survives = self.lives.next().unwrap_or(FOREVER);
            self.world.turn(survives);
            self.happen(&Event::Outside(*object, *text));
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
        let ours = |object: &Value| Image(object).managers().any(|manager| manager == names::FIELD_MANAGER);
        prop_assert!(!world.objects.values().any(ours));
    }

    #[test]
    fn what_others_write_into_an_object_that_stays_survives_a_rollback(
        events in prop::collection::vec(event(), 0..12),
        lives in lives(),
        outside in prop::collection::vec((0..NAMES.len(), any::<u8>()), 1..20),
    ) {
        let mut play = Play::begin([1, 1, 2, 2], lives);
        let uids: Vec<_> = play.world.objects.values().filter_map(|it| Image(it).uid().map(str::to_owned)).collect();
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
}
