//! The Secret that holds the evidence: of the Release, and gone with it.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use sha2::{Digest as _, Sha256};

use super::Evidence;
use crate::names::{self, ReleaseKey};

/// The key of the Secret's data.
pub const KEY: &str = "evidence.json";

const PREFIX: &str = "backout-evidence-";
const DIFF_PREFIX: &str = "backout-diff-";
/// The longest name of the release that is part of the Secret's name as it is.
const READABLE: usize = 40;
/// How many hexadecimal digits tell releases with long names apart.
const DIGEST: usize = 10;

/// The name of the Secret with the evidence about a revision.
pub fn name(release: &str, revision: u64) -> String {
    format!("{PREFIX}{}-{revision}", readable(release))
}

/// The name of the Secret that tells what a revision changed, whichever was asked for last.
pub fn diff_name(release: &str) -> String {
    format!("{DIFF_PREFIX}{}", readable(release))
}

fn readable(release: &str) -> String {
    if release.len() <= READABLE {
        return release.to_owned();
    }
    let digest = names::hex(&Sha256::digest(release.as_bytes()));
    let readable = release.get(..READABLE).unwrap_or_default().trim_end_matches('-');
    format!("{readable}-{}", digest.get(..DIGEST).unwrap_or_default())
}

/// The Secret with the evidence; `uid` and `api_version` are the Release's.
pub fn secret(key: &ReleaseKey, uid: &str, api_version: &str, evidence: &Evidence) -> Secret {
    let name = name(key.name.as_str(), evidence.revision);
    of_release(key, uid, api_version, evidence, name, names::EVIDENCE_TYPE)
}

/// The Secret that tells what a revision changed.
pub fn diff_secret(key: &ReleaseKey, uid: &str, api_version: &str, diff: &Evidence) -> Secret {
    of_release(key, uid, api_version, diff, diff_name(key.name.as_str()), names::DIFF_TYPE)
}

fn of_release(
    key: &ReleaseKey,
    uid: &str,
    api_version: &str,
    evidence: &Evidence,
    name: String,
    type_: &str,
) -> Secret {
    let labels = [
        (names::RELEASE.to_owned(), key.name.to_string()),
        (names::REVISION.to_owned(), evidence.revision.to_string()),
    ];
    let decided = evidence.decided_at.as_ref().map(|at| (names::DECIDED_AT.to_owned(), at.0.to_string()));
    // Controlled: what becomes of it is no deployer's business, and no release.
    let owner = OwnerReference {
        api_version: api_version.to_owned(),
        kind: "Release".to_owned(),
        name: key.name.to_string(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(key.namespace.clone()),
            labels: Some(labels.into()),
            annotations: decided.map(|decided| [decided].into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(type_.to_owned()),
        immutable: Some(true),
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(evidence.json().into_bytes()))])),
        ..Secret::default()
    }
}

/// The revision that a Secret is the evidence about, if it is one of the Release with this uid.
pub fn revision_of(metadata: &ObjectMeta, uid: &str) -> Option<u64> {
    let owned = metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid);
    let revision = metadata.labels.as_ref()?.get(names::REVISION)?;
    revision.parse().ok().filter(|_| owned)
}

/// When the verdict fell that a Secret is the evidence about: a revision that is judged again may fail again.
pub fn decided_at(metadata: &ObjectMeta) -> Option<&str> {
    metadata.annotations.as_ref()?.get(names::DECIDED_AT).map(String::as_str)
}
