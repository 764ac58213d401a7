//! What was measured, for people.

use std::fmt::Write as _;

use backout_model::release::Phase;
use jiff::SignedDuration;

use super::{cases::End, play::Played};

/// A table in Markdown, in seconds. All but the hesitation count from kubectl's start.
pub(crate) fn of(all: &[Played]) -> String {
    let mut text = "\n| case | end | reason | first bad signal | first restore | signal to restore | at most | restored |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for Played { case, seen, wrong } in all {
        let at_most = match case.end {
            End::Healthy => "-".to_owned(),
            End::RolledBack { within, .. } => within.as_secs().to_string(),
        };
        let end = seen.end.map_or("-", Phase::as_str);
        let [signal, restore, hesitation, restored] =
            [seen.first_signal, seen.first_restore, seen.hesitation(), seen.restored].map(seconds);
        let mark = if wrong.is_empty() { "" } else { " (WRONG)" };
        let _ = writeln!(
            text,
            "| {}{mark} | {end} | {} | {signal} | {restore} | {hesitation} | {at_most} | {restored} |",
            case.name, seen.reason
        );
    }
    text
}

fn seconds(time: Option<SignedDuration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
}
