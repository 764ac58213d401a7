//! Every label, annotation, Secret type and manager name that Backout reads or writes, and the names it gives.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The API group of Backout's own kinds, and the prefix of all its labels and annotations.
pub const GROUP: &str = "backout.dev";

/// Label on a tagged object: the name of the release that wrote it last.
pub const RELEASE: &str = "backout.dev/release";
/// Label on a tagged object: the revision as the webhook knew it. A hint for people; the log decides.
pub const REVISION: &str = "backout.dev/revision";
/// Label on a tagged object: the name of the undo record of its latest recorded write.
pub const UNDO: &str = "backout.dev/undo";
/// The three labels that the webhook owns on every tagged object.
pub const TAGS: [&str; 3] = [RELEASE, REVISION, UNDO];

/// Label of a namespace that opts in, with the value [`ATOMIC_ENABLED`].
pub const ATOMIC: &str = "backout.dev/atomic";
/// The value of [`ATOMIC`] that opts a namespace in.
pub const ATOMIC_ENABLED: &str = "enabled";

/// Never recorded, whatever their labels, nor home of a release: the cluster has to go on without us, and we without
/// ourselves.
pub const PROTECTED_NAMESPACES: [&str; 3] = ["kube-system", "kube-node-lease", "backout-system"];

/// Label or annotation that a user sets to name the release an object belongs to; [`RELEASE_NAMESPACE`] beside it names
/// the release's namespace, where it is not the object's.
pub const MARK: &str = "backout.dev/release-name";
/// Annotation of an object: `keep` or `delete` it when its creation is rolled back.
pub const ON_ROLLBACK: &str = "backout.dev/on-rollback";

/// Annotation of an object: `ignore` keeps whatever becomes of it from the verdict.
pub const HEALTH: &str = "backout.dev/health";
/// Annotation of an object: how many failed runs of a container it bears. [`POLICY_DEADLINE`] is read there, too.
pub const CRASH_BUDGET: &str = "backout.dev/crash-budget";

/// Annotations of a namespace that set the policy of its releases; durations as Go writes them (`90s`, `10m`).
pub const POLICY_SETTLE: &str = "backout.dev/settle";
/// See [`POLICY_SETTLE`].
pub const POLICY_DEADLINE: &str = "backout.dev/deadline";
/// See [`POLICY_SETTLE`].
pub const POLICY_SOAK: &str = "backout.dev/soak";
/// Annotation of a namespace: `Rollback`, `Hold` or `Notify` for a failed first install.
pub const POLICY_ON_INSTALL_FAILURE: &str = "backout.dev/on-install-failure";
/// Annotation of a namespace: `Rollback`, `Hold` or `Notify` for a failed upgrade.
pub const POLICY_ON_UPGRADE_FAILURE: &str = "backout.dev/on-upgrade-failure";
/// Annotation of a namespace: `true` records, judges and reports, but touches nothing.
pub const POLICY_SUSPEND: &str = "backout.dev/suspend";

/// Annotation of a namespace: for how long a failing pod is kept running for a person to look into.
pub const POLICY_KEEP_FAILING_POD: &str = "backout.dev/keep-failing-pod";

/// Annotation of a Secret with evidence: when the verdict fell that it is about.
pub const DECIDED_AT: &str = "backout.dev/decided-at";

/// Label of a pod that is kept running after the rollback of its release, with the release's name: it has no other.
pub const ASIDE: &str = "backout.dev/aside";
/// Annotation of such a pod: when it is deleted.
pub const ASIDE_UNTIL: &str = "backout.dev/aside-until";

/// Annotation of a Release: what a person asks of it, see [`crate::release::Order`].
pub const REQUEST: &str = "backout.dev/request";

/// Type of the Secrets that hold undo records.
pub const RECORD_TYPE: &str = "backout.dev/undo";
/// Label of a record's Secret: [`PART_HEAD`] or [`PART_PIECE`].
pub const PART: &str = "backout.dev/part";
/// The Secret that makes a record exist: created last, holds the header.
pub const PART_HEAD: &str = "head";
/// A Secret that holds a part of a body too large for one.
pub const PART_PIECE: &str = "piece";
/// The Secret that makes a pack exist, see [`crate::undo::pack`].
pub const PART_PACK: &str = "pack";
/// A Secret that holds a part of a pack too large for one.
pub const PART_PACK_PIECE: &str = "pack-piece";
/// Type of the Secrets that hold packs.
pub const PACK_TYPE: &str = "backout.dev/pack";
/// Annotation of a pack: how many bytes it takes in all its Secrets.
pub const BYTES: &str = "backout.dev/bytes";
/// Label of a record's Secret: the namespace of its release ([`RELEASE`] holds the name). Label or annotation of an
/// object: see [`MARK`].
pub const RELEASE_NAMESPACE: &str = "backout.dev/release-namespace";
/// Annotation of a record's head: the [`crate::undo::Header`] as JSON.
pub const HEADER: &str = "backout.dev/header";
/// Annotation of a record's head: in how many pieces the body lies; absent when the head holds it.
pub const PIECES: &str = "backout.dev/pieces";
/// Annotation of a record's head, written by the watcher: the outcome of the exact-revision check.
pub const VERIFIED: &str = "backout.dev/verified";

