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
    state::{Budget, State},
    world::{FOREVER, World, data},
};

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
    world
}

fn check(budget: Budget, depth: usize) {
    let cluster =
        Cluster::new(vec![State::new(beginning(true), budget), State::new(beginning(false), budget)]);
    #[expect(clippy::disallowed_methods, reason = "how long the test takes is no decision")]
    let start = std::time::Instant::now();
    let checker = cluster
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_max_depth(depth)
        .threads(1)
        .spawn_bfs()
        .join();
    println!(
        "{} states, {} of them unique, to a depth of {} in {:.0?}: {budget:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth() - 1,
        start.elapsed()
    );
    for (name, path) in checker.discoveries() {
        println!("{name}:");
        let last = path.last_state().clone();
        for action in path.into_actions() {
            println!("  {action:?}");
        }
        println!("  {:#?}", checker.model().broken(&last));
    }
    checker.assert_properties();
}

#[test]
fn the_invariants_hold_in_every_order_of_events() {
    let budget =
        Budget { calls: 3, stale: 1, knowing: 1, outside: 1, forged: 1, crashes: 1, races: 1, blind: 1 };
    let depth = std::env::var_os("DEPTH").map_or(5, |it| it.to_str().unwrap().parse().unwrap());
    check(budget, depth);
}
