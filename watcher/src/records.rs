//! Reading the undo log.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use backout_model::{
    names::{self, RecordName, ReleaseKey, ReleaseName},
    object::Position,
    protocol::Spent,
    undo::{
        Header, Record,
        chain::{Entry, Verification},
        codec::{self, Encoded},
        pack,
    },
};
use backout_runtime::api::{ApiError, Class, deadline};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, PartialObjectMeta, Patch},
};
use tokio::sync::Semaphore;

use crate::{memory::Memory, params};

/// A LIST of Secrets, metadata only: up to some thousands.
const LIST: Duration = Duration::from_secs(30);
/// So many records at a time: what is read of each is far more than what is kept.
const PAGE: u32 = 500;
const CALL: Duration = Duration::from_secs(10);
/// How many links of other releases' records are followed from an object's undo pointer.
const LINKS: usize = 32;

/// The log as it lies in Backout's own namespace.
#[derive(Clone)]
pub(crate) struct Log {
    secrets: Api<Secret>,
    namespace: String,
    decoding: Arc<Semaphore>,
}

/// How many records are decoded at a time: the largest take much memory.
const DECODING: usize = 2;

/// The records of one release at one log position.
#[derive(Default)]
pub(crate) struct Found {
    /// In log order.
    pub(crate) entries: Vec<Entry>,
    /// Of an earlier Release of the same name.
    pub(crate) dead: Vec<Spent>,
    /// What cannot be read, a sentence each.
    pub(crate) problems: Vec<String>,
    /// The position of the LIST.
    pub(crate) cut: Position,
}

/// Where an object's undo pointer leads outside of a release's own records.
#[derive(Default)]
pub(crate) struct Links {
    /// Pointers found on the way.
    pub(crate) carried: BTreeSet<RecordName>,
    /// The object's own pointer, if the way from it ends at a record that does not exist, or does not end soon.
    pub(crate) lost: Option<RecordName>,
    /// The release and log position of the first record on the way.
    first: Option<(ReleaseKey, Position)>,
}

impl Links {
    /// The log position of the object's own pointer, if it is a record of `release`.
    pub(crate) fn of_release(&self, release: &ReleaseKey) -> Option<Position> {
        self.first.as_ref().filter(|(key, _)| key == release).map(|(_, position)| *position)
    }
}

