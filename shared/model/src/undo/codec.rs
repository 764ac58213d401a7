//! How a record lies in Secrets, and how it is read back.
//!
//! The head of a record carries its header as an annotation and its body, compressed with gzip, as data, so that
//! `kubectl get secret NAME -o jsonpath='{.data.body}' | base64 -d | gunzip` shows it to a person. A body that is too
//! large for one Secret lies in pieces, which are stored before the head; a record without head does not exist.
//!
//! The name of a record is the digest of its header and its uncompressed body. So whoever reads a record knows that
//! it is what was written under this name, however it was compressed.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta as Metadata,
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Body, Header, Operation, Record};
use crate::{
    names::{self, RecordName, ReleaseKey},
    object::{Image, containers},
};

/// The key of a Secret's data under which the body, or a piece of it, lies.
pub const BODY: &str = "body";

/// What one Secret holds of a compressed body. Below the API's limit of 1 MiB for the data of a Secret, and with
/// base64 and metadata far below the 3 MiB of a request.
pub(super) const PIECE: usize = 1_000_000;

/// The largest body that is read. It holds the images as they came, in a request of 7 MiB at most.
const BODY_LIMIT: u64 = 7 << 20;

/// What a body may hold in objects and arrays. Each takes up to 660 bytes in memory, so that this is 165 MB; two images of
/// the largest definitions that are in use have a tenth of it.
const CONTAINERS: usize = 250_000;

/// More pieces than this never come from a body within [`BODY_LIMIT`], even one that does not compress.
const PIECES_LIMIT: usize = 8;

/// A deployer waits for it. Measured: a Deployment (15 kB) takes 53 µs and 3.1 kB at level 1, 157 µs and 2.2 kB at
/// level 6; two images of a `ConfigMap` of 1 MiB take 7 ms and 424 kB, or 88 ms and 359 kB.
const LEVEL: u32 = 1;

/// A record about to be written: what it says, and the name that follows from it.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// The digest of the content.
    pub name: RecordName,
    /// What is known without the images.
    pub header: Header,
    json: String,
    before: Option<&'a RawValue>,
    after: Option<&'a RawValue>,
}

/// The Secrets of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The name of the record and of its head.
    pub name: RecordName,
    /// Makes the record exist: to be created last.
    pub head: Secret,
    /// The body, where it is too large for the head.
    pub pieces: Vec<Secret>,
}

impl<'a> Draft<'a> {
    /// Names the record of a write with these images, as the server sent them.
    pub fn new(header: Header, before: Option<&'a RawValue>, after: Option<&'a RawValue>) -> Self {
        // A header is made of strings and numbers; there is nothing in it that JSON cannot express.
        let json = serde_json::to_string(&header).unwrap_or_default();
        let mut digest = Digesting(Sha256::new());
        digest.0.update(json.as_bytes());
        digest.0.update([0]);
        // Only a writer that fails makes it fail, and this one does not.
        let _ = write_body(&mut digest, before, after);
        let name = RecordName::from_digest(&digest.0.finalize());
        Self { name, header, json, before, after }
    }

    /// The Secrets of the record, in `namespace`.
    pub fn encode(&self, namespace: &str) -> Encoded {
        let mut compressed = self.compress(Compression::new(LEVEL)).unwrap_or_default();
        let mut annotations = BTreeMap::from([(names::HEADER.to_owned(), self.json.clone())]);
        let mut pieces = Vec::new();
        if compressed.len() > PIECE {
            pieces = self.pieces(&compressed, namespace);
            annotations.insert(names::PIECES.to_owned(), pieces.len().to_string());
            compressed.clear();
        }
        let labels = labels(&self.header.release, names::PART_HEAD);
        let mut head = secret(names::RECORD_TYPE, self.name.to_string(), namespace, labels, compressed);
        head.metadata.annotations = Some(annotations);
        Encoded { name: self.name.clone(), head, pieces }
    }

    fn pieces(&self, compressed: &[u8], namespace: &str) -> Vec<Secret> {
        let piece = |(index, bytes): (usize, &[u8])| {
            let labels = labels(&self.header.release, names::PART_PIECE);
            secret(names::RECORD_TYPE, self.name.piece(index), namespace, labels, bytes.to_vec())
        };
        compressed.chunks(PIECE).enumerate().map(piece).collect()
    }

    fn compress(&self, level: Compression) -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), level);
        write_body(&mut encoder, self.before, self.after)?;
        encoder.finish()
    }
}

/// The Secrets, in `namespace`, of the record of a write with these images.
pub fn encode(
    header: &Header,
    before: Option<&RawValue>,
    after: Option<&RawValue>,
    namespace: &str,
) -> Encoded {
    Draft::new(header.clone(), before, after).encode(namespace)
}

/// Reads the header from the annotations of a record's head. Only [`decode`] can tell whether it is the one that was
/// written.
pub fn decode_header(annotations: &BTreeMap<String, String>) -> Result<Header, Garbage> {
    let json = annotations.get(names::HEADER).ok_or(Garbage::NoHeader)?;
    serde_json::from_str(json).map_err(Garbage::Header)
}

/// In how many pieces the body lies besides the head: none if the head holds it.
pub fn pieces(annotations: &BTreeMap<String, String>) -> Result<usize, Garbage> {
    let Some(text) = annotations.get(names::PIECES) else {
        return Ok(0);
    };
    match text.parse() {
        Ok(count) if (1..=PIECES_LIMIT).contains(&count) => Ok(count),
        _ => Err(Garbage::Pieces(text.clone())),
    }
}

