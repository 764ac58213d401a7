//! What a healthy revision changed, kept so that it can still be undone later: its records that took effect, all in a few
//! Secrets instead of one or more for each.
//!
//! Every record in a pack was checked against the server's own history before it was packed; the server has forgotten it
//! since.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    time::Duration,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Body, Header, Record,
    chain::{Entry, Verification},
    codec::{self, PIECE},
};
use crate::{
    names::{self, RecordName, ReleaseKey},
    object::Position,
};

/// The most that a pack may hold, in bytes before compression: the watcher has it in memory, twice.
pub const PACK_LIMIT: usize = 16 << 20;
/// In how many Secrets a pack may lie.
const SECRETS_LIMIT: usize = 4;
/// Nobody waits for it, and it is kept for long.
const LEVEL: u32 = 6;

/// A record in a pack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    name: RecordName,
    position: u64,
    header: Header,
    body: Body,
}

impl Packed {
    /// A record that is at `position` of the log.
    pub fn new(record: Record, position: Position) -> Self {
        let Record { name, header, body } = record;
        Self { name, position: position.0, header, body }
    }

    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        serde_json::to_vec(self).map_or(0, |json| json.len())
    }

    /// The record, and its entry as the log had it.
    pub fn unpack(self) -> (Entry, Record) {
        let Self { name, position, header, body } = self;
        let entry = Entry {
            name: name.clone(),
            position: Position(position),
            resource_version: String::new(),
            pieces: 0,
            created: Timestamp::UNIX_EPOCH,
            age: Duration::MAX,
            header: header.clone(),
            owner: header.release_uid.clone(),
            verified: Some(Verification::Verified),
        };
        (entry, Record { name, header, body })
    }
}

/// Which revision a pack is of.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a> {
    /// The release.
    pub release: &'a ReleaseKey,
    /// `metadata.uid` of the Release.
    pub uid: &'a str,
    /// The revision.
    pub revision: u64,
    /// Its cut: a revision that is opened again and cut anew has another pack.
    pub sealed: &'a str,
}

impl Label<'_> {
    /// The name of the pack's first Secret.
    pub fn name(&self) -> String {
        let Self { release, uid, revision, sealed } = self;
        let mut hex = names::hex(&Sha256::digest(format!("{release} {uid} {revision} {sealed}")));
        hex.truncate(40);
        format!("p-{hex}")
    }
}

/// The Secrets of a pack in `namespace`, in the order in which they are to be created; nothing if it is too large to be kept.
pub fn encode(label: &Label<'_>, records: &[Packed], namespace: &str) -> Option<Vec<Secret>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    let json = serde_json::to_vec(records).ok().filter(|json| json.len() <= PACK_LIMIT)?;
    encoder.write_all(&json).ok()?;
    let compressed = encoder.finish().ok()?;
    let mut chunks: Vec<_> = compressed.chunks(PIECE).map(<[u8]>::to_vec).collect();
    if chunks.len() > SECRETS_LIMIT || chunks.is_empty() {
        return None;
    }
    let first = chunks.remove(0);
    let name = label.name();
    let mut head = secret(label, name.clone(), namespace, names::PART_PACK, first);
    head.metadata.annotations = Some(BTreeMap::from([
        (names::PIECES.to_owned(), chunks.len().to_string()),
        (names::BYTES.to_owned(), compressed.len().to_string()),
    ]));
    let pieces = chunks.into_iter().enumerate().map(|(index, bytes)| {
        secret(label, names::piece(&name, index), namespace, names::PART_PACK_PIECE, bytes)
    });
    Some(pieces.chain([head]).collect())
}

/// In how many further Secrets a pack lies.
pub fn pieces(annotations: &BTreeMap<String, String>) -> Option<usize> {
    annotations.get(names::PIECES)?.parse().ok().filter(|count| *count < SECRETS_LIMIT)
}

