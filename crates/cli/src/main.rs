//! `lllsi`: serve, host, join, demo, doctor. A thin layer over the `lllsi` library.

mod args;
mod bench;
mod demo;
mod doctor;
mod failure;
mod host;
mod join;
mod log;
mod page;
mod password;
mod report;
mod screen;
mod serve;
mod stop;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use report::Report;
use stop::Stop;

fn main() -> ExitCode {
    let args = Args::parse();
    log::start(args.verbose);
    let report = Report::new(args.json);
    quiet_panics();
    let at_once = matches!(args.command, Command::Bench { .. } | Command::Doctor(_));
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
        Command::Doctor(args) => doctor::run(&args, &report),
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