/// Reads a record from the annotations of its head and its compressed body: the head's data, or that of all pieces
/// in their order.
pub fn decode(
    name: &RecordName,
    annotations: &BTreeMap<String, String>,
    body: &[u8],
) -> Result<Record, Garbage> {
    let header = decode_header(annotations)?;
    let json = inflate(body)?;
    let mut digest = Sha256::new();
    digest.update(annotations.get(names::HEADER).ok_or(Garbage::NoHeader)?.as_bytes());
    digest.update([0]);
    digest.update(&json);
    let actual = RecordName::from_digest(&digest.finalize());
    if actual != *name {
        return Err(Garbage::Digest { actual });
    }
    let json = std::str::from_utf8(&json).map_err(|error| Garbage::Body(serde::de::Error::custom(error)))?;
    if containers(json) > CONTAINERS {
        return Err(Garbage::TooComplex);
    }
    let body = serde_json::from_str(json).map_err(Garbage::Body)?;
    agree(&header, &body)?;
    Ok(Record { name: name.clone(), header, body })
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, Garbage> {
    let mut json = Vec::new();
    GzDecoder::new(body).take(BODY_LIMIT + 1).read_to_end(&mut json).map_err(Garbage::Gzip)?;
    if u64::try_from(json.len()).map_or(true, |length| length > BODY_LIMIT) {
        return Err(Garbage::TooLarge);
    }
    Ok(json)
}

/// A record can be well-formed and still contradict itself, if somebody else than the webhook wrote it.
fn agree(header: &Header, body: &Body) -> Result<(), Garbage> {
    let (before, after) = match header.operation {
        Operation::Create => (false, true),
        Operation::Update | Operation::Scale => (true, true),
        Operation::Delete => (true, false),
    };
    if (body.before.is_some(), body.after.is_some()) != (before, after) {
        return Err(Garbage::Contradiction("images"));
    }
    if (header.replicas.is_some()) != (header.operation == Operation::Scale) {
        return Err(Garbage::Contradiction("replicas"));
    }
    let before = body.before.as_ref().map(Image);
    // Who sees an object that is there already knows its uid, too.
    let made = body.after.as_ref().filter(|_| header.captured).map(Image);
    if header.uid.as_deref() != before.or(made).and_then(Image::uid) {
        return Err(Garbage::Contradiction("uid"));
    }
    if header.resource_version.as_deref() != before.and_then(Image::resource_version) {
        return Err(Garbage::Contradiction("resourceVersion"));
    }
    for image in body.before.iter().chain(&body.after).map(Image) {
        if image.meta("name").unwrap_or_default() != header.object.key.name {
            return Err(Garbage::Contradiction("name"));
        }
        if image.meta("namespace").is_some_and(|ns| header.object.key.namespace.as_deref() != Some(ns)) {
            return Err(Garbage::Contradiction("namespace"));
        }
    }
    Ok(())
}

/// Why Secrets are no record.
#[derive(Debug, thiserror::Error)]
pub enum Garbage {
    /// The head has no header.
    #[error("it has no annotation {}", names::HEADER)]
    NoHeader,
    /// The header is not what a webhook writes.
    #[error("its header cannot be read: {0}")]
    Header(#[source] serde_json::Error),
    /// The number of pieces is no number, or none that can be.
    #[error("it claims to lie in {0:?} pieces")]
    Pieces(String),
    /// The body is not compressed as it should be.
    #[error("its body cannot be decompressed: {0}")]
    Gzip(#[source] io::Error),
    /// The body is larger than any write.
    #[error("its body is larger than {} MiB", BODY_LIMIT >> 20)]
    TooLarge,
    /// The body takes too much memory.
    #[error("its body holds more than {CONTAINERS} objects and arrays")]
    TooComplex,
    /// Header and body are not those that were written under this name.
    #[error("its content is that of {actual}")]
    Digest {
        /// The name that belongs to the content.
        actual: RecordName,
    },
    /// The body is not what a webhook writes.
    #[error("its body cannot be read: {0}")]
    Body(#[source] serde_json::Error),
    /// Header and images say different things.
    #[error("its header and its images disagree about the object's {0}")]
    Contradiction(&'static str),
}

/// A Secret of the log, with a body or a piece of one.
pub(super) fn secret(
    type_: &str,
    name: String,
    namespace: &str,
    labels: BTreeMap<String, String>,
    body: Vec<u8>,
) -> Secret {
    let data =
        if body.is_empty() { None } else { Some(BTreeMap::from([(BODY.to_owned(), ByteString(body))])) };
    Secret {
        metadata: Metadata {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            ..Metadata::default()
        },
        type_: Some(type_.to_owned()),
        immutable: Some(true),
        data,
        ..Secret::default()
    }
}

/// What the Secrets of a release are listed by.
pub(super) fn labels(release: &ReleaseKey, part: &str) -> BTreeMap<String, String> {
    [
        (names::PART, part),
        (names::RELEASE, release.name.as_str()),
        (names::RELEASE_NAMESPACE, release.namespace.as_str()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The body as JSON, of the very bytes that the server sent: parsing and printing again could change a number.
fn write_body(out: &mut impl Write, before: Option<&RawValue>, after: Option<&RawValue>) -> io::Result<()> {
    let images = [("before", before), ("after", after)];
    let mut separator = "{\"";
    for (key, image) in images.iter().filter_map(|(key, image)| Some((key, (*image)?))) {
        for part in [separator, key, "\":", image.get()] {
            out.write_all(part.as_bytes())?;
        }
        separator = ",\"";
    }
    out.write_all(if separator == "{\"" { b"{}" } else { b"}" })
}

struct Digesting(Sha256);

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
