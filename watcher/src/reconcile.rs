//! One look at a release: observe, decide, perform.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backout_model::{
    names::{ReleaseKey, ReleaseName},
    protocol::{self, Wake},
    release::Release,
};
use backout_runtime::api::{ApiError, Class};
use jiff::Timestamp;
use kube::{ResourceExt as _, api::PartialObjectMeta, runtime::controller::Action};

use crate::{
    context::Context,
    memory::Memory,
    observe::{self, Sight},
    perform,
};

/// Why a look at a release came to nothing. Nothing is lost: it is looked at again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server did not do what was asked.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The resource has no name that a release can have.
    #[error("a Release must be named like a label value, in lower case")]
    Name,
}

impl Error {
    pub(crate) fn metric_label(&self) -> &'static str {
        match self {
            Self::Api(error) => error.class.metric_label(),
            Self::Name => NAME,
        }
    }
}

/// See [`Error::metric_label`].
pub(crate) const NAME: &str = "name";

/// Looks at one release, decides, and does what was decided.
pub(crate) async fn reconcile(
    meta: Arc<PartialObjectMeta<Release>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let key = key(&meta)?;
    let timer = context.metrics.reconcile_seconds.start_timer();
    let mut memory = context.memories.take(&key);
    let outcome = look(&context, &key, &mut memory).await;
    context.memories.put(&key, memory);
    timer.observe_duration();
    Ok(outcome?)
}

const AT_ONCE: Action = Action::requeue(Duration::ZERO);

async fn look(context: &Context, key: &ReleaseKey, memory: &mut Memory) -> Result<Action, ApiError> {
    let (release, observed) = match observe::release(context, key, memory).await? {
        Sight::Release(seen) => *seen,
        Sight::Outdated => return Ok(AT_ONCE),
        Sight::Gone => return Ok(Action::await_change()),
    };
    let now = Instant::now();
    memory.observed = Some(now);
    let decision = protocol::step(&observed, Timestamp::now());
    memory.decided(&decision.status, now);
    memory.sightings = decision.sightings.clone();
    let wake = decision.wake;
    let performed = perform::all(context, key, &release, &observed, decision, memory).await;
    memory.keep(observed);
    match performed {
        // Somebody else was faster: look again.
        Err(error) if error.is(Class::Conflict) => Ok(AT_ONCE),
        Err(error) => Err(error),
        Ok(()) => Ok(match wake {
            Wake::After(pause) => Action::requeue(pause),
            Wake::OnChange => Action::await_change(),
        }),
    }
}

/// The key of a `Release` resource.
pub(crate) fn key(meta: &PartialObjectMeta<Release>) -> Result<ReleaseKey, Error> {
    let name = ReleaseName::from_mark(&meta.name_any()).filter(|name| name.as_str() == meta.name_any());
    Ok(ReleaseKey::new(meta.namespace().unwrap_or_default(), name.ok_or(Error::Name)?))
}
