//! The policy of a release: its spec over its namespace's annotations over the watcher's flags.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{HealthRule, OnFailure, ReleaseSpec};
use crate::names;

/// What to do with a revision that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Put every object back to its state before the revision.
    #[default]
    Rollback,
    /// Leave everything as it is, for a person to look at.
    Hold,
    /// Report it, and leave everything as it is.
    Notify,
}

impl std::str::FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "Rollback" => Ok(Self::Rollback),
            "Hold" => Ok(Self::Hold),
            "Notify" => Ok(Self::Notify),
            _ => Err("it must be Rollback, Hold or Notify".to_owned()),
        }
    }
}

/// What holds for one release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Quiet time that ends a revision's writes.
    pub settle: Duration,
    /// Time to become ready.
    pub deadline: Duration,
    /// Time to stay ready.
    pub soak: Duration,
    /// For a first install that failed.
    pub on_install_failure: Action,
    /// For an upgrade that failed.
    pub on_upgrade_failure: Action,
    /// Touch nothing.
    pub suspend: bool,
    /// For how long a failing pod is kept running when its revision is rolled back; zero: not at all.
    pub keep_failing_pod: Duration,
    /// How many decided revisions the history keeps.
    pub history_limit: usize,
    /// Restore states that could not be verified.
    pub accept_unverified: bool,
    /// Rules of health for some kinds.
    pub health: Vec<HealthRule>,
}

/// The defaults of design, where neither flag, annotation nor spec says otherwise.
impl Default for Policy {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(5),
            deadline: Duration::from_mins(10),
            soak: Duration::from_mins(1),
            on_install_failure: Action::Rollback,
            on_upgrade_failure: Action::Rollback,
            suspend: false,
            keep_failing_pod: Duration::ZERO,
            history_limit: 10,
            accept_unverified: false,
            health: Vec::new(),
        }
    }
}

/// A setting that cannot be read: which, and what is used instead.
pub type Problem = String;

impl Policy {
    /// The policy of a release with `spec` in a namespace with `annotations`; `self` holds the watcher's flags.
    pub fn resolve(
        &self,
        annotations: &BTreeMap<String, String>,
        spec: &ReleaseSpec,
    ) -> (Self, Vec<Problem>) {
        let mut policy = self.clone();
        let mut problems = Vec::new();
        let mut settings = Annotations { annotations, problems: &mut problems };
        settings.duration(names::POLICY_SETTLE, &mut policy.settle);
        settings.duration(names::POLICY_DEADLINE, &mut policy.deadline);
        settings.duration(names::POLICY_SOAK, &mut policy.soak);
        settings.parse(names::POLICY_ON_INSTALL_FAILURE, &mut policy.on_install_failure);
        settings.parse(names::POLICY_ON_UPGRADE_FAILURE, &mut policy.on_upgrade_failure);
        settings.duration(names::POLICY_KEEP_FAILING_POD, &mut policy.keep_failing_pod);
        settings.flag(names::POLICY_SUSPEND, &mut policy.suspend);
        policy.apply(spec);
        (policy, problems)
    }

    fn apply(&mut self, spec: &ReleaseSpec) {
        let OnFailure { install, upgrade } = spec.on_failure.unwrap_or_default();
        for (setting, value) in [
            (&mut self.settle, spec.settle),
            (&mut self.deadline, spec.deadline),
            (&mut self.soak, spec.soak),
            (&mut self.keep_failing_pod, spec.keep_failing_pod),
        ] {
            if let Some(value) = value {
                *setting = value.into();
            }
        }
        self.on_install_failure = install.unwrap_or(self.on_install_failure);
        self.on_upgrade_failure = upgrade.unwrap_or(self.on_upgrade_failure);
        self.suspend = spec.suspend.unwrap_or(self.suspend);
        self.accept_unverified = spec.accept_unverified.unwrap_or(self.accept_unverified);
        self.health.clone_from(&spec.health);
        if let Some(limit) = spec.history_limit {
            self.history_limit = usize::try_from(limit).unwrap_or(usize::MAX);
        }
    }
}

/// The longest text of a time.
pub(super) const LONGEST_DURATION: usize = 64;

