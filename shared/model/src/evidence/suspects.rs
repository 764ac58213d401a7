//! The objects of the revision that are looked at, with their pods: the one to blame first.

use std::{cmp::Reverse, collections::BTreeSet};

use serde_json::Value;

use crate::{health::Live, object::Image, protocol::Observed, release::Subject};

/// How many failing pods are looked at.
const PODS: usize = 5;

/// What is suspected of being the cause.
pub(super) struct Suspects<'a> {
    /// The objects of the revision, the one to blame first.
    objects: Vec<(String, &'a Value)>,
    /// Whether it is known which of them is to blame.
    is_certain: bool,
    /// Their pods that fail: those of the object to blame first; of each object the one that the verdict names first, then
    /// the newest.
    pub(super) pods: Vec<&'a Value>,
    /// How many more pods fail.
    pub(super) more: usize,
    seen: &'a Observed,
}

impl<'a> Suspects<'a> {
    pub(super) fn of(seen: &'a Observed) -> Self {
        let blamed = seen.status.failure.as_ref().map(|failure| &failure.object);
        let mut tracks: Vec<_> = seen.tracks.iter().collect();
        // Stable: the others keep their order.
        tracks.sort_by_key(|track| blamed != Some(&Subject::from(&track.object)));
        // A client's own mark that it failed says nothing of the cause.
        let is_certain = tracks.first().is_some_and(|track| {
            let is_blamed = blamed == Some(&Subject::from(&track.object));
            is_blamed && track.object.kind != "Secret" && matches!(track.live, Live::Present(_))
        });
        let objects: Vec<_> = tracks
            .into_iter()
            .filter_map(|track| match &track.live {
                Live::Present(live) => Some((track.object.to_string(), live)),
                Live::Absent | Live::Unreadable(_) => None,
            })
            .collect();
        let mut suspects = Self { objects, is_certain, pods: Vec::new(), more: 0, seen };
        let mut known = BTreeSet::new();
        let verdict = seen.status.failure.as_ref().map_or("", |failure| &failure.message);
        for (_, object) in &suspects.objects {
            let mut failing: Vec<_> =
                suspects.pods_of(object).into_iter().filter(|pod| is_failing(pod)).collect();
            failing.sort_by_key(|pod| {
                let name = Image(pod).meta("name").unwrap_or_default();
                (!verdict.contains(name), Reverse(Image(pod).meta("creationTimestamp")), name)
            });
            suspects.pods.extend(failing.into_iter().filter(|pod| known.insert(Image(pod).uid())));
        }
        suspects.more = suspects.pods.len().saturating_sub(PODS);
        suspects.pods.truncate(PODS);
        suspects
    }

    /// The object to blame, its failing pods, and the other objects.
    pub(super) fn objects(&self) -> impl Iterator<Item = (String, &'a Value)> {
        let first = usize::from(self.is_certain);
        let pods = self.pods.iter().map(|pod| (pod_name(pod), *pod));
        let named = |(name, object): &(String, &'a Value)| (name.clone(), *object);
        self.objects
            .iter()
            .take(first)
            .map(named)
            .chain(pods)
            .chain(self.objects.iter().skip(first).map(named))
    }

    /// The uids of the object to blame, its ReplicaSets and pods; of all objects where nobody knows which it is. And of the
    /// pods that fail.
    pub(super) fn concerned(&self) -> BTreeSet<&'a str> {
        let objects = self.objects.iter().take(if self.is_certain { 1 } else { usize::MAX });
        let mut uids: BTreeSet<_> = self.pods.iter().filter_map(|pod| Image(pod).uid()).collect();
        for (_, object) in objects {
            uids.extend(Image(object).uid());
            uids.extend(self.sets_of(object));
            uids.extend(self.pods_of(object).into_iter().filter_map(|pod| Image(pod).uid()));
        }
        uids
    }

    /// The namespaces of what is concerned.
    pub(super) fn namespaces(&self) -> BTreeSet<&'a str> {
        let objects = self.objects.iter().take(if self.is_certain { 1 } else { usize::MAX });
        let objects = objects.map(|(_, object)| *object).chain(self.pods.iter().copied());
        objects.filter_map(|object| Image(object).meta("namespace")).collect()
    }

    fn sets_of(&self, object: &Value) -> BTreeSet<&'a str> {
        let owner = Image(object).uid();
        let belongs = |set: &&Value| owner.is_some() && Image(set).controller() == owner;
        self.seen.replica_sets.iter().filter(belongs).filter_map(|set| Image(set).uid()).collect()
    }

    /// The pods that belong to an object, as far as owners tell; of a pod itself.
    fn pods_of(&self, object: &Value) -> Vec<&'a Value> {
        let Some(uid) = Image(object).uid() else { return Vec::new() };
        let sets = self.sets_of(object);
        let belongs = |pod: &&Value| {
            let owner = Image(pod).controller();
            Image(pod).uid() == Some(uid) || owner.is_some_and(|owner| owner == uid || sets.contains(owner))
        };
        self.seen.pods.iter().filter(belongs).collect()
    }
}

fn is_failing(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    let ready = conditions.is_some_and(|conditions| conditions.iter().any(is_ready));
    let restarted = ["/status/containerStatuses", "/status/initContainerStatuses"].iter().any(|list| {
        let statuses = pod.pointer(list).and_then(Value::as_array);
        statuses.into_iter().flatten().any(|status| status["restartCount"].as_u64() > Some(0))
    });
    !Image(pod).is_terminating() && pod["status"]["phase"] != "Succeeded" && (!ready || restarted)
}

/// `Pod shop/web-1`.
fn pod_name(pod: &Value) -> String {
    format!("Pod {}", path_of(pod))
}

/// Namespace and name.
pub(super) fn path_of(object: &Value) -> String {
    let image = Image(object);
    let name = image.meta("name").unwrap_or_default();
    image.meta("namespace").map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

/// The text at a JSON pointer; empty if there is none.
pub(super) fn text_at(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// `Deployment shop/web`.
pub(super) fn named(object: &Subject) -> String {
    let scope = if object.namespace.is_empty() { "" } else { "/" };
    format!("{} {}{scope}{}", object.kind, object.namespace, object.name).trim().to_owned()
}
