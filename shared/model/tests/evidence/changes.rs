//! What a revision changed.

use backout_model::{
    evidence::{Change, Done, REDACTED},
    undo::{Operation, Replicas},
};
use serde_json::{Value, json};

use crate::scene::{Scene, object, secret};

/// The changes of one object but the Deployment.
fn change(kind: &str, writes: &[(Option<Value>, Option<Value>)]) -> Option<Change> {
    let mut scene = Scene::new();
    scene.wrote(kind, "x", writes);
    let mut changes = scene.evidence().changes;
    assert_eq!(changes.remove(0).object, "Deployment shop/web");
    changes.pop()
}

fn fields(change: Option<Change>) -> Vec<(String, Option<String>, Option<String>)> {
    change.unwrap().fields.into_iter().map(|field| (field.path, field.before, field.after)).collect()
}

fn text(path: &str, before: &str, after: &str) -> (String, Option<String>, Option<String>) {
    let side = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (path.to_owned(), side(before), side(after))
}

#[expect(
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "what is written is some object, or none"
)]
fn map(data: Value) -> Option<Value> {
    Some(object("ConfigMap", "x", json!({ "data": data })))
}

#[test]
fn the_smallest_fields_that_differ_are_shown_and_nothing_that_others_own() {
    let scene = Scene::new();
    let web = fields(scene.evidence().changes.pop());
    assert_eq!(web, [text("spec.template.spec.containers[app].image", "web:1", "web:2")]);

    let mut before = map(json!({"a": "1", "gone": "x", "same": "s"})).unwrap();
    let mut after = map(json!({"a": "2", "new.key": "y", "same": "s"})).unwrap();
    before["metadata"]["labels"] = json!({"backout.dev/undo": "u-1", "tier": "front"});
    after["metadata"]["labels"] = json!({"backout.dev/undo": "u-2", "tier": "back"});
    after["metadata"]["resourceVersion"] = json!("7");
    after["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
    after["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "n"});
    after["status"] = json!({"phase": "x"});
    assert_eq!(
        fields(change("ConfigMap", &[(Some(before), Some(after))])),
        [
            text("data.a", "1", "2"),
            text("data.gone", "x", ""),
            text("data[new.key]", "", "y"),
            text("metadata.annotations.note", "", "n"),
            text("metadata.labels.tier", "front", "back"),
        ]
    );
}

#[test]
fn several_writes_are_one_change_without_what_others_wrote_in_between() {
    let writes = [
        (
            map(json!({"a": "1", "theirs": "1", "back": "1"})),
            map(json!({"a": "2", "theirs": "1", "back": "2"})),
        ),
        (
            map(json!({"a": "2", "theirs": "2", "back": "2"})),
            map(json!({"a": "3", "theirs": "2", "back": "1"})),
        ),
    ];
    assert_eq!(fields(change("ConfigMap", &writes)), [text("data.a", "1", "3")]);
}

#[test]
fn what_was_made_deleted_or_made_anew_is_told_as_such() {
    let x = || map(json!({"a": "1"}));
    let y = || map(json!({"a": "2"}));
    for (writes, done, changed) in [
        (vec![(None, x())], Some(Done::Created), 0),
        (vec![(None, x()), (x(), y())], Some(Done::Created), 0),
        (vec![(x(), None)], Some(Done::Deleted), 0),
        (vec![(x(), y()), (y(), None)], Some(Done::Deleted), 0),
        (vec![(x(), None), (None, y())], Some(Done::Replaced), 1),
        (vec![(None, x()), (x(), None)], None, 0),
    ] {
        let change = change("ConfigMap", &writes);
        assert_eq!(change.as_ref().map(|change| change.operation), done, "{writes:?}");
        assert_eq!(change.map_or(0, |change| change.fields.len()), changed, "{writes:?}");
    }
}

#[test]
fn of_a_secret_only_the_names_of_the_fields_are_shown() {
    let mut after = secret("x", "brand-new");
    after["data"]["token"] = json!("dG9rZW4=");
    after["metadata"]["annotations"] = json!({"note": "n"});
    let change = change("Secret", &[(Some(secret("x", "old-one")), Some(after))]);
    let expected = [
        text("data.password", REDACTED, REDACTED),
        text("data.token", "", REDACTED),
        text("metadata.annotations.note", "", REDACTED),
    ];
    assert_eq!(fields(change), expected);
}

#[test]
fn of_a_long_text_the_lines_are_shown_that_differ() {
    let file = |middle: &str| {
        let lines: Vec<_> =
            (0..100).map(|n| if n == 60 { middle.to_owned() } else { format!("line {n}") }).collect();
        map(json!({"file": lines.join("\n")}))
    };
    assert_eq!(fields(change("ConfigMap", &[(file("was"), file("is"))])), [text("data.file", "was", "is")]);
}

#[test]
fn a_scale_is_shown_by_its_replicas() {
    let mut scene = Scene::new();
    let entry = &mut scene.seen.tracks[0].entries[0];
    entry.header.operation = Operation::Scale;
    entry.header.replicas = Some(Replicas { before: 2, after: 5 });
    scene.found.records.clear();
    let told = scene.evidence();
    assert_eq!(fields(told.changes.last().cloned()), [text("spec.replicas", "2", "5")]);
    assert_eq!(told.notes, ["the Events of shop could not be had in time"]);
}
