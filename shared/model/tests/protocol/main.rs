//! The protocol in a cluster in miniature: the life of a revision, faults, others at work, and random histories.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

mod aside;
mod back;
mod claims;
mod clients;
mod evidence;
mod faults;
mod fence;
mod held;
mod life;
mod made_again;
mod milestones;
mod orders;
mod others;
mod props;
mod stopped;
mod stuck;
mod transactions;
mod unrecorded;
mod world;
