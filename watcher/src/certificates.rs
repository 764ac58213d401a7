//! The webhook's certificate: made, renewed, and made known to the API server.
//!
//! What to do next `backout-model` decides. It is done under the condition that nobody was faster, then everything is read
//! again: several watchers do not get into each other's way, and one that dies leaves nothing half done.

mod make;
mod places;
mod read;

use std::{fmt::Debug, sync::Arc, time::Duration};

use backout_model::certificates::{self, Fingerprint, Observed, Settings, Step};
use backout_runtime::{
    api::{ApiError, Class},
    readiness::Gate,
};
use futures::{
    StreamExt as _, future,
    stream::{self, BoxStream},
};
use jiff::Timestamp;
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret};
use kube::{
    Api, Client,
    api::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use self::places::{Content, Places};
use crate::metrics::{Metrics, Watch};

/// A look is taken at least so often, whatever the watches tell.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// A look is not taken sooner than this after the last one, whoever undoes what we do.
const PAUSE: Duration = Duration::from_millis(500);
/// How soon to try again after an error; each time later, up to [`LOOK_EVERY`].
const RETRY: Duration = Duration::from_secs(1);
/// More steps than any state needs.
const STEPS: usize = 10;

/// Where the certificate lies and is used, by name.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) namespace: String,
    /// The Secret with the leaf.
    pub(crate) serving: String,
    /// The Secret with the authority.
    pub(crate) authority: String,
    /// The webhook's configuration.
    pub(crate) configuration: String,
}

/// Keeps the webhook's certificate.
pub(crate) struct Certificates {
    pub(crate) client: Client,
    pub(crate) names: Names,
    pub(crate) settings: Settings,
    /// Where it is told when each certificate ends.
    pub(crate) metrics: Metrics,
    /// Opens once everything is in place.
    pub(crate) gate: Gate,
}

impl Certificates {
    /// Keeps it forever.
    pub(crate) async fn run(self, watches: watcher::Config) {
        let changed = Arc::new(Notify::new());
        future::join(self.follow(&changed, watches), self.look_again_and_again(&changed)).await;
    }

    /// Tells of every change of the three places.
    async fn follow(&self, changed: &Notify, watches: watcher::Config) {
        let named = |name: &str| watches.clone().fields(&format!("metadata.name={name}"));
        let secrets =
            Api::<PartialObjectMeta<Secret>>::namespaced(self.client.clone(), &self.names.namespace);
        let configurations = Api::<PartialObjectMeta<MutatingWebhookConfiguration>>::all(self.client.clone());
        let mut events = stream::select_all([
            changes(secrets.clone(), named(&self.names.serving)),
            changes(secrets, named(&self.names.authority)),
            changes(configurations, named(&self.names.configuration)),
        ]);
        while let Some(event) = events.next().await {
            if let Err(error) = event {
                self.metrics.interrupted(Watch::Certificates);
                tracing::warn!(%error, "a watch for the webhook's certificate was interrupted");
            }
            changed.notify_one();
        }
    }

    async fn look_again_and_again(&self, changed: &Notify) {
        let places = Places::new(self.client.clone(), self.names.clone());
        let (mut memory, mut retry) = (Memory::default(), RETRY);
        loop {
            let wait = match self.bring_into_order(&places, &mut memory).await {
                Ok(wait) => {
                    retry = RETRY;
                    wait.min(LOOK_EVERY)
                }
                Err(error) => {
                    tracing::warn!(%error, "the webhook's certificate could not be seen to, it is tried again");
                    let wait = retry;
                    retry = (retry * 2).min(LOOK_EVERY);
                    wait
                }
            };
            sleep(PAUSE).await;
            // Either way it is time.
            drop(timeout(wait, changed.notified()).await);
        }
    }

    /// Takes one step after the other until there is none to take; how long to wait for the next.
    async fn bring_into_order(&self, places: &Places, memory: &mut Memory) -> Result<Duration, Error> {
        for _ in 0..STEPS {
            let content = places.read().await?;
            let seen = memory.observe(&content);
            self.measure(&seen);
            let step = certificates::step(&seen, &self.settings, Timestamp::now());
            if let Step::Wait(wait) = step {
                if seen.configuration.is_some() {
                    self.gate.open();
                } else {
                    let name = &self.names.configuration;
                    self.gate.close(format!("there is no MutatingWebhookConfiguration {name}"));
                }
                return Ok(wait);
            }
            match self.perform(places, &content, &step).await {
                Err(Error::Api(error)) if OUTRUN.contains(&error.class) => {}
                done => done?,
            }
        }
        Ok(RETRY)
    }