/// Annotation of a record's head, written by the watcher: the uid of the Release that the record belongs to, where the
/// webhook did not know it.
pub const ADOPTED_BY: &str = "backout.dev/adopted-by";

/// Annotation of a record's head, written with [`VERIFIED`] or [`ADOPTED_BY`]: the log position, which the
/// resourceVersion no longer is.
pub const POSITION: &str = "backout.dev/position";

/// Type of the Secrets that hold the evidence about a failed revision.
pub const EVIDENCE_TYPE: &str = "backout.dev/evidence";

/// Type of the Secret that tells what a revision changed, for who asked.
pub const DIFF_TYPE: &str = "backout.dev/diff";

/// The field manager under which Backout restores objects.
pub const FIELD_MANAGER: &str = "backout";

/// Prefix of Helm's release Secrets: `sh.helm.release.v1.NAME.vN`.
pub const HELM_SECRET_PREFIX: &str = "sh.helm.release.v1.";
/// Type of Helm's release Secrets.
pub const HELM_SECRET_TYPE: &str = "helm.sh/release.v1";

/// The longest value of a label (apimachinery `validation.LabelValueMaxLength`).
const LABEL_VALUE_MAX: usize = 63;

/// A release: the namespace it lives in and its name there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReleaseKey {
    /// The namespace of the `Release` resource.
    pub namespace: String,
    /// The name of the `Release` resource.
    pub name: ReleaseName,
}

impl ReleaseKey {
    /// The release `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: ReleaseName) -> Self {
        Self { namespace: namespace.into(), name }
    }

    /// One of its revisions, as logs name it.
    pub fn revision(&self, revision: u64) -> RevisionId<'_> {
        RevisionId { release: self, revision }
    }
}

impl fmt::Display for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A revision as the logs of both halves name it: `NAMESPACE/NAME#REVISION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevisionId<'a> {
    release: &'a ReleaseKey,
    revision: u64,
}

impl fmt::Display for RevisionId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.release, self.revision)
    }
}

/// The name of a release: an RFC 1123 label of at most 63 characters, so that it serves as label value and as
/// resource name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseName(String);

impl ReleaseName {
    /// Takes `mark` as it is where it is a valid name; otherwise makes one of it, readable and with a digest that
    /// keeps two different marks apart. An empty mark names nothing.
    pub fn from_mark(mark: &str) -> Option<Self> {
        if mark.is_empty() {
            return None;
        }
        if is_rfc1123_label(mark) {
            return Some(Self(mark.to_owned()));
        }
        let readable: String = mark
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .take(LABEL_VALUE_MAX - DIGEST_LEN - 1)
            .collect();
        let digest = hex(&Sha256::digest(mark.as_bytes()));
        let readable = readable.trim_matches('-');
        let digest = digest.get(..DIGEST_LEN).unwrap_or_default();
        Some(Self(if readable.is_empty() { format!("r-{digest}") } else { format!("{readable}-{digest}") }))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How many hexadecimal digits tell two unreadable marks apart.
const DIGEST_LEN: usize = 10;

impl fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an undo record: `u-` and 40 hexadecimal digits of the digest of its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordName(String);

impl RecordName {
    /// The name for content with this SHA-256 digest. 160 bits: nobody finds other content for a given name.
    pub fn from_digest(digest: &[u8]) -> Self {
        let mut hex = hex(digest);
        hex.truncate(40);
        Self(format!("u-{hex}"))
    }

    /// Reads the value of a label or the name of a Secret; `None` if it cannot name a record.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("u-")?;
        let valid = hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        valid.then(|| Self(text.to_owned()))
    }

    /// Reads names of records from a list; what cannot be one is left out.
    pub fn parse_all(texts: &[String]) -> BTreeSet<Self> {
        texts.iter().filter_map(|text| Self::parse(text)).collect()
    }

    /// The name of the `index`th piece of the record's body.
    pub fn piece(&self, index: usize) -> String {
        piece(&self.0, index)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of the `index`th further Secret of what does not fit into the one of this name.
pub fn piece(name: &str, index: usize) -> String {
    format!("{name}-{index}")
}

fn is_rfc1123_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= LABEL_VALUE_MAX
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.is_empty()
}

/// Lower-case hexadecimal of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_mark_is_the_name_of_the_release() {
        assert_eq!(ReleaseName::from_mark("shop").unwrap().as_str(), "shop");
    }

    #[test]
    fn marks_that_are_no_names_become_valid_and_different_names() {
        let names: Vec<_> = ["Shop", "shop_", "a.b", "-", &"x".repeat(100), &"x".repeat(101)]
            .iter()
            .map(|mark| ReleaseName::from_mark(mark).unwrap())
            .collect();
        for (i, name) in names.iter().enumerate() {
            assert!(is_rfc1123_label(name.as_str()), "{name}");
            assert!(!names[i + 1..].contains(name), "{name}");
        }
        assert_eq!(ReleaseName::from_mark(""), None);
    }

    #[test]
    fn only_names_of_records_parse_as_such() {
        let name = RecordName::from_digest(&Sha256::digest(b"x"));
        assert_eq!(RecordName::parse(name.as_str()), Some(name));
        for text in [
            "",
            "u-",
            "u-12",
            "x-0000000000000000000000000000000000000000",
            "u-G000000000000000000000000000000000000000",
        ] {
            assert_eq!(RecordName::parse(text), None, "{text}");
        }
    }
}
