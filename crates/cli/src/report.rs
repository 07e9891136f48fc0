//! What a command says: text for people, or one JSON object per line.

use std::cell::Cell;
use std::io::{IsTerminal, Write};

use lllsi::{Ignored, TurnedAway};
use serde_json::{Value, json};
use terminal_size::{Width, terminal_size};

use crate::failure::Failure;

pub(crate) struct Report {
    json: bool,
    terminal: bool,
    /// Whether a status line stands on the terminal.
    status: Cell<bool>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, terminal: std::io::stderr().is_terminal(), status: Cell::new(false) }
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
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Renews the line at the bottom of a terminal, cut to its width.
    pub(crate) fn status(&self, text: &str) {
        if !self.json && self.terminal {
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

/// Milliseconds with two decimals, as a number.
pub(crate) fn rounded(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

/// Median of each stage, as an object.
pub(crate) fn stages(summary: &lllsi::Summary) -> Value {
    summary.medians().into_iter().map(|(name, ms)| (name.to_owned(), json!(rounded(ms)))).collect()
}

/// What a host has not taken, by its name in JSON.
pub(crate) fn turned_away(counters: &TurnedAway) -> [(&'static str, u64); 12] {
    let TurnedAway { ignored: Ignored { candidates, datagrams, messages }, .. } = *counters;
    [
        ("silent", counters.silent),
        ("surplus", counters.surplus),
        ("rejected", counters.rejected),
        ("slowed", counters.slowed),
        ("refused", counters.refused),
        ("garbled", counters.garbled),
        ("strangers", counters.strangers),
        ("withheld_checks", counters.withheld_checks),
        ("faults", counters.faults),
        ("candidates", candidates),
        ("datagrams", datagrams),
        ("messages", messages),
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
