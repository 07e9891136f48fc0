//! Programs that are started here, and end when they are dropped.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    log: Receiver<String>,
}

impl Program {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(name: &'static str, command: &mut Command) -> Self {
        // An open input: the host takes commands from there, and its end could be one.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let lines = listen(child.stdout.take().expect("it is piped"));
        let log = listen(child.stderr.take().expect("it is piped"));
        Self { name, child, lines, log }
    }

    /// The number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next event of this name.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn event(&mut self, name: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left).map(|line| parse(&line)) {
                Ok(event) if event["event"] == name => return event,
                Ok(_) => {}
                Err(_) => self.fail(&format!("does not say `{name}`")),
            }
        }
    }

    /// What it has said since the last time.
    pub fn news(&mut self) -> Vec<Value> {
        self.lines.try_iter().map(|line| parse(&line)).collect()
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

    fn fail(&mut self, complaint: &str) -> ! {
        let _ = self.child.kill();
        let rest = |lines: &Receiver<String>| lines.iter().collect::<Vec<_>>().join("\n");
        panic!("{} {complaint}\n{}\n{}", self.name, rest(&self.lines), rest(&self.log));
    }
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

fn listen(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.for_each(|line| drop(sender.send(line)));
    });
    lines
}
