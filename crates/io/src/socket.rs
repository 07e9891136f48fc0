//! One wildcard UDP socket for all links of a peer, with the local address of each datagram, and batched by the kernel
//! in both directions (GSO and GRO where the system has them).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use lllsi_core::Transmit;
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What is asked of the system for bursts; it may give less.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Datagrams of one send at most: the kernel's limit is 64.
const MAX_SEGMENTS: usize = 60;
const MAX_BATCH_BYTES: usize = 60_000;
const RECEIVE_BATCH: usize = 8;
const RECEIVE_BYTES: usize = 65_536;
/// Whether the system tells of each datagram that comes while none is waited for (edge-triggered epoll), and gives as many as
/// there are, up to a full batch.
const TELLS_EDGES: bool = cfg!(target_os = "linux");
/// How long a full send buffer is waited for before a batch is dropped, as the network would.
const SEND_PATIENCE: Duration = Duration::from_millis(20);

pub(crate) struct Endpoint {
    socket: UdpSocket,
    /// For batches, and for receiving.
    state: UdpSocketState,
    /// For single datagrams. A refused one takes segmentation offload from the state that it was sent by: checks of a path go
    /// to addresses that the kernel may refuse, and batches only where a path is proved.
    single: UdpSocketState,
    local: SocketAddr,
    buffers: [Vec<u8>; RECEIVE_BATCH],
}

/// Whether there may be more datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// There may be.
    Some,
    /// That was all, or the system told of an error that it had of something sent.
    All,
}

impl Endpoint {
    /// Binds to a port, 0 for one of the system's choice, for IPv6 and IPv4 where both are there.
    pub(crate) fn bind(port: u16) -> io::Result<Self> {
        match Self::bind_to((Ipv6Addr::UNSPECIFIED, port).into()) {
            // Of IPv4 it may be free, and yet not ours.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                Self::bind_to((Ipv4Addr::UNSPECIFIED, port).into())
            }
            bound => bound,
        }
    }

    /// Binds to an address; the IPv6 wildcard stands for IPv4 too.
    pub(crate) fn bind_to(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&socket).into())?;
        // Only a wish: systems cap it.
        let _ = state.set_send_buffer_size((&socket).into(), BUFFER_BYTES);
        let _ = state.set_recv_buffer_size((&socket).into(), BUFFER_BYTES);
        let single = UdpSocketState::new((&socket).into())?;
        let local = socket.local_addr()?;
        let buffers = std::array::from_fn(|_| vec![0; RECEIVE_BYTES]);
        Ok(Self { socket, state, single, local, buffers })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Hands out datagrams that are there: `(source, destination, bytes)`.
    pub(crate) fn receive(
        &mut self,
        mut each: impl FnMut(SocketAddr, SocketAddr, &[u8]),
    ) -> io::Result<Received> {
        let mut meta = [RecvMeta::default(); RECEIVE_BATCH];
        let Self { socket, state, buffers, local, .. } = self;
        let mut slices = buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
        // Also if it was not told that there are some: whoever has much to do is not told meanwhile.
        let result = state.recv((&*socket).into(), &mut slices, &mut meta);
        let note_that_all_came = || {
            let none = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = socket.try_io(Interest::READABLE, none);
            Ok(Received::All)
        };
        let received = match result {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return note_that_all_came(),
            // An ICMP message about something sent earlier: that path's business, not the socket's. Windows calls it a
            // reset.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
                ) =>
            {
                return Ok(Received::All);
            }
            Err(error) => return Err(error),
        };
        for (meta, buffer) in meta.iter().zip(buffers).take(received) {
            let Some(ip) = meta.dst_ip else { continue };
            let destination = canonical(SocketAddr::new(ip, local.port()));
            for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                each(canonical(meta.addr), destination, datagram);
            }
        }
        if TELLS_EDGES && received < RECEIVE_BATCH {
            // There was no more: not asking again saves a system call for most datagrams.
            return note_that_all_came();
        }
        Ok(Received::Some)
    }

    /// Sends datagrams of one size, of which the last may be shorter.
    async fn send(&mut self, route: Route, contents: &[u8], segment: usize) {
        if contents.len() <= segment {
            let result = self.attempt(&self.single, route, contents, None).await;
            return note(route, result);
        }
        let result = self.attempt(&self.state, route, contents, Some(segment)).await;
        if !matches!(&result, Err(error) if is_refused(error)) {
            return note(route, result);
        }
        // Either the kernel or the driver has no segmentation offload, or this destination cannot be reached.
        let mut went = false;
        for datagram in contents.chunks(segment) {
            let result = self.attempt(&self.single, route, datagram, None).await;
            went |= result.is_ok();
            note(route, result);
        }
        if !went && let Ok(state) = UdpSocketState::new((&self.socket).into()) {
            self.state = state;
        }
    }

    async fn attempt(
        &self,
        state: &UdpSocketState,
        (source, destination): Route,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let v6 = self.local.is_ipv6();
        let transmit = quinn_udp::Transmit {
            destination: if v6 { mapped(destination) } else { destination },
            ecn: None,
            contents,
            segment_size,
            src_ip: source.map(|a| a.ip()),
        };
        let attempt = || {
            let send = || state.try_send((&self.socket).into(), &transmit);
            self.socket.try_io(Interest::WRITABLE, send)
        };
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match tokio::time::timeout(SEND_PATIENCE, self.socket.writable()).await {
                    Ok(_) => attempt(),
                    Err(_) => Err(error),
                }
            }
            result => result,
        }
    }
}

/// Where from, if that is not left to the system, and where to.
type Route = (Option<SocketAddr>, SocketAddr);

