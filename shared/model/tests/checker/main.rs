//! Every order of events within bounds: a model checker drives the shipped decisions through a cluster in miniature.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

mod canon;
mod model;
mod state;
mod truth;
#[expect(dead_code, reason = "the tests of the protocol use the rest")]
#[path = "../protocol/world/mod.rs"]
mod world;

use std::time::Duration;

use backout_model::release::Policy;
use serde_json::json;
use stateright::{Checker as _, HasDiscoveries, Model as _};

use self::{
    model::Cluster,
    state::{
        Action, Budget, Event, State,
        Wish::{self, Delete, Fail, Write},
    },
    world::{FOREVER, World, data, seconds},
};

const NOTHING: Budget =
    Budget { calls: 0, stale: 0, knowing: 0, outside: 0, forged: 0, crashes: 0, races: 0, blind: 0 };

/// A release of one object, which is healthy, or was there before.
fn beginning(tracked: bool) -> World {
    let mut world = World::new();
    world.policy =
        Policy { soak: Duration::from_secs(5), deadline: Duration::from_secs(30), ..Policy::default() };
    if tracked {
        world.deploy("ConfigMap", "a", data("before"));
        world.run(120, || FOREVER);
    } else {
        world.outside_create("ConfigMap", "a", &json!({"data": {"text": "before"}}));
    }
    // A claim to have made it is told from the truth by its age.
    world.now += seconds(60);
    world
}

/// The same after the writes of a deployer, and so many looks of the watcher.
fn after(tracked: bool, wishes: &[Wish], looks: usize, budget: Budget) -> State {
    let calls = u8::try_from(wishes.len()).unwrap();
    let writes = wishes.iter().flat_map(|wish| {
        [Event::Call { wish: *wish, stale: false, knows: false }, Event::Commit(0)].map(Action::Event)
    });
    let looks = std::iter::repeat_n(Action::Look { after: 6, dies: None, raced: None }, looks);
    let first = State::new(beginning(tracked), Budget { calls, ..NOTHING });
    let last = writes.chain(looks).fold(first, |state, action| state.after(action).unwrap());
    State::new(last.world, budget).knowing(last.truth)
}

/// Explores what can happen after each of `beginnings` (whether the object is of the release; what is written; how often
/// the watcher has looked), within the budget and the depth, of which the second is that of `BACKOUT_EVERYTHING=1`.
fn explore(beginnings: &[(bool, &[Wish], usize)], budget: Budget, depths: [usize; 2]) {
    let depth = std::env::var_os("DEPTH").map(|it| it.to_str().unwrap().parse::<usize>().unwrap());
    let everything = std::env::var_os("BACKOUT_EVERYTHING").is_some_and(|value| value == "1");
    let depth = depth.unwrap_or_else(|| depths[usize::from(everything)]);
    let first = |(tracked, wishes, looks): &(bool, &[Wish], usize)| {
        let mut first = after(*tracked, wishes, *looks, budget);
        first.depth = depth;
        first
    };
    let states = beginnings.iter().map(first);
    let cluster = Cluster::new(states.collect());
    #[expect(clippy::disallowed_methods, reason = "how long the test takes is no decision")]
    let start = std::time::Instant::now();
    let checker = cluster.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{} states, {} of them unique, to a depth of {} in {:.0?}, with {budget:?}",
        checker.state_count(),
        checker.unique_state_count(),
        // Stateright counts the first state.
        checker.max_depth() - 1,
        start.elapsed()
    );
    let discoveries = checker.discoveries();
    for (name, path) in &discoveries {
        println!("{name} is broken by");
        println!("  from {:?}", path.clone().into_states()[0]);
        for action in path.clone().into_actions() {
            println!("  {action:?}");
        }
        println!("  {:#?}", checker.model().broken(path.last_state()));
    }
    assert!(discoveries.is_empty(), "{:?}", discoveries.keys());
    println!("hold: {}", truth::INVARIANTS.join(", "));
}

const QUIET: [(bool, &[Wish], usize); 2] = [(true, &[], 0), (false, &[], 0)];

#[test]
fn whatever_deployers_write_and_however_the_api_server_asks() {
    explore(&QUIET, Budget { calls: 3, stale: 1, knowing: 1, ..NOTHING }, [3, 5]);
}

#[test]
fn whatever_others_write_and_forge_meanwhile() {
    let beginnings: [(bool, &[Wish], usize); 4] =
        [(true, &[], 0), (false, &[], 0), (true, &[Write(0), Fail], 0), (true, &[Delete(0), Fail], 0)];
    explore(&beginnings, Budget { calls: 1, outside: 1, forged: 1, ..NOTHING }, [3, 5]);
}

#[test]
fn whatever_happens_while_a_revision_is_rolled_back() {
    let all: &[Wish] = &[Write(0), Write(1), Fail];
    let again: &[Wish] = &[Delete(0), Write(0), Fail];
    let beginnings = [
        // The verdict, and with the next look the evidence.
        (true, all, 1),
        (true, all, 2),
        (false, all, 2),
        (true, again, 2),
        (false, again, 2),
        (true, all, 3),
        (true, again, 3),
    ];
    explore(&beginnings, Budget { calls: 1, outside: 1, crashes: 1, races: 1, ..NOTHING }, [3, 4]);
}

#[test]
fn wherever_the_watcher_dies_and_whatever_it_cannot_see() {
    let beginnings: [(bool, &[Wish], usize); 3] =
        [(true, &[Write(0)], 0), (true, &[Write(0), Fail], 0), (false, &[Delete(0), Fail], 0)];
    explore(&beginnings, Budget { calls: 1, crashes: 2, blind: 1, ..NOTHING }, [3, 5]);
}

#[test]
fn everything_at_once() {
    let budget =
        Budget { calls: 3, stale: 1, knowing: 1, outside: 1, forged: 1, crashes: 1, races: 1, blind: 1 };
    explore(&QUIET, budget, [3, 4]);
}
