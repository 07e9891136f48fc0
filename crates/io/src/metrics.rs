//! A server's figures, and how Prometheus reads them.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use lllsi_core::rendezvous::Counters;

/// What the shell counts itself.
#[derive(Debug, Default)]
pub(crate) struct Shell {
    /// TCP connections accepted.
    pub(crate) accepted: AtomicU64,
    /// Those of them that were dropped, since there were too many.
    pub(crate) dropped: AtomicU64,
    /// Connections ended since they did not take what they were sent.
    pub(crate) slow: AtomicU64,
    /// Those that did not get to the point in time.
    pub(crate) late: AtomicU64,
    /// Those that answered no ping.
    pub(crate) unanswered: AtomicU64,
    /// Those that sent a message over the bound.
    pub(crate) oversized: AtomicU64,
    /// STUN requests answered.
    pub(crate) stun: AtomicU64,
}

/// A server's figures. None of them tells who somebody is, or from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Rooms, clients, refusals.
    pub counters: Counters,
    /// TCP connections accepted.
    pub accepted: u64,
    /// Those of them that were dropped, since there were too many.
    pub dropped: u64,
    /// Connections ended since they did not take what they were sent.
    pub slow: u64,
    /// Connections ended since they did not get to the point in time.
    pub late: u64,
    /// Connections ended since they answered no ping.
    pub unanswered: u64,
    /// Connections ended since they sent a message over the bound.
    pub oversized: u64,
    /// STUN requests answered.
    pub stun: u64,
}

impl Shell {
    /// All figures at present.
    pub(crate) fn figures(&self, counters: Counters) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            counters,
            accepted: read(&self.accepted),
            dropped: read(&self.dropped),
            slow: read(&self.slow),
            late: read(&self.late),
            unanswered: read(&self.unanswered),
            oversized: read(&self.oversized),
            stun: read(&self.stun),
        }
    }
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Everything in the text format of Prometheus.
pub(crate) fn text(figures: &Figures) -> String {
    let machine = &figures.counters;
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
        let _ = writeln!(out, "# HELP lllsi_{name} {help}\n# TYPE lllsi_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(out, "lllsi_{name}{labels} {value}");
        }
    };
    let now = |value: usize| [("", value as u64)];
    put("connections", "gauge", "Signalling connections.", &now(machine.connections));
    put("rooms", "gauge", "Open rooms.", &now(machine.rooms));
    put("clients", "gauge", "Clients in rooms.", &now(machine.clients));
    put("names", "gauge", "Names of rooms, with those that are kept.", &now(machine.names));
    let total = |value: u64| [("", value)];
    put("rooms_opened_total", "counter", "Rooms opened.", &total(machine.opened));
    put(
        "clients_entered_total",
        "counter",
        "Clients that entered a room.",
        &total(machine.entered),
    );
    put("messages_relayed_total", "counter", "Sealed messages passed on.", &total(machine.relayed));
    let refused: Vec<_> = machine
        .refused
        .iter()
        .map(|(why, n)| (format!("{{reason=\"{}\"}}", why.code()), *n))
        .collect();
    let refused: Vec<_> = refused.iter().map(|(label, n)| (label.as_str(), *n)).collect();
    put("refused_total", "counter", "Connections refused or ended, by reason.", &refused);
    put("tcp_accepted_total", "counter", "TCP connections accepted.", &total(figures.accepted));
    put("tcp_dropped_total", "counter", "TCP connections over a limit.", &total(figures.dropped));
    put(
        "slow_total",
        "counter",
        "Connections that did not take what they were sent.",
        &total(figures.slow),
    );
    put("late_total", "counter", "Connections that took too long.", &total(figures.late));
    put(
        "unanswered_total",
        "counter",
        "Connections that answered no ping.",
        &total(figures.unanswered),
    );
    put(
        "oversized_total",
        "counter",
        "Connections with too long a message.",
        &total(figures.oversized),
    );
    put("stun_answers_total", "counter", "STUN requests answered.", &total(figures.stun));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use lllsi_proto::rendezvous::Refusal;

    #[test]
    fn figures_are_written_as_prometheus_reads_them() {
        let refused = [(Refusal::TooOften, 3)].into();
        let machine = Counters { rooms: 2, opened: 5, refused, ..Counters::default() };
        let shell = Shell::default();
        count(&shell.stun);
        let text = text(&shell.figures(machine));
        for line in [
            "# TYPE lllsi_rooms gauge",
            "lllsi_rooms 2",
            "lllsi_rooms_opened_total 5",
            "lllsi_refused_total{reason=\"too_often\"} 3",
            "lllsi_stun_answers_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }
}
