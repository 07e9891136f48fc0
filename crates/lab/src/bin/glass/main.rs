//! Glass to glass: how long a picture takes from being painted on the host's display to being shown on the viewer's.
//! `lllsi_lab` says how it is measured.

#[cfg(target_os = "linux")]
mod bench;
#[cfg(target_os = "linux")]
mod browsers;
#[cfg(target_os = "linux")]
mod lines;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod seen;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    let options = match options::Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(complaint) => {
            eprintln!("{complaint}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    if !options.lines.is_empty() {
        let all = lines::run(&options);
        all.iter().for_each(|seen| match options.json {
            true => println!("{}", seen.json()),
            false => println!("{}", seen.row()),
        });
        let is_blind = all.iter().any(seen::Seen::is_blind);
        return if is_blind { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let outcomes = bench::run(&options);
    if options.json {
        outcomes.iter().for_each(|outcome| println!("{}", report::json(outcome)));
    } else {
        print!("{}", report::table(&outcomes));
    }
    let blind = outcomes.iter().find(|outcome| outcome.scroll.latency.is_none());
    if let Some(outcome) = blind {
        eprintln!("{} showed nothing on the viewer's display.", outcome.system);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("This bench runs on Linux only.");
}
