//! Waiting for something to become true.

use std::{fmt::Display, time::Duration};

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// Asks again and again until there is an answer. Errors of `probe` count as "not yet": servers are killed in tests.
pub async fn eventually<T>(
    what: impl Display,
    patience: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = probe().await;
        if let Ok(Some(value)) = answer {
            return Ok(value);
        }
        if Instant::now() > deadline {
            match answer {
                Err(error) => return Err(error.context(format!("after {patience:?} still not: {what}"))),
                Ok(_) => bail!("after {patience:?} still not: {what}"),
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}
