//! Which records took effect: every write that committed left its record's name on the object, and every later
//! record of the object says which name it found there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;

use super::{Header, Operation};
use crate::{
    health::Live,
    names::RecordName,
    object::{Image, ObjectKey, Position},
};

/// How long an admitted write may still commit: `requestTimeoutUpperBound` of the apiserver
/// (endpoints/handlers/rest.go) is 34 s, and a margin for clocks that differ.
pub const IN_FLIGHT: Duration = Duration::from_secs(40);

/// A record as the log shows it, without its images.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The record's name.
    pub name: RecordName,
    /// Its place in the log: the resourceVersion at which it was created.
    pub position: Position,
    /// Its resourceVersion now: differs from `position` once the check's outcome was noted on it.
    pub resource_version: String,
    /// In how many pieces its body lies beside it; 0 if the head holds it.
    pub pieces: usize,
    /// When it was created, by the server's clock.
    pub created: Timestamp,
    /// How long ago that is, at the least.
    pub age: Duration,
    /// What it says.
    pub header: Header,
    /// `uid` of the Release it belongs to, once that is there.
    pub owner: Option<String>,
    /// The outcome of the exact-revision check, once it was made.
    pub verified: Option<Verification>,
}

impl Entry {
    /// Whether the server's own history bears out what the write found.
    pub fn is_verified(&self) -> bool {
        self.verified == Some(Verification::Verified)
    }
}

/// Whether the server's own history bears out the before-image of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The server had stored exactly that.
    Verified,
    /// The server cannot tell any more; the text says why.
    Unverified(String),
    /// The server had stored something else.
    Refuted(String),
}

impl Verification {
    /// Reads the annotation [`crate::names::VERIFIED`].
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(": ").unwrap_or((text, "")) {
            ("yes", _) => Some(Self::Verified),
            ("unknown", why) => Some(Self::Unverified(why.to_owned())),
            ("no", why) => Some(Self::Refuted(why.to_owned())),
            _ => None,
        }
    }

    /// All values of [`Self::metric_label`].
    pub const LABELS: [&str; 3] = ["verified", "unverified", "refuted"];

    /// A bounded value for a metric's label.
    pub fn metric_label(&self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unverified(_) => "unverified",
            Self::Refuted(_) => "refuted",
        }
    }
}

impl std::fmt::Display for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Verified => f.write_str("yes"),
            Self::Unverified(why) => write!(f, "unknown: {why}"),
            Self::Refuted(why) => write!(f, "no: {why}"),
        }
    }
}

/// Whether the write behind a record took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It committed: the object carries its name, or carried it when a later write was made that committed or whose
    /// before-image is verified.
    Confirmed,
    /// It seems to have committed: the object is gone, or has the replicas, and what it found was there before, or nobody
    /// can check any more; or another record says so that nobody can check. Whoever could see all that could have made it
    /// up.
    Claimed,
    /// It may still commit, or the record that tells is still to be verified.
    Pending,
    /// It did not commit and cannot any more.
    Aborted,
}

impl Standing {
    /// Whether the write counts.
    pub fn took_effect(self) -> bool {
        matches!(self, Self::Confirmed | Self::Claimed)
    }
}

/// The records of one object and what is known of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// In the order of `entries` given to [`Chain::read`].
    pub standings: Vec<Standing>,
    /// An undo pointer on the live object from which no way leads to the records.
    pub dangling: Option<RecordName>,
    /// Records that alone tell of others, or of themselves, and are not verified yet: to be done at once.
    pub disputed: BTreeSet<RecordName>,
}