    async fn perform(&self, places: &Places, content: &Content, step: &Step) -> Result<(), Error> {
        match step {
            Step::MakeAuthority { validity, keep } => {
                let made = make::authority(validity)?;
                let kept =
                    content.authorities.iter().find(|held| Some(&held.certificate.id) == keep.as_ref());
                places.keep_authorities(content, &made, kept).await?;
                tracing::info!(until = %validity.until, "a new authority for the webhook's certificate");
            }
            Step::Retire { keep } => {
                let kept = content.held(keep)?;
                places.keep_authorities(content, &kept.pair(), None).await?;
                tracing::info!(authority = %keep, "the authority before this one is not needed any more");
            }
            Step::Trust(ids) => {
                let trusted: Vec<_> = ids.iter().filter_map(|id| content.known.get(id)).collect();
                places.trust(content, &trusted).await?;
                let authorities = ids.iter().map(Fingerprint::to_string).collect::<Vec<_>>().join(" ");
                tracing::info!(
                    authorities,
                    configuration = self.names.configuration,
                    "the API server is told whom to trust"
                );
            }
            Step::MakeLeaf { by, validity } => {
                let made = make::leaf(&self.settings.names, validity, content.held(by)?)?;
                places.serve(content, &made).await?;
                tracing::info!(authority = %by, until = %validity.until, "a new certificate for the webhook");
            }
            Step::Wait(_) => {}
        }
        Ok(())
    }

    /// When what is really there ends.
    fn measure(&self, seen: &Observed) {
        let expiry = &self.metrics.certificate_expiry;
        let leaf = seen.leaf.as_ref();
        let issuer = leaf.and_then(|leaf| leaf.issuer.as_ref()).and_then(|id| seen.known.get(id));
        for (name, validity) in [("leaf", leaf.map(|leaf| &leaf.validity)), ("ca", issuer)] {
            match validity {
                Some(validity) => {
                    expiry.with_label_values(&[name]).set(validity.until.as_second());
                }
                // An error means that it was not there before either.
                None => drop(expiry.remove_label_values(&[name])),
            }
        }
    }
}

/// That something changed, whatever it is.
fn changes<K>(
    objects: Api<PartialObjectMeta<K>>,
    watches: watcher::Config,
) -> BoxStream<'static, watcher::Result<()>>
where
    PartialObjectMeta<K>: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(objects, watches).default_backoff().map(|event| event.map(drop)).boxed()
}

/// Somebody else was faster: it is looked at again.
const OUTRUN: [Class; 3] = [Class::Conflict, Class::AlreadyExists, Class::NotFound];

/// Since when things are as they are, by this process's clock. A restart makes all waits longer, none shorter.
#[derive(Default)]
struct Memory {
    bundles: Option<(String, Instant)>,
    leaf: Option<(Fingerprint, Instant)>,
}

impl Memory {
    fn observe(&mut self, content: &Content) -> Observed {
        let now = Instant::now();
        let seen = content.observed();
        let bundles_seen_for = since(&mut self.bundles, content.bundles_version(), now);
        let leaf_seen_for = since(&mut self.leaf, content.leaf_version(), now);
        let configuration = seen.configuration;
        let configuration =
            configuration.map(|found| certificates::Configuration { seen_for: bundles_seen_for, ..found });
        Observed { configuration, leaf_seen_for, ..seen }
    }
}

/// For how long this version has been seen; from now on another one, if it is.
fn since<T: PartialEq>(remembered: &mut Option<(T, Instant)>, version: Option<T>, now: Instant) -> Duration {
    let Some(version) = version else {
        *remembered = None;
        return Duration::ZERO;
    };
    match remembered {
        Some((seen, since)) if *seen == version => now.duration_since(*since),
        other => {
            *other = Some((version, now));
            Duration::ZERO
        }
    }
}

/// Why the certificate could not be seen to.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A certificate could not be made.
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The Secret lacks what was there a moment ago.
    #[error("the authority {0} is not there")]
    Lost(Fingerprint),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_seen_from_the_first_look_that_shows_it_without_a_break() {
        let (mut memory, start) = (None, Instant::now());
        let second = Duration::from_secs(1);
        let at = |number: u32| start + second * number;
        for (number, version, seen_for) in [
            (0, Some("a"), 0),
            (2, Some("a"), 2),
            (3, Some("b"), 0),
            (5, Some("b"), 2),
            (6, None, 0),
            (7, Some("b"), 0),
        ] {
            assert_eq!(since(&mut memory, version, at(number)), second * seen_for, "at {number}");
        }
    }
}
