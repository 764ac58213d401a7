//! Keeping what healthy revisions changed, for whoever wants to go back to an older one.

use std::collections::{HashMap, HashSet};

use backout_model::{
    names::{self, ReleaseKey},
    protocol::Observed,
    release::ReleaseStatus,
    undo::{
        Operation, Record,
        chain::{Entry, Verification},
        pack::{self, Label, PACK_LIMIT, Packed},
    },
};
use backout_runtime::api::{ApiError, Class};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::ResourceExt as _;

use crate::{context::Context, observe::PARALLEL, records::release_of, verify::verify};

/// A revision of more records is not kept: reading them all would keep others waiting.
const RECORDS_LIMIT: usize = 1_000;

/// Keeps what the revision under way changed: the name of the pack, or why there is none. An error may pass.
pub(crate) async fn keep(
    context: &Context,
    key: &ReleaseKey,
    observed: &Observed,
) -> Result<Result<String, String>, ApiError> {
    let (Some(uid), Some(sealed)) = (&observed.uid, &observed.status.sealed_position) else {
        return Ok(Err("the revision is not sealed".to_owned()));
    };
    let mut entries: Vec<_> = observed
        .log()
        .filter(|(_, entry, standing)| standing.took_effect() && entry.position <= observed.cut())
        .map(|(_, entry, _)| entry.clone())
        .collect();
    entries.sort_by_key(|entry| entry.position);
    if entries.len() > RECORDS_LIMIT {
        return Ok(Err(format!("it has more than {RECORDS_LIMIT} records")));
    }
    let mut read = stream::iter(entries)
        .map(|entry| async move {
            checked(context, &entry).await.map(|record| record.map(|it| Packed::new(it, entry.position)))
        })
        .buffered(PARALLEL);
    let (mut records, mut size) = (Vec::new(), 0);
    while let Some(record) = read.try_next().await? {
        let record = match record {
            Ok(record) => record,
            Err(why) => return Ok(Err(why)),
        };
        size += record.size();
        if size > PACK_LIMIT {
            break;
        }
        records.push(record);
    }
    drop(read);
    let label = Label { release: key, uid, revision: observed.status.revision, sealed };
    let secrets =
        (size <= PACK_LIMIT).then(|| pack::encode(&label, &records, context.log.namespace())).flatten();
    let Some(secrets) = secrets else {
        return Ok(Err("what it changed is too large to be kept".to_owned()));
    };
    for secret in &secrets {
        context.log.create(secret).await?;
    }
    Ok(Ok(label.name()))
}

/// A record, if the server bears it out.
async fn checked(context: &Context, entry: &Entry) -> Result<Result<Record, String>, ApiError> {
    let record = match context.log.read(entry).await? {
        Ok(record) => record,
        Err(garbage) => return Ok(Err(format!("the record {} cannot be read: {garbage}", entry.name))),
    };
    // A creation has no state before it.
    let outcome = match &entry.verified {
        _ if entry.header.operation == Operation::Create => Verification::Verified,
        Some(outcome) => outcome.clone(),
        None => verify(&context.cluster, entry, &record).await?,
    };
    Ok(match outcome {
        Verification::Verified => Ok(record),
        Verification::Unverified(why) | Verification::Refuted(why) => {
            Err(format!("{} before it is not certain: {why}", entry.header.object))
        }
    })
}

/// What is to be undone beside the log: of the revisions after the one that is asked for.
pub(crate) async fn unpack(
    context: &Context,
    status: &ReleaseStatus,
) -> Result<Result<Vec<(Entry, Record)>, String>, ApiError> {
    let Some(to) = status.to else { return Ok(Ok(Vec::new())) };
    let Some(names) = status.way_back(to) else {
        return Ok(Err(format!("there is no way back to revision {to} any more")));
    };
    let mut all = Vec::new();
    for name in names {
        let Some(bytes) = context.log.pack(name).await? else {
            return Ok(Err(format!("the pack {name} in Backout's namespace is gone")));
        };
        match pack::decode(&bytes) {
            Ok(records) => all.extend(records.into_iter().map(Packed::unpack)),
            Err(why) => {
                return Ok(Err(format!("the pack {name} in Backout's namespace cannot be read: {why}")));
            }
        }
    }
    all.sort_by_key(|(entry, _)| entry.position);
    Ok(Ok(all))
}

/// Deletes the packs that no history names, and did not the last time either, when they were noted in `unnamed`: a new one
/// is about to be named. Returns how many bytes the others take.
pub(crate) async fn collect(context: &Context, unnamed: &mut HashSet<String>) -> Result<u64, ApiError> {
    let heads = context.log.parts(names::PART_PACK).await?;
    let mut kept: HashMap<_, Vec<_>> = HashMap::new();
    for head in &heads {
        kept.entry(release_of(head)).or_default().push(head.name_any());
    }
    let mut named = HashSet::new();
    for (key, heads) in kept {
        let Some(key) = key else { continue };
        match context.cluster.release(&key).await {
            Ok(release) => {
                let history = release.status.unwrap_or_default().history;
                named.extend(history.into_iter().filter_map(|past| past.pack));
            }
            Err(error) if error.is(Class::NotFound) => {}
            // What it names nobody knows: all of it stays, and that of others is no worse for it.
            Err(error) if error.is(Class::Rejected) => named.extend(heads),
            Err(error) => return Err(error),
        }
    }
    let pieces = context.log.parts(names::PART_PACK_PIECE).await?;
    let is_named = |name: &str| {
        named.contains(name) || name.rsplit_once('-').is_some_and(|(head, _)| named.contains(head))
    };
    let (before, mut bytes) = (std::mem::take(unnamed), 0);
    // The head first, so that a part of a pack is never taken for the whole.
    for secret in heads.into_iter().chain(pieces) {
        let name = secret.name_any();
        if !is_named(&name) {
            if before.contains(&name) {
                context.log.remove(secret).await?;
                continue;
            }
            unnamed.insert(name);
        }
        let size = secret.annotations().get(names::BYTES).and_then(|text| text.parse::<u64>().ok());
        bytes += size.unwrap_or_default();
    }
    Ok(bytes)
}
