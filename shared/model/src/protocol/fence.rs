//! The fence: up before the first restore, against the client that waits, and down when it begins anew.

use super::{
    client::{self, Waiting},
    report,
    step::Step,
};
use crate::{
    identity::is_helm,
    object::Position,
    release::Fence,
    undo::{
        Header,
        chain::{Entry, Standing},
    },
};

impl Step<'_> {
    /// Where a client waits for what fails it must not go on.
    pub(super) fn raise_fence(&mut self) {
        if let Some(Waiting { user, uninstalls, .. }) = client::waiting(&self.seen.tracks) {
            self.status.fence = Some(Fence {
                revision: self.status.revision,
                user: user.to_owned(),
                uninstalls,
                message: report::fence(&self.status),
            });
        }
    }

    /// The client that it was put up against begins anew.
    pub(super) fn lower_fence(&mut self, boundary: Position) {
        let Some(fence) = &self.status.fence else { return };
        let begins = |(entry, standing): (&Entry, _)| {
            entry.header.begins && entry.header.user == fence.user && standing != Standing::Aborted
        };
        if self.seen.after(boundary).any(begins) {
            self.status.fence = None;
        }
    }

    /// One that the webhook let pass, for the fence was not up yet, is under way already. Others wait for the rollback.
    pub(super) fn lower_fence_for_who_has_begun(&mut self) {
        let Some(fence) = &self.status.fence else { return };
        let boundary = self.status.sealed().unwrap_or_else(|| self.status.opened());
        let mut later = self.seen.effective_after(boundary);
        if later.any(|entry| entry.header.begins && entry.header.user == fence.user) {
            self.status.fence = None;
        }
    }

    /// What the fenced client wrote when the fence was not up yet is of the transaction that is undone; whether there was
    /// something.
    pub(super) fn takes_in_what_slipped_by(&mut self) -> bool {
        let Some(fence) = &self.status.fence else { return false };
        let mut later: Vec<_> = self.seen.effective_after(self.seen.cut()).collect();
        later.sort_by_key(|entry| entry.position);
        let is_clients = |entry: &&Entry| {
            let Header { begins, user, tool, .. } = &entry.header;
            !begins && *user == fence.user && is_helm(tool)
        };
        let Some(last) = later.into_iter().take_while(is_clients).last() else { return false };
        self.status.sealed_position = Some(last.position.to_string());
        true
    }
}
