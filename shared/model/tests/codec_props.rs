//! What must hold for every record: it reads back as it was written, or not at all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

use std::collections::BTreeMap;

use backout_model::{
    names::{self, RecordName, ReleaseKey, ReleaseName},
    object::{ObjectKey, ObjectRef},
    undo::{
        Header, Operation, Record, Replicas,
        codec::{self, Encoded, Garbage},
    },
};
use k8s_openapi::api::core::v1::Secret;
use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};

fn operation() -> impl Strategy<Value = Operation> {
    prop::sample::select(vec![Operation::Create, Operation::Update, Operation::Delete, Operation::Scale])
}

fn image(data: &str, version: &str) -> Box<RawValue> {
    let image = json!({"data": {"text": data}, "metadata": {"name": "c", "namespace": "n", "uid": "u", "resourceVersion": version}});
    serde_json::value::to_raw_value(&image).unwrap()
}

fn header(operation: Operation, revision: u64, user: String) -> Header {
    let existed = operation != Operation::Create;
    Header {
        operation,
        object: ObjectRef {
            key: ObjectKey {
                group: String::new(),
                resource: "configmaps".into(),
                namespace: Some("n".into()),
                name: "c".into(),
            },
            version: "v1".into(),
            kind: "ConfigMap".into(),
        },
        generate_name: None,
        uid: existed.then(|| "u".to_owned()),
        resource_version: existed.then(|| "7".to_owned()),
        undo: None,
        replicas: (operation == Operation::Scale).then_some(Replicas { before: 1, after: 2 }),
        release: ReleaseKey::new("n", ReleaseName::from_mark("shop").unwrap()),
        release_uid: None,
        revision,
        begins: false,
        captured: false,
        user,
        tool: "kubectl".into(),
        request: "r".into(),
    }
}

struct Written {
    header: Header,
    before: Option<Box<RawValue>>,
    after: Option<Box<RawValue>>,
    encoded: Encoded,
}

fn write(operation: Operation, revision: u64, user: String, old: &str, new: &str) -> Written {
    let header = header(operation, revision, user);
    let before = (operation != Operation::Create).then(|| image(old, "7"));
    let after = (operation != Operation::Delete).then(|| image(new, ""));
    let encoded = codec::encode(&header, before.as_deref(), after.as_deref(), "backout-system");
    Written { header, before, after, encoded }
}

prop_compose! {
    fn written()(operation in operation(), revision: u64, user in ".{0,20}", old in ".{0,200}", new in ".{0,200}") -> Written {
        write(operation, revision, user, &old, &new)
    }
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.header, self.before, self.after)
    }
}

fn annotations(encoded: &Encoded) -> BTreeMap<String, String> {
    encoded.head.metadata.annotations.clone().unwrap()
}

fn data(secret: &Secret) -> Vec<u8> {
    secret.data.as_ref().and_then(|data| data.get(codec::BODY)).map(|body| body.0.clone()).unwrap_or_default()
}

fn body(encoded: &Encoded) -> Vec<u8> {
    if encoded.pieces.is_empty() {
        data(&encoded.head)
    } else {
        encoded.pieces.iter().flat_map(data).collect()
    }
}

fn read(encoded: &Encoded) -> Result<Record, Garbage> {
    codec::decode(&encoded.name, &annotations(encoded), &body(encoded))
}

