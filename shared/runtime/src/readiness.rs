//! What must hold before the process takes requests, by name, so that a probe can say what is missing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The conditions of readiness of one process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    missing: BTreeMap<&'static str, String>,
    draining: bool,
}

impl Readiness {
    /// Adds a condition; it is missing until its gate is opened.
    pub fn gate(&self, name: &'static str) -> Gate {
        self.lock().missing.insert(name, "not yet".to_owned());
        Gate { name, readiness: self.clone() }
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
        self.readiness.lock().missing.remove(self.name);
    }

    /// The condition does not hold, or not any more.
    pub fn close(&self, why: impl Into<String>) {
        self.readiness.lock().missing.insert(self.name, why.into());
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
    fn a_draining_process_is_never_ready_again() {
        let readiness = Readiness::default();
        readiness.drain();
        assert_eq!(readiness.missing(), ["shutting down"]);
        assert!(!readiness.is_ready());
    }
}
