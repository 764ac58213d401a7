//! One namespace in which a scenario is played again and again, each time with a death at another request.

use std::{collections::VecDeque, fmt, sync::Mutex};

use anyhow::{Context, Result, ensure};
use system_tests::stories::{Home, Snapshot, Stage};

use super::{
    arena::{Arena, Verdict},
    point::{Moment, Point, Site},
    scenario::{Played, Scenario},
};

/// A death to be tried.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) point: Point,
    pub(crate) moment: Moment,
    pub(crate) misses: u32,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.moment, self.point)
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
    pub(crate) cases: Mutex<VecDeque<Case>>,
    pub(crate) tally: Mutex<Tally>,
}

/// A request that comes at one time may not come at another, or come when it cannot be used.
const MISSES: u32 = 2;

impl Lanes<'_> {
    /// Tries cases until there are no more. After a failure it goes on elsewhere: the namespace stays as it is.
    pub(crate) async fn run(&self, number: usize) -> Result<()> {
        let mut homes = 0;
        while self.has_more() {
            homes += 1;
            let home = self.stage.home(&format!("lane{number}-{homes}")).await?;
            self.tally.lock().unwrap().namespaces.push(home.name.clone());
            let mut played = self.scenario.prepare(&home).await.context("before anything was killed")?;
            while let Some(case) = self.next() {
                match self.one(&home, played, &case).await {
                    Ok(after) => played = after,
                    Err(why) => {
                        println!("FAILED in {}: {case}: {why:#}", home.name);
                        self.tally.lock().unwrap().failures.push(format!("{}: {case}: {why:#}", home.name));
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn one(&self, home: &Home<'_>, before: Played, case: &Case) -> Result<Played> {
        self.arena.court.arm(&home.name, Some((case.point.clone(), case.moment)));
        let refused = self.scenario.play(home, &before).await;
        let (verdict, _) = self.arena.court.disarm(&home.name);
        let refused = refused?;
        let after = self.scenario.check(home, before, &self.reference).await?;
        let is_unheard = case.point.site != Site::Watcher && case.moment != Moment::After;
        if verdict == Verdict::Killed && is_unheard {
            ensure!(refused > 0, "a write passed whose webhook had died");
        }
        println!("{verdict:?}: {case}");
        let mut tally = self.tally.lock().unwrap();
        match verdict {
            Verdict::Killed => tally.tried.push(case.clone()),
            _ if case.misses < MISSES => {
                let again = Case { misses: case.misses + 1, ..case.clone() };
                self.cases.lock().unwrap().push_back(again);
            }
            _ => tally.unreached.push(case.clone()),
        }
        Ok(after)
    }

    fn has_more(&self) -> bool {
        !self.cases.lock().unwrap().is_empty()
    }

    fn next(&self) -> Option<Case> {
        self.cases.lock().unwrap().pop_front()
    }
}
