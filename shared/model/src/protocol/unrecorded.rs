//! What deployers wrote past the webhook: where it fails open, or was not registered for a while.
//!
//! Only the objects tell, by the time at which a field manager last wrote them; not what was deleted so.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::admissionregistration::v1::MutatingWebhookConfiguration,
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta},
};
use serde_json::json;

use super::{Effect, Observed, Wake, report, step::Step, step::signed};
use crate::{
    health::reasons,
    identity::{Belongs, Deployers, Facts, Verb, helm_release},
    names::{self, ReleaseKey},
    object::{Image, ObjectKey, ObjectRef},
    release::Phase,
};

/// What is known of writes without a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrecorded {
    /// They are to be looked for before the revision ends.
    Wanted,
    /// The objects that were written so.
    Known(Vec<ObjectRef>),
}

impl Default for Unrecorded {
    fn default() -> Self {
        Self::Known(Vec::new())
    }
}

impl Step<'_> {
    /// Before a rollback touches anything: half of what was deployed is not undone, unless somebody has asked for it.
    pub(super) fn surveys(&mut self) -> bool {
        let status = &self.status;
        let is_begun = status.evidence.is_some() || status.evidence_missing.is_some();
        let is_asked = status.failure.as_ref().is_some_and(|failure| failure.reason == reasons::BY_HAND);
        if status.phase != Some(Phase::RollingBack) || is_begun || is_asked {
            return false;
        }
        self.looks_for_unrecorded() || self.holds_for_unrecorded()
    }

    /// Ends the revision where it cannot be undone as a whole; whether that is so.
    pub(super) fn holds_for_unrecorded(&mut self) -> bool {
        let first = self.status.unrecorded.first().filter(|_| !self.seen.policy.accept_unverified);
        let Some(first) = first.cloned() else { return false };
        self.status.held = Some(report::unrecorded(first, self.status.unrecorded.len()));
        self.status.fence = None;
        self.end(Phase::Held);
        true
    }

    /// Has writes without a record looked for, or notes them; whether the outcome is still to come.
    pub(super) fn looks_for_unrecorded(&mut self) -> bool {
        match &self.seen.unrecorded {
            Unrecorded::Wanted => {
                self.effects.push(Effect::Survey);
                self.wake = Wake::After(Duration::ZERO);
                true
            }
            Unrecorded::Known(objects) => {
                self.status.unrecorded = report::subjects(objects);
                false
            }
        }
    }
}

/// How writes without a record are told from others.
#[derive(Debug)]
pub struct Survey<'a> {
    release: &'a ReleaseKey,
    /// What was written before is no part of what would be undone.
    since: Timestamp,
    /// The field managers of the writes that were recorded.
    tools: BTreeSet<&'a str>,
    /// When the newest record of each object was made.
    recorded: BTreeMap<&'a ObjectKey, Timestamp>,
}

/// Times of field managers have whole seconds, and servers' clocks differ a little.
const PRECISION: SignedDuration = SignedDuration::from_secs(2);

impl<'a> Survey<'a> {
    /// `None` where nothing is to be undone.
    pub fn of(release: &'a ReleaseKey, seen: &'a Observed) -> Option<Self> {
        let effective = || seen.effective_after(seen.status.healthy());
        let first = effective().map(|entry| entry.created).min()?;
        let is_over = |phase| matches!(phase, Phase::Healthy | Phase::RolledBack);
        let over = seen.status.history.iter().find(|past| is_over(past.outcome));
        let over = over.and_then(|past| past.ended_at.as_ref()).map(|at| at.0);
        // A deployer who pauses for longer has finished: what came before is another attempt.
        let began = first.saturating_sub(signed(seen.policy.settle)).unwrap_or(first);
        let mut recorded: BTreeMap<_, Timestamp> = BTreeMap::new();
        for (track, entry, _) in seen.log() {
            let newest = recorded.entry(&track.object.key).or_insert(entry.created);
            *newest = entry.created.max(*newest);
        }
        Some(Self {
            release,
            since: over.map_or(began, |over| began.max(over)),
            tools: effective().map(|entry| entry.header.tool.as_str()).filter(|it| !it.is_empty()).collect(),
            recorded,
        })
    }

    /// Whether a deployer's write may have passed the webhook: it is not registered, fails open, or its registration was
    /// written since, by others than the watcher, who keeps the certificate there.
    pub fn is_needed(&self, registration: Option<&MutatingWebhookConfiguration>) -> bool {
        let Some(registration) = registration else { return true };
        let fails_closed =
            |webhook: &Option<String>| webhook.as_deref().is_none_or(|policy| policy == "Fail");
        let managers = registration.metadata.managed_fields.iter().flatten();
        let mut others = managers.filter(|entry| entry.manager.as_deref() != Some(names::FIELD_MANAGER));
        let webhooks = registration.webhooks.iter().flatten();
        !webhooks.map(|webhook| &webhook.failure_policy).all(fails_closed)
            || others.any(|entry| is_since(entry, self.since))
    }

    /// Whether a deployer has written the object of the release since, and no record tells of it.
    pub fn is_unrecorded(&self, key: &ObjectKey, metadata: &ObjectMeta) -> bool {
        let recorded = self.recorded.get(key).map(|at| at.saturating_add(PRECISION).unwrap_or(*at));
        let after = recorded.map_or(self.since, |recorded| recorded.max(self.since));
        let entries = metadata.managed_fields.iter().flatten();
        let writes = entries.filter(|entry| {
            matches!(entry.subresource.as_deref().unwrap_or_default(), "" | "scale") && is_since(entry, after)
        });
        let managers: BTreeSet<_> = writes.filter_map(|entry| entry.manager.as_deref()).collect();
        !managers.is_empty() && self.is_deployers(key, metadata, &managers)
    }

    /// Whether one of the managers is a deployer's, and the object the release's.
    fn is_deployers(&self, key: &ObjectKey, metadata: &ObjectMeta, managers: &BTreeSet<&str>) -> bool {
        let helms = key.resource == "secrets" && helm_release(&key.name).is_some();
        // Metadata tell the type of no Secret; but only Helm names one so.
        let kind = helms.then_some(names::HELM_SECRET_TYPE);
        let object = json!({"metadata": metadata, "type": kind});
        managers.iter().any(|manager| {
            let facts = Facts {
                verb: Verb::Update,
                group: &key.group,
                resource: &key.resource,
                namespace: key.namespace.as_deref().unwrap_or_default(),
                // Who it was nobody can tell: one whose tool was recorded, or else an application at its work.
                user: if self.tools.contains(manager) { "" } else { "system:serviceaccount:" },
                groups: &[],
                field_manager: manager,
                dry_run: false,
                object: Image(&object),
                old: Some(Image(&object)),
            };
            let Belongs { join, own } = facts.belongs();
            facts.concern(&Deployers::default()).is_ok() && join.or(own).as_ref() == Some(self.release)
        })
    }
}

fn is_since(entry: &ManagedFieldsEntry, since: Timestamp) -> bool {
    entry.time.as_ref().is_some_and(|at| at.0 >= since)
}
