//! Doing what was decided: the status first, by compare-and-swap, then the rest.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use backout_model::{
    health::Live,
    names::{RecordName, ReleaseKey, RevisionId},
    object::{Image, ObjectRef},
    protocol::{self, Decision, Effect, Notice, Observed, Pack, Spent},
    release::{Release, ReleaseStatus},
    rollback::{Restore, Write, without_taken},
    undo::chain::Entry,
};
use backout_runtime::api::{ApiError, Class, deadline};
use futures::{StreamExt as _, stream};
use kube::{Api, api::PostParams};
use serde_json::Value;

use crate::{
    cluster::{Cluster, Owned},
    context::Context,
    diff, evidence,
    memory::Memory,
    metrics::label,
    packs,
    survey::survey,
    verify::verify,
};

const CALL: Duration = Duration::from_secs(10);
/// Writes side by side for one release.
const PARALLEL: usize = 8;

pub(crate) async fn all(
    context: &Context,
    key: &ReleaseKey,
    release: &Release,
    observed: &Observed,
    decision: Decision,
    memory: &mut Memory,
) -> Result<(), ApiError> {
    if decision.status != observed.status {
        store_status(context, key, release, observed, &decision).await?;
    }
    context.standings.note(key, &decision.status);
    let revision = decision.status.revision;
    context.events.publish(key, release, revision, decision.notices).await;
    let effects = decision.effects.into_iter();
    let mut outcomes = stream::iter(effects.map(|effect| effect_of(context, key, release, observed, effect)))
        .buffer_unordered(PARALLEL);
    let (mut told, mut failed) = (Vec::new(), None);
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Outcome::Done => {}
            Outcome::Restored(restore) => {
                memory.accept(&restore.object);
                told.extend(Notice::of_restore(&restore));
            }
            Outcome::Ignored(object, version) => {
                memory.accept(&object);
                memory.ignored.insert(object, version);
            }
            Outcome::Surveyed(objects) => memory.surveyed(&observed.status, objects),
            Outcome::Secured(evidence) => memory.secured(&observed.status, evidence),
            Outcome::Told(told) => memory.told = observed.request.clone().map(|request| (request, told)),
            Outcome::Changed(object, why) => memory.conflict(&object, why, Instant::now()),
            Outcome::Refused(object, why) => memory.refuse(&object, why, Instant::now()),
            Outcome::Packed(pack) => memory.packed(&observed.status, pack),
            Outcome::Failed(error) => failed = Some(error),
        }
    }
    drop(outcomes);
    context.events.publish(key, release, revision, told).await;
    failed.map_or(Ok(()), Err)
}

async fn store_status(
    context: &Context,
    key: &ReleaseKey,
    release: &Release,
    observed: &Observed,
    decision: &Decision,
) -> Result<(), ApiError> {
    let mut next = release.clone();
    next.status = Some(decision.status.clone());
    let releases: Api<Release> = Api::namespaced(context.cluster.client(), &key.namespace);
    let params = PostParams::default();
    let call = releases.replace_status(key.name.as_str(), &params, &next);
    let stored = deadline(CALL, format!("PUT status of Release {key}"), call).await;
    context.metrics.stored(&stored);
    stored.map(|_| tell(context, key, observed, &decision.status))
}

/// Counts and logs what was decided.
fn tell(context: &Context, key: &ReleaseKey, observed: &Observed, status: &ReleaseStatus) {
    for milestone in protocol::milestones(&observed.status, status) {
        context.metrics.reached(milestone);
    }
    let revision = status.revision;
    let id = key.revision(revision);
    for stray in protocol::strays(observed, status) {
        let taken_for = key.revision(stray.header.revision);
        tracing::info!(%id, release = %key, revision, undo = %stray.name, object = %stray.header.object, %taken_for,
            "a write that the webhook took for another revision's");
    }
    if let Some(phase) = status.phase.filter(|_| status.phase != observed.status.phase) {
        context.metrics.phases.with_label_values(&[phase.as_str()]).inc();
        let reason = status.failure.as_ref().map(|failure| &failure.reason);
        tracing::info!(%id, release = %key, revision, phase = phase.as_str(), reason, status = %status.message, "phase");
    }
}

