//! Programs that are started here, and end when they are dropped.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// A program that is asked to end has so long for it.
const END: Duration = Duration::from_secs(3);

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    started: Instant,
    child: Child,
    lines: Receiver<Line>,
    log: Receiver<Line>,
}

/// A line, and when it came.
type Line = (Instant, String);

impl Program {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(name: &'static str, command: &mut Command) -> Self {
        // An open input: the host takes commands from there, and its end could be one.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let lines = listen(child.stdout.take().expect("it is piped"));
        let log = listen(child.stderr.take().expect("it is piped"));
        Self { name, started, child, lines, log }
    }

    /// The number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The next event of this name.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn event(&mut self, name: &str) -> Value {
        match self.one_of(&[name], Instant::now() + PATIENCE) {
            Some((_, event)) => event,
            None => self.fail(&format!("does not say `{name}`")),
        }
    }

    /// The next event that has one of these names, and when it came. `None` if none comes until `deadline`.
    pub fn one_of(&mut self, names: &[&str], deadline: Instant) -> Option<(Instant, Value)> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (at, line) = self.lines.recv_timeout(left).ok()?;
            let event = parse(&line);
            if names.iter().any(|name| event["event"] == *name) {
                return Some((at, event));
            }
        }
    }

    /// What it has said since the last time.
    pub fn news(&mut self) -> Vec<Value> {
        self.lines.try_iter().map(|(_, line)| parse(&line)).collect()
    }

    /// Looks whether it still runs.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn assert_running(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            self.fail("has ended");
        }
    }

    /// Asks it to end, so that others know, and waits until it has.
    pub fn end(self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + END;
        let left = || deadline.saturating_duration_since(Instant::now());
        // Its output ends with it.
        while self.lines.recv_timeout(left()).is_ok() {}
    }

    /// Complains of it, with all that it has said.
    ///
    /// # Panics
    ///
    /// Always.
    pub fn fail(&mut self, complaint: &str) -> ! {
        let _ = self.child.kill();
        let rest = |lines: &Receiver<Line>| {
            lines.iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
        };
        panic!("{} {complaint}\n{}\n{}", self.name, rest(&self.lines), rest(&self.log));
    }
}

/// Looks whether a program is installed.
///
/// # Panics
///
/// If it is not: the message names the package that has it.
pub fn assert_installed(program: &str, package: &str) {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&places).any(|place| place.join(program).is_file());
    assert!(is_there, "`{program}` is missing: install the package {package}");
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is not JSON is no event.
fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

fn listen(output: impl Read + Send + 'static) -> Receiver<Line> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.for_each(|line| drop(sender.send((Instant::now(), line))));
    });
    lines
}
