//! One request from its bytes to its answer.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backout_model::{
    admission::{
        Answer, Decision, Invalid, Recording, Request, Triage, Warning, Write, answer, parse, triage,
    },
    identity::Deployers,
    names::ReleaseKey,
};
use backout_runtime::api::ApiError;
use tokio::time::Instant;

use crate::{
    joins::Joins,
    log::Log,
    metrics::{Metrics, outcome},
    releases::Releases,
};

/// More releases than this are warned anew now and then.
const WARNED_MAX: usize = 4096;

/// For how long a write is held that a fence is about to refuse.
const SECOND_THOUGHT: Duration = Duration::from_secs(1);

/// Decides requests.
pub struct Reviewer {
    deployers: Deployers,
    releases: Releases,
    joins: Joins,
    log: Log,
    metrics: Metrics,
    warned: Mutex<HashMap<ReleaseKey, Begun>>,
}

/// A revision whose deployer was told: of which incarnation of the release, and its number.
type Begun = (Option<String>, u64);

/// An answer, and how the request came out, for the metrics.
#[derive(Debug)]
pub struct Reviewed {
    /// The AdmissionReview to send back.
    pub body: Vec<u8>,
    /// A bounded value for a metric's label.
    pub outcome: &'static str,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// The request is none.
    #[error("backout: {0}")]
    Invalid(#[from] Invalid),
    /// The record is not durable.
    #[error(
        "backout: the undo record of this write could not be stored ({0}); nothing was changed. Try again; if it \
         persists, see the logs of the backout webhook"
    )]
    NotRecorded(#[source] ApiError),
    /// Whether the deployer may join the release is not known.
    #[error(
        "backout: whether this object may be part of a release in another namespace could not be asked ({0}); nothing \
         was changed. Try again"
    )]
    NotAsked(#[source] ApiError),
    /// Whether the release is fenced is not known.
    #[error("backout: the state of the release could not be read ({0}); nothing was changed. Try again")]
    NotRead(#[source] ApiError),
}

impl Reviewer {
    /// A reviewer that has told nobody anything yet.
    pub fn new(deployers: Deployers, releases: Releases, joins: Joins, log: Log, metrics: Metrics) -> Self {
        Self { deployers, releases, joins, log, metrics, warned: Mutex::default() }
    }

    /// Answers the request in `body` before `until`.
    pub async fn review(&self, body: &[u8], until: Instant) -> Result<Reviewed, ReviewError> {
        let request = parse(body)?;
        let write = match triage(&request, &self.deployers)? {
            Triage::Pass(why) => Err(why),
            Triage::Write(write) => Ok(*write),
            Triage::Join(joining) => {
                let asked = self.joins.allowed(&request.user_info, joining.release(), until).await;
                self.metrics.joined(&asked);
                joining.answered(asked.map_err(ReviewError::NotAsked)?)
            }
        };
        let decision = match write {
            Ok(write) => self.decide(write, until).await?,
            Err(why) => Decision::Pass { why, patch: None },
        };
        match decision {
            Decision::Pass { why, patch } => {
                let allow = Answer::Allow { patch: patch.as_ref(), warning: None, undo: None };
                Ok(Reviewed { body: answer(&request.uid, allow), outcome: why.metric_label() })
            }
            Decision::Refuse { message } => Ok(refuse(&request, &message)),
            Decision::Record(recording) => self.record(&request, *recording, until).await,
        }
    }

    async fn decide<'a>(&self, write: Write<'a>, until: Instant) -> Result<Decision<'a>, ReviewError> {
        let cached = self.releases.cached(write.release());
        if !write.needs_live_release(cached.release()) {
            return Ok(write.decide(cached.release()));
        }
        let read = || self.releases.live(write.release(), until);
        let mut live = read().await.map_err(ReviewError::NotRead)?;
        // A transaction that begins just when the verdict falls is none that was aborted: the watcher will see that.
        let soon = until.min(Instant::now() + SECOND_THOUGHT);
        if write.is_fenced(live.as_ref()) && self.releases.fence_is_down(write.release(), soon).await {
            live = read().await.map_err(ReviewError::NotRead)?;
        }
        if let Some(fence) = live.as_ref().and_then(|release| release.status.as_ref()?.fence.as_ref())
            && write.is_fenced(live.as_ref())
        {
            let release = write.release();
            tracing::info!(id = %release.revision(fence.revision), %release, user = fence.user, "fenced");
        }
        Ok(write.decide(live.as_ref()))
    }

    async fn record(
        &self,
        request: &Request<'_>,
        recording: Recording<'_>,
        until: Instant,
    ) -> Result<Reviewed, ReviewError> {
        let Recording { draft, patch, warning, knocks } = recording;
        let header = &draft.header;
        // The number is what the webhook knows: where it turns out to be another one the watcher tells.
        let id = header.release.revision(header.revision);
        let appended = self.log.append(&draft.encode(self.log.namespace()), until).await;
        let bytes = appended.map_err(|error| {
            self.metrics.not_recorded(error.class);
            tracing::error!(%id, %error, object = %header.object, release = %header.release, "not recorded");
            ReviewError::NotRecorded(error)
        })?;
        self.metrics.recorded(header.operation, bytes);
        tracing::info!(
            %id, undo = %draft.name, operation = ?header.operation, object = %header.object,
            release = %header.release, revision = header.revision, user = header.user, tool = header.tool,
            bytes, "recorded"
        );
        if knocks && !self.releases.fence_is_down(&header.release, until).await {
            tracing::info!(%id, release = %header.release, user = header.user, "fenced");
            return Ok(refuse(request, STILL_FENCED));
        }
        let warning = warning.filter(|warning| self.is_news(warning));
        let warning = warning.as_ref().map(|warning| warning.text.as_str());
        let allow = Answer::Allow { patch: patch.as_ref(), warning, undo: Some(&draft.name) };
        Ok(Reviewed { body: answer(&request.uid, allow), outcome: outcome::RECORDED })
    }

    fn is_news(&self, warning: &Warning) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() >= WARNED_MAX {
            warned.clear();
        }
        let begun = (warning.release_uid.clone(), warning.revision);
        let told = warned.insert(warning.release.clone(), begun.clone());
        // The Release comes into being while its first revision is written.
        !told.is_some_and(|(uid, revision)| revision == begun.1 && (uid.is_none() || uid == begun.0))
    }
}

const STILL_FENCED: &str = "backout: the last revision of this release failed and is being rolled back; nothing was \
                            changed. Try again in a few seconds";

fn refuse(request: &Request<'_>, message: &str) -> Reviewed {
    let deny = Answer::Deny { message };
    Reviewed { body: answer(&request.uid, deny), outcome: outcome::FENCED }
}
