//! Whatever lies in the log: a record or an error, and a record is the same when it is written again.
#![no_main]

use std::{collections::BTreeMap, io::Write as _};

use backout_model::{
    names::{self, RecordName},
    object::Position,
    undo::{codec, pack},
};
use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest as _, Sha256};

fuzz_target!(|data: &[u8]| {
    let split = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (header, body) = data.split_at(split);
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    let header = String::from_utf8_lossy(header).into_owned();
    let annotations = BTreeMap::from([
        (names::HEADER.to_owned(), header.clone()),
        (names::PIECES.to_owned(), header.clone()),
    ]);
    let _ = codec::pieces(&annotations);
    let _ = pack::pieces(&annotations);
    let _ = pack::decode(body);
    let _ = pack::decode(&gzip(body));

    let mut digest = Sha256::new();
    digest.update(header.as_bytes());
    digest.update([0]);
    digest.update(body);
    let name = RecordName::from_digest(&digest.finalize());
    let _ = codec::decode(&name, &annotations, body);
    let Ok(record) = codec::decode(&name, &annotations, &gzip(body)) else { return };
    let raw = |image: &Option<_>| -> Option<Box<RawValue>> {
        image.as_ref().map(|image| to_raw_value(image).unwrap())
    };
    let (before, after) = (raw(&record.body.before), raw(&record.body.after));
    let again = codec::encode(&record.header, before.as_deref(), after.as_deref(), "backout-system");
    let lies = again.head.data.map(|data| data[codec::BODY].0.clone()).unwrap_or_default();
    let read = codec::decode(&again.name, &again.head.metadata.annotations.unwrap_or_default(), &lies);
    let read = read.unwrap_or_else(|error| panic!("written, and not to be read: {error}"));
    assert_eq!((&read.header, &read.body), (&record.header, &record.body));

    let packed = pack::Packed::new(read.clone(), Position(7));
    let label = pack::Label { release: &record.header.release, uid: "u", revision: 1, sealed: "9" };
    let secrets = pack::encode(&label, &[packed], "backout-system").unwrap();
    let bytes: Vec<u8> =
        secrets.into_iter().filter_map(|it| it.data).flat_map(|data| data[codec::BODY].0.clone()).collect();
    let unpacked = pack::decode(&bytes).unwrap().remove(0).unpack().1;
    assert_eq!(unpacked, read);
});

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
