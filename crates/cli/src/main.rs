//! `lllsi`: serve, host, join, demo. A thin layer over the `lllsi` library.

mod args;
mod bench;
mod demo;
mod failure;
mod host;
mod join;
mod page;
mod password;
mod report;
mod screen;
mod serve;
mod stop;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use args::{Args, Command};
use report::Report;
use stop::Stop;

fn main() -> ExitCode {
    let args = Args::parse();
    start_log(args.verbose);
    let report = Report::new(args.json);
    quiet_panics();
    let at_once = matches!(args.command, Command::Bench { .. });
    let result = Stop::install(at_once).and_then(|stop| match args.command {
        Command::Serve(args) => serve::run(&args, &report, &stop),
        Command::Host(args) => host::run(&args, &report, &stop),
        Command::Join(args) => join::run(&args, &report, &stop),
        Command::Bench { bench } => match bench {
            args::Bench::Rendezvous(args) => bench::rendezvous(&args, &report),
            args::Bench::Fanout(args) => bench::fanout(&args, &report),
            args::Bench::FanoutSinks { viewers } => bench::fanout_sinks(viewers),
        },
        Command::Page(args) => page::run(&args, &report),
        Command::Demo(args) => demo::run(&args, &report, &stop),
    });
    match result.and_then(|()| report.written()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report.failure(&failure);
            ExitCode::from(failure.exit())
        }
    }
}

/// The window library panics when its display dies. That is caught and told in words; the rest is for the log.
fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_some_and(|place| place.file().contains("winit")) {
            tracing::debug!(%panic, "the window library gave up");
        } else {
            usual(panic);
        }
    }));
}

/// Logs go to stderr, so that stdout stays for links and JSON.
fn start_log(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    // The window library warns of things that concern nobody. What parses datagrams warns of each that makes no sense, so
    // that a stranger could fill the log.
    let noisy = if verbose == 0 { tracing::Level::ERROR } else { level };
    let noisy = ["winit", "is", "dimpl", "sctp_proto"].map(|name| (name, noisy));
    let targets = Targets::new().with_default(level).with_targets(noisy);
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    tracing_subscriber::registry().with(lines).with(targets).init();
}
