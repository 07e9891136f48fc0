//! What viewers on bad lines cost those on good ones, on real machines: `docs/glass.md` has the figures.

#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod scene;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    use options::{HELP, Options};

    match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => {
            match options.behind {
                Some(rate) => behind(&options, rate),
                None => crowd(&options),
            }
            ExitCode::SUCCESS
        }
        Ok(None) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(complaint) => {
            eprintln!("{complaint}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

#[cfg(target_os = "linux")]
type Figure = (&'static str, fn(&scene::Round) -> f64);

/// What is compared of two rounds.
#[cfg(target_os = "linux")]
const FIGURES: [Figure; 8] = [
    ("good viewers, pictures a second, median", |round| of_good(round, |one| one.fps)),
    ("  the worst", |round| round.good.iter().map(|one| one.fps).fold(f64::INFINITY, f64::min)),
    ("good viewers, latency p50, ms, median", |round| of_good(round, |one| one.p50_ms)),
    ("  the worst", |round| round.good.iter().map(|one| one.p50_ms).fold(0.0, f64::max)),
    ("good viewers, latency p95, ms, median", |round| of_good(round, |one| one.p95_ms)),
    ("page, pictures a second", |round| round.page.fps),
    ("page, paint to paint p50, ms", |round| round.page.p50_ms),
    ("page, paint to paint p95, ms", |round| round.page.p95_ms),
];

#[cfg(target_os = "linux")]
fn of_good(round: &scene::Round, figure: fn(&scene::Served) -> f64) -> f64 {
    lllsi_lab::summary::median(round.good.iter().map(figure))
}

#[cfg(target_os = "linux")]
fn crowd(options: &options::Options) {
    use lllsi_lab::summary::{Spread, median};

    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for run in 1..=options.runs {
        for (is_beside, rounds) in [(false, &mut alone), (true, &mut beside)] {
            let round = scene::crowd(options, is_beside);
            let figures = FIGURES.map(|(_, figure)| format!("{:.1}", figure(&round))).join("  ");
            eprintln!("{run} {} {figures}", if is_beside { "beside" } else { "alone " });
            rounds.push(round);
        }
    }
    println!("{:42} {:>18} {:>8} {:>18}", "", "alone, spread", "beside", "spread");
    let row = |name: &str, figure: &dyn Fn(&scene::Round) -> f64| {
        let spread = |rounds: &[scene::Round]| {
            Spread::of(rounds.iter().map(figure)).expect("there is a round at least")
        };
        let (alone, beside) = (spread(&alone), spread(&beside));
        let range = |spread: Spread| format!("{:.1} – {:.1}", spread.least, spread.most);
        let middle = beside.median;
        println!("{name:42} {:>18} {middle:>8.1} {:>18}", range(alone), range(beside));
    };
    FIGURES.iter().for_each(|(name, figure)| row(name, figure));
    row("host, % of a core", &|round| round.cpu);
    for (at, name) in ["at 500 kbit/s", "10 % lost", "lying"].into_iter().enumerate() {
        let fps = |round: &scene::Round| round.others.map_or(f64::NAN, |others| others[at].fps);
        let fps = median(beside.iter().map(fps));
        println!("{:42} {:>18} {fps:>8.1}", format!("{name}, pictures a second"), "");
    }
}

#[cfg(target_os = "linux")]
fn behind(options: &options::Options, rate: f64) {
    for served in scene::behind(options, rate) {
        println!(
            "{:>5.1} pictures a second, p50 {:>6.1}  p95 {:>6.1} ms, {:.2} Mbit/s, {:.0} % of the uplink",
            served.fps,
            served.p50_ms,
            served.p95_ms,
            served.mbps,
            served.mbps * 1e8 / rate,
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("This bench runs on Linux only.");
}
