//! The least that a packet can cost: to be sealed with one of many keys, and to be handed to the kernel for one of many sockets.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use lllsi_rtc::rtp::Header;
use lllsi_rtc::srtp::{self, Profile, Sealer};
use quinn_udp::{Transmit, UdpSocketState};

use super::meter::Thread;
use super::{BURST_PACKETS, Error, PACKET_BYTES};

const SSRC: u32 = 7;

/// Keys of as many associations as there are viewers.
pub(super) struct Sealers {
    sealers: Vec<Sealer>,
    next: u64,
    /// Packets before they are sealed.
    buffer: Vec<u8>,
    header_len: usize,
}

impl Sealers {
    pub(super) fn new(profile: Profile, number: u32) -> Result<Self, Error> {
        let sealers = (0..number).map(|n| {
            let mut keying = vec![0x5a; profile.keying_material_len()];
            keying[..4].copy_from_slice(&n.to_be_bytes());
            srtp::sessions(profile, &keying, true).map(|(sealer, _)| sealer)
        });
        let sealers = sealers.collect::<Option<_>>().ok_or(Error::Keys)?;
        let mut buffer = Vec::with_capacity(2 * PACKET_BYTES);
        let header = Header { payload_type: 96, ssrc: SSRC, ..Header::default() };
        let header_len = header.write(&mut buffer, &[(1, &[0; 3]), (2, &[0; 2])]);
        buffer.resize(PACKET_BYTES - profile.tag_len(), 0x3c);
        Ok(Self { sealers, next: 1, buffer, header_len })
    }

    /// Microseconds for one packet. As a host does, one key after another for a burst each, at the pace of frames: keys that are
    /// out of the processor's cache by then are so here too.
    pub(super) fn measure(&mut self, per_second: f64, time: Duration) -> Result<f64, Error> {
        let thread = Thread::current();
        let (before, mut sealed) = (thread.used()?, true);
        let bursts = pace(per_second, time, || {
            sealed = self.seal_bursts();
            sealed
        });
        if !sealed {
            return Err(Error::Keys);
        }
        let packets = bursts * (self.sealers.len() * BURST_PACKETS) as u32;
        Ok(each(thread.used()? - before, packets))
    }

    fn seal_bursts(&mut self) -> bool {
        let len = self.buffer.len();
        let indices = self.next..self.next + BURST_PACKETS as u64;
        self.next = indices.end;
        self.sealers.iter_mut().all(|sealer| {
            indices.clone().all(|index| {
                // Sealed where it lies, again and again: not a byte is copied.
                let sealed = sealer.seal_rtp(&mut self.buffer, 0, self.header_len, SSRC, index);
                self.buffer.truncate(len);
                sealed
            })
        })
    }
}

/// A socket that sends to many.
pub(super) struct Sender {
    socket: UdpSocket,
    state: UdpSocketState,
    to: Vec<SocketAddr>,
    contents: Vec<u8>,
}

impl Sender {
    pub(super) fn new(ports: &[u16]) -> Result<Self, Error> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::Socket)?;
        let state = UdpSocketState::new((&socket).into()).map_err(Error::Socket)?;
        if state.max_gso_segments() < BURST_PACKETS {
            return Err(Error::NoSegmentation);
        }
        let to = ports.iter().map(|port| (Ipv4Addr::LOCALHOST, *port).into()).collect();
        Ok(Self { socket, state, to, contents: vec![0x3c; BURST_PACKETS * PACKET_BYTES] })
    }

    /// Microseconds for one packet, if the kernel gets a burst at a time and cuts it apart.
    pub(super) fn measure_batches(&self, per_second: f64, time: Duration) -> Result<f64, Error> {
        self.measure(per_second, time, |to| {
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents: &self.contents,
                segment_size: Some(PACKET_BYTES),
                src_ip: None,
            };
            self.state.try_send((&self.socket).into(), &transmit)
        })
    }

    /// Microseconds for one packet, if the kernel gets each by itself.
    pub(super) fn measure_singles(&self, per_second: f64, time: Duration) -> Result<f64, Error> {
        self.measure(per_second, time, |to| {
            let mut packets = self.contents.chunks(PACKET_BYTES);
            packets.try_for_each(|packet| self.socket.send_to(packet, to).map(drop))
        })
    }

    fn measure(
        &self,
        per_second: f64,
        time: Duration,
        send: impl Fn(SocketAddr) -> std::io::Result<()>,
    ) -> Result<f64, Error> {
        let thread = Thread::current();
        let (before, mut result) = (thread.used()?, Ok(()));
        let bursts = pace(per_second, time, || {
            for to in &self.to {
                match send(*to) {
                    // What a full buffer does not take is lost here as there.
                    Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                        result = Err(Error::Socket(error));
                    }
                    _ => {}
                }
            }
            result.is_ok()
        });
        result?;
        let packets = bursts * self.to.len() as u32 * BURST_PACKETS as u32;
        Ok(each(thread.used()? - before, packets))
    }
}

/// Does something at a steady rate until it does not want to go on, and at least once. Returns how often.
pub(super) fn pace(per_second: f64, time: Duration, mut act: impl FnMut() -> bool) -> u32 {
    let begin = Instant::now();
    let wanted = (per_second * time.as_secs_f64()).round().max(1.0) as u32;
    for n in 0..wanted {
        let due = begin + Duration::from_secs_f64(f64::from(n) / per_second);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if !act() {
            return n + 1;
        }
    }
    wanted
}

/// Microseconds for each of so many.
pub(super) fn each(time: Duration, number: u32) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(number.max(1))
}