fn value(raw: Option<&RawValue>) -> Option<Value> {
    raw.map(|raw| serde_json::from_str(raw.get()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_record_reads_back_as_it_was_written(written in written()) {
        let record = read(&written.encoded).unwrap();
        prop_assert_eq!(&record.header, &written.header);
        prop_assert_eq!(&record.body.before, &value(written.before.as_deref()));
        prop_assert_eq!(&record.body.after, &value(written.after.as_deref()));
        prop_assert_eq!(RecordName::parse(written.encoded.head.metadata.name.as_deref().unwrap()), Some(record.name));
    }

    #[test]
    fn a_flipped_bit_of_the_body_is_found_or_means_nothing(written in written(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut bytes = body(&written.encoded);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(record) = codec::decode(&written.encoded.name, &annotations(&written.encoded), &bytes) {
            prop_assert_eq!(record, read(&written.encoded).unwrap());
        }
    }

    #[test]
    fn a_changed_header_is_found(written in written(), revision: u64) {
        prop_assume!(revision != written.header.revision);
        let mut annotations = annotations(&written.encoded);
        let other = Header { revision, ..written.header.clone() };
        annotations.insert(names::HEADER.into(), serde_json::to_string(&other).unwrap());
        let outcome = codec::decode(&written.encoded.name, &annotations, &body(&written.encoded));
        let found = matches!(outcome, Err(Garbage::Digest { .. }));
        prop_assert!(found);
    }

    #[test]
    fn garbage_is_an_error_and_no_panic(header in ".{0,64}", pieces in ".{0,4}", body in prop::collection::vec(any::<u8>(), 0..128)) {
        let annotations = BTreeMap::from([(names::HEADER.to_owned(), header), (names::PIECES.to_owned(), pieces)]);
        let name = RecordName::from_digest(&[7; 32]);
        prop_assert!(codec::decode(&name, &annotations, &body).is_err());
        let _ = codec::pieces(&annotations);
    }

    #[test]
    fn another_call_makes_another_record(written in written(), request in "[a-z]{2,8}") {
        let other = Header { request, ..written.header.clone() };
        let other = codec::encode(&other, written.before.as_deref(), written.after.as_deref(), "backout-system");
        prop_assert_ne!(&other.name, &written.encoded.name);
        let again = codec::encode(&written.header, written.before.as_deref(), written.after.as_deref(), "backout-system");
        prop_assert_eq!(again, written.encoded);
    }
}

/// Text that gzip cannot make much shorter.
fn noise(length: usize) -> String {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from(state >> 58).unwrap())
    };
    (0..length).map(|_| next()).filter(|c| *c != '\\').collect()
}

#[test]
fn a_large_body_lies_in_pieces_that_fit_a_secret() {
    let written = write(Operation::Update, 1, "alice".into(), &noise(1_500_000), &noise(1_400_000));
    let encoded = &written.encoded;
    assert!(encoded.pieces.len() > 1, "{}", encoded.pieces.len());
    assert_eq!(codec::pieces(&annotations(encoded)).unwrap(), encoded.pieces.len());
    assert_eq!(encoded.head.data, None);
    for (index, piece) in encoded.pieces.iter().enumerate() {
        assert!(data(piece).len() <= 1_000_000);
        assert_eq!(piece.metadata.name, Some(encoded.name.piece(index)));
        assert_eq!(piece.metadata.labels.as_ref().unwrap()[names::PART], names::PART_PIECE);
    }
    assert_eq!(read(encoded).unwrap().body.after, value(written.after.as_deref()));
}

#[test]
fn a_head_is_a_secret_that_a_watch_of_metadata_can_select() {
    let encoded = write(Operation::Create, 3, "alice".into(), "", "x").encoded;
    let Secret { metadata, type_, immutable, .. } = &encoded.head;
    assert_eq!((type_.as_deref(), *immutable), (Some("backout.dev/undo"), Some(true)));
    assert_eq!(metadata.namespace.as_deref(), Some("backout-system"));
    let labels = metadata.labels.as_ref().unwrap();
    assert_eq!(labels[names::PART], "head");
    assert_eq!((labels[names::RELEASE].as_str(), labels[names::RELEASE_NAMESPACE].as_str()), ("shop", "n"));
    assert_eq!(codec::decode_header(&annotations(&encoded)).unwrap().revision, 3);
    assert_eq!(codec::pieces(&annotations(&encoded)).unwrap(), 0);
}

#[test]
fn a_bomb_is_not_inflated() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..64 {
        std::io::Write::write_all(&mut encoder, &zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let record = write(Operation::Create, 1, "alice".into(), "", "x").encoded;
    let outcome = codec::decode(&record.name, &annotations(&record), &bomb);
    assert!(matches!(outcome, Err(Garbage::TooLarge)), "{outcome:?}");
}

#[test]
fn a_body_of_more_objects_than_any_write_has_is_garbage() {
    let many = format!("{{\"x\":[{}{{}}]}}", "{\"\":0},".repeat(300_000));
    let image = RawValue::from_string(many).unwrap();
    let header = header(Operation::Create, 1, "alice".into());
    let outcome = read(&codec::encode(&header, None, Some(&image), "n"));
    assert!(matches!(outcome, Err(Garbage::TooComplex)), "{outcome:?}");
}

#[test]
fn a_body_that_is_nested_too_deep_is_garbage() {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let image = RawValue::from_string(deep).unwrap();
    let header = header(Operation::Create, 1, "alice".into());
    let outcome = read(&codec::encode(&header, None, Some(&image), "n"));
    assert!(matches!(outcome, Err(Garbage::Body(_))), "{outcome:?}");
}

#[test]
fn a_record_that_contradicts_itself_is_garbage() {
    let contradiction =
        |header: Header, before: Option<Box<RawValue>>, after: Option<Box<RawValue>>| match read(
            &codec::encode(&header, before.as_deref(), after.as_deref(), "n"),
        ) {
            Err(Garbage::Contradiction(what)) => what,
            other => panic!("{other:?}"),
        };
    let update = || header(Operation::Update, 1, "alice".into());
    let (before, after) = (|| Some(image("a", "7")), || Some(image("b", "")));
    assert_eq!(contradiction(update(), None, after()), "images");
    assert_eq!(contradiction(update(), before(), None), "images");
    assert_eq!(contradiction(header(Operation::Create, 1, "alice".into()), before(), after()), "images");
    assert_eq!(contradiction(Header { uid: Some("other".into()), ..update() }, before(), after()), "uid");
    assert_eq!(
        contradiction(Header { resource_version: None, ..update() }, before(), after()),
        "resourceVersion"
    );
    assert_eq!(
        contradiction(
            Header { replicas: Some(Replicas { before: 1, after: 1 }), ..update() },
            before(),
            after()
        ),
        "replicas"
    );
    let mut named = update();
    named.object.key.name = "d".into();
    assert_eq!(contradiction(named, before(), after()), "name");
    let mut placed = update();
    placed.object.key.namespace = Some("m".into());
    assert_eq!(contradiction(placed, before(), after()), "namespace");
}
