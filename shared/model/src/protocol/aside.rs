//! One failing pod is kept running for a person to look into, while everything else goes back.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_core::Resource as _;
use serde_json::{Map, Value, json};

use super::{
    Effect, Notice, Observed, Wake,
    step::{Step, TICK, signed},
};
use crate::{
    evidence,
    health::Live,
    names::{self, ReleaseKey},
    object::{Image, ObjectKey, ObjectRef},
    release::{Aside, Phase, Release},
};

/// For how long a rollback waits until the pod is out of its workload.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);

/// Until it is looked whether the pod is out.
const AGAIN: Duration = Duration::from_millis(200);

/// The owners that make another pod when one is taken from them. A StatefulSet cannot: the name is not free.
const OWNERS: [&str; 3] = ["ReplicaSet", "DaemonSet", "ReplicationController"];

impl Step<'_> {
    /// Chooses the pod that is kept, where the policy says so. One that is kept already stays it.
    pub(super) fn choose_aside(&mut self) {
        let keep = self.seen.policy.keep_failing_pod;
        if keep.is_zero() || self.status.phase != Some(Phase::RollingBack) || self.status.aside.is_some() {
            return;
        }
        let chosen = evidence::failing_pods(self.seen).into_iter().find(|pod| can_be_taken(pod));
        let Some(pod) = chosen else {
            return self.notices.push(none_aside());
        };
        let text = |field| Image(pod).meta(field).unwrap_or_default().to_owned();
        let until = self.now.checked_add(signed(keep)).unwrap_or(jiff::Timestamp::MAX);
        let aside = Aside {
            revision: self.status.revision,
            namespace: text("namespace"),
            pod: text("name"),
            uid: text("uid"),
            until: Time(until),
        };
        self.notices.push(set_aside(&aside));
        self.status.aside = Some(aside);
    }

    /// Has the chosen pod taken out of its workload and its Services, and says whether that is still to be waited for.
    pub(super) fn sets_aside(&mut self) -> bool {
        let is_rolling_back = self.status.phase == Some(Phase::RollingBack);
        let Some(aside) = self.status.aside.as_ref().filter(|_| is_rolling_back) else { return false };
        match standing(aside, self.seen) {
            Standing::Out | Standing::Gone => return false,
            _ if self.is_too_late_to_set_aside() => {
                self.notices.push(not_set_aside(aside));
                self.status.aside = None;
                return false;
            }
            Standing::In(_) => {
                self.effects.push(Effect::SetAside);
                self.wake = Wake::After(AGAIN);
            }
            Standing::Unknown if self.seen.aside.is_none() => self.wake = Wake::After(Duration::ZERO),
            Standing::Unknown => self.wake = Wake::After(TICK),
        }
        true
    }

    /// Has the pod deleted when its time is over.
    pub(super) fn keep_aside(&mut self) {
        let Some(aside) = &self.status.aside else { return };
        let left = Duration::try_from(aside.until.0.duration_since(self.now)).unwrap_or_default();
        match standing(aside, self.seen) {
            Standing::Gone => self.status.aside = None,
            _ if !left.is_zero() => self.wake = self.wake.or_after(left),
            Standing::Out => {
                self.effects.push(Effect::Discard);
                self.wake = self.wake.or_after(TICK);
            }
            // Its workload looks after it.
            Standing::In(_) => self.status.aside = None,
            Standing::Unknown => self.wake = self.wake.or_after(TICK),
        }
    }

    fn is_too_late_to_set_aside(&self) -> bool {
        let decided = self.status.decided_at.as_ref().map(|at| self.now.duration_since(at.0));
        decided.is_none_or(|since| since >= PATIENCE)
    }
}

/// The Event on the Release about the pod that is kept.
fn set_aside(aside: &Aside) -> Notice {
    let Aside { namespace, pod, until, .. } = aside;
    let message = format!(
        "Pod {namespace}/{pod} is kept running until {}, out of its workload and its Services, for you to look into: \
         kubectl debug -n {namespace} -it {pod}. Delete it when you are done",
        until.0
    );
    Notice { about: None, warning: false, reason: "PodKept", message }
}

/// The Event on the Release where there is none to keep.
fn none_aside() -> Notice {
    let message =
        "No failing pod could be kept: there is none that runs on a node and that its workload can replace";
    Notice { about: None, warning: true, reason: "NoPodKept", message: message.to_owned() }
}

/// The Event on the Release where the chosen pod could not be taken out of its workload.
fn not_set_aside(aside: &Aside) -> Notice {
    let message = format!(
        "Pod {}/{} is not kept: it could not be taken out of its workload in time",
        aside.namespace, aside.pod
    );
    Notice { about: None, warning: true, reason: "NoPodKept", message }
}

/// Where the pod is that was chosen.
enum Standing<'a> {
    /// Its workload's still.
    In(&'a Value),
    /// Nobody's.
    Out,
    /// Deleted.
    Gone,
    /// It was not looked at, or could not be.
    Unknown,
}

fn standing<'a>(aside: &Aside, seen: &'a Observed) -> Standing<'a> {
    match &seen.aside {
        None | Some(Live::Unreadable(_)) => Standing::Unknown,
        Some(Live::Present(pod)) if Image(pod).uid() == Some(&aside.uid) && !Image(pod).is_terminating() => {
            if Image(pod).controller().is_some() {
                Standing::In(pod)
            } else {
                Standing::Out
            }
        }
        Some(_) => Standing::Gone,
    }
}

/// Whether a pod has a node, and an owner that does without it.
fn can_be_taken(pod: &Value) -> bool {
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let is_controller = |owner: &&Value| owner["controller"] == true;
    let owner = owners.into_iter().flatten().find(is_controller);
    let kind = owner.and_then(|owner| owner["kind"].as_str()).unwrap_or_default();
    OWNERS.contains(&kind) && pod["spec"]["nodeName"].is_string()
}

/// The pod that is kept aside, as an object.
pub fn pod(aside: &Aside) -> ObjectRef {
    ObjectRef {
        key: ObjectKey {
            group: String::new(),
            resource: "pods".to_owned(),
            namespace: Some(aside.namespace.clone()),
            name: aside.pod.clone(),
        },
        version: "v1".to_owned(),
        kind: "Pod".to_owned(),
    }
}

/// The JSON patch that takes the chosen pod out of its workload and its Services: it has no label any more that they
/// select by, and goes with the Release. Nothing if it is not to be taken out.
///
/// A `replace` of the resourceVersion makes etcd compare it.
pub fn detachment(release: &ReleaseKey, seen: &Observed) -> Option<Value> {
    let aside = seen.status.aside.as_ref()?;
    let Standing::In(pod) = standing(aside, seen) else { return None };
    let mut annotations: Map<_, _> =
        pod.pointer("/metadata/annotations").and_then(Value::as_object).cloned().unwrap_or_default();
    annotations.insert(names::ASIDE_UNTIL.to_owned(), aside.until.0.to_string().into());
    let owner = json!({"apiVersion": Release::api_version(&()), "kind": "Release",
        "name": release.name, "uid": seen.uid.as_deref()?});
    let owners = if release.namespace == aside.namespace { vec![owner] } else { Vec::new() };
    Some(json!([
        {"op": "test", "path": "/metadata/uid", "value": aside.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": Image(pod).resource_version()?},
        {"op": "add", "path": "/metadata/labels", "value": {names::ASIDE: release.name}},
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
        {"op": "add", "path": "/metadata/ownerReferences", "value": owners},
    ]))
}
