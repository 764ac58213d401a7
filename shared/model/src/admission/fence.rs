//! The fence: a client whose transaction was aborted while it waits must not go on writing as if nothing happened.

use super::request::Request;
use crate::{
    identity::{Verb, helm_release, is_helm},
    object::Image,
    release::Fence,
};

/// What the fence of a release does to one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stance {
    /// It does not concern this write.
    Open,
    /// The client does not know yet that its transaction is over.
    Shut,
    /// The client begins its next transaction: the fence comes down once the watcher knows.
    Knock,
}

/// Other users, and other tools of the same user, pass: a fix by hand is welcome.
pub(super) fn stance(fence: Option<&Fence>, request: &Request<'_>, begins: bool, prunes: bool) -> Stance {
    let Some(fence) = fence else { return Stance::Open };
    let same_client = request.user_info.username == fence.user && is_helm(request.field_manager());
    match (same_client, begins) {
        (false, _) => Stance::Open,
        (true, true) => Stance::Knock,
        // An uninstall takes them away, too.
        (true, false) if prunes && !fence.uninstalls => Stance::Open,
        (true, false) => Stance::Shut,
    }
}

/// Whether a client begins a transaction with this write: Helm creates its next release Secret for all but an
/// uninstall, which marks the last one.
pub(super) fn begins(request: &Request<'_>, verb: Verb, name: &str, new: Option<Image<'_>>) -> bool {
    let marks_uninstall = || new.and_then(|new| new.label("status")) == Some("uninstalling");
    is_helm_secret(request, name) && (verb == Verb::Create || (verb == Verb::Update && marks_uninstall()))
}

/// Whether a client makes room in its history, as Helm does before it begins a transaction where there are as many versions
/// as it keeps (`removeLeastRecent` of its storage): never of the one that is deployed.
pub(super) fn prunes(request: &Request<'_>, verb: Verb, name: &str, old: Option<Image<'_>>) -> bool {
    let goes = || matches!(old.and_then(|old| old.label("status")), Some("superseded" | "failed"));
    verb == Verb::Delete && is_helm_secret(request, name) && goes()
}

/// Whether the write is to one of Helm's own records, by which a client begins and ends its transactions.
pub(super) fn is_helm_secret(request: &Request<'_>, name: &str) -> bool {
    request.resource.group.is_empty() && request.resource.plural == "secrets" && helm_release(name).is_some()
}
