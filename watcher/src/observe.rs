//! Gathering what a decision rests on, from the API server itself, never from a cache.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use backout_model::{
    health::Live,
    names::{self, RecordName, ReleaseKey},
    object::{Image, ObjectKey, ObjectRef, Position},
    protocol::{Observed, Spent, aside_pod, newcomers},
    release::{Phase, Release, ReleaseStatus},
    rollback::{Proof, Track},
    undo::{
        Operation,
        chain::{self, Chain, Entry, Verification},
    },
};
use backout_runtime::api::{ApiError, Class};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;

use crate::{
    context::Context,
    memory::Memory,
    packs,
    records::{Links, unreadable},
    surroundings,
    verify::verify,
    weed::weed,
};

/// Reads side by side for one release.
pub(crate) const PARALLEL: usize = 16;

/// What there was to see.
pub(crate) enum Sight {
    /// The release and everything that matters to it now.
    Release(Box<(Release, Observed)>),
    /// An object shows a record that the list of records did not: it is older than the object.
    Outdated,
    /// The release is gone or going.
    Gone,
}

/// Looks at a release.
pub(crate) async fn release(
    context: &Context,
    key: &ReleaseKey,
    memory: &mut Memory,
) -> Result<Sight, ApiError> {
    let found = match context.cluster.release(key).await {
        Ok(found) if found.metadata.deletion_timestamp.is_none() => found,
        Ok(_) => return Ok(Sight::Gone),
        Err(error) if error.is(Class::NotFound) => return Ok(Sight::Gone),
        Err(error) => return Err(error),
    };
    let status = found.status.clone().unwrap_or_default();
    memory.is_of(found.metadata.uid.as_deref());
    let log = context.log.of(key, found.metadata.uid.as_deref(), memory).await?;
    let (policy, mut problems) = policy(context, key, &found).await?;
    problems.extend(log.problems);
    let (entries, spent): (Vec<_>, Vec<_>) =
        log.entries.into_iter().partition(|entry| entry.position > status.healthy());
    for record in newcomers(&entries, status.judged()) {
        // Clocks differ, and the server tells of seconds only.
        let lag = Timestamp::now().duration_since(record.created).as_secs_f64();
        context.metrics.lag.observe(lag.max(0.0));
    }
    let newest = entries.last().map(|entry| entry.position).unwrap_or_default();
    let lost = unpack(context, &status, memory).await?;
    let unpacked = memory.unpacked.iter().flat_map(|(_, unpacked)| unpacked.iter());
    let entries = unpacked.map(|(entry, _)| entry.clone()).chain(entries).collect();
    let Some(mut tracks) = tracks(context, key, entries, log.cut, &status, memory).await? else {
        return Ok(Sight::Outdated);
    };
    problems.extend(weed(context, &mut tracks, memory).await?);
    let (garbage, spent): (Vec<_>, Vec<_>) =
        spent.into_iter().partition(|entry| memory.garbage(&entry.name).is_some());
    problems.extend(
        garbage
            .iter()
            .filter_map(|entry| Some(unreadable(entry.name.as_str(), memory.garbage(&entry.name)?))),
    );
    let aside = match &status.aside {
        Some(aside) => Some(context.cluster.live(&aside_pod(aside)).await),
        None => None,
    };
    let now = Instant::now();
    let quiet = memory.quiet(newest, now);
    let watched = memory.watched(&status, now);
    let mut observed = Observed {
        uid: found.metadata.uid.clone(),
        generation: found.metadata.generation,
        told: memory.told(found.annotations().get(names::REQUEST).map(String::as_str)),
        request: found.annotations().get(names::REQUEST).cloned(),
        options: backout_model::rollback::Options {
            accept_unverified: policy.accept_unverified,
            ..context.options
        },
        policy,
        problems,
        tracks,
        spent: spent.iter().map(Spent::from).chain(log.dead).collect(),
        cut: log.cut,
        quiet,
        watched,
        pack: memory.pack(&status),
        unrecorded: memory.unrecorded(&status),
        blind: lost,
        refusals: memory.refusals(now),
        ignored: memory.ignored.clone(),
        evidence: memory.evidence(&status),
        aside,
        since_last: memory.observed.map(|last| now.duration_since(last)),
        sightings: memory.sightings.clone(),
        status,
        ..Observed::default()
    };
    let judging = observed.status.phase.is_none_or(|phase| phase != Phase::RollingBack);
    if observed.tracks.is_empty() {
        memory.end_of_rollback();
        memory.baselines.clear();
        return Ok(Sight::Release(Box::new((found, observed))));
    }
    surroundings::look(context, &mut observed, judging).await;
    if judging {
        memory.end_of_rollback();
        baselines(context, &mut observed, memory).await?;
    } else {
        proofs(context, &mut observed, memory).await;
    }
    Ok(Sight::Release(Box::new((found, observed))))
}

