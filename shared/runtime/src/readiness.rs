//! What must hold before the process takes requests, by name, so that a probe can say what is missing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::{IntGaugeVec, Registry};

use crate::metrics;

/// The conditions of readiness of one process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    missing: BTreeMap<&'static str, String>,
    draining: bool,
    gauge: Option<IntGaugeVec>,
}

impl Readiness {
    /// Conditions that are told by a metric, too.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Whether a condition of the process's readiness holds, 1 or 0.";
        let gauge = metrics::gauges(registry, "backout_ready", help, &[("gate", &[])])?;
        Ok(Self(Arc::new(Mutex::new(State { gauge: Some(gauge), ..State::default() }))))
    }

    /// Adds a condition; it is missing until its gate is opened.
    pub fn gate(&self, name: &'static str) -> Gate {
        let gate = Gate { name, readiness: self.clone() };
        gate.close("not yet");
        gate
    }

    /// From now on the process is not ready, for good: it is about to end.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// What is missing, a line each; empty if the process is ready.
    pub fn missing(&self) -> Vec<String> {
        let state = self.lock();
        let draining = state.draining.then(|| "shutting down".to_owned());
        draining.into_iter().chain(state.missing.iter().map(|(name, why)| format!("{name}: {why}"))).collect()
    }

    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        !state.draining && state.missing.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One condition of readiness.
#[derive(Clone, Debug)]
pub struct Gate {
    name: &'static str,
    readiness: Readiness,
}

impl Gate {
    /// The condition holds.
    pub fn open(&self) {
        self.set(None);
    }

    /// The condition does not hold, or not any more.
    pub fn close(&self, why: impl Into<String>) {
        self.set(Some(why.into()));
    }

    /// Says what keeps the condition from holding, if it does not.
    pub fn waits(&self, why: impl Into<String>) {
        if let Some(missing) = self.readiness.lock().missing.get_mut(self.name) {
            *missing = why.into();
        }
    }

    fn set(&self, missing: Option<String>) {
        let mut state = self.readiness.lock();
        if let Some(gauge) = &state.gauge {
            gauge.with_label_values(&[self.name]).set(i64::from(missing.is_none()));
        }
        match missing {
            Some(why) => state.missing.insert(self.name, why),
            None => state.missing.remove(self.name),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_every_gate_is_open() {
        let readiness = Readiness::default();
        let (cache, tls) = (readiness.gate("cache"), readiness.gate("tls"));
        tls.open();
        assert_eq!(readiness.missing(), ["cache: not yet"]);
        cache.open();
        assert!(readiness.is_ready());
        cache.close("the watch ended");
        assert_eq!(readiness.missing(), ["cache: the watch ended"]);
    }

    #[test]
    fn a_gate_that_is_shut_says_why_and_an_open_one_has_nothing_to_say() {
        let readiness = Readiness::default();
        let gate = readiness.gate("cache");
        gate.waits("forbidden");
        assert_eq!(readiness.missing(), ["cache: forbidden"]);
        gate.open();
        gate.waits("forbidden");
        assert!(readiness.is_ready());
    }

    #[test]
    fn each_gate_is_a_series_of_the_metric() {
        let registry = Registry::new();
        let readiness = Readiness::register(&registry).unwrap();
        let _shut = readiness.gate("cache");
        readiness.gate("tls").open();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains(r#"backout_ready{gate="cache"} 0"#), "{text}");
        assert!(text.contains(r#"backout_ready{gate="tls"} 1"#), "{text}");
    }

    #[test]
    fn a_draining_process_is_never_ready_again() {
        let readiness = Readiness::default();
        readiness.drain();
        assert_eq!(readiness.missing(), ["shutting down"]);
        assert!(!readiness.is_ready());
    }
}
