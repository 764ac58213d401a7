//! What a rollback does with one object: the table of the design, row by row, and each special rule.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

mod kinds;
mod rules;
mod story;
mod table;
