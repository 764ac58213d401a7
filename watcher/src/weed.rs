//! Records that no object bears out yet: their images are read once, for what cannot be read is no record and must not
//! keep a release waiting.

use backout_model::{
    rollback::Track,
    undo::{
        Operation,
        chain::{Entry, Standing},
    },
};
use backout_runtime::api::ApiError;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{context::Context, memory::Memory, observe::PARALLEL, records::unreadable};

/// Takes unreadable records out of `tracks`, and says which, a sentence each.
pub(crate) async fn weed(
    context: &Context,
    tracks: &mut Vec<Track>,
    memory: &mut Memory,
) -> Result<Vec<String>, ApiError> {
    let unread: Vec<Entry> = tracks
        .iter()
        .flat_map(Track::records)
        .filter(|(entry, standing)| {
            is_unsupported(entry, *standing)
                && !memory.readable.contains_key(&entry.name)
                && !memory.is_unpacked(&entry.name)
        })
        .map(|(entry, _)| entry.clone())
        .collect();
    let read: Vec<_> = stream::iter(unread)
        .map(|entry| async move { context.log.read(&entry).await.map(|read| (entry.name, read.err())) })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    memory.readable.extend(read);
    let mut problems = Vec::new();
    for track in tracks.iter_mut() {
        let told = track.entries.iter().filter_map(|entry| Some((&entry.name, memory.garbage(&entry.name)?)));
        problems.extend(told.map(|(name, why)| unreadable(name.as_str(), why)));
        track.retain(|entry| memory.garbage(&entry.name).is_none());
    }
    tracks.retain(|track| !track.entries.is_empty());
    Ok(problems)
}

/// A deletion is confirmed by the object's absence alone, and a pending write by nothing.
fn is_unsupported(entry: &Entry, standing: Standing) -> bool {
    match standing {
        Standing::Pending => true,
        Standing::Claimed => entry.header.operation == Operation::Delete,
        Standing::Confirmed | Standing::Aborted => false,
    }
}