impl Chain {
    /// Reads the standing of each of `entries`, all of one object and in log order.
    ///
    /// `carried` are records known to have taken effect from elsewhere than `entries` and `live`: because records of
    /// other releases, to which the live object's pointer led, found their names on it, or because it was noted
    /// earlier: what has taken effect stays so. `lost` is the pointer of the live object if the way from it ends at a
    /// record that does not exist: then what cannot be told counts as having taken effect, so that it is not forgotten.
    ///
    /// A record is a claim that anyone could have sent. What it found on the object counts only where the way from the
    /// object's own pointer leads through it (a pointer is the digest of a record's content), or the server's history
    /// bears it out.
    pub fn read(
        entries: &[Entry],
        live: &Live,
        carried: &BTreeSet<RecordName>,
        lost: Option<&RecordName>,
    ) -> Self {
        let object = match live {
            Live::Present(object) => Some(object),
            Live::Absent | Live::Unreadable(_) => None,
        };
        let on_object = object.and_then(|object| Image(object).undo());
        let (known, silent) = borne_out(entries, carried.iter().chain(on_object.as_ref()));
        let tells = |entry: &&Entry| {
            let undo = entry.header.undo.as_ref();
            undo.is_some_and(|undo| !known.contains(undo) && entries.iter().any(|it| it.name == *undo))
        };
        let disputed: Vec<_> =
            silent.into_iter().filter(|entry| entry.verified.is_none()).filter(tells).collect();
        let is_lost = lost.is_some_and(|pointer| is_unknown(entries, pointer, object));
        // Whose record was made up knows nothing of the pointer either.
        let is_checked = |entry: &Entry| entry.is_verified() || is_beyond_check(entry);
        let is_dangling =
            is_lost && entries.iter().any(|entry| sees_pointers(entry, object) && is_checked(entry));
        let dangling = lost.filter(|_| is_dangling).cloned();
        let mut chain = Self {
            standings: Vec::with_capacity(entries.len()),
            disputed: disputed.iter().map(|entry| entry.name.clone()).collect(),
            dangling,
        };
        for (index, entry) in entries.iter().enumerate() {
            let later = entries.get(index + 1..).unwrap_or_default();
            let names = |other: &&Entry| other.header.undo.as_ref() == Some(&entry.name);
            let standing = match live {
                // Nobody but the watcher can say so, and it saw what it says.
                _ if entry.header.captured => Standing::Confirmed,
                _ if known.contains(&entry.name) && entry.header.operation.leaves_pointer() => {
                    Standing::Confirmed
                }
                _ if known.contains(&entry.name) => Standing::Claimed,
                Live::Unreadable(_) => Standing::Pending,
                _ if disputed.iter().copied().any(|other| names(&other)) => Standing::Pending,
                _ if later.iter().filter(names).any(is_beyond_check)
                    && entry.header.operation != Operation::Create =>
                {
                    Standing::Claimed
                }
                // Without a pointer, what was there before cannot be told from what was made of it.
                _ if index == 0 && object.is_some_and(|object| is_made(entry, object)) => Standing::Claimed,
                _ => match (standing(entry, later, object), &entry.verified) {
                    // It says what is there now, as whoever made it up could see. Was it there before?
                    (Standing::Claimed, None) => {
                        chain.disputed.insert(entry.name.clone());
                        Standing::Pending
                    }
                    (Standing::Aborted, None) if is_lost && sees_pointers(entry, object) => {
                        chain.disputed.insert(entry.name.clone());
                        Standing::Pending
                    }
                    (Standing::Claimed, Some(Verification::Refuted(_))) => Standing::Aborted,
                    (Standing::Aborted, _)
                        if is_dangling && is_checked(entry) && is_possible(entry, object) =>
                    {
                        Standing::Claimed
                    }
                    (standing, _) => standing,
                },
            };
            chain.standings.push(standing);
        }
        chain
    }
}

/// The records that are on the way from `known` ones, each of which names the one before it, and the entries that are
/// not and whose word does not count.
fn borne_out<'a>(
    entries: &'a [Entry],
    known: impl Iterator<Item = &'a RecordName>,
) -> (BTreeSet<&'a RecordName>, Vec<&'a Entry>) {
    let (mut known, mut silent) = (known.collect::<BTreeSet<_>>(), Vec::new());
    for entry in entries.iter().rev() {
        let is_on_the_way = known.contains(&entry.name) && entry.header.operation.leaves_pointer();
        if is_on_the_way || entry.is_verified() {
            known.extend(entry.header.undo.as_ref());
        } else {
            silent.push(entry);
        }
    }
    (known, silent)
}

fn is_beyond_check(entry: &Entry) -> bool {
    matches!(entry.verified, Some(Verification::Unverified(_)))
}

/// Whether none of the records that could know the pointer does.
fn is_unknown(entries: &[Entry], pointer: &RecordName, live: Option<&Value>) -> bool {
    let known = |entry: &Entry| entry.name == *pointer || entry.header.undo.as_ref() == Some(pointer);
    !entries.iter().any(known) && entries.iter().any(|entry| sees_pointers(entry, live))
}

/// A scale does not see the object's labels: its records can tell nothing of the pointer.
fn sees_pointers(entry: &Entry, live: Option<&Value>) -> bool {
    entry.header.operation != Operation::Scale && is_possible(entry, live)
}

/// Not a deletion of what is there and stays, which may have seen old labels; nor a creation of what was there before.
fn is_possible(entry: &Entry, live: Option<&Value>) -> bool {
    match entry.header.operation {
        Operation::Delete => !is_there_to_stay(entry, live),
        Operation::Create => !live.is_some_and(|object| is_older(object, entry)),
        Operation::Update | Operation::Scale => true,
    }
}

