//! Taking the values of Secrets out of texts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

use k8s_openapi::ByteString;
use serde_json::Value;

use super::{
    SecretKey,
    changes::Changes,
    wanted::{Findings, secret_key},
};
use crate::{health::Live, names, object::Image, protocol::Observed, rollback::Proof, secrets::used_by};

/// What stands in the place of a value.
pub const REDACTED: &str = "[redacted]";

/// Shorter values are not looked for: they are everywhere.
const SHORTEST: usize = 6;
/// The shortest value that is looked for inside of a value, such as a password in a file.
const SHORTEST_INNER: usize = 8;

/// The longest value that is looked for, and how many bytes of them all: each is kept in a dozen forms.
const LONGEST: usize = 32 << 10;
const ROOM: usize = 512 << 10;

/// Knows the values of Secrets, as they may appear in a text.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    /// By their first bytes.
    values: HashMap<[u8; SHORTEST], Vec<String>>,
    /// The Secrets that were looked at.
    known: BTreeSet<SecretKey>,
    /// Those of them whose values are not known, and why.
    unknown: BTreeMap<SecretKey, String>,
    /// How many more bytes of values of Secrets may be learnt.
    room: usize,
}

impl Redactor {
    /// Knows the values of the Secrets that the revision wrote, and of those that failing pods use.
    pub(super) fn of(seen: &Observed, found: &Findings, changes: &Changes<'_>) -> Self {
        let mut redactor = Self { room: ROOM, ..Self::default() };
        for track in &seen.tracks {
            let Some(key) = secret_key(track) else { continue };
            match &track.live {
                Live::Present(secret) => redactor.add_secret(secret),
                Live::Absent => {}
                Live::Unreadable(why) => {
                    redactor.unknown.insert(key.clone(), why.clone());
                }
            }
            redactor.known.insert(key);
        }
        let mut images = changes.images().collect::<Vec<_>>();
        // A rollback needs images of records after the cut, too.
        images.extend(
            seen.proofs
                .values()
                .filter_map(Proof::record)
                .flat_map(|record| [&record.body.before, &record.body.after].into_iter().flatten()),
        );
        for image in images.into_iter().filter(|image| image["kind"] == "Secret") {
            redactor.add_secret(image);
        }
        redactor.unknown.extend(changes.unread_secrets());
        for (key, read) in &found.secrets {
            match read {
                Ok(secret) => secret.iter().for_each(|secret| redactor.add_secret(secret)),
                Err(why) => {
                    redactor.unknown.insert(key.clone(), why.clone());
                }
            }
            redactor.known.insert(key.clone());
        }
        redactor
    }

    /// Why what a pod says must not be shown: it uses a Secret whose values are not known.
    pub(super) fn withholds(&self, pod: &Value) -> Option<String> {
        used_by(pod).into_iter().find_map(|key| {
            let unread = (!self.known.contains(&key)).then_some("it could not be read in time");
            let why = self.unknown.get(&key).map(String::as_str).or(unread)?;
            let (namespace, name) = key;
            Some(format!("it uses Secret {namespace}/{name}, whose values are not known: {why}"))
        })
    }

    fn add_secret(&mut self, secret: &Value) {
        let values = values_of(secret);
        let size: usize = values.iter().map(Vec::len).sum();
        let is_short = values.iter().all(|value| value.len() <= LONGEST);
        if is_short && size <= self.room && secret["type"] != names::HELM_SECRET_TYPE {
            self.room -= size;
            for value in &values {
                self.add(value);
            }
            return;
        }
        let [namespace, name] =
            ["namespace", "name"].map(|it| Image(secret).meta(it).unwrap_or_default().to_owned());
        let why = "they are too large to be looked for".to_owned();
        self.unknown.entry((namespace, name)).or_insert(why);
    }

    /// Learns a value, with all the forms in which it may be written.
    pub fn add(&mut self, value: &[u8]) {
        let trimmed = value.trim_ascii();
        if trimmed.len() < SHORTEST {
            return;
        }
        self.add_forms(trimmed);
        if trimmed.len() < value.len() {
            self.add_forms(value);
        }
        let Ok(text) = std::str::from_utf8(trimmed) else { return };
        if let Ok(parsed @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str::<Value>(text) {
            self.add_leaves(&parsed);
        }
        for line in text.lines().map(str::trim) {
            if line.len() < text.len() {
                self.add_plain(line, SHORTEST);
            }
            // A file of settings.
            for separator in [':', '='] {
                if let Some((_, inner)) = line.split_once(separator) {
                    self.add_plain(inner.trim().trim_matches(['"', '\'', ',', ';']), SHORTEST_INNER);
                }
            }
        }
    }

    fn add_leaves(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add_plain(text, SHORTEST_INNER),
            Value::Array(list) => list.iter().for_each(|value| self.add_leaves(value)),
            Value::Object(map) => map.values().for_each(|value| self.add_leaves(value)),
            _ => {}
        }
    }

