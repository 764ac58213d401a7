//! Which Secrets a pod may give away.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::object::Image;

/// Namespace and name of a Secret.
pub type SecretKey = (String, String);

/// The Secrets that a pod uses by environment and volumes.
pub(crate) fn used_by(pod: &Value) -> BTreeSet<SecretKey> {
    let namespace = Image(pod).meta("namespace").unwrap_or_default();
    let list = |value: &'_ Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let spec = &pod["spec"];
    let mut names = Vec::new();
    for containers in ["initContainers", "containers", "ephemeralContainers"] {
        for container in list(spec, containers) {
            names.extend(
                list(&container, "env").iter().map(|it| it["valueFrom"]["secretKeyRef"]["name"].clone()),
            );
            names.extend(list(&container, "envFrom").iter().map(|it| it["secretRef"]["name"].clone()));
        }
    }
    for volume in list(spec, "volumes") {
        names.push(volume["secret"]["secretName"].clone());
        names.extend(list(&volume["projected"], "sources").iter().map(|it| it["secret"]["name"].clone()));
        for driver in ["azureFile", "csi", "flexVolume", "cephfs", "rbd", "iscsi", "scaleIO", "storageos"] {
            let volume = &volume[driver];
            names.extend([volume["secretName"].clone(), volume["secretRef"]["name"].clone()]);
            names.push(volume["nodePublishSecretRef"]["name"].clone());
        }
    }
    let names = names.iter().filter_map(Value::as_str);
    names.map(|name| (namespace.to_owned(), name.to_owned())).collect()
}
