//! Keeping evidence small.

use serde::Serialize;

use super::{Container, Evidence, changes::VALUE};

/// The most bytes of JSON.
pub const LIMIT: usize = 64 << 10;
/// Kept free for the notes on what is left out.
const RESERVE: usize = 1 << 10;

/// The longest texts, in bytes of JSON.
const NAME: usize = 300;
const LINE: usize = 1 << 10;
const MESSAGE: usize = 4 << 10;
const NOTE: usize = 300;
const NOTES: usize = 40;

/// Takes something out, and says its size.
type Cut = fn(&mut Evidence) -> Option<usize>;

/// What can be left out, in this order, and what it is called.
const CUTS: [(&str, Cut); 6] = [
    ("of the oldest log lines", oldest_line),
    ("of the oldest warnings", |evidence| evidence.events.pop().map(|it| size(&it))),
    ("of the changes", |evidence| evidence.changes.pop().map(|it| size(&it))),
    ("of the conditions", |evidence| evidence.conditions.pop().map(|it| size(&it))),
    ("of the containers", |evidence| evidence.containers.pop().map(|it| size(&it))),
    ("of the notes", |evidence| evidence.notes.pop().map(|it| size(&it))),
];

impl Evidence {
    /// The JSON that is stored.
    pub fn json(&self) -> String {
        // Of strings, numbers and lists of them: there is nothing that JSON cannot express.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The same in at most [`LIMIT`] bytes of JSON. The oldest lines of logs go first; the notes say what was left out.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.shorten();
        let mut size = self.json().len();
        let mut cut = Vec::new();
        for (what, take) in CUTS {
            let mut taken = 0;
            while size > LIMIT - RESERVE
                && let Some(freed) = take(&mut self)
            {
                // Each has a comma, but for the first.
                size = size.saturating_sub(freed);
                taken += 1;
            }
            if taken > 0 {
                cut.push(format!("left out, for this is bounded to 64 KiB: {taken} {what}"));
            }
        }
        self.notes.extend(cut);
        self
    }

    fn shorten(&mut self) {
        all_shorten([&mut self.release, &mut self.failure.object, &mut self.failure.reason], NAME);
        shorten(&mut self.failure.message, MESSAGE);
        for it in &mut self.conditions {
            let names = [&mut it.object, &mut it.type_, &mut it.status, &mut it.reason, &mut it.since];
            all_shorten(names, NAME);
            shorten(&mut it.message, MESSAGE);
        }
        self.containers.iter_mut().for_each(Container::shorten);
        for it in &mut self.events {
            let names = [&mut it.object, &mut it.type_, &mut it.reason, &mut it.last];
            all_shorten(names, NAME);
            shorten(&mut it.message, LINE);
        }
        for it in &mut self.changes {
            shorten(&mut it.object, NAME);
            for field in &mut it.fields {
                shorten(&mut field.path, NAME);
                all_shorten([&mut field.before, &mut field.after].into_iter().flatten(), VALUE);
            }
        }
        if self.notes.len() > NOTES {
            let more = self.notes.len() - NOTES;
            self.notes.truncate(NOTES);
            self.notes.push(format!("and {more} more notes"));
        }
        all_shorten(&mut self.notes, NOTE);
    }
}

impl Container {
    fn shorten(&mut self) {
        let names = [&mut self.pod, &mut self.container, &mut self.image, &mut self.state, &mut self.reason];
        all_shorten(names, NAME);
        shorten(&mut self.message, LINE);
        shorten(&mut self.termination_message, MESSAGE);
        all_shorten(self.log.iter_mut().chain(&mut self.previous_log), LINE);
        all_shorten(&mut self.missing, NOTE);
    }
}

/// Takes the oldest line of the longest log.
fn oldest_line(evidence: &mut Evidence) -> Option<usize> {
    let logs = evidence.containers.iter_mut().flat_map(|it| [&mut it.log, &mut it.previous_log]);
    let longest = logs.max_by_key(|log| log.len()).filter(|log| !log.is_empty())?;
    Some(size(&longest.remove(0)))
}

/// The bytes of JSON that an element of a list takes, without the comma.
fn size(it: &impl Serialize) -> usize {
    serde_json::to_string(it).map(|json| json.len()).unwrap_or_default()
}

fn all_shorten<'a>(texts: impl IntoIterator<Item = &'a mut String>, limit: usize) {
    for text in texts {
        shorten(text, limit);
    }
}

/// At most `limit` bytes in JSON; what is cut off is marked.
fn shorten(text: &mut String, limit: usize) {
    const MARK: &str = "…";
    if size(text) <= limit {
        return;
    }
    let (mut taken, mut end) = (MARK.len() + 2, 0);
    for (at, character) in text.char_indices() {
        taken += size(&character) - 2;
        if taken > limit {
            break;
        }
        end = at + character.len_utf8();
    }
    text.truncate(end);
    text.push_str(MARK);
}