    fn add_forms(&mut self, value: &[u8]) {
        let whole = serde_json::to_value(ByteString(value.to_vec())).ok();
        let whole = whole.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        for encoded in (0..3).map(|offset| base64(value, offset)).chain([whole]) {
            let url_safe = encoded.replace('+', "-").replace('/', "_");
            self.add_plain(&encoded, SHORTEST);
            self.add_plain(&url_safe, SHORTEST);
        }
        if let Ok(text) = std::str::from_utf8(value) {
            self.add_plain(text, SHORTEST);
        }
    }

    /// A text, and how it is written in JSON and in an address.
    fn add_plain(&mut self, text: &str, shortest: usize) {
        if text.len() < shortest {
            return;
        }
        let quoted = Value::from(text).to_string();
        let quoted = quoted.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let percent =
            |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        let escaped: String = text.bytes().map(percent).collect();
        for form in [text, quoted, &escaped] {
            let Some(first) = form.as_bytes().first_chunk::<SHORTEST>() else { continue };
            let values = self.values.entry(*first).or_default();
            if !values.iter().any(|known| known == form) {
                values.push(form.to_owned());
            }
        }
    }

    /// A text without the values.
    pub fn whole(&self, text: &str) -> String {
        replaced(text, self.found(text))
    }

    /// A text whose begin and end may be cut off in the middle of a value, without the values.
    pub fn cut(&self, text: &str) -> String {
        let mut found = self.found(text);
        let (bytes, length) = (text.as_bytes(), text.len());
        for value in self.values.values().flatten().map(String::as_bytes) {
            if let Some(first) = bytes.first_chunk::<SHORTEST>() {
                let ends = value.windows(SHORTEST).enumerate().filter(|(_, window)| window == first);
                let rest = ends.filter_map(|(at, _)| value.get(at..));
                let cut = rest.filter(|rest| bytes.starts_with(rest) || rest.starts_with(bytes));
                found.extend(cut.map(|rest| 0..rest.len().min(length)));
            }
            if let Some(last) = bytes.last_chunk::<SHORTEST>() {
                let begins = value.windows(SHORTEST).enumerate().filter(|(_, window)| window == last);
                let begun = begins.filter_map(|(at, _)| value.get(..at + SHORTEST));
                let cut = begun.filter(|begun| bytes.ends_with(begun));
                found.extend(cut.map(|begun| length - begun.len()..length));
            }
        }
        replaced(text, found)
    }

    fn found(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for (at, window) in text.as_bytes().windows(SHORTEST).enumerate() {
            let Some(values) = window.first_chunk().and_then(|first| self.values.get(first)) else {
                continue;
            };
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            let there = values.iter().filter(|value| rest.starts_with(value.as_bytes()));
            found.extend(there.map(|value| at..at + value.len()));
        }
        found
    }
}

/// The values that a Secret holds.
fn values_of(secret: &Value) -> Vec<Vec<u8>> {
    let list = |field: &str| secret[field].as_object().into_iter().flat_map(|map| map.values());
    let decoded = list("data").filter_map(|value| serde_json::from_value::<ByteString>(value.clone()).ok());
    let plain = list("stringData").filter_map(Value::as_str).map(|text| text.as_bytes().to_vec());
    decoded.map(|bytes| bytes.0).chain(plain).collect()
}

/// What `value` looks like in base64 with `offset` other bytes before it, whatever they and what follows are.
fn base64(value: &[u8], offset: usize) -> String {
    let shifted = ByteString([&[0; 2][..offset.min(2)], value].concat());
    let encoded = serde_json::to_value(shifted).ok();
    let encoded = encoded.as_ref().and_then(Value::as_str).unwrap_or_default();
    let is_exact = (offset + value.len()).is_multiple_of(3);
    let encoded = encoded.trim_end_matches('=');
    // Characters that hold bits of what stands before or after.
    let from = [0, 2, 3].get(offset).copied().unwrap_or_default();
    let to = encoded.len().saturating_sub(usize::from(!is_exact));
    encoded.get(from..to).unwrap_or_default().to_owned()
}

fn replaced(text: &str, mut found: Vec<Range<usize>>) -> String {
    found.sort_by_key(|range| range.start);
    let (mut told, mut at) = (String::with_capacity(text.len()), 0);
    for range in found {
        if range.start >= at {
            told.push_str(text.get(at..range.start).unwrap_or_default());
            told.push_str(REDACTED);
        }
        at = at.max(range.end);
    }
    told.push_str(text.get(at..).unwrap_or_default());
    told
}
