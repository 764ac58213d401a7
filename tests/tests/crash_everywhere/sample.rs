//! Which deaths are tried, and what is said of them at the end.

use std::{collections::HashSet, sync::Mutex, time::Instant};

use backout_model::release::Phase;
use futures::future::try_join_all;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use system_tests::{oracle, stories::Snapshot};

use super::{
    arena::{Arena, arena},
    lane::{Case, Cases, Lanes, Tally},
    point::{MOMENTS, Moment, Point, Site, Start},
    scenario::Scenario,
};

/// How many namespaces are at it at a time.
const LANES: usize = 6;
/// And how many when requests are waited for that did not come while so many were at it.
const QUIET_LANES: usize = 2;

/// Plays the scenario with a death at each request of the reference run, or at a sample of so many.
pub(crate) async fn everywhere(scenario: Scenario, sites: &[Site], sample: usize) {
    let (arena, _alone) = arena().await;
    let (seed, begin) = (seed(), Instant::now());
    let (points, reference) = reference(arena, scenario, sites).await;
    let starts = if sites.contains(&Site::Watcher) { starts(arena).await } else { Vec::new() };
    let mut cases = cases(&points, &starts, seed);
    let all = std::env::var_os("BACKOUT_EVERYTHING").is_some();
    if !all {
        cases.truncate(sample);
    }
    let wanted = cases.len();
    println!(
        "{scenario:?} {sites:?}: {} requests and {} of a start, {wanted} deaths are tried, BACKOUT_SEED={seed}",
        points.len(),
        starts.len()
    );
    let stage = arena.stage();
    let mut lanes = Lanes {
        arena,
        stage: &stage,
        scenario,
        reference,
        cases: Mutex::new(Cases::crowded(cases)),
        tally: Mutex::default(),
    };
    let mut ran = try_join_all((0..LANES).map(|number| lanes.run(number))).await;
    if all && ran.is_ok() {
        let unreached = std::mem::take(&mut lanes.tally.get_mut().unwrap().unreached);
        lanes.cases = Mutex::new(Cases::single(unreached));
        ran = try_join_all((LANES..LANES + QUIET_LANES).map(|number| lanes.run(number))).await;
    }
    let tally = lanes.tally.into_inner().unwrap();
    println!(
        "{scenario:?} {sites:?}: {} requests enumerated, {} crashes tried, {} not reached, {} failures, {:.0} s, \
         BACKOUT_SEED={seed}",
        points.len() + starts.len(),
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

/// Plays the scenario undisturbed: which requests there are, and the states that it ends in.
async fn reference(arena: &Arena, scenario: Scenario, sites: &[Site]) -> (Vec<Point>, Vec<Snapshot>) {
    let stage = arena.stage();
    let home = stage.home("reference").await.unwrap();
    let mut played = scenario.prepare(&home).await.unwrap();
    let (mut points, mut states) = (Vec::new(), Vec::new());
    for _round in 0..scenario.versions() {
        arena.court.arm(&home.name, Vec::new());
        scenario.play(&home, &played).await.unwrap();
        let (seen, _) = arena.court.disarm(&home.name);
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

/// What a watcher asks for when it starts.
async fn starts(arena: &Arena) -> Vec<Start> {
    arena.backout.watcher().kill9().await.unwrap();
    arena.court.forget_start();
    arena.backout.watcher().restart().await.unwrap();
    arena.backout.wait_ready().await.unwrap();
    arena.court.started()
}

/// All deaths in random order: those at writes, those at reads and those of watchers that only just start in turns.
fn cases(points: &[Point], starts: &[Start], seed: u64) -> Vec<Case> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut all: Vec<_> = points
        .iter()
        .flat_map(|point| MOMENTS.map(|moment| Case { point: point.clone(), moment, again: None, misses: 0 }))
        .collect();
    all.shuffle(&mut random);
    let (writes, reads): (Vec<_>, Vec<_>) = all.into_iter().partition(|case| case.point.is_write);
    let mut again: Vec<_> = starts
        .iter()
        .flat_map(|start| MOMENTS.map(|moment| (start.clone(), moment)))
        .zip(writes.iter().cycle())
        .map(|(again, first)| Case { again: Some(again), moment: Moment::After, ..first.clone() })
        .collect();
    again.shuffle(&mut random);
    let mut turns = [writes, reads, again].map(Vec::into_iter);
    let mut cases = Vec::new();
    loop {
        let before = cases.len();
        cases.extend(turns.iter_mut().filter_map(Iterator::next));
        if cases.len() == before {
            return cases;
        }
    }
}

/// The server's own account of what the watcher wrote.
async fn audited(arena: &Arena, scenario: Scenario, tally: &Tally) {
    let witness = oracle::witness(arena.cluster, &["alice"]).await.unwrap();
    assert_eq!(witness.violations, Vec::<String>::new(), "{}", arena.cluster.keep_for_inspection());
    for namespace in &tally.namespaces {
        let restored = witness.restores.contains_key(namespace);
        assert_eq!(restored, scenario.outcome() == Phase::RolledBack, "{namespace}: {witness:#?}");
        // That it is there at the end the lanes have seen. Not all that is stored is told here: a client that dies over its
        // request can leave none but a failed one in the log.
        let mut evidence = witness.evidence.get(namespace).into_iter().flatten();
        assert!(!evidence.any(|name| name.ends_with("late")), "{namespace}: {witness:#?}");
    }
}

fn seed() -> u64 {
    std::env::var("BACKOUT_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap())
}
