//! Clients that mark the begin and the end of their own transaction, and may still wait while it is judged.

use serde_json::Value;

use crate::{
    health::Live,
    names,
    object::{Image, ObjectRef, Position},
    rollback::Track,
};

/// Where a client's own transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    /// The client marks nothing: only quiet time tells that it has finished.
    None,
    /// It is at work, or waits.
    Pending,
    /// It has finished.
    Ended,
    /// It has given up.
    Failed,
}

/// Reads Helm's release Secret of the newest version that was written after `opened`, in the current revision: its label
/// `status` is Helm's own word.
pub(super) fn transaction(tracks: &[Track], opened: Position) -> Transaction {
    let newest = tracks
        .iter()
        .filter(|track| marks(&track.object) && track.effective().any(|entry| entry.position > opened))
        .max_by_key(|track| version(&track.object));
    let Some(newest) = newest else { return Transaction::None };
    match &newest.live {
        Live::Present(secret) => match status(secret) {
            "deployed" | "superseded" | "uninstalled" => Transaction::Ended,
            "failed" => Transaction::Failed,
            _ => Transaction::Pending,
        },
        // Its history was purged: an uninstall, ended by quiet time.
        Live::Absent => Transaction::None,
        Live::Unreadable(_) => Transaction::Pending,
    }
}

/// Whether a client marks its transaction by this object.
pub(super) fn marks(object: &ObjectRef) -> bool {
    object.key.group.is_empty()
        && object.key.resource == "secrets"
        && object.key.name.starts_with(names::HELM_SECRET_PREFIX)
}

fn version(object: &ObjectRef) -> u64 {
    object.key.name.rsplit(".v").next().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn status(secret: &Value) -> &str {
    Image(secret).label("status").unwrap_or_default()
}
