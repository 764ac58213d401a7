//! One namespace in which a scenario is played again and again, each time with a death at another request.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Mutex,
};

use anyhow::{Context, Result, ensure};
use system_tests::stories::{Home, Snapshot, Stage};

use super::{
    arena::{Arena, Verdict},
    point::{Moment, Point, Site, Start},
    scenario::{Played, Scenario},
};

/// A death to be tried.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) point: Point,
    pub(crate) moment: Moment,
    /// The process that comes after it dies, too.
    pub(crate) again: Option<(Start, Moment)>,
    pub(crate) misses: u32,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.moment, self.point)?;
        self.again
            .as_ref()
            .map_or(Ok(()), |(start, moment)| write!(f, ", and the next one {moment:?} {start}"))
    }
}

/// What was tried, and what came of it.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) tried: Vec<Case>,
    pub(crate) unreached: Vec<Case>,
    pub(crate) failures: Vec<String>,
    pub(crate) namespaces: Vec<String>,
}

/// What all lanes of a scenario share.
pub(crate) struct Lanes<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) stage: &'a Stage<'a>,
    pub(crate) scenario: Scenario,
    /// The states that rounds end in.
    pub(crate) reference: Vec<Snapshot>,
    pub(crate) cases: Mutex<Cases>,
    pub(crate) tally: Mutex<Tally>,
}

/// Cases by the time of their deaths: in one life of a revision there can be several.
pub(crate) struct Cases {
    queues: BTreeMap<String, VecDeque<Case>>,
    in_one_life: usize,
}

impl Cases {
    /// Several in one life.
    pub(crate) fn crowded(cases: Vec<Case>) -> Self {
        Self::new(cases, IN_ONE_LIFE)
    }

    /// One in one life: what others would have kept from happening.
    pub(crate) fn single(cases: Vec<Case>) -> Self {
        Self::new(cases, 1)
    }

    fn new(cases: Vec<Case>, in_one_life: usize) -> Self {
        let mut all = Self { queues: BTreeMap::new(), in_one_life };
        for case in cases {
            all.add(case);
        }
        all
    }

    fn add(&mut self, case: Case) {
        let time = if case.again.is_some() { "start".to_owned() } else { case.point.time() };
        self.queues.entry(time).or_default().push_back(case);
    }

    /// What is tried in one round: most of those times of which most is left.
    fn next(&mut self) -> Vec<Case> {
        let mut round = Vec::new();
        let mut taken = BTreeMap::<String, usize>::new();
        while round.len() < self.in_one_life {
            let open = self.queues.iter_mut().filter(|(time, cases)| {
                !cases.is_empty() && taken.get(*time).is_none_or(|taken| *taken < AT_ONE_TIME)
            });
            let Some((time, cases)) = open.max_by_key(|(_, cases)| cases.len()) else { break };
            *taken.entry(time.clone()).or_default() += 1;
            round.extend(cases.pop_front());
        }
        round
    }
}

/// So many deaths in one life of a revision.
const IN_ONE_LIFE: usize = 6;
/// And of these so many in one phase of it.
const AT_ONE_TIME: usize = 3;

/// A request that comes at one time may not come at another.
const MISSES: u32 = 1;

impl Lanes<'_> {
    /// Tries cases until there are no more. After a failure it goes on elsewhere: the namespace stays as it is.
    pub(crate) async fn run(&self, number: usize) -> Result<()> {
        let mut round = self.next();
        let mut homes = 0;
        while !round.is_empty() {
            homes += 1;
            let home = self.stage.home(&format!("lane{number}-{homes}")).await?;
            self.tally.lock().unwrap().namespaces.push(home.name.clone());
            let mut played = self.scenario.prepare(&home).await.context("before anything was killed")?;
            while !round.is_empty() {
                match self.one(&home, played, &round).await {
                    Ok(after) => played = after,
                    Err(why) => {
                        let failure = format!("{}: {}: {why:#}", home.name, told(&round));
                        println!("FAILED {failure}");
                        self.tally.lock().unwrap().failures.push(failure);
                        round = self.next();
                        break;
                    }
                }
                round = self.next();
                if self.scenario.happens_once() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn one(&self, home: &Home<'_>, before: Played, round: &[Case]) -> Result<Played> {
        self.arena.court.arm(&home.name, round.to_vec());
        let refused = self.scenario.play(home, &before).await;
        let (seen, verdicts) = self.arena.court.disarm(&home.name);
        let refused = refused.with_context(|| format!("{verdicts:?}, {} requests", seen.len()))?;
        let after = self.scenario.check(home, before, &self.reference).await?;
        for (case, verdict) in round.iter().zip(verdicts) {
            let is_unheard = case.point.site != Site::Watcher && case.moment != Moment::After;
            if verdict == Verdict::Killed && is_unheard {
                ensure!(refused > 0, "a write passed whose webhook had died");
            }
            println!("{verdict:?}: {case}");
            self.note(case, verdict);
        }
        Ok(after)
    }

    fn note(&self, case: &Case, verdict: Verdict) {
        let mut tally = self.tally.lock().unwrap();
        match verdict {
            Verdict::Killed => tally.tried.push(case.clone()),
            Verdict::TooSoon => self.cases.lock().unwrap().add(case.clone()),
            Verdict::Unreached if case.misses < MISSES => {
                let again = Case { misses: case.misses + 1, ..case.clone() };
                self.cases.lock().unwrap().add(again);
            }
            Verdict::Unreached => tally.unreached.push(case.clone()),
        }
    }

    fn next(&self) -> Vec<Case> {
        self.cases.lock().unwrap().next()
    }
}

fn told(round: &[Case]) -> String {
    round.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
