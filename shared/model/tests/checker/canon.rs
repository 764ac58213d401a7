//! What two states must have in common to be one: all but the names of things, which come from counters, and the time
//! of day.

use std::{
    fmt::Write as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use backout_model::{release::ReleaseStatus, undo::chain::Entry};
use jiff::Timestamp;
use serde::Serialize;

use super::{state::State, world::FIRST};

/// Longer ago makes no difference to anything that the checker lets happen.
const LONG_AGO: i64 = 64;

/// The digest of what will make a difference.
pub(crate) fn digest(state: &State) -> u64 {
    let mut text = String::with_capacity(16 << 10);
    write(state, &mut text);
    let mut hasher = DefaultHasher::new();
    canonical(&text, state.world.now).hash(&mut hasher);
    hasher.finish()
}

fn write(state: &State, text: &mut String) {
    let State { world, truth, budget, .. } = state;
    for object in world.objects.values() {
        json(text, object);
    }
    json(text, &essence(&world.status));
    for (entry, record, seen) in world.log.values() {
        let Entry { position, resource_version, created, owner, header, .. } = entry;
        let verdict = (&owner, &entry.verified, world.verify(record));
        _ = write!(text, "{position} {resource_version} {created} {seen:?} {verdict:?}");
        json(text, header);
        for image in [&record.body.before, &record.body.after].into_iter().flatten() {
            json(text, &image["data"]);
            json(text, &image["metadata"]["managedFields"]);
        }
    }
    let memory = (world.last_look, world.last_write, &world.sightings, &world.unreadable, world.gathered);
    _ = write!(text, "{memory:?} {budget:?}");
    truth.write(text);
}

/// The status without what is only told to people.
fn essence(status: &ReleaseStatus) -> ReleaseStatus {
    ReleaseStatus {
        message: String::new(),
        ready: String::new(),
        conditions: Vec::new(),
        history: Vec::new(),
        problems: Vec::new(),
        objects: Vec::new(),
        deadline_at: None,
        soaked_at: None,
        failure: status.failure.as_ref().map(|_| backout_model::release::Failure::default()),
        ..status.clone()
    }
}

pub(crate) fn json(text: &mut String, value: &impl Serialize) {
    text.push_str(&serde_json::to_string(value).unwrap());
}

/// A piece of a text.
#[derive(Clone, Copy, Hash)]
enum Token<'a> {
    Text(&'a str),
    /// A resourceVersion, or what is named after one: its place among all that occur.
    Version(u64),
    /// Seconds before now.
    Time(i64),
}

/// The tokens of `text`, with versions by their order and times by their distance.
fn canonical(text: &str, now: Timestamp) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let bytes = text.as_bytes();
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        let Some((token, length)) = special(text, at, now) else {
            at += 1;
            // The rest of a word that does not begin like a name.
            while at < bytes.len() && bytes[at].is_ascii_alphabetic() && bytes[at - 1].is_ascii_alphabetic() {
                at += 1;
            }
            continue;
        };
        tokens.push(Token::Text(&text[start..at]));
        tokens.push(token);
        at += length;
        start = at;
    }
    tokens.push(Token::Text(&text[start..]));
    let versions = tokens.iter().filter_map(|token| match token {
        Token::Version(version) => Some(*version),
        _ => None,
    });
    let mut order: Vec<_> = versions.collect();
    order.sort_unstable();
    order.dedup();
    for token in &mut tokens {
        if let Token::Version(version) = token {
            *version = order.binary_search(version).unwrap() as u64;
        }
    }
    tokens
}

fn special(text: &str, at: usize, now: Timestamp) -> Option<(Token<'_>, usize)> {
    let bytes = text.as_bytes();
    match bytes[at] {
        // The name of a record, which is made from its position.
        b'u' if text[at..].starts_with("u-00") => {
            let position = u64::from_str_radix(text.get(at + 2..at + 18)?, 16).ok()?;
            Some((Token::Version(position), 42))
        }
        b'2' if text[at..].starts_with("2026-") || text[at..].starts_with("2025-") => {
            let length = text[at..].find('Z')? + 1;
            let time: Timestamp = text[at..at + length].parse().ok()?;
            Some((Token::Time(now.duration_since(time).as_secs().min(LONG_AGO)), length))
        }
        b'1' => {
            let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let version: u64 = text[at..at + digits].parse().ok()?;
            (version >= FIRST).then_some((Token::Version(version), digits))
        }
        _ => None,
    }
}
