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
mod life;
mod milestones;
mod orders;
mod others;
mod props;
mod stuck;
mod unrecorded;
mod world;
