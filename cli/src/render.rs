//! Text for a terminal: times, marks, lines that fit.

use std::io::{IsTerminal as _, stdout};

use backout_model::release::{Author, Phase, Subject};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How wide the terminal is; no terminal has no limit.
pub(crate) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(stdout()).ok().filter(|_| is_terminal());
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(usize::MAX)
}

pub(crate) fn is_terminal() -> bool {
    stdout().is_terminal()
}

/// The start of a line, as much as fits.
pub(crate) fn fit(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A text over several lines of at most `width` characters, each after `indent`.
pub(crate) fn wrapped(text: &str, indent: &str, width: usize) -> Vec<String> {
    let room = width.saturating_sub(indent.len()).max(20);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let used = lines.last().map_or(0, |line| line.chars().count());
        if used > 0 && used + 1 + word.chars().count() > room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.into_iter().map(|line| format!("{indent}{line}")).collect()
}

/// As kubectl writes ages: `42s`, `3m10s`, `2h5m`, `3d`.
pub(crate) fn time(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..3600 if seconds % 60 == 0 => format!("{}m", seconds / 60),
        120..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86400 if seconds % 3600 < 60 => format!("{}h", seconds / 3600),
        3600..86400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d", seconds / 86400),
    }
}

/// How long ago that was.
pub(crate) fn ago(since: Option<&Time>, now: Timestamp) -> String {
    since.map_or_else(|| "some time".to_owned(), |since| time(now.duration_since(since.0))) + " ago"
}

/// `alice with helm`.
pub(crate) fn author(author: &Author) -> String {
    let user = if author.user.is_empty() { "somebody" } else { &author.user };
    if author.tool.is_empty() { user.to_owned() } else { format!("{user} with {}", author.tool) }
}

/// `Deployment/web`; with its namespace where it is not `home`.
pub(crate) fn object(object: &Subject, home: &str) -> String {
    let Subject { kind, name, namespace, .. } = object;
    if namespace.is_empty() || namespace == home {
        format!("{kind}/{name}")
    } else {
        format!("{kind}/{name} in {namespace}")
    }
}

/// What a phase says in a word of everyday language.
pub(crate) fn outcome(phase: Phase) -> &'static str {
    match phase {
        Phase::Open => "is being written",
        Phase::Progressing => "is becoming ready",
        Phase::Soaking => "is ready, and must stay so",
        Phase::Healthy => "is healthy",
        Phase::RollingBack => "failed, and is being rolled back",
        Phase::RolledBack => "was rolled back",
        Phase::Held => "is held",
        Phase::Notified => "failed, and was left as it is",
    }
}

/// A bar that is full at 1.
pub(crate) fn bar(part: f64, cells: usize) -> String {
    let part = part.clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between zero and a few cells"
    )]
    let full = (part * cells as f64).floor() as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(cells - full))
}

/// Columns as wide as their widest cell, the last as it is.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_kubectl_writes_them() {
        for (seconds, text) in [
            (-3, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (190, "3m10s"),
            (3600, "1h"),
            (7500, "2h5m"),
            (200_000, "2d"),
        ] {
            assert_eq!(time(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn lines_fit_and_lose_nothing() {
        let text = "one two three four five six seven eight nine ten";
        let lines = wrapped(text, "  ", 22);
        assert!(lines.iter().all(|line| line.len() <= 22 && line.starts_with("  ")), "{lines:?}");
        assert_eq!(lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "), text);
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("abcd", 4), "abcd");
    }

    #[test]
    fn a_bar_is_never_longer_than_its_cells() {
        for (part, text) in [(-1.0, "[----]"), (0.5, "[##--]"), (1.0, "[####]"), (7.0, "[####]")] {
            assert_eq!(bar(part, 4), text);
        }
    }

    #[test]
    fn a_table_lines_up() {
        let rows = [vec!["A".to_owned(), "B".to_owned()], vec!["long".to_owned(), "x".to_owned()]];
        assert_eq!(table(&rows), ["A      B", "long   x"]);
    }
}
