//! The judge: recordings of a real kubelet replayed, readiness kind by kind, and the rules of the verdict.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

#[cfg(test)]
mod around;
#[cfg(test)]
mod attribution;
#[cfg(test)]
mod conditions;
#[cfg(test)]
mod mishaps;
#[cfg(test)]
mod props;
#[cfg(test)]
mod readiness;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod scenes;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod verdict;
#[cfg(test)]
mod verdicts;
#[cfg(test)]
mod wishes;
