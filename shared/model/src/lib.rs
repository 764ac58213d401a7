//! The decisions of Backout, as pure functions.
//!
//! Every write of a deployer leaves an *undo record* ([`undo`]) before it commits; [`admission`] says for one
//! request whether and what to record, [`identity`] whose write it is and to which release it belongs. The records
//! of a release, cut at a log position, are a *revision*. [`health`] judges the revision's objects,
//! [`protocol`] decides what becomes of it, [`evidence`] says what was seen before, [`rollback`] plans how its objects go
//! back to the state before it. The state between two decisions is the status of a [`release::Release`]; which of several
//! watchers decides is a matter of the [`lease`].
//!
//! Nothing here does I/O, reads a clock or draws a random number: everything comes in as an argument and leaves as
//! data.

pub mod admission;
pub mod certificates;
pub mod evidence;
pub mod health;
pub mod identity;
pub mod lease;
pub mod names;
pub mod object;
pub mod protocol;
pub mod release;
pub mod rollback;
mod secrets;
pub mod undo;