/// Has what is to be undone beside the log in memory; or tells why that cannot be.
async fn unpack(
    context: &Context,
    status: &ReleaseStatus,
    memory: &mut Memory,
) -> Result<Option<String>, ApiError> {
    if memory.unpacked.as_ref().map(|(to, _)| *to) == status.to {
        return Ok(None);
    }
    memory.unpacked = None;
    Ok(match packs::unpack(context, status).await? {
        Ok(unpacked) => {
            memory.unpacked = status.to.map(|to| (to, unpacked));
            None
        }
        Err(why) => Some(why),
    })
}

/// What is asked of a release now: a cache may not have heard that it is to be left alone.
async fn policy(
    context: &Context,
    key: &ReleaseKey,
    release: &Release,
) -> Result<(backout_model::release::Policy, Vec<String>), ApiError> {
    let namespace = context.cluster.namespace(&key.namespace).await?;
    let annotations = namespace.and_then(|namespace| namespace.metadata.annotations).unwrap_or_default();
    Ok(context.policy.resolve(&annotations, &release.spec))
}

/// The objects behind the records, each as it is now; `None` if one is newer than the list of the records.
async fn tracks(
    context: &Context,
    release: &ReleaseKey,
    entries: Vec<Entry>,
    cut: Position,
    status: &ReleaseStatus,
    memory: &Memory,
) -> Result<Option<Vec<Track>>, ApiError> {
    let groups = chain::by_object(entries, &RecordName::parse_all(&status.undone))
        .into_iter()
        .filter_map(|((key, _), entries)| Some((object(key, &entries)?, entries)));
    let mut noted = RecordName::parse_all(&status.confirmed);
    noted.extend(memory.unpacked.iter().flat_map(|(_, all)| all.iter().map(|(entry, _)| entry.name.clone())));
    let noted = &noted;
    let tracks: Vec<_> =
        stream::iter(groups.map(|(object, entries)| track(context, release, object, entries, cut, noted)))
            .buffered(PARALLEL)
            .try_collect()
            .await?;
    Ok(tracks.into_iter().collect())
}

/// What the records of one object are about.
fn object(key: ObjectKey, entries: &[Entry]) -> Option<ObjectRef> {
    let last = &entries.last()?.header.object;
    let kind = entries.iter().map(|entry| &entry.header.object.kind).find(|kind| !kind.is_empty());
    Some(ObjectRef { key, version: last.version.clone(), kind: kind.cloned().unwrap_or_default() })
}

async fn track(
    context: &Context,
    release: &ReleaseKey,
    mut object: ObjectRef,
    entries: Vec<Entry>,
    cut: Position,
    noted: &BTreeSet<RecordName>,
) -> Result<Option<Track>, ApiError> {
    let mut live = match entries.first().filter(|_| object.key.name.is_empty()) {
        Some(create) => context.cluster.tagged(&object, create.name.as_str()).await,
        None => context.cluster.live(&object).await,
    };
    // Not every record is true: one may name a version that never was.
    let versions: BTreeSet<_> = entries.iter().map(|entry| &entry.header.object.version).collect();
    for version in versions {
        if live == Live::Absent && *version != object.version && !object.key.name.is_empty() {
            object.version.clone_from(version);
            live = context.cluster.live(&object).await;
        }
    }
    if let (Live::Present(live), true) = (&live, object.key.name.is_empty()) {
        object.key.name = Image(live).meta("name").unwrap_or_default().to_owned();
    }
    let mut links = links(context, &entries, &live).await?;
    if links.of_release(release).is_some_and(|position| position > cut) {
        return Ok(None);
    }
    links.carried.extend(noted.iter().cloned());
    let chain = Chain::read(&entries, &live, &links.carried, links.lost.as_ref());
    let mut track = Track { object, entries, chain, live };
    let as_written = track.effective().last().map(|last| last.header.object.clone());
    if let Some(as_written) = as_written.filter(|it| it.version != track.object.version) {
        track.object.version = as_written.version;
        track.live = context.cluster.live(&track.object).await;
    }
    if let Live::Present(live) = &track.live {
        Image(live).kind().clone_into(&mut track.object.kind);
    }
    Ok(Some(track))
}

