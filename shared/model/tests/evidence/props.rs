//! Whatever comes in.

use backout_model::evidence::{
    Change, Condition, Container, Event, Evidence, Field, LIMIT, Redactor, Verdict,
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use crate::scene::{NOW, Scene, crashing, secret};

/// Texts of all sizes, some of which take six times as much in JSON.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("a".to_owned()),
        Just("\u{1}\"\\".to_owned()),
        Just("ü€🦀".to_owned()),
        any::<String>()
    ];
    (piece, prop_oneof![60 => 0..40_usize, 1 => 0..5_000_usize]).prop_map(|(piece, times)| {
        let mut text = piece.repeat(times);
        text.truncate(text.floor_char_boundary(80_000));
        text
    })
}

fn container() -> impl Strategy<Value = Container> {
    (vec(text(), 4), vec(text(), 0..30), vec(text(), 0..30)).prop_map(|(texts, log, previous_log)| {
        let [pod, container, message, termination_message] = texts.try_into().unwrap();
        Container { pod, container, message, termination_message, log, previous_log, ..Container::default() }
    })
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    let condition =
        (text(), text()).prop_map(|(type_, message)| Condition { type_, message, ..Condition::default() });
    let event = (text(), text()).prop_map(|(object, message)| Event { object, message, ..Event::default() });
    let field = (text(), text(), text()).prop_map(|(path, before, after)| Field {
        path,
        before: Some(before),
        after: Some(after),
    });
    let change = vec(field, 0..20).prop_map(|fields| Change { fields, ..Change::default() });
    let parts = (vec(condition, 0..20), vec(container(), 0..4), vec(event, 0..20), vec(change, 0..20));
    (text(), parts, vec(text(), 0..60)).prop_map(
        |(message, (conditions, containers, events, changes), notes)| {
            let failure = Verdict { object: message.clone(), reason: message.clone(), message };
            Evidence { failure, conditions, containers, events, changes, notes, ..Evidence::default() }
        },
    )
}

/// All texts in it.
fn texts(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::String(text) => all.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|value| texts(value, all)),
        Value::Object(map) => map.values().for_each(|value| texts(value, all)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn evidence_is_never_larger_than_its_bound_and_says_what_was_cut(evidence in any_evidence()) {
        let lines = |it: &Evidence| it.containers.iter().map(|it| it.log.len() + it.previous_log.len()).sum::<usize>();
        let before = (lines(&evidence), evidence.events.len(), evidence.changes.len());
        let bounded = evidence.bounded();
        let json = bounded.json();
        prop_assert!(json.len() <= LIMIT, "{}", json.len());
        let after = (lines(&bounded), bounded.events.len(), bounded.changes.len());
        let cut = |what: &str| bounded.notes.iter().any(|note| note.contains("64 KiB") && note.contains(what));
        // Containers go with their lines.
        prop_assert_eq!(cut("log lines"), after.0 < before.0);
        prop_assert_eq!(cut("warnings"), after.1 < before.1);
        prop_assert_eq!(cut("changes"), after.2 < before.2);
        // What is dearer goes last.
        prop_assert!(after.1 == before.1 || after.0 == 0);
        prop_assert!(after.2 == before.2 || after.1 == 0);
        prop_assert_eq!(serde_json::from_str::<Evidence>(&json).unwrap(), bounded);
    }

    #[test]
    fn the_newest_lines_of_a_log_are_kept(lengths in vec(900..1100_usize, 100..140)) {
        let line = |(number, length): (usize, &usize)| format!("{number} {}", "x".repeat(*length));
        let lines: Vec<_> = lengths.iter().enumerate().map(line).collect();
        let container = Container { log: lines.clone(), ..Container::default() };
        let bounded = Evidence { containers: vec![container], ..Evidence::default() }.bounded();
        let kept = &bounded.containers[0].log;
        prop_assert!(kept.len() > 50 && kept.len() < lines.len());
        let begin = |line: &String| line[..800].to_owned();
        let newest: Vec<_> = lines[lines.len() - kept.len()..].iter().map(begin).collect();
        prop_assert_eq!(kept.iter().map(begin).collect::<Vec<_>>(), newest);
    }

    #[test]
    fn no_value_is_left_in_a_text_that_is_made_of_values(
        values in vec("[a-zA-Z0-9+/ \"\\\\ü🦀\n]{6,40}", 1..6),
        order in vec((0..6_usize, "[ .:,]{0,3}"), 1..12),
        cut in (0..50_usize, 0..50_usize),
    ) {
        let values: Vec<_> = values.into_iter().filter(|value| value.trim().len() >= 6).collect();
        prop_assume!(!values.is_empty());
        let mut redactor = Redactor::default();
        for value in &values {
            redactor.add(value.as_bytes());
        }
        let piece = |(index, between): &(usize, String)| format!("{}{between}", values[index % values.len()]);
        let text: String = order.iter().map(piece).collect();
        let whole = redactor.whole(&text);
        let from = text.floor_char_boundary(cut.0.min(text.len()));
        let to = text.floor_char_boundary(text.len().saturating_sub(cut.1).max(from));
        let part = redactor.cut(&text[from..to]);
        for value in &values {
            prop_assert!(!whole.contains(value.as_str()) && !part.contains(value.as_str()), "{value:?} in {whole:?} {part:?}");
            // Nor the begin of one, where the text ends in it.
            let end = value.floor_char_boundary(value.len() - 1);
            prop_assert!(end < 6 || !part.ends_with(&value[..end]), "{value:?} begins at the end of {part:?}");
        }
    }

    #[test]
    fn no_evidence_holds_a_value_of_a_secret(
        values in vec("[G-Zg-z]{6,30}[!#$%*]", 3),
        noise in vec("[a-f \n]{0,20}", 8),
    ) {
        let [used, old, new] = &values[..] else { unreachable!() };
        let speak = |salt: usize| {
            let said = values.iter().enumerate().map(|(at, value)| format!("{}{value}", noise[(at + salt) % 8]));
            said.collect::<String>()
        };
        let mut scene = Scene::new();
        let env = json!({"envFrom": [{"secretRef": {"name": "used"}}]});
        scene.crashes(crashing("p", &speak(0), env), &speak(1));
        scene.found.secrets.insert(("shop".to_owned(), "used".to_owned()), Ok(Some(secret("used", used))));
        scene.wrote("Secret", "own", &[(Some(secret("own", old)), Some(secret("own", new)))]);
        let map = |salt| Some(json!({"kind": "ConfigMap", "metadata": {"annotations": {"note": speak(salt)}}, "data": {"file": speak(salt + 1)}}));
        scene.wrote("ConfigMap", "file", &[(map(2), map(4))]);
        scene.warns("p", &speak(5), NOW);
        scene.seen.status.failure.as_mut().unwrap().message = speak(6);
        scene.found.logs.values_mut().for_each(|log| *log = Ok(speak(7)));
        let told: Value = serde_json::from_str(&scene.evidence().json()).unwrap();
        let mut all = Vec::new();
        texts(&told, &mut all);
        for value in &values {
            prop_assert!(all.iter().all(|text| !text.contains(value.as_str())), "{value} in {told:#}");
        }
    }
}
