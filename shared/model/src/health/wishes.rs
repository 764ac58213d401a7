//! What people ask of the judge: annotations of an object, and rules for kinds that it knows nothing of.

use std::time::Duration;

use super::{facts::Facts, freshness::Case, readiness::Status, reasons};
use crate::{
    names,
    object::Image,
    release::{HealthRule, HealthTest, duration},
};

/// What the annotations of one object ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Whatever becomes of it is nothing to the release.
    pub(super) ignored: bool,
    /// Its own time to become ready.
    pub(super) deadline: Option<Duration>,
    /// How many failed runs of a container it bears.
    pub(super) crash_budget: Option<u64>,
    /// What cannot be read, a sentence each.
    pub(super) problems: Vec<String>,
}

impl Wishes {
    pub(super) fn of(object: Facts<'_>) -> Self {
        let mut wishes = Self::default();
        let text = |key| Image(object.0).annotation(key);
        match text(names::HEALTH) {
            None => {}
            Some("ignore") => wishes.ignored = true,
            Some(other) => wishes.refuse(names::HEALTH, "it must be ignore", other),
        }
        if let Some(text) = text(names::POLICY_DEADLINE) {
            match duration(text) {
                Ok(time) => wishes.deadline = Some(time),
                Err(rule) => wishes.refuse(names::POLICY_DEADLINE, &rule, text),
            }
        }
        if let Some(text) = text(names::CRASH_BUDGET) {
            match text.parse() {
                Ok(runs) => wishes.crash_budget = Some(runs),
                Err(_) => wishes.refuse(names::CRASH_BUDGET, "it must be a number such as 5", text),
            }
        }
        wishes
    }

    fn refuse(&mut self, key: &str, rule: &str, text: &str) {
        let text: String = text.chars().take(40).collect();
        self.problems.push(format!("its annotation {key} is ignored: {rule}, and is {text:?}"));
    }
}

/// Where an object stands by the rule that somebody has written for its kind.
pub(super) fn by_rule(rule: &HealthRule, case: &Case<'_>) -> Status {
    let object = case.live;
    if Image(object.0).is_terminating() {
        return Status::Terminating;
    }
    if object.is_unobserved() {
        return Status::waiting("LatestGenerationNotObserved", "its controller has not yet seen the change");
    }
    let holds = |test: &&HealthTest| holds(test, object);
    if let Some(failed) = rule.failed.iter().find(holds).filter(|test| is_news(test, case)) {
        return Status::failed(reasons::BY_RULE, tells(failed, object));
    }
    match rule.ready.iter().find(|test| !holds(test)) {
        Some(missing) => Status::waiting("NotReadyByRule", tells(missing, object)),
        None => Status::Current,
    }
}

/// A failure that was told before the revision is not its doing.
fn is_news(test: &HealthTest, case: &Case<'_>) -> bool {
    match &test.condition {
        Some(type_) => case.live.condition(type_).is_none_or(|condition| case.is_fresh(condition)),
        None => case.before.is_none_or(|before| !holds(test, before)) || !case.is_unchanged(),
    }
}

fn holds(test: &HealthTest, object: Facts<'_>) -> bool {
    match (&test.condition, &test.field) {
        (Some(type_), _) => {
            let wanted = test.status.as_deref().unwrap_or("True");
            object.condition(type_).is_some_and(|condition| condition.status() == wanted)
        }
        (None, Some(field)) => {
            let value = value(field, object);
            value.is_some_and(|value| test.is.is_empty() || test.is.contains(&value))
        }
        (None, None) => false,
    }
}

/// The text, number or flag at a path such as `status.phase`.
fn value(path: &str, object: Facts<'_>) -> Option<String> {
    let found = path.split('.').try_fold(object.0, |value, field| value.get(field))?;
    match found {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// What the object says about what a rule looks at.
fn tells(test: &HealthTest, object: Facts<'_>) -> String {
    match (&test.condition, &test.field) {
        (Some(type_), _) => match object.condition(type_) {
            Some(condition) => format!("{type_} is {}: {}", condition.status(), condition.tells()),
            None => format!("it has no condition {type_} yet"),
        },
        (None, Some(field)) => match value(field, object) {
            Some(value) => format!("{field} is {}", value.chars().take(80).collect::<String>()),
            None => format!("{field} is not set yet"),
        },
        (None, None) => "a rule for its kind looks at nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rule() -> HealthRule {
        serde_json::from_value(json!({
            "group": "db.example", "kind": "Database",
            "ready": [{"condition": "Synced"}, {"field": "status.phase", "is": ["Running", "Idle"]}],
            "failed": [{"condition": "Synced", "status": "False"}, {"field": "status.error"}],
        }))
        .unwrap()
    }

    fn database(generation: i64, status: &Value) -> Value {
        json!({"metadata": {"uid": "u", "generation": generation}, "status": status})
    }

    fn synced(status: &str) -> Value {
        json!([{"type": "Synced", "status": status, "reason": "Why", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    }

    #[test]
    fn a_rule_tells_ready_from_failed_and_from_not_yet() {
        for (status, word) in [
            (json!({"conditions": synced("True"), "phase": "Running"}), "Ready"),
            (json!({"conditions": synced("True"), "phase": "Idle"}), "Ready"),
            (json!({"conditions": synced("True"), "phase": "Starting"}), "InProgress"),
            (json!({"conditions": synced("True")}), "InProgress"),
            (json!({"conditions": synced("Unknown"), "phase": "Running"}), "InProgress"),
            (json!({}), "InProgress"),
            (json!({"conditions": synced("False"), "phase": "Running"}), "Failed"),
            (json!({"conditions": synced("True"), "phase": "Running", "error": "no space"}), "Failed"),
            (json!({"observedGeneration": 1, "conditions": synced("False")}), "InProgress"),
        ] {
            let live = database(2, &status);
            assert_eq!(by_rule(&rule(), &Case::new(&live, None)).word(), word, "{status}");
        }
    }

    #[test]
    fn a_failure_that_was_there_before_is_no_failure_of_the_revision() {
        let (before, live) = (database(1, &json!({"error": "old"})), database(1, &json!({"error": "old"})));
        assert_eq!(by_rule(&rule(), &Case::new(&live, Some(&before))).word(), "InProgress");
        let live = database(2, &json!({"error": "old"}));
        assert_eq!(by_rule(&rule(), &Case::new(&live, Some(&before))).word(), "Failed");
        let (before, live) = (
            database(1, &json!({"conditions": synced("False")})),
            database(2, &json!({"conditions": synced("False")})),
        );
        assert_eq!(by_rule(&rule(), &Case::new(&live, Some(&before))).word(), "InProgress");
    }

    #[test]
    fn wishes_are_read_and_what_cannot_be_read_is_told() {
        let object = |annotations: Value| json!({"metadata": {"annotations": annotations}});
        let wishes = |annotations| Wishes::of(Facts(&object(annotations)));
        assert_eq!(wishes(json!({})), Wishes::default());
        let good = json!({"backout.dev/health": "ignore", "backout.dev/deadline": "20m", "backout.dev/crash-budget": "9"});
        let read = Wishes {
            ignored: true,
            deadline: Some(Duration::from_mins(20)),
            crash_budget: Some(9),
            problems: Vec::new(),
        };
        assert_eq!(wishes(good), read);
        let bad = wishes(
            json!({"backout.dev/health": "no", "backout.dev/deadline": "-1s", "backout.dev/crash-budget": "many"}),
        );
        assert_eq!(bad.problems.len(), 3);
        assert_eq!(Wishes { problems: Vec::new(), ..bad }, Wishes::default());
    }
}