/// Whether an object was there before a record, by more than clocks differ.
fn is_older(object: &Value, entry: &Entry) -> bool {
    let created = Image(object).meta("creationTimestamp").and_then(|text| text.parse::<Timestamp>().ok());
    let age = created.and_then(|created| Duration::try_from(entry.created.duration_since(created)).ok());
    age.is_some_and(|age| age > IN_FLIGHT)
}

/// Whether what a record found is there, and is not on its way out.
fn is_there_to_stay(entry: &Entry, live: Option<&Value>) -> bool {
    let same = live.filter(|object| Image(object).uid() == entry.header.uid.as_deref());
    same.is_some_and(|object| !Image(object).is_terminating())
}

/// The standing of a record whose name no image carries.
fn standing(entry: &Entry, later: &[Entry], live: Option<&Value>) -> Standing {
    let same = live.filter(|object| Image(object).uid() == entry.header.uid.as_deref());
    match entry.header.operation {
        Operation::Create => match live {
            // The name is taken by an object that this write did not make.
            Some(_) => Standing::Aborted,
            None => in_flight(entry),
        },
        Operation::Update => match same {
            Some(object) if Image(object).resource_version() == entry.header.resource_version.as_deref() => {
                in_flight(entry)
            }
            // The compare-and-swap of the write cannot succeed any more.
            _ => Standing::Aborted,
        },
        Operation::Delete => match same {
            None => Standing::Claimed,
            Some(object) if Image(object).is_terminating() => Standing::Claimed,
            Some(_) => in_flight(entry),
        },
        Operation::Scale => match same {
            Some(object) => scaled(entry, later, object),
            None => Standing::Aborted,
        },
    }
}

/// Whether a Create made `object` although its record's name is not on it: a controller replaced the labels since. It
/// came into being when the write could commit, and the deployer's tool owns fields of it.
pub fn is_made(create: &Entry, object: &Value) -> bool {
    let image = Image(object);
    if create.header.operation != Operation::Create || image.undo().is_some() {
        return false;
    }
    let created = image.meta("creationTimestamp").and_then(|text| text.parse::<Timestamp>().ok());
    let age = created.and_then(|created| Duration::try_from(created.duration_since(create.created)).ok());
    age.is_some_and(|age| age < IN_FLIGHT) && image.managers().any(|manager| manager == create.header.tool)
}

fn in_flight(entry: &Entry) -> Standing {
    if entry.age < IN_FLIGHT { Standing::Pending } else { Standing::Aborted }
}

/// A scale leaves no pointer: the parent's labels are not in its reach. It is confirmed by where the replicas went.
fn scaled(entry: &Entry, later: &[Entry], live: &Value) -> Standing {
    let Some(replicas) = entry.header.replicas else { return Standing::Aborted };
    let next = later.iter().find_map(|entry| entry.header.replicas.map(|replicas| replicas.before));
    let now = live.pointer("/spec/replicas").and_then(Value::as_i64);
    if Image(live).resource_version() == entry.header.resource_version.as_deref() {
        in_flight(entry)
    } else if next.or(now) == Some(replicas.after) {
        Standing::Claimed
    } else {
        Standing::Aborted
    }
}

/// The records of each object, in log order, without those up to one of `undone`: the object was put back after it.
/// Objects without a name yet are told apart by the record of their creation.
pub fn by_object(
    log: Vec<Entry>,
    undone: &BTreeSet<RecordName>,
) -> BTreeMap<(ObjectKey, Option<RecordName>), Vec<Entry>> {
    let named = generated_names(&log);
    let mut of_object: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
    for entry in log {
        let key = named.get(&entry.name).unwrap_or(&entry.header.object.key).clone();
        let nameless = key.name.is_empty().then(|| entry.name.clone());
        let records = of_object.entry((key, nameless)).or_default();
        if undone.contains(&entry.name) {
            records.clear();
        } else {
            records.push(entry);
        }
    }
    of_object.retain(|_, records| !records.is_empty());
    of_object
}

/// The objects of creates with `generateName`, by record, with the name that the server made, where the log tells it:
/// the next record of the object, which found the create's name on it, does.
fn generated_names(log: &[Entry]) -> BTreeMap<RecordName, ObjectKey> {
    let nameless = log.iter().filter(|entry| entry.header.object.key.name.is_empty());
    let nameless: BTreeSet<_> = nameless.map(|entry| &entry.name).collect();
    let is_refuted = |entry: &Entry| matches!(entry.verified, Some(Verification::Refuted(_)));
    let mut named = BTreeMap::new();
    for later in log.iter().filter(|later| !is_refuted(later)) {
        if let Some(create) = later.header.undo.as_ref().filter(|create| nameless.contains(create)) {
            named.entry(create.clone()).or_insert_with(|| later.header.object.key.clone());
        }
    }
    named
}

#[cfg(test)]
mod tests;