enum Outcome {
    Done,
    /// These were written without a record.
    Surveyed(Vec<ObjectRef>),
    /// The evidence is stored, or is not.
    Secured(Result<String, String>),
    /// What was asked for is told in this Secret, or is not.
    Told(Result<String, String>),
    Restored(Restore),
    /// The server took the owners of this object's fields, and changed nothing: it is at this resourceVersion still.
    Ignored(ObjectRef, String),
    /// The object was not any more what it was decided on.
    Changed(ObjectRef, String),
    Refused(ObjectRef, String),
    Packed(Pack),
    Failed(ApiError),
}

async fn effect_of(
    context: &Context,
    key: &ReleaseKey,
    release: &Release,
    observed: &Observed,
    effect: Effect,
) -> Outcome {
    match effect {
        Effect::Evidence => Outcome::Secured(evidence::secure(context, key, release, observed).await),
        Effect::Survey => {
            survey(context, key, observed).await.map_or_else(Outcome::Failed, Outcome::Surveyed)
        }
        Effect::Pack => pack(context, key, observed).await,
        Effect::Tell => Outcome::Told(diff::tell(context, key, observed).await),
        Effect::SetAside => set_aside(context, key, observed).await,
        Effect::Discard => discard(context, observed).await,
        Effect::Restore(restore) => {
            restore_one(context, key.revision(observed.status.revision), restore).await
        }
        Effect::Verify(name) => match entry(observed, &name) {
            Some(entry) => check(context, entry).await.map_or_else(Outcome::Failed, |()| Outcome::Done),
            None => Outcome::Done,
        },
        Effect::Adopt(name) => match (entry(observed, &name), &observed.uid) {
            (Some(entry), Some(uid)) => {
                noted(context.log.adopt(entry, uid).await).map_or_else(Outcome::Failed, |()| Outcome::Done)
            }
            _ => Outcome::Done,
        },
        Effect::Collect(spent) => collect(context, &spent).await,
    }
}

/// A revision does not stay uncommitted because it cannot be kept.
async fn pack(context: &Context, key: &ReleaseKey, observed: &Observed) -> Outcome {
    let kept = match packs::keep(context, key, observed).await {
        Err(error) if error.may_pass() => return Outcome::Failed(error),
        kept => kept.unwrap_or_else(|error| Err(error.to_string())),
    };
    context.metrics.packed(kept.is_ok());
    Outcome::Packed(match kept {
        Ok(name) => Pack::Kept(name),
        Err(why) => {
            let revision = observed.status.revision;
            tracing::warn!(id = %key.revision(revision), release = %key, revision, why, "not kept for later");
            Pack::Failed(why)
        }
    })
}

/// A pod that has changed meanwhile is looked at again; one that cannot be had holds up no rollback.
async fn set_aside(context: &Context, key: &ReleaseKey, observed: &Observed) -> Outcome {
    let (Some(aside), Some(patch)) = (&observed.status.aside, protocol::detachment(key, observed)) else {
        return Outcome::Done;
    };
    let pod = protocol::aside_pod(aside);
    let id = key.revision(aside.revision);
    match context.cluster.patch(&pod, patch).await {
        Ok(_) => tracing::info!(%id, release = %key, %pod, until = %aside.until.0, "set aside"),
        Err(error) => tracing::warn!(%id, release = %key, %pod, %error, "not set aside"),
    }
    Outcome::Done
}

async fn discard(context: &Context, observed: &Observed) -> Outcome {
    let (Some(aside), Some(Live::Present(pod))) = (&observed.status.aside, &observed.aside) else {
        return Outcome::Done;
    };
    let version = Image(pod).resource_version().unwrap_or_default();
    match context.cluster.delete(&protocol::aside_pod(aside), &aside.uid, version).await {
        Err(error) if !error.is(Class::Conflict) && !error.is(Class::NotFound) => Outcome::Failed(error),
        _ => Outcome::Done,
    }
}

