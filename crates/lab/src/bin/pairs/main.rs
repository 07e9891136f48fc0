//! How soon two peers meet behind each pair of NATs, and what a rush of viewers does to those that watch already.
//! `docs/networks.md` says how it is measured.

#[cfg(target_os = "linux")]
mod browsers;
#[cfg(target_os = "linux")]
mod meeting;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod rush;
#[cfg(target_os = "linux")]
mod stage;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    use lllsi_lab::program::assert_installed;
    use options::{HELP, Options};

    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(complaint) => {
            eprintln!("{complaint}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    assert_installed("ip", "iproute2");
    assert_installed("nft", "nftables");
    if options.chromium {
        assert_installed("chromium", "chromium");
    }
    if options.rush {
        let outcome = rush::run(&options);
        println!("{}", if options.json { outcome.json().to_string() } else { outcome.to_string() });
        return if outcome.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if !options.json {
        println!("{}", report::heading());
    }
    for (host, viewer) in options.pairs() {
        let pair = meeting::measure(&options, host, viewer);
        println!("{}", if options.json { pair.json().to_string() } else { pair.row() });
    }
    ExitCode::SUCCESS
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("This bench runs on Linux only.");
}
