//! Whatever happens in whatever order, the API servers and the replicas get on with each other as long as that is in the
//! watchers' hands.

use backout_model::certificates::Step;
use proptest::prelude::*;

use super::world::World;

#[derive(Clone, Debug)]
enum Event {
    /// Time passes, seconds.
    Passes(u64),
    /// A watcher makes a read or a write.
    Advance(usize),
    /// A watcher makes some looks undisturbed.
    Looks(usize),
    Restart(usize),
    LoseAuthorities,
    LoseKey,
    LoseLeaf,
    GarbleLeaf,
    EmptyBundles,
    GarbleOne,
    Stranger,
}

fn ordinary() -> BoxedStrategy<Event> {
    prop_oneof![
        4 => (1..300_u64).prop_map(Event::Passes),
        4 => (0..2_usize).prop_map(Event::Advance),
        4 => (0..2_usize).prop_map(Event::Looks),
        1 => (0..2_usize).prop_map(Event::Restart),
    ]
    .boxed()
}

fn with_lost_secrets() -> BoxedStrategy<Event> {
    let lost = prop_oneof![
        Just(Event::LoseAuthorities),
        Just(Event::LoseKey),
        Just(Event::LoseLeaf),
        Just(Event::GarbleLeaf),
    ];
    prop_oneof![30 => ordinary(), 1 => lost].boxed()
}

fn anything() -> BoxedStrategy<Event> {
    let bundles = prop_oneof![Just(Event::EmptyBundles), Just(Event::GarbleOne), Just(Event::Stranger)];
    prop_oneof![20 => with_lost_secrets(), 1 => bundles].boxed()
}

fn happens(world: &mut World, event: &Event) {
    match *event {
        Event::Passes(seconds) => world.passes(seconds),
        Event::Advance(watcher) => drop(world.advance(watcher)),
        Event::Looks(watcher) => (0..12).for_each(|_| drop(world.advance(watcher))),
        Event::Restart(watcher) => world.restart(watcher),
        Event::LoseAuthorities => world.lose_authorities(),
        Event::LoseKey => world.lose_key(),
        Event::LoseLeaf => world.lose_leaf(),
        Event::GarbleLeaf => world.garble_leaf(),
        Event::EmptyBundles => world.trust(|_, bundle| *bundle = None),
        Event::GarbleOne => world.trust(|number, bundle| {
            if number == 0 {
                *bundle = None;
            }
        }),
        Event::Stranger => {
            let stranger = world.stranger().id;
            world.trust(|_, bundle| bundle.get_or_insert_default().push(stranger.clone()));
        }
    }
}

fn begun(delays: &[(u64, u64)]) -> World {
    let mut world = World::new(2, delays);
    world.runs(1200);
    assert!(world.is_in_order());
    world
}

fn delays() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((any::<u64>(), any::<u64>()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_call_fails_whoever_dies_where(
        delays in delays(),
        events in prop::collection::vec(ordinary(), 300..900),
    ) {
        let mut world = begun(&delays);
        for event in &events {
            happens(&mut world, event);
            prop_assert_eq!(world.refused(), None);
        }
    }

    #[test]
    fn no_call_fails_although_secrets_are_lost(
        delays in delays(),
        events in prop::collection::vec(with_lost_secrets(), 300..900),
    ) {
        let mut world = begun(&delays);
        for event in &events {
            happens(&mut world, event);
            prop_assert_eq!(world.refused(), None);
        }
    }

    #[test]
    fn all_is_in_order_soon_after_whatever_happened(
        delays in delays(),
        events in prop::collection::vec(anything(), 0..300),
    ) {
        let mut world = World::new(2, &delays);
        for event in &events {
            happens(&mut world, event);
        }
        // A succession may just have begun.
        for _ in 0..2 {
            world.runs(1500);
            if world.is_in_order() {
                break;
            }
        }
        prop_assert!(world.is_in_order());
        prop_assert_eq!(world.refused(), None);
    }

    #[test]
    fn a_bundle_that_was_changed_is_right_after_one_look(
        delays in delays(),
        events in prop::collection::vec(ordinary(), 0..300),
        change in prop_oneof![Just(Event::EmptyBundles), Just(Event::GarbleOne)],
    ) {
        let mut world = begun(&delays);
        for event in &events {
            happens(&mut world, event);
        }
        world.restart(0);
        happens(&mut world, &change);
        (0..3).for_each(|_| drop(world.advance(0)));
        let next = world.advance(0);
        prop_assert!(matches!(next, Some(Step::Trust(_))), "{next:?}");
        let ours = world.authorities().iter().map(|authority| &authority.id);
        let needed: Vec<_> = ours.chain(world.leaf().and_then(|served| served.leaf.issuer.as_ref())).collect();
        for bundle in world.bundles() {
            let bundle = bundle.as_ref().unwrap();
            prop_assert!(needed.iter().all(|id| bundle.contains(id)), "{bundle:?}");
        }
    }
}
