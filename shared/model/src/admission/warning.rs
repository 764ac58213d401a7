//! What the deployer reads in the terminal on the first write of a revision.

use crate::{
    names::ReleaseKey,
    release::{Action, Release},
};

/// A warning header longer than 256 characters may be cut off.
const LONGEST: usize = 250;

/// One line for the deployer, to be shown once for each revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line.
    pub text: String,
    /// The release.
    pub release: ReleaseKey,
    /// `uid` of that `Release`, as far as the webhook knew it.
    pub release_uid: Option<String>,
    /// The revision that begins.
    pub revision: u64,
}

impl Warning {
    pub(super) fn new(key: &ReleaseKey, revision: u64, release: Option<&Release>) -> Self {
        let name = &key.name;
        let begin = format!("backout: this is revision {revision} of release {name}; {}", outcome(release));
        let watch = format!("{begin}. Watch it: kubectl -n {} get release {name}", key.namespace);
        let text = if watch.len() <= LONGEST { watch } else { begin };
        Self {
            text,
            release: key.clone(),
            release_uid: release.and_then(|release| release.metadata.uid.clone()),
            revision,
        }
    }
}

fn outcome(release: Option<&Release>) -> String {
    let spec = release.map(|release| release.spec.clone()).unwrap_or_default();
    if spec.suspend == Some(true) {
        return "it is watched, but not rolled back: suspend is set".to_owned();
    }
    let within = spec.deadline.map(|deadline| format!(" within {}", brief(deadline))).unwrap_or_default();
    let on_failure = spec.on_failure.unwrap_or_default();
    let healthy_before =
        release.and_then(|r| r.status.as_ref()).is_some_and(|s| s.healthy_revision.is_some());
    let action = if healthy_before { on_failure.upgrade } else { on_failure.install };
    let consequence = match action.unwrap_or_default() {
        Action::Rollback => "rolled back",
        Action::Hold => "held for you to look at",
        Action::Notify => "reported",
    };
    format!("if it does not become healthy{within} it is {consequence}")
}

/// `10m` rather than `600s`, and `1h30m` rather than `90m`.
fn brief(duration: kube_core::Duration) -> String {
    let seconds = std::time::Duration::from(duration).as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts: Vec<_> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if parts.is_empty() { duration.to_string() } else { parts.concat() }
}