/// Reads a pack from the data of its Secrets, in their order.
pub fn decode(compressed: &[u8]) -> Result<Vec<Packed>, String> {
    let mut json = Vec::new();
    let limit = u64::try_from(PACK_LIMIT).unwrap_or(u64::MAX);
    GzDecoder::new(compressed).take(limit + 1).read_to_end(&mut json).map_err(|error| error.to_string())?;
    serde_json::from_slice(&json).map_err(|error| error.to_string())
}

fn secret(label: &Label<'_>, name: String, namespace: &str, part: &str, bytes: Vec<u8>) -> Secret {
    let mut labels = codec::labels(label.release, part);
    labels.insert(names::REVISION.to_owned(), label.revision.to_string());
    codec::secret(names::PACK_TYPE, name, namespace, labels, bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        names::ReleaseName,
        object::{ObjectKey, ObjectRef},
        undo::Operation,
    };

    fn key() -> ReleaseKey {
        ReleaseKey::new("shop", ReleaseName::from_mark("shop").unwrap())
    }

    fn packed(n: u8, text: &str) -> Packed {
        let object = ObjectRef {
            key: ObjectKey {
                group: String::new(),
                resource: "configmaps".into(),
                namespace: Some("shop".into()),
                name: "a".into(),
            },
            version: "v1".into(),
            kind: "ConfigMap".into(),
        };
        let header = Header {
            operation: Operation::Update,
            object,
            generate_name: None,
            uid: Some("u".into()),
            resource_version: Some("1".into()),
            undo: None,
            replicas: None,
            release: key(),
            release_uid: Some("r".into()),
            revision: 3,
            begins: false,
            captured: false,
            user: "alice".into(),
            tool: "kubectl".into(),
            request: String::new(),
        };
        let body = Body { before: Some(json!({"data": text})), after: Some(json!({"data": "new"})) };
        let record = Record { name: RecordName::from_digest(&[n; 32]), header, body };
        Packed::new(record, Position(u64::from(n)))
    }

    fn label<'a>(release: &'a ReleaseKey, sealed: &'a str) -> Label<'a> {
        Label { release, uid: "r", revision: 3, sealed }
    }

    fn read(secrets: &[Secret]) -> Vec<u8> {
        let (head, pieces) = secrets.split_last().unwrap();
        assert_eq!(super::pieces(head.metadata.annotations.as_ref().unwrap()), Some(pieces.len()));
        [head]
            .into_iter()
            .chain(pieces)
            .flat_map(|it| it.data.as_ref().unwrap()[codec::BODY].0.clone())
            .collect()
    }

    #[test]
    fn a_pack_is_read_as_it_was_written_small_or_large() {
        // Letters that do not compress.
        let mut state = 1_u32;
        let mut letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'0' + u8::try_from(state >> 25).unwrap() % 75)
        };
        let large: String = (0..2_000_000).map(|_| letter()).filter(|c| *c != '\\').collect();
        for (text, secrets) in [("old", 1), (large.as_str(), 2)] {
            let records = vec![packed(1, text), packed(2, "two")];
            let release = key();
            let encoded = encode(&label(&release, "9"), &records, "backout-system").unwrap();
            assert_eq!(encoded.len(), secrets);
            assert_eq!(decode(&read(&encoded)).unwrap(), records);
            assert!(encoded.iter().all(|it| it.immutable == Some(true)));
        }
    }

    #[test]
    fn what_is_too_large_is_not_packed() {
        let records = vec![packed(1, &"x".repeat(PACK_LIMIT))];
        let release = key();
        assert_eq!(encode(&label(&release, "9"), &records, "backout-system"), None);
    }

    #[test]
    fn a_revision_that_is_cut_anew_has_another_pack() {
        let release = key();
        assert_ne!(label(&release, "9").name(), label(&release, "10").name());
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(b"[").unwrap();
        for _ in 0..64 {
            encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
        }
        encoder.write_all(b"]").unwrap();
        assert!(decode(&encoder.finish().unwrap()).is_err());
    }

    #[test]
    fn garbage_is_no_pack() {
        assert!(decode(b"garbage").is_err());
    }
}
