use serde_json::{Value, json};

use super::*;
use crate::{
    names,
    release::{Action, OnFailure, ReleaseSpec},
};

#[test]
fn the_first_write_of_a_revision_tells_the_deployer_what_to_expect() {
    let write = update(&deployment(&json!({}), 1), &deployment(&json!({}), 2));
    let text = |spec: ReleaseSpec| {
        let release = Release { spec, ..Release::default() };
        recording(&write, Some(&release), |recording| recording.warning.unwrap().text)
    };
    let begin = "backout: this is revision 1 of release shop; ";
    let end = ". Watch it: kubectl -n shop get release shop";
    let deadline = Some("90m".parse().unwrap());
    let on_failure = Some(OnFailure { install: Some(Action::Hold), upgrade: None });
    for (spec, middle) in [
        (ReleaseSpec::default(), "if it does not become healthy it is rolled back"),
        (
            ReleaseSpec { deadline, ..Default::default() },
            "if it does not become healthy within 1h30m it is rolled back",
        ),
        (
            ReleaseSpec { on_failure, ..Default::default() },
            "if it does not become healthy it is held for you to look at",
        ),
        (
            ReleaseSpec { suspend: Some(true), ..Default::default() },
            "it is watched, but not rolled back: suspend is set",
        ),
    ] {
        assert_eq!(text(spec), format!("{begin}{middle}{end}"));
    }
}

#[test]
fn a_warning_is_never_cut_off() {
    let mut new = deployment(&json!({names::MARK: "r".repeat(63)}), 2);
    new["metadata"]["namespace"] = json!("n".repeat(63));
    let mut write = review("CREATE", &Value::Null, &new);
    write["request"]["namespace"] = json!("n".repeat(63));
    recording(&write, None, |recording| {
        let text = recording.warning.unwrap().text;
        assert!(text.len() <= 250 && text.ends_with("rolled back"), "{text}");
    });
}
