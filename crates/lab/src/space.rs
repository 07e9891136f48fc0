//! Network namespaces, which stand for machines. They need root.

use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::forward::tun;
use crate::program::Program;

/// The most bytes of a packet.
const MTU: usize = 1500;

/// A network namespace by its name. What has made it removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space(String);

impl Space {
    /// One that is there.
    #[must_use]
    pub fn named(name: String) -> Self {
        Self(name)
    }

    /// A new one, in place of any of this name.
    pub(crate) fn make(name: String) -> Self {
        let space = Self(name);
        space.remove();
        ip(&format!("netns add {}", space.0));
        space.ip("link set lo up");
        space
    }

    pub(crate) fn remove(&self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, words: &str) {
        ip(&format!("-n {} {words}", self.0));
    }

    /// A network device inside, whose packets are read and written here.
    pub(crate) fn device(&self, name: &str, address: &str) -> File {
        // Its own name may be taken outside.
        let passing = format!("lllsi{}", std::process::id());
        let end = tun(&passing);
        ip(&format!("link set {passing} netns {}", self.0));
        self.ip(&format!("link set {passing} name {name}"));
        self.ip(&format!("address add {address} dev {name}"));
        self.ip(&format!("link set {name} mtu {MTU} up"));
        end
    }

    /// A program inside.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program);
        command
    }

    /// Starts a program inside without the milliseconds that `ip netns exec` takes.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start(&self, name: &'static str, mut command: Command) -> Program {
        let starting = self.spawn(move || Program::start(name, &mut command));
        starting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A connection to a port of its own.
    ///
    /// # Errors
    ///
    /// If nobody listens there.
    pub fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        let connecting = self.spawn(move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
        connecting.join().unwrap_or_else(|_| Err(ErrorKind::Other.into()))
    }

    /// A thread inside: its sockets and the programs that it starts stay there.
    ///
    /// # Panics
    ///
    /// If it may not move there.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let space = format!("/run/netns/{}", self.0);
        std::thread::spawn(move || {
            let space = File::open(space).expect("the machine is there");
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("a thread may move");
            work()
        })
    }
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).output();
    let done = done.unwrap_or_else(|error| panic!("`ip` does not start: {error}"));
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "`ip {words}`, which needs root: {complaint}");
}
