//! What a command says: text for people, or one JSON object per line.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, IsTerminal, Write};

use lllsi::{Ignored, TurnedAway};
use serde_json::{Value, json};
use terminal_size::{Width, terminal_size};

use crate::failure::{Code, Failure};

pub(crate) struct Report {
    json: bool,
    terminal: bool,
    /// Whether a status line stands on the terminal.
    status: Cell<bool>,
    /// Nobody reads what is written any more.
    unread: Cell<bool>,
    /// Why something could not be written.
    lost: RefCell<Option<String>>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            terminal: std::io::stderr().is_terminal(),
            status: Cell::new(false),
            unread: Cell::new(false),
            lost: RefCell::new(None),
        }
    }

    /// Writes an event in JSON mode.
    pub(crate) fn event(&self, event: &Value) {
        if self.json {
            self.line(&event.to_string());
        }
    }

    /// Writes text in text mode.
    pub(crate) fn say(&self, text: &str) {
        if !self.json {
            self.clear_status();
            self.line(text);
        }
    }

    /// Writes to stdout. A reader that has gone away is no error of ours.
    fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.unread.set(true),
            Err(error) => drop(self.lost.replace(Some(error.to_string()))),
        }
    }

    /// Whether whoever reads this program's words has gone: then nobody is there who could end it.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.get()
    }

    /// Whether everything that was to be said could be written.
    pub(crate) fn written(&self) -> Result<(), Failure> {
        match self.lost.take() {
            None => Ok(()),
            Some(error) => {
                Err(Failure::new(Code::File, format!("cannot write to the output: {error}")))
            }
        }
    }

    /// Renews the line at the bottom of a terminal, cut to its width.
    pub(crate) fn status(&self, text: &str) {
        if !self.json && self.terminal && in_foreground() {
            let columns = terminal_size().map_or(80, |(Width(columns), _)| usize::from(columns));
            let text: String = text.chars().take(columns.saturating_sub(1)).collect();
            let _ = write!(std::io::stderr(), "\r\x1b[2K{text}");
            self.status.set(true);
        }
    }

    fn clear_status(&self) {
        if self.status.take() {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        self.event(
            &json!({"event": "error", "code": failure.code.name(), "message": failure.to_string()}),
        );
        if !self.json {
            self.clear_status();
            let _ = writeln!(std::io::stderr(), "{failure}");
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.clear_status();
    }
}

/// Whether the terminal is this program's at present, and not the shell's that has put it behind.
#[cfg(unix)]
fn in_foreground() -> bool {
    let group = rustix::termios::tcgetpgrp(std::io::stderr());
    group.is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn in_foreground() -> bool {
    true
}

/// Milliseconds with two decimals, as a number.
pub(crate) fn rounded(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

/// Median of each stage, as an object.
pub(crate) fn stages(summary: &lllsi::Summary) -> Value {
    summary.medians().into_iter().map(|(name, ms)| (name.to_owned(), json!(rounded(ms)))).collect()
}

/// What a host has not taken: its name in JSON, in words, and how often.
pub(crate) fn turned_away(counters: &TurnedAway) -> [(&'static str, &'static str, u64); 13] {
    let TurnedAway { ignored: Ignored { candidates, datagrams, messages }, .. } = *counters;
    [
        ("silent", "clients that said nothing", counters.silent),
        ("surplus", "clients too many", counters.surplus),
        ("rejected", "wrong links or passwords", counters.rejected),
        ("slowed", "passwords tried too fast", counters.slowed),
        ("refused", "clients sent away", counters.refused),
        ("garbled", "messages without sense", counters.garbled),
        ("hasty", "wishes that came too soon", counters.hasty),
        ("strangers", "datagrams from unknown addresses", counters.strangers),
        ("withheld_checks", "checks withheld", counters.withheld_checks),
        ("faults", "faults of this program", counters.faults),
        ("candidates", "addresses ignored", candidates),
        ("datagrams", "datagrams ignored", datagrams),
        ("messages", "control messages ignored", messages),
    ]
}

/// A rate for people.
pub(crate) fn rate(bits_per_second: f64) -> String {
    if bits_per_second >= 1e6 {
        format!("{:.1} Mbit/s", bits_per_second / 1e6)
    } else {
        format!("{:.0} kbit/s", bits_per_second / 1e3)
    }
}
