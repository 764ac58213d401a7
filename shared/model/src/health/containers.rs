//! A view of the containers of a pod, as the kubelet reports them.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::Facts;
use crate::secrets::used_by;

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Runs to its end before the others start.
    Init,
    /// An init container that keeps running.
    Sidecar,
    /// One of the pod's containers proper.
    #[default]
    Main,
}

/// A container and its reported state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container<'a> {
    pub(crate) pod: Facts<'a>,
    pub(crate) role: Role,
    spec: Option<Facts<'a>>,
    status: Facts<'a>,
}

/// How a run of a container ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending<'a> {
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    pub(crate) exit_code: i64,
    /// 0 if it was none.
    pub(crate) signal: i64,
    pub(crate) started: Option<Timestamp>,
    pub(crate) finished: Option<Timestamp>,
}

impl<'a> Ending<'a> {
    fn read(state: Facts<'a>) -> Self {
        Self {
            reason: state.text("/reason"),
            message: state.text("/message"),
            exit_code: state.count("/exitCode"),
            signal: state.count("/signal"),
            // What never ran has started at the epoch.
            started: state.time("/startedAt").filter(|time| *time > Timestamp::UNIX_EPOCH),
            finished: state.time("/finishedAt").filter(|time| *time > Timestamp::UNIX_EPOCH),
        }
    }

    /// What may be told of its message where everybody reads it: a container may have written anything, of Secrets too. With
    /// the evidence it is told without their values.
    pub(crate) fn told(&self, container: &Container<'_>) -> &'a str {
        let is_runtimes = matches!(self.reason, "StartError" | "ContainerCannotRun");
        if self.message.is_empty() || is_runtimes || !container.knows_secrets() { self.message } else { "" }
    }

    /// For how long it ran.
    pub(crate) fn ran_for(&self) -> Option<Duration> {
        Duration::try_from(self.finished?.duration_since(self.started?)).ok()
    }
}

/// All containers of a pod that the kubelet reports on.
pub(crate) fn of(pod: &Value) -> impl Iterator<Item = Container<'_>> {
    let pod = Facts(pod);
    let section = move |statuses: &str, specs: &'static str, init: bool| {
        pod.list(statuses).map(move |status| {
            let spec = pod.list(specs).find(|spec| spec.text("/name") == status.text("/name"));
            let sidecar = spec.is_some_and(|spec| spec.text("/restartPolicy") == "Always");
            let role = match (init, sidecar) {
                (false, _) => Role::Main,
                (true, false) => Role::Init,
                (true, true) => Role::Sidecar,
            };
            Container { pod, role, spec, status }
        })
    };
    section("/status/initContainerStatuses", "/spec/initContainers", true).chain(section(
        "/status/containerStatuses",
        "/spec/containers",
        false,
    ))
}

impl<'a> Container<'a> {
    pub(crate) fn name(&self) -> &'a str {
        self.status.text("/name")
    }

    /// The image as its user wrote it, if the spec is known.
    pub(crate) fn image(&self) -> &'a str {
        let image = self.spec.map_or("", |spec| spec.text("/image"));
        if image.is_empty() { self.status.text("/image") } else { image }
    }

    pub(crate) fn restarts(&self) -> u64 {
        u64::try_from(self.status.count("/restartCount")).unwrap_or(0)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.status.flag("/ready")
    }

    pub(crate) fn is_running(&self) -> bool {
        self.status.0.pointer("/state/running").is_some()
    }

    /// When the run began that goes on now.
    pub(crate) fn started(&self) -> Option<Timestamp> {
        self.status.time("/state/running/startedAt")
    }

    /// Why the container waits: reason and message.
    pub(crate) fn waiting(&self) -> Option<(&'a str, &'a str)> {
        self.status.0.pointer("/state/waiting")?;
        Some((self.status.text("/state/waiting/reason"), self.status.text("/state/waiting/message")))
    }

    /// The same, fit to be told where everybody reads it: a hook's output is the application's.
    pub(crate) fn waiting_told(&self) -> Option<(&'a str, &'a str)> {
        let (reason, message) = self.waiting()?;
        Some((reason, if reason == "PostStartHookError" && self.knows_secrets() { "" } else { message }))
    }

    fn knows_secrets(&self) -> bool {
        !used_by(self.pod.0).is_empty()
    }

    /// How it ended, if it is not running and not waiting.
    pub(crate) fn ended(&self) -> Option<Ending<'a>> {
        self.status.0.pointer("/state/terminated").map(|state| Ending::read(Facts(state)))
    }

    /// How the instance before the one that is there ended.
    pub(crate) fn ended_before(&self) -> Option<Ending<'a>> {
        self.status.0.pointer("/lastState/terminated").map(|state| Ending::read(Facts(state)))
    }

    /// How it ended last.
    pub(crate) fn last_ending(&self) -> Option<Ending<'a>> {
        self.ended().or_else(|| self.ended_before())
    }

    /// How the run ended that should have gone on, if the container is down for that reason now.
    pub(crate) fn failed_run(&self) -> Option<Ending<'a>> {
        if let Some(ended) = self.ended() {
            return self.should_not_have(&ended).then_some(ended);
        }
        match self.waiting()? {
            ("CrashLoopBackOff" | "PostStartHookError", _) => self.last_ending().or(Some(UNTOLD)),
            ("RunContainerError", message) => {
                Some(self.last_ending().unwrap_or(Ending { reason: "StartError", message, ..UNTOLD }))
            }
            _ => None,
        }
    }

    /// A main container of a pod that is always restarted, and a sidecar, should not even end well.
    pub(crate) fn should_not_have(&self, ended: &Ending<'_>) -> bool {
        let goes_on = match self.role {
            Role::Init => false,
            Role::Sidecar => true,
            Role::Main => self.restart_policy() == "Always",
        };
        goes_on || ended.exit_code != 0
    }

    /// The restart policy that holds for the container.
    pub(crate) fn restart_policy(&self) -> &'a str {
        let own = self.spec.map_or("", |spec| spec.text("/restartPolicy"));
        let policy = if own.is_empty() { self.pod.text("/spec/restartPolicy") } else { own };
        if policy.is_empty() { "Always" } else { policy }
    }

    /// As people are told of it: `init container "migrate" of pod web-1`.
    pub(crate) fn title(&self) -> String {
        let role = match self.role {
            Role::Init => "init container",
            Role::Sidecar => "sidecar",
            Role::Main => "container",
        };
        format!("{role} {:?} of pod {}", self.name(), self.pod.text("/metadata/name"))
    }
}

const UNTOLD: Ending<'static> =
    Ending { reason: "", message: "", exit_code: 0, signal: 0, started: None, finished: None };

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_should_go_on_fails_by_ending_well() {
        let ended = json!({"name": "c", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}});
        let pod = |policy: &str, sidecar: bool, init: bool| {
            let spec =
                if sidecar { json!({"name": "c", "restartPolicy": "Always"}) } else { json!({"name": "c"}) };
            let list = if init { "initContainerStatuses" } else { "containerStatuses" };
            json!({"spec": {"restartPolicy": policy, "initContainers": [spec]}, "status": {list: [ended]}})
        };
        for (policy, sidecar, init, fails) in [
            ("Always", false, false, true),
            ("OnFailure", false, false, false),
            ("Never", false, false, false),
            ("Always", false, true, false),
            ("Always", true, true, true),
            ("Never", true, true, true),
        ] {
            let pod = pod(policy, sidecar, init);
            let container = of(&pod).next().unwrap();
            assert_eq!(container.failed_run().is_some(), fails, "{pod}");
        }
    }
}