impl Log {
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        let decoding = Arc::new(Semaphore::new(DECODING));
        Self { secrets: Api::namespaced(client, namespace), namespace: namespace.to_owned(), decoding }
    }

    /// The namespace of the records.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Makes a record durable: its pieces first, then the head, which makes it exist. One that is there already has this
    /// very content.
    pub(crate) async fn append(&self, encoded: &Encoded) -> Result<(), ApiError> {
        for part in encoded.pieces.iter().chain([&encoded.head]) {
            self.create(part).await?;
        }
        Ok(())
    }

    /// Creates a Secret whose name tells its content: one that is there already is the same.
    pub(crate) async fn create(&self, secret: &Secret) -> Result<(), ApiError> {
        match deadline(CALL, "POST undo record", self.secrets.create(&params::post(), secret)).await {
            Err(error) if !error.is(Class::AlreadyExists) => Err(error),
            _ => Ok(()),
        }
    }

    /// The bytes of a pack.
    pub(crate) async fn pack(&self, name: &str) -> Result<Option<Vec<u8>>, ApiError> {
        let Some(mut head) = self.get(name).await? else { return Ok(None) };
        let pieces = pack::pieces(head.annotations()).unwrap_or_default();
        Ok(self.whole(data(&mut head), name, pieces).await?.ok())
    }

    /// What one Secret holds, and so many further ones; the name of the one that is missing, if one is.
    async fn whole(
        &self,
        mut body: Vec<u8>,
        name: &str,
        pieces: usize,
    ) -> Result<Result<Vec<u8>, String>, ApiError> {
        for index in 0..pieces {
            let name = names::piece(name, index);
            let Some(mut piece) = self.get(&name).await? else { return Ok(Err(name)) };
            body.extend(data(&mut piece));
        }
        Ok(Ok(body))
    }

    /// All Secrets that are such a part of something, of whatever release.
    pub(crate) async fn parts(&self, part: &str) -> Result<Vec<PartialObjectMeta<Secret>>, ApiError> {
        let params = ListParams::default().labels(&format!("{}={part}", names::PART));
        let operation = format!("LIST Secrets that are a {part}");
        Ok(deadline(LIST, operation, self.secrets.list_metadata(&params)).await?.items)
    }

    /// All records of a release, by one consistent LIST; `uid` is the Release's.
    pub(crate) async fn of(
        &self,
        key: &ReleaseKey,
        uid: Option<&str>,
        memory: &mut Memory,
    ) -> Result<Found, ApiError> {
        let selector = format!(
            "{}={},{}={},{}={}",
            names::PART,
            names::PART_HEAD,
            names::RELEASE_NAMESPACE,
            key.namespace,
            names::RELEASE,
            key.name
        );
        let mut params = ListParams::default().labels(&selector).limit(PAGE);
        let mut found = Found::default();
        let (now, until) = (Instant::now(), Instant::now() + LIST);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let page = self.secrets.list_metadata(&params);
            let page = deadline(left, format!("LIST undo records of {key}"), page).await?;
            // All pages are of the position of the first one.
            found.cut =
                page.metadata.resource_version.as_deref().and_then(Position::parse).unwrap_or_default();
            for head in &page.items {
                match entry(head, key, &mut memory.first_seen, now) {
                    Ok(entry) if memory.is_dead(&entry.name) || is_of_another(&entry, uid) => {
                        found.dead.push(Spent::from(&entry));
                    }
                    Ok(entry) => found.entries.push(entry),
                    Err(why) => found.problems.push(unreadable(&head.name_any(), &why)),
                }
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                break;
            }
        }
        found.entries.sort_by_key(|entry| entry.position);
        memory.is_now(found.entries.iter().map(|entry| &entry.name));
        Ok(found)
    }

    /// Reads a record with its images, and checks that they are what its name says.
    pub(crate) async fn read(&self, entry: &Entry) -> Result<Result<Record, String>, ApiError> {
        let Some(mut head) = self.get(entry.name.as_str()).await? else {
            return Ok(Err("it does not exist any more".to_owned()));
        };
        let body = match self.whole(data(&mut head), entry.name.as_str(), entry.pieces).await? {
            Ok(body) => body,
            Err(missing) => return Ok(Err(format!("its part {missing} is missing"))),
        };
        let _turn = self.decoding.acquire().await;
        Ok(codec::decode(&entry.name, head.annotations(), &body).map_err(|garbage| garbage.to_string()))
    }

    /// Whether there is such a record, as the server itself says.
    pub(crate) async fn has(&self, name: &str) -> Result<bool, ApiError> {
        let call = self.secrets.get_metadata_opt(name);
        deadline(CALL, format!("GET undo record {name}"), call).await.map(|found| found.is_some())
    }

    async fn get(&self, name: &str) -> Result<Option<Secret>, ApiError> {
        match deadline(CALL, format!("GET undo record {name}"), self.secrets.get(name)).await {
            Ok(secret) => Ok(Some(secret)),
            Err(error) if error.is(Class::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Follows the undo pointer of an object through records that are not in `known`.
    pub(crate) async fn follow(
        &self,
        pointer: RecordName,
        known: &BTreeSet<RecordName>,
    ) -> Result<Links, ApiError> {
        let mut links = Links::default();
        let mut next = Some(pointer.clone());
        while let Some(link) = next.take() {
            if known.contains(&link) {
                links.carried.insert(link);
                break;
            }
            let call = self.secrets.get_metadata(link.as_str());
            let found = match deadline(CALL, format!("GET undo record {link}"), call).await {
                Ok(head) => Some(head),
                Err(error) if error.is(Class::NotFound) => None,
                Err(error) => return Err(error),
            };
            let header = found.as_ref().and_then(|head| header(head).ok());
            let (Some(head), Some(header), true) = (found, header, links.carried.len() < LINKS) else {
                links.lost = Some(pointer);
                break;
            };
            if links.first.is_none() {
                links.first = Some((header.release, position(&head).unwrap_or_default()));
            }
            links.carried.insert(link);
            next = header.undo;
        }
        Ok(links)
    }

    /// Notes the outcome of the exact-revision check on a record, and its log position, which the note moves.
    pub(crate) async fn note(&self, entry: &Entry, outcome: &Verification) -> Result<(), ApiError> {
        self.annotate(entry, names::VERIFIED, &outcome.to_string()).await
    }

    /// Notes on a record that it belongs to the Release with this uid.
    pub(crate) async fn adopt(&self, entry: &Entry, uid: &str) -> Result<(), ApiError> {
        self.annotate(entry, names::ADOPTED_BY, uid).await
    }

    async fn annotate(&self, entry: &Entry, annotation: &str, value: &str) -> Result<(), ApiError> {
        let patch = serde_json::json!({"metadata": {
            "resourceVersion": entry.resource_version,
            "annotations": {annotation: value, names::POSITION: entry.position.to_string()},
        }});
        let (params, patch) = (params::patch(), Patch::Merge(&patch));
        let call = self.secrets.patch_metadata(entry.name.as_str(), &params, &patch);
        deadline(CALL, format!("PATCH undo record {}", entry.name), call).await.map(drop)
    }

    /// Deletes a record: the head first, so that a part of it is never taken for the whole.
    pub(crate) async fn collect(&self, spent: &Spent) -> Result<(), ApiError> {
        self.delete(&spent.name, &params::exactly(None, Some(spent.resource_version.clone()))).await?;
        for index in 0..spent.pieces {
            // Named by nothing any more, and no name is given twice.
            self.delete(&names::piece(&spent.name, index), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// Deletes a Secret that nothing leads to any more, as it was seen.
    pub(crate) async fn remove(&self, seen: PartialObjectMeta<Secret>) -> Result<(), ApiError> {
        self.delete(&seen.name_any(), &params::delete(seen.metadata)).await
    }

    async fn delete(&self, name: &str, params: &DeleteParams) -> Result<(), ApiError> {
        match deadline(CALL, format!("DELETE undo record {name}"), self.secrets.delete(name, params)).await {
            Err(error) if !error.is(Class::NotFound) => Err(error),
            _ => Ok(()),
        }
    }
}

/// The release that a record's labels name.
pub(crate) fn release_of(record: &PartialObjectMeta<Secret>) -> Option<ReleaseKey> {
    let namespace = record.labels().get(names::RELEASE_NAMESPACE)?;
    let name = record.labels().get(names::RELEASE)?;
    Some(ReleaseKey::new(namespace.clone(), ReleaseName::from_mark(name)?))
}

/// Whether a record is of an earlier Release of the same name.
fn is_of_another(entry: &Entry, uid: Option<&str>) -> bool {
    entry.owner.as_deref().is_some_and(|other| Some(other) != uid)
}

/// The uid of the Release that a record belongs to, as the webhook knew it or the watcher noted it.
pub(crate) fn owner(head: &PartialObjectMeta<Secret>, header: &Header) -> Option<String> {
    header.release_uid.clone().or_else(|| head.annotations().get(names::ADOPTED_BY).cloned())
}

/// What people are told of a Secret that is no record.
pub(crate) fn unreadable(name: &str, why: &str) -> String {
    format!(
        "The undo record {name} is ignored, it cannot be read: {why}. Delete the Secret once you know where it comes \
         from."
    )
}

/// Reads the header of a record's head.
pub(crate) fn header(head: &PartialObjectMeta<Secret>) -> Result<Header, String> {
    codec::decode_header(head.annotations()).map_err(|garbage| garbage.to_string())
}

/// The log position of a record: its resourceVersion, as long as nothing was noted on it.
pub(crate) fn position(head: &PartialObjectMeta<Secret>) -> Option<Position> {
    let noted = head.annotations().get(names::POSITION);
    Position::parse(noted.unwrap_or(&head.resource_version()?))
}

fn data(secret: &mut Secret) -> Vec<u8> {
    let body = secret.data.as_mut().and_then(|data| data.remove(codec::BODY));
    body.map(|bytes| bytes.0).unwrap_or_default()
}

fn entry(
    head: &PartialObjectMeta<Secret>,
    key: &ReleaseKey,
    first_seen: &mut HashMap<RecordName, Instant>,
    now: Instant,
) -> Result<Entry, String> {
    let name = RecordName::parse(&head.name_any()).ok_or("its name is not that of a record")?;
    let header = header(head)?;
    if header.release != *key {
        return Err(format!("it is of the release {}", header.release));
    }
    let annotation = |key: &str| head.annotations().get(key).map(String::as_str);
    let resource_version = head.resource_version().ok_or("it has no resourceVersion")?;
    // Noted when the resourceVersion moved on: it cannot lie after it.
    let position = Position::parse(annotation(names::POSITION).unwrap_or(&resource_version))
        .filter(|position| Some(*position) <= Position::parse(&resource_version))
        .ok_or("its position is no number, or lies in the future")?;
    let pieces = codec::pieces(head.annotations()).map_err(|garbage| garbage.to_string())?;
    Ok(Entry {
        position,
        created: head.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        age: now.saturating_duration_since(*first_seen.entry(name.clone()).or_insert(now)),
        owner: owner(head, &header),
        verified: annotation(names::VERIFIED).and_then(Verification::parse),
        name,
        resource_version,
        pieces,
        header,
    })
}