/// Reads a time as Go writes it; the error is the rule that it breaks.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        return Err("it must not be negative".to_owned());
    }
    let parsed = if is_bounded(text) { text.parse::<kube_core::Duration>().ok() } else { None };
    parsed.map(Duration::from).ok_or_else(|| "it must be a duration such as 90s or 10m".to_owned())
}

/// What kube's parser can be given: it panics at a sign amid the text, and at a number that is too large.
fn is_bounded(text: &str) -> bool {
    text.len() <= LONGEST_DURATION
        && !text.contains(['-', '+'])
        && text.split(|c: char| !c.is_ascii_digit()).all(|digits| digits.len() <= 9)
}

/// Reads a setting of a spec, as [`duration`] does.
pub(super) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<kube_core::Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| duration(&text).map(Into::into).map_err(D::Error::custom)).transpose()
}

struct Annotations<'a> {
    annotations: &'a BTreeMap<String, String>,
    problems: &'a mut Vec<Problem>,
}

impl Annotations<'_> {
    fn duration(&mut self, key: &str, setting: &mut Duration) {
        self.set(key, setting, duration);
    }

    fn flag(&mut self, key: &str, setting: &mut bool) {
        self.set(key, setting, |text| text.parse().map_err(|_| "it must be true or false".to_owned()));
    }

    fn parse<T: std::str::FromStr<Err = String>>(&mut self, key: &str, setting: &mut T) {
        self.set(key, setting, str::parse);
    }

    fn set<T>(&mut self, key: &str, setting: &mut T, read: impl Fn(&str) -> Result<T, String>) {
        let Some(text) = self.annotations.get(key) else {
            return;
        };
        match read(text) {
            Ok(value) => *setting = value,
            Err(rule) => self
                .problems
                .push(format!("The namespace's annotation {key} is ignored: {rule}, and is {text:?}.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_duration_that_would_overflow_or_bears_a_sign_amid_it_is_refused_with_the_rule() {
        let rule = "it must be a duration such as 90s or 10m";
        for text in [
            "51s-51s0",
            "1s+1s",
            "99999999999999999999h",
            "1e300s",
            "",
            "5",
            "soon",
            "9".repeat(400).as_str(),
        ] {
            let read = duration(text);
            assert!(text.is_empty() || read == Err(rule.to_owned()), "{text}: {read:?}");
            let spec = serde_json::json!({"settle": text});
            let spec = serde_json::from_value::<ReleaseSpec>(spec);
            assert_eq!(spec.is_err(), read.is_err(), "{text}: {spec:?}");
        }
        assert_eq!(duration("-5s"), Err("it must not be negative".to_owned()));
        assert_eq!(duration("1h2m3.5s"), Ok(Duration::from_millis(3_723_500)));
    }

    #[test]
    fn the_spec_overrides_the_namespace_which_overrides_the_flags() {
        let flags = Policy { soak: Duration::from_secs(10), ..Policy::default() };
        let namespace = annotations(&[(names::POLICY_SOAK, "20s"), (names::POLICY_DEADLINE, "3m")]);
        let spec = ReleaseSpec { soak: Some("30s".parse().unwrap()), ..ReleaseSpec::default() };
        let (policy, problems) = flags.resolve(&namespace, &spec);
        assert_eq!(problems, Vec::<Problem>::new());
        assert_eq!(policy.soak, Duration::from_secs(30));
        assert_eq!(policy.deadline, Duration::from_mins(3));
        assert_eq!(policy.settle, flags.settle);
    }

    #[test]
    fn an_annotation_that_does_not_parse_is_reported_and_the_default_is_used() {
        for (key, text) in [
            (names::POLICY_SETTLE, "soon"),
            (names::POLICY_SETTLE, "-5s"),
            (names::POLICY_ON_UPGRADE_FAILURE, "rollback"),
            (names::POLICY_SUSPEND, "maybe"),
        ] {
            let (policy, problems) =
                Policy::default().resolve(&annotations(&[(key, text)]), &ReleaseSpec::default());
            assert_eq!(policy, Policy::default());
            assert_eq!(problems.len(), 1);
            assert!(problems[0].contains(key) && problems[0].contains(text), "{}", problems[0]);
        }
    }
}
