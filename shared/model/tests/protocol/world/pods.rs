//! Pods, as far as one of them is kept aside, or deleted so that another one takes its place.

use backout_model::{
    health::Live,
    names::{ReleaseKey, ReleaseName},
    object::ObjectKey,
    protocol::detachment,
};

use serde_json::Value;

use super::World;

impl World {
    pub(super) fn pod(&self, name: &str) -> Live {
        let found = self.pods.iter().find(|pod| pod["metadata"]["name"] == name);
        found.cloned().map_or(Live::Absent, Live::Present)
    }

    /// The object, or the pod.
    pub(super) fn there(&self, key: &ObjectKey) -> Option<Value> {
        let object = self.objects.get(key).cloned();
        object.or_else(|| match self.pod(&key.name) {
            Live::Present(pod) if key.resource == "pods" => Some(pod),
            _ => None,
        })
    }

    pub(super) fn set_aside(&mut self) {
        if self.keeps_pods {
            return;
        }
        let seen = self.observe();
        let patch = detachment(&ReleaseKey::new("shop", ReleaseName::from_mark("shop").unwrap()), &seen);
        let name = self.status.aside.clone().unwrap().pod;
        let pod = self.pods.iter_mut().find(|pod| pod["metadata"]["name"] == name.as_str()).unwrap();
        let patch: json_patch::Patch = serde_json::from_value(patch.unwrap()).unwrap();
        json_patch::patch(pod, &patch).unwrap();
        self.written.push(("set aside".to_owned(), name));
    }

    pub(super) fn discard(&mut self) {
        let gone = self.status.aside.clone().unwrap().pod;
        self.pods.retain(|pod| pod["metadata"]["name"] != gone.as_str());
    }
}
