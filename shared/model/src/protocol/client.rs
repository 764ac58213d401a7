//! Clients that mark the begin and the end of their own transaction, and may still wait while it is judged.

use std::time::Duration;

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
    /// The client marks nothing, or has taken its marks away, as an uninstall does: only quiet time tells that it has finished.
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

/// A client in the middle of its transaction, of whatever revision since the last healthy one that is.
pub(super) struct Waiting<'a> {
    pub(super) user: &'a str,
    /// Whether it takes its release down.
    pub(super) uninstalls: bool,
    /// For how long nothing has been heard of it, as far as its own marks tell.
    pub(super) silent_for: Duration,
}

/// The client that waits, if one does.
pub(super) fn waiting(tracks: &[Track]) -> Option<Waiting<'_>> {
    let newest = newest(tracks, Position::default()).filter(|it| state(it) == Transaction::Pending)?;
    let last = newest.effective().last()?;
    let uninstalls = matches!(&newest.live, Live::Present(secret) if status(secret) == "uninstalling");
    Some(Waiting { user: &last.header.user, uninstalls, silent_for: last.age })
}

/// The user of the client whose transaction was last written of after `opened`, whatever has become of it.
pub(super) fn user(tracks: &[Track], opened: Position) -> Option<&str> {
    let marked = tracks.iter().filter(|track| marks(&track.object)).flat_map(Track::effective);
    let last = marked.filter(|entry| entry.position > opened).max_by_key(|entry| entry.position)?;
    Some(&last.header.user)
}

/// The mark of the newest transaction. Versions that are gone are of one that was taken down before.
pub(super) fn newest(tracks: &[Track], opened: Position) -> Option<&Track> {
    tracks
        .iter()
        .filter(|track| marks(&track.object) && track.live != Live::Absent)
        .filter(|track| track.effective().any(|entry| entry.position > opened))
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
        Live::Absent | Live::Unreadable(_) => Transaction::Pending,
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
