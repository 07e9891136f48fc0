//! A hostile rendezvous server, made of an honest one: it stands before it and changes what it says over WebSockets.

use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What is done with each text that the server says: the texts that are passed on instead.
type Meddle = Arc<Mutex<dyn FnMut(String) -> Vec<String> + Send>>;

/// Takes connections until the program ends.
#[derive(Debug)]
pub struct Meddler {
    address: SocketAddr,
}

impl Meddler {
    /// Stands before the server at `server`.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    #[must_use]
    pub fn start(
        server: SocketAddr,
        meddle: impl FnMut(String) -> Vec<String> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let meddle: Meddle = Arc::new(Mutex::new(meddle));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let meddle = Arc::clone(&meddle);
                thread::spawn(move || {
                    // A connection that breaks is over, whoever broke it.
                    let _ = carry(&client, server, &meddle);
                });
            }
        });
        Self { address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn carry(client: &TcpStream, server: SocketAddr, meddle: &Meddle) -> Result<()> {
    let server = TcpStream::connect(server)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let (mut server, mut client) = (server, client.try_clone()?);
    let head = head(&mut server)?;
    client.write_all(&head)?;
    if !head.starts_with(b"HTTP/1.1 101") {
        return std::io::copy(&mut server, &mut client).map(drop);
    }
    loop {
        let (first, payload) = frame(&mut server)?;
        let texts = match String::from_utf8(payload) {
            Ok(text) if first & 0x0f == 1 => {
                let mut meddle = meddle.lock().unwrap_or_else(PoisonError::into_inner);
                meddle(text).into_iter().map(String::into_bytes).collect()
            }
            // Pings and the end.
            Ok(other) => vec![other.into_bytes()],
            Err(error) => vec![error.into_bytes()],
        };
        for text in texts {
            client.write_all(&framed(first, &text))?;
        }
    }
}

/// The head of an answer of http, with the empty line after it.
fn head(server: &mut TcpStream) -> Result<Vec<u8>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        server.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}

/// A server's frame (RFC 6455, 5.2): its first byte, and the payload, which is not masked.
fn frame(server: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut start = [0; 2];
    server.read_exact(&mut start)?;
    let more = match start[1] {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mut length = [0; 8];
    server.read_exact(&mut length[8 - more..])?;
    let length = if more == 0 { start[1].into() } else { u64::from_be_bytes(length) };
    let mut payload = vec![0; length as usize];
    server.read_exact(&mut payload)?;
    Ok((start[0], payload))
}

fn framed(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(length as u8),
        length @ 126..65_536 => {
            frame.push(126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}
