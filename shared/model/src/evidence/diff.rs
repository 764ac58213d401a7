//! What a revision changed, for who asks.

use std::collections::BTreeSet;

use super::{
    Evidence,
    changes::Changes,
    redact::Redactor,
    wanted::{Findings, Wanted},
};
use crate::{
    health::Live,
    names::{RecordName, ReleaseKey},
    object::{ObjectKey, ObjectRef, Position},
    protocol::Observed,
    release::{Phase, ReleaseStatus},
    rollback::{Proof, Track},
    undo::{
        Record,
        chain::{Chain, Entry, by_object},
    },
};

/// Where what a revision changed is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The log still has its records.
    Log,
    /// It is kept in the pack of this name.
    Pack(String),
}

/// Where what the revision `of` changed is to be read, the current one if absent; or why that cannot be told.
pub fn source(status: &ReleaseStatus, of: Option<u64>) -> Result<Source, String> {
    let of = of.unwrap_or(status.revision);
    let is_over = matches!(status.phase, None | Some(Phase::Healthy | Phase::RolledBack));
    if of == status.revision && !is_over {
        return Ok(Source::Log);
    }
    let past = status.history.iter().find(|past| past.revision == of);
    let past = past.ok_or_else(|| format!("revision {of} is not in the history"))?;
    past.pack.clone().map(Source::Pack).ok_or_else(|| match past.outcome {
        Phase::Healthy => format!("what revision {of} changed was not kept"),
        _ => format!("of revision {of}, which failed, there is no more than its evidence"),
    })
}

/// A revision whose records are kept, as it was.
pub fn of_pack(revision: u64, records: Vec<(Entry, Record)>) -> Observed {
    let entries: Vec<_> = records.iter().map(|(entry, _)| entry.clone()).collect();
    let noted = entries.iter().map(|entry| entry.name.clone()).collect();
    let tracks = by_object(entries, &BTreeSet::new()).into_iter();
    Observed {
        tracks: tracks.filter_map(|((key, _), entries)| track(key, entries, &noted)).collect(),
        cut: Position(u64::MAX),
        status: ReleaseStatus { revision, ..ReleaseStatus::default() },
        proofs: records.into_iter().map(|(entry, record)| (entry.name, Proof::Verified(record))).collect(),
        ..Observed::default()
    }
}

fn track(key: ObjectKey, entries: Vec<Entry>, noted: &BTreeSet<RecordName>) -> Option<Track> {
    let ObjectRef { version, kind, .. } = entries.last()?.header.object.clone();
    let chain = Chain::read(&entries, &Live::Absent, noted, None);
    Some(Track { object: ObjectRef { key, version, kind }, entries, chain, live: Live::Absent })
}

/// What the revision changed whose log `seen` shows, when `wanted` had been asked for.
pub fn diff(key: &ReleaseKey, seen: &Observed, wanted: &Wanted, found: &Findings) -> Evidence {
    let mut notes = wanted.notes.clone();
    let changes = Changes::of(seen, found);
    let secrets = Redactor::of(seen, found, &changes);
    let mut diff = Evidence {
        release: key.to_string(),
        revision: seen.status.revision,
        changes: changes.tell(&secrets, &mut notes),
        ..Evidence::default()
    };
    diff.notes = notes.iter().map(|note| secrets.whole(note)).collect();
    diff.bounded()
}
