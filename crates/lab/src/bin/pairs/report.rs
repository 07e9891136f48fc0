//! Results for readers and for programs.

use lllsi_lab::Spread;
use lllsi_lab::summary::median;
use serde_json::{Value, json};

use crate::meeting::Visit;

/// One pair of NATs: each run of LLLSI, and of Chromium if it was measured.
pub(crate) struct Pair {
    pub(crate) host: &'static str,
    pub(crate) viewer: &'static str,
    pub(crate) visits: Vec<Visit>,
    /// In milliseconds; none where no channel opened.
    pub(crate) channels: Vec<Option<f64>>,
}

pub(crate) fn heading() -> String {
    let [picture, connecting] = ["join to picture, ms", "known to connected, ms"];
    line("host", "viewer", picture, connecting, "the same, Chromium", "ratio")
}

fn line(
    host: &str,
    viewer: &str,
    picture: &str,
    connecting: &str,
    channel: &str,
    ratio: &str,
) -> String {
    let line =
        format!("{host:14} {viewer:14} {picture:34} {connecting:24} {channel:24} {ratio:>5}");
    line.trim_end().to_owned()
}

impl Pair {
    fn seen(&self, figure: impl Fn((f64, f64, f64)) -> f64) -> Option<Spread> {
        let seen = self.visits.iter().filter_map(|visit| match visit {
            Visit::Seen { picture, told, connecting } => Some((*picture, *told, *connecting)),
            Visit::Failed { .. } => None,
        });
        Spread::of(seen.map(figure))
    }

    fn picture(&self) -> Option<Spread> {
        self.seen(|(picture, ..)| picture)
    }

    fn connecting(&self) -> Option<Spread> {
        self.seen(|(_, _, connecting)| connecting)
    }

    fn channel(&self) -> Option<Spread> {
        Spread::of(self.channels.iter().copied().flatten())
    }

    /// How many of Chromium's channels did not open.
    fn closed(&self) -> usize {
        self.channels.iter().filter(|channel| channel.is_none()).count()
    }

    /// The codes of failures, and how long each took in milliseconds.
    fn failures(&self) -> Vec<(&str, f64)> {
        let failures = self.visits.iter().filter_map(|visit| match visit {
            Visit::Seen { .. } => None,
            Visit::Failed { code, after } => Some((code.as_str(), *after)),
        });
        failures.collect()
    }

    /// LLLSI's time from candidates that are known to a connection, to Chromium's.
    fn ratio(&self) -> Option<f64> {
        Some(self.connecting()?.median / self.channel()?.median)
    }

    pub(crate) fn row(&self) -> String {
        let failures = self.failures();
        let failed = failures.first().map(|(code, _)| {
            let after = median(failures.iter().map(|(_, after)| *after)) / 1000.0;
            let what = if *code == "no_path" { "no path" } else { "failed" };
            format!("{what} after {after:.1} s ({code})")
        });
        let picture = cell(self.picture(), failed, (failures.len(), self.visits.len()));
        let closed = self.closed();
        let failed = (closed > 0).then(|| "not open after 10 s".to_owned());
        let channel = cell(self.channel(), failed, (closed, self.channels.len()));
        let connecting = cell(self.connecting(), None, (0, 0));
        let ratio = self.ratio().map_or("–".into(), |ratio| format!("{ratio:.2}"));
        line(self.host, self.viewer, &picture, &connecting, &channel, &ratio)
    }

    pub(crate) fn json(&self) -> Value {
        let failures = self.failures();
        let codes: Vec<_> = failures.iter().map(|(code, _)| *code).collect();
        json!({
            "host": self.host,
            "viewer": self.viewer,
            "runs": self.visits.len(),
            "join_to_picture_ms": spread(self.picture()),
            "begin_to_picture_ms": spread(self.seen(|(_, told, _)| told)),
            "known_to_connected_ms": spread(self.connecting()),
            "failed": codes,
            "failed_after_ms": spread(Spread::of(failures.iter().map(|(_, after)| *after))),
            "chromium_runs": self.channels.len(),
            "chromium_known_to_open_ms": spread(self.channel()),
            "chromium_failed": self.closed(),
            "ratio": self.ratio(),
        })
    }
}

/// Figures, and in how many runs of all there were none.
fn cell(spread: Option<Spread>, failed: Option<String>, (times, of): (usize, usize)) -> String {
    let shown =
        spread.map(|Spread { least, median, most }| format!("{median:.0} ({least:.0}–{most:.0})"));
    match (shown, failed) {
        (Some(shown), Some(failed)) => format!("{shown}; {times} of {of} {failed}"),
        (shown, failed) => shown.or(failed).unwrap_or("–".into()),
    }
}

pub(crate) fn spread(spread: Option<Spread>) -> Value {
    spread.map_or(
        Value::Null,
        |Spread { least, median, most }| json!({ "min": least, "median": median, "max": most }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(picture: f64, connecting: f64) -> Visit {
        Visit::Seen { picture, told: picture - 5.0, connecting }
    }

    fn failed() -> Visit {
        Visit::Failed { code: "no_path".into(), after: 10_420.0 }
    }

    #[test]
    fn a_pair_that_meets_is_told_by_its_medians() {
        let visits = vec![seen(420.0, 200.0), seen(400.0, 210.0), seen(450.0, 190.0)];
        let channels = vec![Some(400.0), None, Some(420.0)];
        let pair = Pair { host: "port", viewer: "double", visits, channels };
        let row = pair.row();
        for part in ["420 (400–450)", "200 (190–210)", "420 (400–420); 1 of 3", "0.48"] {
            assert!(row.contains(part), "{part} is not in {row}");
        }
        let json = pair.json();
        assert_eq!((&json["runs"], &json["chromium_failed"]), (&3.into(), &1.into()));
        assert_eq!(json["begin_to_picture_ms"]["min"], 395.0);
    }

    #[test]
    fn a_pair_without_a_path_says_why() {
        let visits = vec![failed(), failed()];
        let pair = Pair { host: "symmetric", viewer: "port", visits, channels: vec![None, None] };
        let row = pair.row();
        assert!(row.contains("no path after 10.4 s (no_path)"), "{row}");
        assert!(row.contains("not open after 10 s") && row.ends_with('–'), "{row}");
        assert_eq!(pair.json()["failed"], json!(["no_path", "no_path"]));
        assert_eq!(pair.json()["ratio"], Value::Null);
    }
}
