//! The screen on which the stories are told.

use std::{
    io::{Write as _, stdout},
    sync::Mutex,
    time::Instant,
};

/// Someone to tell a story to.
pub trait Tell: Sync {
    /// A new story begins.
    fn title(&self, text: &str);
    /// Someone runs a command.
    fn command(&self, text: &str);
    /// Something happened.
    fn event(&self, text: &str);
    /// Something that has just been checked.
    fn claim(&self, text: &str);
    /// Something quoted: what a client printed.
    fn quote(&self, text: &str);
}

/// Nobody listens.
pub struct Quiet;

impl Tell for Quiet {
    fn title(&self, _: &str) {}
    fn command(&self, _: &str) {}
    fn event(&self, _: &str) {}
    fn claim(&self, _: &str) {}
    fn quote(&self, _: &str) {}
}

/// A terminal; each line with the seconds since its story began.
pub struct Screen(Mutex<Instant>);

impl Default for Screen {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Screen {
    fn line(&self, sign: &str, text: &str) {
        let begin = self.0.lock().map_or_else(|poisoned| *poisoned.into_inner(), |begin| *begin);
        say(&format!("{:7.1} s  {sign} {text}", begin.elapsed().as_secs_f64()));
    }
}

impl Tell for Screen {
    fn title(&self, text: &str) {
        if let Ok(mut begin) = self.0.lock() {
            *begin = Instant::now();
        }
        say(&format!("\n{text}\n"));
    }

    fn command(&self, text: &str) {
        self.line("$", text);
    }

    fn event(&self, text: &str) {
        self.line("·", text);
    }

    fn claim(&self, text: &str) {
        self.line("✔", text);
    }

    fn quote(&self, text: &str) {
        for line in text.lines() {
            say(&format!("           | {line}"));
        }
    }
}

/// The terminal may be gone: nobody to hear it is no error.
fn say(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}
