//! A release over simulated time, through `protocol::step`: what there is to see at each second, and what becomes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use backout_model::{
    health::{Judged, Live, Scene, Sightings},
    names::{self, RecordName, ReleaseKey, ReleaseName},
    object::{Image, Position},
    protocol::{Observed, step},
    release::{Failure, Phase, ReleaseStatus},
    rollback::Track,
    undo::{
        Header, Operation,
        chain::{Chain, Entry},
    },
};
use serde_json::json;

use crate::scenes::at;

/// A release, and what must become of it.
pub(crate) struct Case {
    /// Its number in a table of vectors, if it has one.
    pub(crate) number: usize,
    pub(crate) what: &'static str,
    /// What there is to see at a second.
    pub(crate) scene: fn(i64) -> Scene,
    pub(crate) expect: Expect,
    pub(crate) more: More,
}

/// What is not so in most cases.
#[derive(Clone, Copy, Default)]
pub(crate) struct More {
    /// There is a healthy revision before this one, even if all objects are created.
    pub(crate) upgrade: bool,
    /// When the first object is written again.
    pub(crate) rewritten: &'static [i64],
    /// Times in which nothing can be observed.
    pub(crate) outages: &'static [(i64, i64)],
    /// When the watcher starts anew.
    pub(crate) restarts: &'static [i64],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Healthy, not before one second and not after another.
    Healthy(i64, i64),
    /// Rolled back for this reason, not before one second and not after another.
    Fails(&'static str, i64, i64),
}

/// What became of a release.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) second: i64,
    pub(crate) failure: Option<Failure>,
}

/// After so long each release is decided.
const END: i64 = 3000;

impl Case {
    pub(crate) fn run(&self) -> Outcome {
        let mut status = ReleaseStatus::default();
        if self.more.upgrade {
            status.healthy_revision = Some(1);
            status.revision = 1;
        }
        let mut sightings = Sightings::default();
        let mut last = None;
        for second in 0..END {
            if self.more.outages.iter().any(|(from, to)| (*from..*to).contains(&second)) {
                continue;
            }
            if self.more.restarts.contains(&second) {
                (sightings, last) = (Sightings::default(), None);
            }
            let since_last = last.map(|last: i64| Duration::from_secs(u64::try_from(second - last).unwrap()));
            let observed = self.observed(second, &status, sightings, since_last);
            let decision = step(&observed, at(second));
            last = Some(second);
            (status, sightings) = (decision.status, decision.sightings);
            match status.phase {
                Some(Phase::Healthy) => return Outcome { second, failure: None },
                Some(Phase::RollingBack | Phase::Held | Phase::RolledBack) => {
                    return Outcome { second, failure: status.failure };
                }
                _ => {}
            }
        }
        panic!("{}: never decided: {:?}: {}", self.what, status.phase, status.message);
    }

    /// What became of it, which must be what is expected.
    pub(crate) fn check(&self) -> Outcome {
        let outcome = self.run();
        let reason = outcome.failure.as_ref().map(|failure| failure.reason.as_str());
        let (expected, from, to) = match self.expect {
            Expect::Healthy(from, to) => (None, from, to),
            Expect::Fails(reason, from, to) => (Some(reason), from, to),
        };
        assert_eq!(reason, expected, "{}: {outcome:#?}", self.what);
        assert!((from..=to).contains(&outcome.second), "{}: {outcome:#?}", self.what);
        outcome
    }

    fn observed(
        &self,
        second: i64,
        status: &ReleaseStatus,
        sightings: Sightings,
        since_last: Option<Duration>,
    ) -> Observed {
        let scene = (self.scene)(second);
        let mut baselines = BTreeMap::new();
        let mut tracks = Vec::new();
        let mut written = 0;
        for (index, judged) in scene.judged.iter().enumerate() {
            let mut writes = vec![0];
            if index == 0 {
                writes.extend(self.more.rewritten.iter().copied().filter(|write| *write <= second));
            }
            written = written.max(*writes.last().unwrap());
            let mut entries: Vec<_> =
                writes.iter().map(|write| entry(judged, index, *write, second)).collect();
            for next in 1..entries.len() {
                entries[next].header.undo = Some(entries[next - 1].name.clone());
            }
            if let Some(baseline) = &judged.baseline {
                baselines.insert(entries[0].name.clone(), baseline.clone());
            }
            tracks.push(track(judged, entries));
        }
        let quiet = Duration::from_secs(u64::try_from(second - written).unwrap());
        Observed {
            uid: Some("release".to_owned()),
            generation: Some(1),
            status: status.clone(),
            tracks,
            cut: Position(position(second, 999)),
            quiet,
            baselines,
            pods: scene.pods,
            replica_sets: scene.replica_sets,
            events: scene.events,
            nodes: scene.nodes,
            storage_classes: scene.storage_classes,
            going: scene.going,
            since_last,
            sightings,
            ..Observed::default()
        }
    }
}

fn position(second: i64, index: usize) -> u64 {
    1_000_000 + u64::try_from(second).unwrap() * 1000 + u64::try_from(index).unwrap()
}

fn entry(judged: &Judged, index: usize, written: i64, now: i64) -> Entry {
    let position = position(written, index);
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&position.to_be_bytes());
    let operation = match (&judged.baseline, judged.deleted) {
        (_, true) => Operation::Delete,
        (None, false) if written == 0 => Operation::Create,
        _ => Operation::Update,
    };
    let live = match &judged.live {
        Live::Present(live) => Some(live),
        _ => None,
    };
    let before = judged.baseline.as_ref().or(live).filter(|_| operation != Operation::Create);
    Entry {
        name: RecordName::from_digest(&digest),
        position: Position(position),
        resource_version: position.to_string(),
        pieces: 0,
        created: at(written),
        age: Duration::from_secs(u64::try_from(now - written).unwrap()),
        header: Header {
            operation,
            object: judged.object.clone(),
            generate_name: None,
            uid: before.and_then(|before| Image(before).uid()).map(str::to_owned),
            resource_version: before.map(|_| "10".to_owned()),
            undo: None,
            replicas: None,
            release: ReleaseKey::new("shop", ReleaseName::from_mark("shop").unwrap()),
            release_uid: None,
            revision: 2,
            begins: false,
            captured: false,
            user: "alice".into(),
            tool: "kubectl".into(),
            request: format!("request-{position}"),
        },
        owner: Some("release".to_owned()),
        verified: None,
    }
}

fn track(judged: &Judged, entries: Vec<Entry>) -> Track {
    let carried: BTreeSet<_> = entries.iter().map(|entry| entry.name.clone()).collect();
    let mut live = judged.live.clone();
    if let (Live::Present(live), Some(last), false) = (&mut live, entries.last(), judged.deleted) {
        live["metadata"]["labels"][names::UNDO] = json!(last.name.as_str());
    }
    let chain = Chain::read(&entries, &live, &carried, None);
    Track { object: judged.object.clone(), entries, chain, live }
}
