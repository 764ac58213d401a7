//! Which deaths are tried, and what is said of them at the end.

use std::{collections::HashSet, sync::Mutex, time::Instant};

use backout_model::release::Phase;
use futures::future::try_join_all;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use system_tests::{oracle, stories::Snapshot};

use super::{
    arena::{Arena, Verdict, arena},
    lane::{Case, Lanes, Tally},
    point::{MOMENTS, Point, Site},
    scenario::Scenario,
};

/// How many namespaces are at it at a time.
const LANES: usize = 8;

/// Plays the scenario with a death at each request of the reference run, or at a sample of so many.
pub(crate) async fn everywhere(scenario: Scenario, sites: &[Site], sample: usize) {
    let (arena, _alone) = arena().await;
    let (seed, begin) = (seed(), Instant::now());
    let (points, reference) = reference(arena, scenario, sites).await;
    let mut cases = cases(&points, seed);
    if std::env::var_os("BACKOUT_EVERYTHING").is_none() {
        cases.truncate(sample);
    }
    let (wanted, width) = (cases.len(), LANES.min(cases.len()));
    println!(
        "{scenario:?} {sites:?}: {} requests, {wanted} deaths of {} are tried, BACKOUT_SEED={seed}",
        points.len(),
        points.len() * MOMENTS.len()
    );
    let stage = arena.stage();
    let lanes = Lanes {
        arena,
        stage: &stage,
        scenario,
        reference,
        cases: Mutex::new(cases.into()),
        tally: Mutex::default(),
    };
    let ran = try_join_all((0..width).map(|number| lanes.run(number))).await;
    let tally = lanes.tally.into_inner().unwrap();
    println!(
        "{scenario:?} {sites:?}: {} requests enumerated, {} crashes tried, {} not reached, {} failures, {:.0} s, \
         BACKOUT_SEED={seed}",
        points.len(),
        tally.tried.len(),
        tally.unreached.len(),
        tally.failures.len(),
        begin.elapsed().as_secs_f64()
    );
    for case in &tally.unreached {
        println!("not reached: {case}");
    }
    let kept = || arena.cluster.keep_for_inspection();
    ran.unwrap_or_else(|why| panic!("{why:#}\n{}", kept()));
    assert!(tally.failures.is_empty(), "{}\n{}", tally.failures.join("\n"), kept());
    audited(arena, scenario, &tally).await;
    assert!(tally.tried.len() * 2 > wanted, "too few of the {wanted} requests came again");
}

/// Plays the scenario undisturbed, both ways: which requests there are, and the states that it ends in.
async fn reference(arena: &Arena, scenario: Scenario, sites: &[Site]) -> (Vec<Point>, Vec<Snapshot>) {
    let stage = arena.stage();
    let home = stage.home("reference").await.unwrap();
    let mut played = scenario.prepare(&home).await.unwrap();
    let (mut points, mut states) = (Vec::new(), Vec::new());
    for _round in 0..2 {
        arena.court.arm(&home.name, None);
        scenario.play(&home, &played).await.unwrap();
        let (verdict, seen) = arena.court.disarm(&home.name);
        assert_eq!(verdict, Verdict::Unreached);
        played = scenario.check(&home, played, &[]).await.unwrap();
        states.push(played.state.neutral(&home.name));
        if points.is_empty() {
            points = seen;
        }
    }
    points.retain(|point| sites.contains(&point.site));
    let all: HashSet<_> = points.iter().collect();
    assert_eq!(all.len(), points.len(), "two requests at one point");
    (points, states)
}

/// All deaths in random order, those at writes and those at reads in turns.
fn cases(points: &[Point], seed: u64) -> Vec<Case> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut all: Vec<_> = points
        .iter()
        .flat_map(|point| MOMENTS.map(|moment| Case { point: point.clone(), moment, misses: 0 }))
        .collect();
    all.shuffle(&mut random);
    let (writes, reads): (Vec<_>, Vec<_>) = all.into_iter().partition(|case| case.point.is_write);
    let (mut writes, mut reads) = (writes.into_iter(), reads.into_iter());
    let mut turns = Vec::new();
    loop {
        let turn = [writes.next(), reads.next()];
        if turn.iter().all(Option::is_none) {
            return turns;
        }
        turns.extend(turn.into_iter().flatten());
    }
}

/// The server's own account of what the watcher wrote.
async fn audited(arena: &Arena, scenario: Scenario, tally: &Tally) {
    let witness = oracle::witness(arena.cluster, &["alice"]).await.unwrap();
    assert_eq!(witness.violations, Vec::<String>::new(), "{}", arena.cluster.keep_for_inspection());
    for namespace in &tally.namespaces {
        let restored = witness.restores.contains_key(namespace);
        assert_eq!(restored, scenario.outcome() == Phase::RolledBack, "{namespace}: {witness:#?}");
    }
}

fn seed() -> u64 {
    std::env::var("BACKOUT_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap())
}
