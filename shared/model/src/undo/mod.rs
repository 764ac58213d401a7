//! The undo log: what a record is, how it lies in Secrets, how records chain, and how one is undone.

pub mod chain;
pub mod codec;
pub mod merge;
pub mod ownership;
pub mod pack;
mod record;
pub mod schema;

pub use record::{Body, Header, Operation, Record, Replicas};
