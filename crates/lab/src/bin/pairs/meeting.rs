//! One pair of NATs: LLLSI, and Chromium with itself.

use std::time::{Duration, Instant};

use lllsi_lab::{Home, Homes};

use crate::browsers::Browsers;
use crate::options::Options;
use crate::report::Pair;
use crate::stage::{self, LEG, Viewers};

/// Where the viewer is.
pub(crate) const VIEWER: usize = 1;
/// From the start of a viewer to its first picture or its failure, at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// How one viewer of LLLSI fared. Times are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Visit {
    Seen {
        /// From the start of its process to its first picture.
        picture: f64,
        /// The same from when it began to join, as it says itself.
        told: f64,
        /// From when it had the host's description until its link was up.
        connecting: f64,
    },
    Failed {
        /// The program's word for it.
        code: String,
        /// From the start of its process.
        after: f64,
    },
}

pub(crate) fn measure(options: &Options, host: &'static str, viewer: &'static str) -> Pair {
    let homes = Homes::start(&[host, viewer].map(|nat| Home { nat, delay: LEG }));
    // Both systems, with the longest that each may take.
    let limit = (options.runs + 1) * (PATIENCE + Duration::from_secs(30));
    let (_programs, viewers) = stage::start(&homes, &options.lllsi, options.runs + 1, limit);
    let browsers = options.chromium.then(|| Browsers::start(&homes));
    let (mut visits, mut channels) = (Vec::new(), Vec::new());
    for run in 1..=options.runs {
        homes.forget();
        let visit = visit(&viewers);
        eprintln!("{host} {viewer} {run}: {visit:.1?}");
        visits.push(visit);
        if let Some(browsers) = &browsers {
            homes.forget();
            let took = browsers.connect((host, viewer));
            eprintln!("{host} {viewer} {run}: Chromium {took:.1?}");
            channels.push(took);
        }
    }
    Pair { host, viewer, visits, channels }
}

/// A viewer comes, and leaves once it has seen something.
fn visit(viewers: &Viewers<'_>) -> Visit {
    let mut viewer = viewers.join(VIEWER, &[]);
    let started = viewer.started();
    let (mut admitted, mut connected) = (None, None);
    let names = ["admitted", "connected", "first_frame", "error"];
    while let Some((at, event)) = viewer.one_of(&names, started + PATIENCE) {
        match (event["event"].as_str(), admitted, connected) {
            (Some("admitted"), None, _) => admitted = Some(at),
            (Some("connected"), _, None) => connected = Some(at),
            (Some("first_frame"), Some(admitted), Some(connected)) => {
                let told = event["ms"].as_f64().expect("`first_frame` has a time");
                let (picture, connecting) = (ms(started, at), ms(admitted, connected));
                viewer.end();
                return Visit::Seen { picture, told, connecting };
            }
            (Some("error"), ..) => {
                let code = event["code"].as_str().expect("`error` has a code").to_owned();
                return Visit::Failed { code, after: ms(started, at) };
            }
            _ => {}
        }
    }
    viewer.fail("neither shows a picture nor says why")
}

/// Milliseconds.
pub(crate) fn ms(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}