async fn links(context: &Context, entries: &[Entry], live: &Live) -> Result<Links, ApiError> {
    let known: BTreeSet<_> = entries
        .iter()
        .flat_map(|entry| [Some(entry.name.clone()), entry.header.undo.clone()])
        .flatten()
        .collect();
    let pointer = match live {
        Live::Present(object) => Image(object).undo(),
        Live::Absent | Live::Unreadable(_) => None,
    };
    match pointer.filter(|pointer| !known.contains(pointer)) {
        Some(pointer) => context.log.follow(pointer, &known).await,
        None => Ok(Links::default()),
    }
}

/// Reads what the judge compares the objects with: their state before the revision, without data.
async fn baselines(context: &Context, observed: &mut Observed, memory: &mut Memory) -> Result<(), ApiError> {
    let mut wanted = BTreeMap::new();
    for track in &observed.tracks {
        if let Some(first) = track.effective().next()
            && !matches!(first.header.operation, Operation::Create | Operation::Scale)
            && !DATA_ONLY.contains(&track.object.kind.as_str())
        {
            wanted.insert(first.name.clone(), first.clone());
        }
    }
    memory.baselines.retain(|name, _| wanted.contains_key(name));
    // What was unpacked is not in the log any more.
    wanted.retain(|name, _| !memory.baselines.contains_key(name) && !memory.is_unpacked(name));
    let read: Vec<_> = stream::iter(wanted.into_values())
        .map(|entry| async move { context.log.read(&entry).await })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    for record in read.into_iter().flatten() {
        if let Some(mut before) = record.body.before {
            if let Some(metadata) = before.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
            memory.baselines.insert(record.name, before);
        }
    }
    observed.baselines = std::mem::take(&mut memory.baselines);
    Ok(())
}

/// Kinds that are ready by being there.
const DATA_ONLY: [&str; 3] = ["ConfigMap", "Secret", "ServiceAccount"];

/// Reads and verifies the images that the rollback rests on.
async fn proofs(context: &Context, observed: &mut Observed, memory: &mut Memory) {
    observed.proofs = std::mem::take(&mut memory.proofs);
    let unpacked = memory.unpacked.iter().flat_map(|(_, unpacked)| unpacked.iter());
    observed
        .proofs
        .extend(unpacked.map(|(entry, record)| (entry.name.clone(), Proof::Verified(record.clone()))));
    let missing: Vec<_> = observed.unproven().cloned().collect();
    let read: Vec<_> = stream::iter(missing)
        .map(|entry| async move {
            let proof = proof(context, &entry).await;
            (entry.name, proof.unwrap_or_else(|error| Proof::Unknown(error.to_string())))
        })
        .buffered(PARALLEL)
        .collect()
        .await;
    observed.proofs.extend(read);
    let undone =
        observed.tracks.iter().filter(|track| !track.needed(observed.cut(), &observed.proofs).is_empty());
    observed.schemas = context.documents.of(undone.map(|track| track.object.api_version()).collect()).await;
}

async fn proof(context: &Context, entry: &Entry) -> Result<Proof, ApiError> {
    let record = match context.log.read(entry).await? {
        Ok(record) => record,
        Err(garbage) => return Ok(Proof::Refuted(garbage)),
    };
    let outcome = if let Some(outcome) = &entry.verified {
        outcome.clone()
    } else {
        let outcome = verify(&context.cluster, entry, &record).await?;
        context.metrics.verified(&outcome);
        outcome
    };
    Ok(match outcome {
        Verification::Verified => Proof::Verified(record),
        Verification::Unverified(why) => Proof::Unverified(record, why),
        Verification::Refuted(why) => Proof::Refuted(why),
    })
}
