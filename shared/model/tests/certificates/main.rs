//! The webhook's certificate, step by step and in a world in miniature.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

mod props;
mod steps;
mod world;
