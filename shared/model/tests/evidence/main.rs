//! What people are shown of a failed revision: that it is all there, that it is small, and that it gives nothing away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

mod changes;
mod props;
mod redaction;
mod scene;
mod wanted;
