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

/// Where the newest transaction stands that was written of after `opened`, in the current revision.
pub(super) fn transaction(tracks: &[Track], opened: Position) -> Transaction {
    newest(tracks, opened).map_or(Transaction::None, state)
}

/// The user of a client that waits, of whatever revision since the last healthy one its transaction is.
pub(super) fn waiting(tracks: &[Track]) -> Option<&str> {
    let newest =
        newest(tracks, Position::default()).filter(|newest| state(newest) == Transaction::Pending)?;
    newest.effective().next().map(|entry| entry.header.user.as_str())
}

fn newest(tracks: &[Track], opened: Position) -> Option<&Track> {
    tracks
        .iter()
        .filter(|track| marks(&track.object) && track.effective().any(|entry| entry.position > opened))
        .max_by_key(|track| version(&track.object))
}

/// Reads Helm's release Secret: its label `status` is Helm's own word.
fn state(secret: &Track) -> Transaction {
    match &secret.live {
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
