//! A download beside what is measured: one TCP connection that takes what it gets of a line.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::network::{Network, Side};

/// How soon a dropped download ends.
const LOOK_UP: Duration = Duration::from_millis(100);
const BUFFER: usize = 64 * 1024;

/// From the near machine to the far one, until it is dropped.
#[derive(Debug)]
pub struct Download {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Download {
    /// Begins one that uses CUBIC (RFC 9438), as most systems do.
    ///
    /// # Panics
    ///
    /// If the machines do not connect, or their system does not know CUBIC.
    #[must_use]
    pub fn start(network: &Network) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (tell, port) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let receiver = network.spawn(Side::Far(0), move || {
            let listener =
                TcpListener::bind((Side::Far(0).address(), 0)).expect("some port is free");
            let port = listener.local_addr().expect("it is bound").port();
            tell.send(port).expect("somebody waits for it");
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(LOOK_UP)).expect("a timeout");
            let mut buffer = vec![0; BUFFER];
            while !stopped.load(Ordering::Relaxed) {
                if is_over(stream.read(&mut buffer)) {
                    break;
                }
            }
        });
        let port = port.recv().expect("the far machine listens");
        let stopped = Arc::clone(&stop);
        let sender = network.spawn(Side::Near, move || {
            let mut stream =
                TcpStream::connect((Side::Far(0).address(), port)).expect("a connection");
            rustix::net::sockopt::set_tcp_congestion(&stream, "cubic").expect("CUBIC");
            stream.set_write_timeout(Some(LOOK_UP)).expect("a timeout");
            let buffer = vec![0; BUFFER];
            while !stopped.load(Ordering::Relaxed) {
                if is_over(stream.write(&buffer)) {
                    break;
                }
            }
        });
        Self { stop, threads: vec![receiver, sender] }
    }
}

/// Whether the connection has ended: a timeout only asks whether to go on.
fn is_over(moved: std::io::Result<usize>) -> bool {
    match moved {
        Ok(bytes) => bytes == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