/// Whether the kernel does not take a datagram, or a batch, of this kind: EINVAL, or EIO of a driver.
fn is_refused(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.kind() == io::ErrorKind::InvalidInput || error.raw_os_error() == Some(EIO)
}

/// Unreachable candidates are normal while a path is looked for; a lost datagram is repaired like any other.
fn note((_, destination): Route, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%destination, %error, "not sent");
    }
}

/// IPv4 as IPv4, however the socket shows it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// IPv4 as an IPv6 socket wants it.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => {
            SocketAddr::V6(SocketAddrV6::new(ip.to_ipv6_mapped(), address.port(), 0, 0))
        }
        IpAddr::V6(_) => address,
    }
}

/// Gathers single datagrams of one route and size into one system call. Each of these is copied once, since the kernel wants
/// a batch in one piece; what comes as a batch is sent as it is.
#[derive(Default)]
pub(crate) struct Batch {
    route: Option<Route>,
    bytes: Vec<u8>,
    segment_bytes: usize,
    segments: usize,
    /// A datagram smaller than the others ends its batch.
    closed: bool,
    /// So many have been sent.
    pub(crate) sends: usize,
}

impl Batch {
    /// Adds datagrams, after sending what does not go together with them.
    pub(crate) async fn push(&mut self, endpoint: &mut Endpoint, transmit: &Transmit) {
        let max_segments = endpoint.state.max_gso_segments().min(MAX_SEGMENTS);
        if let Some(segment) = transmit.segment_size.filter(|_| max_segments > 1) {
            self.flush(endpoint).await;
            self.sends += 1;
            let route = (transmit.source, transmit.destination);
            return endpoint.send(route, &transmit.contents, segment).await;
        }
        for datagram in transmit.datagrams() {
            let route = (transmit.source, transmit.destination);
            if !self.takes(route, datagram.len(), max_segments) {
                self.flush(endpoint).await;
                self.route = Some(route);
                self.segment_bytes = datagram.len();
            }
            self.bytes.extend_from_slice(datagram);
            self.segments += 1;
            self.closed = datagram.len() < self.segment_bytes;
        }
    }

    fn takes(&self, route: Route, len: usize, max_segments: usize) -> bool {
        self.route == Some(route)
            && !self.closed
            && self.segments < max_segments
            && len <= self.segment_bytes
            && self.bytes.len() + len <= MAX_BATCH_BYTES
    }

    pub(crate) async fn flush(&mut self, endpoint: &mut Endpoint) {
        if let Some(route) = self.route.take() {
            self.sends += 1;
            endpoint.send(route, &self.bytes, self.segment_bytes).await;
        }
        self.bytes.clear();
        (self.segments, self.closed) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn batches_keep_datagrams_their_order_and_their_local_address() {
        let mut sender = Endpoint::bind(0).unwrap();
        let mut receiver = Endpoint::bind(0).unwrap();
        let destination = SocketAddr::from((Ipv4Addr::LOCALHOST, receiver.local().port()));
        let source = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, sender.local().port())));
        let sizes = [1200, 1200, 1200, 300, 1200, 1400, 50, 50];
        let mut batch = Batch::default();
        for (i, size) in sizes.into_iter().enumerate() {
            let contents = vec![i as u8; size];
            let transmit = Transmit { source, destination, contents, segment_size: None };
            batch.push(&mut sender, &transmit).await;
        }
        batch.flush(&mut sender).await;
        let mut got = Vec::new();
        while got.len() < sizes.len() {
            receiver.readable().await.unwrap();
            receiver
                .receive(|from, to, data| {
                    assert_eq!((Some(from), to), (source, destination));
                    got.push((data[0], data.len()));
                })
                .unwrap();
        }
        let sent: Vec<_> = sizes.iter().enumerate().map(|(i, size)| (i as u8, *size)).collect();
        assert_eq!(got, sent);
    }

    #[tokio::test]
    async fn what_comes_after_all_was_taken_is_waited_for_and_told() {
        let mut sender = Endpoint::bind(0).unwrap();
        let mut receiver = Endpoint::bind(0).unwrap();
        let destination = SocketAddr::from((Ipv4Addr::LOCALHOST, receiver.local().port()));
        let mut batch = Batch::default();
        for burst in [1, 2, RECEIVE_BATCH, RECEIVE_BATCH + 1, 1, 1] {
            for size in 1..=burst {
                // Of growing sizes: none goes together with another.
                let contents = vec![7; size];
                let transmit = Transmit { source: None, destination, contents, segment_size: None };
                batch.push(&mut sender, &transmit).await;
            }
            batch.flush(&mut sender).await;
            let mut got = 0;
            while got < burst {
                let told = tokio::time::timeout(Duration::from_secs(20), receiver.readable()).await;
                told.expect("it is told").unwrap();
                let mut more = Received::Some;
                while more == Received::Some {
                    more = receiver.receive(|_, _, _| got += 1).unwrap();
                }
            }
            let idle = tokio::time::timeout(Duration::from_millis(1), receiver.readable()).await;
            assert!(idle.is_err(), "there is no more");
        }
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_refused_datagram_ends_no_batching() {
        let mut sender = Endpoint::bind(0).unwrap();
        assert!(sender.state.max_gso_segments() > 1, "this kernel has no segmentation offload");
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, sender.local().port()));
        // From a loopback address to another machine: nothing that the kernel sends.
        let nowhere = SocketAddr::from(([192, 0, 2, 1], 9));
        let mut batch = Batch::default();
        for segment_size in [None, Some(100)] {
            let contents = vec![7; 1000];
            let (source, destination) = (Some(loopback), nowhere);
            let transmit = Transmit { source, destination, contents, segment_size };
            batch.push(&mut sender, &transmit).await;
            batch.flush(&mut sender).await;
        }
        assert!(sender.state.max_gso_segments() > 1);
    }
}