async fn restore_one(context: &Context, id: RevisionId<'_>, restore: Restore) -> Outcome {
    let Restore { object, write } = &restore;
    let cluster = &context.cluster;
    let (verb, result) = match write {
        Write::Delete { uid, resource_version, .. } => {
            ("delete", cluster.delete(object, uid, resource_version).await)
        }
        Write::Update { body, .. } => ("update", put(cluster, id, object, body, true).await),
        Write::Own { resource_version, managed_fields } => {
            let owned = cluster.own(object, resource_version, managed_fields).await;
            if matches!(owned, Ok(Owned::AsBefore)) {
                context.metrics.restores.with_label_values(&["own", "ignored"]).inc();
                return Outcome::Ignored(object.clone(), resource_version.clone());
            }
            ("own", owned.map(drop))
        }
        Write::Create { body } => ("create", put(cluster, id, object, body, false).await),
    };
    let outcome = label(&result);
    context.metrics.restores.with_label_values(&[verb, outcome]).inc();
    tracing::info!(%id, %object, verb, outcome, "restore");
    match result {
        Ok(()) => Outcome::Restored(restore),
        // The next plan starts from what it is now.
        Err(error)
            if matches!(error.class, Class::Conflict | Class::NotFound | Class::AlreadyExists)
                && !is_missing_home(write, &error) =>
        {
            Outcome::Changed(restore.object, error.message)
        }
        // Whether it may pass or not: no other object has to wait for it, and people are told.
        Err(error) => Outcome::Refused(restore.object, error.message),
    }
}

/// Replaces or creates the object; without what others have got meanwhile of what the server allots, where it says so.
async fn put(
    cluster: &Cluster,
    id: RevisionId<'_>,
    object: &ObjectRef,
    body: &Value,
    is_there: bool,
) -> Result<(), ApiError> {
    let mut body = Cow::Borrowed(body);
    loop {
        let result =
            if is_there { cluster.replace(object, &body).await } else { cluster.create(object, &body).await };
        // Addresses and ports: the server tells of one at a time.
        match result {
            Err(error)
                if error.is(Class::Rejected)
                    && let Some(others) = without_taken(object, &body, &error.message) =>
            {
                tracing::info!(%id, %object, why = %error.message, "restored without what is taken");
                body = Cow::Owned(others);
            }
            result => return result,
        }
    }
}

/// A create that finds no namespace, or no such kind, will not find it the next moment either.
fn is_missing_home(write: &Write, error: &ApiError) -> bool {
    matches!(write, Write::Create { .. }) && error.is(Class::NotFound)
}

/// Checks a record before the server forgets what it would be compared with.
async fn check(context: &Context, entry: &Entry) -> Result<(), ApiError> {
    let outcome = match context.log.read(entry).await? {
        Ok(record) => verify(&context.cluster, entry, &record).await?,
        Err(garbage) => backout_model::undo::chain::Verification::Refuted(garbage),
    };
    context.metrics.verified(&outcome);
    noted(context.log.note(entry, &outcome).await)
}

/// A record that was changed meanwhile, or is gone, is looked at again.
fn noted(result: Result<(), ApiError>) -> Result<(), ApiError> {
    result.or_else(
        |error| {
            if error.is(Class::Conflict) || error.is(Class::NotFound) { Ok(()) } else { Err(error) }
        },
    )
}

/// The record of this name.
pub(crate) fn entry<'a>(observed: &'a Observed, name: &RecordName) -> Option<&'a Entry> {
    observed.log().map(|(_, entry, _)| entry).find(|entry| entry.name == *name)
}

async fn collect(context: &Context, spent: &Spent) -> Outcome {
    let result = context.log.collect(spent).await;
    context.metrics.collected(&result);
    match result {
        Err(error) if !error.is(Class::Conflict) => Outcome::Failed(error),
        _ => Outcome::Done,
    }
}
