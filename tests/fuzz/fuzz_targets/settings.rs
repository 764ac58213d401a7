//! Whatever tenants write into names, annotations, requests and specs: it is read or refused, and no name is one that
//! the API server refuses.
#![no_main]

use std::collections::BTreeMap;

use backout_model::{
    names::{RecordName, ReleaseName},
    object::Position,
    release::{Order, Policy, Release, ReleaseSpec, duration},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(name) = ReleaseName::from_mark(text) {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let name_is = name.as_str();
        assert!(name_is.len() <= 63 && name_is.bytes().all(is_plain), "{name_is}");
        assert!(!name_is.starts_with('-') && !name_is.ends_with('-'), "{name_is}");
        assert_eq!(ReleaseName::from_mark(name_is).as_ref(), Some(&name));
    }
    if let Some(name) = RecordName::parse(text) {
        assert_eq!(name.as_str(), text);
    }
    if let Some(position) = Position::parse(text) {
        assert_eq!(Position::parse(&position.0.to_string()), Some(position));
    }
    if let Ok(order) = text.parse::<Order>() {
        assert_eq!(order.to_string().parse(), Ok(order));
    }
    let read = duration(text);
    let is_seconds =
        |digits: &str| digits.len() < 5 && !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    assert!(read.is_ok() || !text.strip_suffix('s').is_some_and(is_seconds), "{text}");
    let annotations: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (format!("backout.dev/{key}"), value.to_owned()))
        .collect();
    let spec: ReleaseSpec = serde_json::from_str(text).unwrap_or_default();
    let json = serde_json::to_string(&spec).unwrap();
    // A century is printed in more digits than are read.
    if let Ok(again) = serde_json::from_str::<ReleaseSpec>(&json) {
        assert_eq!(again, spec);
    }
    let (_, problems) = Policy::default().resolve(&annotations, &spec);
    assert!(problems.len() <= annotations.len() + 64, "{problems:?}");
    let _ = serde_json::from_str::<Release>(text);
});
