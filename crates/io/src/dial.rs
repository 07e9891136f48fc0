//! Connecting to a server by its name: to the first of its addresses that accepts (Happy Eyeballs, RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long an attempt has before the next one begins beside it (RFC 8305, 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Once all have been tried: a network that was gone takes no time to be found again (a kernel waits for 1, 2, 4… s).
const ROUND_DELAY: Duration = Duration::from_secs(1);
/// Addresses of a name that are tried, at most.
const MAX_ADDRESSES: usize = 16;

/// The addresses of a server, in the order in which they are to be tried.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host, port)).await?;
    let found = found.map(|at| SocketAddr::new(at.ip().to_canonical(), at.port()));
    Ok(interleave(found.collect()))
}

/// Takes the families in turn, beginning with that of the first address: the system has sorted the addresses (RFC 6724), and
/// where one of a family is dead the others often are too (RFC 8305, 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (same, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut all: Vec<SocketAddr> = Vec::new();
    while same.len() + other.len() > 0 && all.len() < MAX_ADDRESSES {
        all.extend(same.next());
        all.extend(other.next());
    }
    all.truncate(MAX_ADDRESSES);
    all
}

/// Connects to the first address that accepts, and returns which it is. While one is silent all are tried again and again, until the
/// call is cancelled. Attempts that are not needed any more end with it.
///
/// # Errors
/// The error of the first address, if all refuse.
pub(crate) async fn connect(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    let mut attempts = JoinSet::new();
    let mut first_error = None;
    let mut begun = 0;
    let mut next_at = Instant::now();
    loop {
        let is_first_round = begun < addresses.len();
        if !is_first_round && attempts.is_empty() {
            let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(first_error.unwrap_or_else(none));
        }
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt.map_err(io::Error::from) {
                Ok((_, address, Ok(stream))) => return Ok((stream, address)),
                Ok((number, _, Err(error))) => {
                    if number == 0 || first_error.is_none() {
                        first_error = Some(error);
                    }
                    if is_first_round {
                        next_at = Instant::now();
                    }
                }
                Err(error) => return Err(error),
            },
            () = tokio::time::sleep_until(next_at) => {
                let (number, address) = (begun, addresses[begun % addresses.len()]);
                attempts.spawn(async move { (number, address, TcpStream::connect(address).await) });
                begun += 1;
                let delay = if begun % addresses.len() == 0 { ROUND_DELAY } else { ATTEMPT_DELAY };
                next_at = Instant::now() + delay;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn addresses(of: &[&str]) -> Vec<SocketAddr> {
        of.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = ["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "[2001:db8::3]:1"];
        let tried = ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "[2001:db8::3]:1"];
        assert_eq!(interleave(addresses(&found)), addresses(&tried));
        assert_eq!(interleave(Vec::new()), []);
        let many: Vec<_> = (0..100).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
        assert_eq!(interleave(many.clone()), many[..MAX_ADDRESSES]);
    }

    /// An address whose kernel says nothing to a connection: so many wait there to be accepted.
    async fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(addresses(&["127.0.0.1:0"])[0]).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        let patience = Duration::from_millis(50);
        while let Ok(Ok(stream)) = tokio::time::timeout(patience, TcpStream::connect(address)).await
        {
            waiting.push(stream);
        }
        (listener, waiting, address)
    }

    #[tokio::test]
    async fn an_address_that_says_nothing_holds_up_no_other() {
        let (_listener, _waiting, dead) = silent().await;
        let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = (alive.local_addr().unwrap(), alive);
        let begin = Instant::now();
        let (_stream, reached) = connect(&[dead, dead, alive.0]).await.unwrap();
        assert_eq!(reached, alive.0);
        assert!(begin.elapsed() >= 2 * ATTEMPT_DELAY);
    }

    #[tokio::test]
    async fn an_address_that_was_silent_is_tried_again() {
        let (listener, waiting, address) = silent().await;
        let connecting = tokio::spawn(async move { connect(&[address]).await });
        tokio::time::sleep(ATTEMPT_DELAY).await;
        // The first attempt may get in as well, as soon as there is room.
        drop(waiting);
        tokio::spawn(async move {
            let mut accepted = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.push(stream);
            }
        });
        let (_stream, reached) = connecting.await.unwrap().unwrap();
        assert_eq!(reached, address);
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_over_at_once() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_stream, reached) = connect(&[free, alive.local_addr().unwrap()]).await.unwrap();
        assert_eq!(reached, alive.local_addr().unwrap());
        let error = connect(&[free]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect(&[]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
