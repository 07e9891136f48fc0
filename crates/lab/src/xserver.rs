//! X servers of our own, without a monitor.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A running Xvfb. Killed when dropped.
#[derive(Debug)]
pub struct XServer {
    child: Child,
    display: String,
}

impl XServer {
    /// Starts a server with one screen of this size and depth, and waits until it can be used.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start(size: (u16, u16), depth: u8) -> Self {
        let mut child = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", &format!("{}x{}x{depth}", size.0, size.1)])
            .args(["-nolisten", "tcp", "-noreset"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("Xvfb does not start: {error}; `.ci/e2e` installs what is needed")
            });
        let stdout = child.stdout.take().expect("it is piped");
        // From here on it is killed if something goes wrong.
        let mut server = Self { child, display: String::new() };
        let mut number = String::new();
        let told = BufReader::new(stdout).read_line(&mut number);
        assert!(
            told.is_ok() && number.ends_with('\n'),
            "Xvfb ended at once; is {size:?} with depth {depth} a screen that it knows?"
        );
        server.display = format!(":{}", number.trim());
        server
    }

    /// Its name, such as `:7`.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// Ends it at once, as if the display were lost.
    pub fn kill(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for XServer {
    fn drop(&mut self) {
        self.kill();
    }
}
