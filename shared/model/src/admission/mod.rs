//! One admission request in, one decision out.
//!
//! # Flow
//!
//! [`parse`] reads the request; [`triage`] sorts out what is not to be recorded, and finds the release of the rest, for
//! which the deployer may need leave ([`Joining`]);
//! with what is known of that release [`Write::decide`] refuses the write, or gives the record that has to be durable
//! before [`answer`] may allow it.
//!
//! # Guarantees
//!
//! A write that is allowed and not recorded is a dry run, changes nothing that a rollback would restore, cannot
//! commit, or is none of our business. Every patch applies to every object and may be applied twice.

mod answer;
mod capture;
mod decide;
mod fence;
mod patch;
mod possible;
mod request;
mod sketch;
mod warning;

pub use answer::{Answer, answer};
pub use capture::{Captured, capture};
pub use decide::{Decision, Joining, Pass, Recording, Triage, Write, triage};
pub use patch::Patch;
pub use request::{Invalid, Request, UserInfo, parse};
pub use warning::Warning;

#[cfg(test)]
mod tests;
