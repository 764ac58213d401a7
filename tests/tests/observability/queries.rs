//! Everything that the dashboard and the alerts ask.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use system_tests::monitoring::{Prometheus, Sample};

/// One question, and what Prometheus answered.
pub(crate) struct Asked {
    /// The panel or the alert.
    pub(crate) by: String,
    pub(crate) query: String,
    pub(crate) answer: Result<Vec<Sample>, String>,
}

/// A metric of what does not run in this test: a watcher that looks after the webhook's certificate.
const ABSENT: &str = "backout_certificate_expiry_timestamp_seconds";

impl Asked {
    /// What is wrong with the answer.
    pub(crate) fn fault(&self, told: &BTreeSet<String>) -> Option<String> {
        let is_absent = self.query.contains(ABSENT) && !told.contains(ABSENT);
        match &self.answer {
            Err(error) => Some(format!("{}: {}: {error}", self.by, self.query)),
            Ok(samples) if is_absent || samples.iter().any(|sample| !sample.value.is_nan()) => None,
            Ok(_) => Some(format!("{}: {}: no data", self.by, self.query)),
        }
    }

    /// A line for people.
    pub(crate) fn line(&self) -> String {
        const SHOWN: usize = 3;
        let answer = match &self.answer {
            Err(error) => error.clone(),
            Ok(samples) if samples.is_empty() => "(not told by any process of this test)".to_owned(),
            Ok(samples) => {
                let shown: Vec<_> = samples.iter().take(SHOWN).map(ToString::to_string).collect();
                let more = samples.len().saturating_sub(SHOWN);
                if more > 0 { format!("{} and {more} more", shown.join("  ")) } else { shown.join("  ") }
            }
        };
        format!("{:<32} {}\n{:34}{answer}", self.by, self.query, "")
    }
}

/// Asks everything.
pub(crate) async fn ask_all(prometheus: &Prometheus) -> Result<Vec<Asked>> {
    let mut asked = Vec::new();
    for (by, query) in dashboard()?.into_iter().chain(watched()?) {
        let filled = query.replace("$__rate_interval", "5m").replace("$__range", "30m");
        let answer = prometheus.query(&filled).await.map_err(|error| format!("{error:#}"));
        asked.push(Asked { by, query, answer });
    }
    Ok(asked)
}

/// The queries of the dashboard's panels.
fn dashboard() -> Result<Vec<(String, String)>> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(folder().join("dashboard.json"))?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap_or_default();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.filter_map(move |target| Some((title.to_owned(), target["expr"].as_str()?.to_owned())))
    });
    Ok(targets.collect())
}

/// What the alerts watch: their expressions without the threshold.
fn watched() -> Result<Vec<(String, String)>> {
    let watched = alerts()?.into_iter().map(|alert| {
        let expression = alert["expr"].as_str().unwrap_or_default().trim().to_owned();
        let cut = [" > ", " < "].iter().filter_map(|sign| expression.rfind(sign)).max();
        let (watched, threshold) = expression.split_at(cut.context("an alert without a threshold")?);
        threshold[3..].parse::<f64>().with_context(|| expression.clone())?;
        anyhow::Ok((name(&alert), watched.to_owned()))
    });
    watched.collect()
}

/// The alerts, as they are written.
pub(crate) fn alerts() -> Result<Vec<Value>> {
    let file: Value = serde_saphyr::from_str(&fs::read_to_string(folder().join("alerts.yaml"))?)?;
    let groups = file["groups"].as_array().context("no groups")?;
    Ok(groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
}

/// The name of an alert.
pub(crate) fn name(alert: &Value) -> String {
    alert["alert"].as_str().unwrap_or_default().to_owned()
}

/// Where dashboard and alerts lie.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests/observability")
}
