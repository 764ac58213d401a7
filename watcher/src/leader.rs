//! Working only while nobody else does: by a Lease, which is renewed as long as there is work.

use std::time::Duration;

use backout_model::lease::{self, GIVE_UP, NAME, PERIOD};
use backout_runtime::{
    api::{ApiError, Class, deadline},
    readiness::Gate,
};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use prometheus::IntGauge;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::params;

/// Shorter than what [`GIVE_UP`] leaves: one call that hangs does not cost the Lease.
const CALL: Duration = Duration::from_secs(3);

/// The Lease, and what is known of it.
pub(crate) struct Leader {
    leases: Api<Lease>,
    me: String,
    /// Opened once the Lease could be read.
    gate: Gate,
    leads: IntGauge,
    /// As it was last seen or written, and since when it is so.
    seen: Option<(Lease, Instant)>,
}

impl Leader {
    pub(crate) fn new(client: Client, namespace: &str, me: &str, gate: Gate, leads: IntGauge) -> Self {
        Self { leases: Api::namespaced(client, namespace), me: me.to_owned(), gate, leads, seen: None }
    }

    /// Has `work` done whenever the Lease is held, until it ends by itself or `stop` is cancelled. Where the Lease is lost
    /// the work is dropped where it stands, and begun anew when the Lease is there again.
    pub(crate) async fn lead<W>(
        &mut self,
        stop: &CancellationToken,
        work: impl Fn() -> W,
    ) -> anyhow::Result<()>
    where
        W: Future<Output = anyhow::Result<()>>,
    {
        loop {
            let renewed;
            tokio::select! {
                gained = self.gain() => renewed = gained,
                () = stop.cancelled() => return Ok(()),
            }
            tracing::info!(identity = self.me, "leads");
            self.leads.set(1);
            let outcome = tokio::select! {
                outcome = work() => Some(outcome),
                () = self.keep(renewed) => None,
            };
            self.leads.set(0);
            if let Some(outcome) = outcome {
                self.release().await;
                return outcome;
            }
            tracing::warn!(
                identity = self.me,
                "leads no more: the Lease is another's, or could not be renewed"
            );
        }
    }

    /// Waits until the Lease is held; since when at least nobody else takes it.
    async fn gain(&mut self) -> Instant {
        loop {
            let asked = Instant::now();
            match self.claim().await {
                Ok(true) => return asked,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the Lease could not be had"),
            }
            sleep(PERIOD).await;
        }
    }

    /// Renews the Lease for as long as that can be done in time, whatever hangs.
    async fn keep(&mut self, mut renewed: Instant) {
        loop {
            let claim = async {
                sleep(PERIOD).await;
                (Instant::now(), self.claim().await)
            };
            match timeout_at(renewed + GIVE_UP, claim).await {
                Ok((asked, Ok(true))) => renewed = asked,
                Ok((_, Ok(false))) | Err(_) => return,
                Ok((_, Err(error))) => tracing::warn!(%error, "the Lease could not be renewed"),
            }
        }
    }

    /// Takes or renews the Lease, if that is ours to do; whether it is held now.
    async fn claim(&mut self) -> Result<bool, ApiError> {
        let found = deadline(CALL, "GET Lease", self.leases.get_opt(NAME)).await?;
        self.gate.open();
        let now = Instant::now();
        let is_same = |(seen, _): &&(Lease, Instant)| {
            Some(&seen.metadata.resource_version) == found.as_ref().map(|it| &it.metadata.resource_version)
        };
        let since = self.seen.as_ref().filter(is_same).map_or(now, |(_, since)| *since);
        let wanted = lease::claim(found.as_ref(), &self.me, now - since, Timestamp::now());
        self.seen = found.map(|found| (found, since));
        let Some(wanted) = wanted else { return Ok(false) };
        let params = params::post();
        let written = if self.seen.is_some() {
            deadline(CALL, "PUT Lease", self.leases.replace(NAME, &params, &wanted)).await
        } else {
            deadline(CALL, "POST Lease", self.leases.create(&params, &wanted)).await
        };
        match written {
            Ok(written) => self.seen = Some((written, now)),
            // Somebody else was faster.
            Err(error) if error.is(Class::Conflict) || error.is(Class::AlreadyExists) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Gives the Lease back, so that the next one need not wait for its end.
    async fn release(&mut self) {
        let Some((held, _)) = self.seen.take() else { return };
        let free = lease::released(&held, Timestamp::now());
        if let Err(error) =
            deadline(CALL, "PUT Lease", self.leases.replace(NAME, &params::post(), &free)).await
        {
            tracing::warn!(%error, "the Lease could not be given back: it runs out");
        }
    }
}
