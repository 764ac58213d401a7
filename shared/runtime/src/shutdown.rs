//! The end of the process: the first signal asks for it, the second insists.

use std::{future::Future, io};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGTERM and SIGINT, caught from the moment of registration.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches the signals instead of dying by them.
    pub fn register() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs `main` to its end. The first signal cancels `token`, upon which `main` is to finish what it has begun; the
/// second drops it where it stands.
pub async fn supervise<T>(
    mut signals: Signals,
    token: CancellationToken,
    main: impl Future<Output = T>,
) -> Result<T, Aborted> {
    let twice = async {
        signals.next().await;
        tracing::info!("shutting down; another signal aborts");
        token.cancel();
        signals.next().await;
    };
    tokio::select! {
        biased;
        outcome = main => Ok(outcome),
        () = twice => Err(Aborted),
    }
}

/// The second signal came before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("aborted by a second signal")]
pub struct Aborted;
