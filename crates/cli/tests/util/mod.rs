//! Runs the real program and listens to what it says in JSON.
// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Generous: what takes longer has failed. Nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The environment of a machine without a screen: an empty name is none.
pub(crate) const NO_DISPLAY: [(&str, &str); 2] = [("DISPLAY", ""), ("WAYLAND_DISPLAY", "")];

/// A host keeps a core busy with its encoder: one session at a time, or they disturb each other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `lllsi --json` with these arguments, not started yet.
pub(crate) fn lllsi(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lllsi"));
    command.arg("--json").args(args).env_remove("LLLSI_LINK").env_remove("LLLSI_PASSWORD");
    // Not the user's own.
    command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// A running program. Killed when dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<()>>,
    log: Arc<Mutex<Vec<u8>>>,
    seen: Vec<(Duration, Value)>,
    /// Events before this one have been waited for.
    read: usize,
    started: Instant,
}

impl Program {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(&args.join(" "), &mut lllsi(args))
    }

    /// Starts a prepared command; `name` is for messages.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let stdout = child.stdout.take().expect("it is piped");
        let mut stderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        let log = Arc::<Mutex<Vec<u8>>>::default();
        let noted = Arc::clone(&log);
        let stderr = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = stderr.read(&mut bytes) {
                noted.lock().unwrap_or_else(PoisonError::into_inner).extend(&bytes[..len]);
            }
        });
        Self {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            lines,
            stderr: Some(stderr),
            log,
            seen: Vec::new(),
            read: 0,
            started,
        }
    }

    /// The next event, not waited for yet, of which this holds.
    pub(crate) fn wait_for(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.wait_for_within(PATIENCE, what, holds)
    }

    pub(crate) fn wait_for_within(
        &mut self,
        patience: Duration,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + patience;
        loop {
            while let Some((_, event)) = self.seen.get(self.read) {
                self.read += 1;
                if holds(event) {
                    return event.clone();
                }
            }
            if !self.listen(deadline) {
                self.fail(&format!("no {what}"));
            }
        }
    }

    /// The next event of this name.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        self.wait_for(name, |event| event["event"] == name)
    }

    /// Everything said so far.
    pub(crate) fn said(&mut self) -> Vec<Value> {
        while self.listen(Instant::now()) {}
        self.seen.iter().map(|(_, event)| event.clone()).collect()
    }

    /// Passes over everything said so far: what is waited for from here on is news.
    pub(crate) fn forget(&mut self) {
        while self.listen(Instant::now()) {}
        self.read = self.seen.len();
    }

    /// Takes one more event. `false`: none until the deadline, or none any more.
    fn listen(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = self.lines.recv_timeout(left) else {
            return false;
        };
        match serde_json::from_str(&line) {
            Ok(event) => self.seen.push((self.started.elapsed(), event)),
            Err(error) => self.fail(&format!("no JSON ({error}): {line}")),
        }
        true
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{line}").expect("it reads its stdin");
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// SIGKILL: it gets no chance to say goodbye.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    /// SIGTERM: asks it to end.
    pub(crate) fn terminate(&mut self) {
        // By the shell: the standard library knows only SIGKILL, and not every system has a `kill` program.
        let kill = format!("kill -TERM {}", self.child.id());
        run(Command::new("sh").args(["-c", &kill]));
    }

    /// Waits for its end; the exit code.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        // Stdout closes with the process.
        while self.listen(deadline) {}
        let status = self.wait_until(deadline);
        let code = status.and_then(|status| status.code());
        code.unwrap_or_else(|| self.fail("no exit code"))
    }

    fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Waits for its end by SIGTERM, which is a success.
    pub(crate) fn ends_well(&mut self) {
        self.terminate();
        let code = self.exit_code();
        if code != 0 {
            self.fail(&format!("exit code {code}, 0 expected"));
        }
    }

    /// Waits for its end by a failure of this code, told with the next step.
    pub(crate) fn fails(&mut self, code: &str, exit: i32, next_step: &str) {
        let got = self.exit_code();
        let error = self.said().into_iter().next_back().unwrap_or_default();
        let message = error["message"].as_str().unwrap_or_default();
        let told = error["event"] == "error" && error["code"] == code && got == exit;
        if !told || !message.contains(next_step) {
            self.fail(&format!(
                "exit code {got}, {error}; expected {exit}, {code}, “… {next_step} …”"
            ));
        }
    }

    /// Panics with all that is known.
    pub(crate) fn fail(&mut self, complaint: &str) -> ! {
        while self.listen(Instant::now()) {}
        let _ = self.child.kill();
        let _ = self.stderr.take().map(JoinHandle::join);
        panic!("{}: {complaint}\n{self}{}", self.name, self.log());
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut events = self.seen.iter();
        events.try_for_each(|(at, event)| writeln!(f, "  {:8.3} s  {event}", at.as_secs_f64()))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end; its standard output.
pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    output.stdout
}

/// A text member of an event.
pub(crate) fn text(event: &Value, member: &str) -> String {
    let text = event[member].as_str();
    text.unwrap_or_else(|| panic!("no text `{member}` in {event}")).to_owned()
}

/// A number in an event.
pub(crate) fn number(event: &Value, member: &str) -> f64 {
    let number = event[member].as_f64();
    number.unwrap_or_else(|| panic!("no number `{member}` in {event}"))
}

/// The link with one letter of its `n`th part changed; 1 is the room, 3 the secret, 4 the certificate.
pub(crate) fn spoilt(link: &str, n: usize) -> String {
    let (server, fragment) = link.split_once('#').expect("a link has a fragment");
    let mut parts: Vec<_> = fragment.split('.').map(str::to_owned).collect();
    let other = if parts[n].starts_with('A') { "B" } else { "A" };
    parts[n].replace_range(..1, other);
    format!("{server}#{}", parts.join("."))
}

/// A loopback port free for TCP and UDP.
pub(crate) fn free_port() -> u16 {
    (0..100)
        .find_map(|_| {
            let tcp = TcpListener::bind("127.0.0.1:0").ok()?;
            let address = tcp.local_addr().ok()?;
            UdpSocket::bind(address).ok().map(|_| address.port())
        })
        .expect("some port is free")
}
