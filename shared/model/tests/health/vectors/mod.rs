//! The test tables of other tools, written anew: what they say, what we say, and where these differ, why.
//!
//! Each row is looked at second by second; `ours` is a verdict, or a list of seconds with the verdict by then.

mod aggregate;
mod kinds;
mod krane;
mod ours;
mod sequences;

use backout_model::health::Scene;
use serde_json::{Value, json};

use self::sequences::told;
use crate::scenes::{Judge, at};

/// What is expected by a second.
pub(crate) type Expected = Vec<(i64, String)>;

/// The rows of a table in this folder; `count` is how many there are, or a source was lost.
pub(crate) fn rows(source: &str, text: &str, count: usize) -> Vec<Value> {
    let rows: Vec<Value> = serde_json::from_str(text).unwrap();
    let names: std::collections::BTreeSet<_> = rows.iter().map(name).collect();
    println!("{source}: {} vectors", rows.len());
    assert_eq!((rows.len(), names.len()), (count, count), "{source}");
    rows
}

pub(crate) fn name(row: &Value) -> &str {
    row["name"].as_str().unwrap()
}

pub(crate) fn expected(row: &Value) -> Expected {
    match &row["ours"] {
        Value::String(ours) => vec![(0, ours.clone())],
        ours => ours
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it[0].as_i64().unwrap(), it[1].as_str().unwrap().to_owned()))
            .collect(),
    }
}

/// What the words of the other tools mean.
const MEANINGS: &[(&str, &str)] = &[
    ("Healthy", "Current"),
    ("Progressing", "InProgress"),
    ("Degraded", "Failed"),
    ("NotReady", "InProgress"),
    ("Error", "Failed"),
    ("failed", "Failed"),
    ("ok", "InProgress"),
    ("Waiting", "InProgress"),
    ("Ready", "Current"),
    // To be told to wait is to have nothing to wait for.
    ("Suspended", "Current"),
    ("Terminating", "InProgress"),
    // What is not judged is not waited for.
    ("Unjudged", "Current"),
];

fn meaning(verdict: &str) -> &str {
    let word = verdict.split(' ').next().unwrap_or_default();
    MEANINGS.iter().find(|(theirs, _)| *theirs == word).map_or(word, |(_, ours)| ours)
}

/// A row says why wherever we say something else, now or later, and only there.
pub(crate) fn gives_reasons(row: &Value) {
    let theirs = meaning(row["theirs"].as_str().unwrap());
    let expected = expected(row);
    let differs = expected.iter().any(|(_, ours)| meaning(ours) != theirs);
    assert_eq!(row.get("why").is_some(), differs, "{}: {expected:?}", name(row));
}

/// What, the other tool's verdict, the scene, ours at the end, and why it differs.
pub(crate) type Row = (&'static str, &'static str, Scene, &'static str, &'static str);

/// Looks at each scene second by second, up to the last one.
pub(crate) fn scenes_are_judged(source: &str, table: Vec<Row>, count: usize, last: i64) {
    println!("{source}: {} vectors", table.len());
    assert_eq!(table.len(), count);
    for (what, theirs, scene, ours, why) in table {
        let mut row = json!({"name": what, "theirs": theirs, "ours": ours});
        if !why.is_empty() {
            row["why"] = json!(why);
        }
        gives_reasons(&row);
        let mut judge = Judge::default();
        let said = (0..=last).map(|second| told(&judge.look(&scene, at(second)).verdict)).last();
        assert_eq!(said.as_deref(), Some(ours), "{what}");
    }
}

/// The same for a story, of which the others' verdict is told for its end alone.
pub(crate) fn gives_reasons_at_its_end(row: &Value) {
    let mut row = row.clone();
    let (_, last) = expected(&row).pop().unwrap();
    row["ours"] = Value::String(last);
    gives_reasons(&row);
}
