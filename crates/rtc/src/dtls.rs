//! DTLS 1.2 and 1.3 (RFC 6347, RFC 9147) by the `dimpl` crate, with its own patience: a lost handshake packet is sent again
//! after a quarter of a second, and then at least once a second. RFC 9147 (5.8.2) asks for a second that doubles where
//! nothing is known of the path; ICE has just measured it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use dimpl::{Config, DtlsCertificate, Output, ProtocolVersion, SrtpProfile};

use crate::srtp::Profile;

/// Bytes of a datagram of the handshake; and where a path carries no such datagrams: IPv4 has an MTU of 576 at least (RFC 791).
/// Flights in more than one datagram are slow where packets get lost.
const MTU: usize = 1150;
const SMALL_MTU: usize = 548;
const FIRST_RTO: Duration = Duration::from_millis(250);
/// `dimpl` doubles its timer with each retry. Its clock is put forward instead of waiting longer than this.
const MAX_RTO: Duration = Duration::from_secs(1);
/// A wait this long is how `dimpl` says "never" (it says ten years).
const NOT_A_RETRY: Duration = Duration::from_secs(30 * 24 * 3600);
/// The owner of the transport has a limit of time, which comes first.
const RETRIES: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);
/// A handshake record: byte 0 is its type, byte 13 the type of the message in it.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// An alert, and an acknowledgement of version 1.3.
const ALERT: u8 = 21;
const ACK: u8 = 26;
/// Bytes before a record that is not encrypted by version 1.3.
const RECORD_HEADER_BYTES: usize = 13;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// Bytes for what `dimpl` hands out: it panics where a certificate does not fit, and keeps no more of a handshake than 30
/// datagrams of [`MAX_HANDSHAKE_DATAGRAM`].
const HANDSHAKE_BUFFER: usize = 64 * 1024;
const MAX_HANDSHAKE_DATAGRAM: usize = 1500;
/// Enough for one record of a peer that has put its packets into datagrams.
const RECORD_BUFFER: usize = 2048;
const MAX_RECORD_BYTES: usize = 18 * 1024;

/// Which versions of DTLS a transport speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtlsVersion {
    /// 1.3 where the peer knows it, which saves a round trip; else 1.2.
    #[default]
    Newest,
    /// 1.2 alone.
    V12,
}

/// A self-signed certificate and its key. It may serve any number of transports: making one costs milliseconds.
///
/// ```
/// let certificate = lllsi_rtc::Certificate::generate();
/// assert_eq!(certificate.fingerprint().len(), 32);
/// ```
#[derive(Clone)]
pub struct Certificate {
    inner: DtlsCertificate,
    fingerprint: [u8; 32],
    /// Building one runs the cryptography's self-test, which takes a millisecond.
    config: Arc<Config>,
    small: Arc<Config>,
}

impl Certificate {
    /// Makes a certificate with a fresh key.
    pub fn generate() -> Self {
        let inner = dimpl::certificate::generate_self_signed_certificate();
        Self::of(inner.expect("the built-in cryptography makes certificates"))
    }

    pub(crate) fn of(inner: DtlsCertificate) -> Self {
        // ICE has shown that the peer is where it says: no cookie round trip is needed.
        let config = |mtu| {
            let config = Config::builder()
                .use_server_cookie(false)
                .mtu(mtu)
                .flight_start_rto(FIRST_RTO)
                .flight_retries(RETRIES)
                .handshake_timeout(HANDSHAKE_TIMEOUT);
            Arc::new(config.build().expect("the configuration is constant"))
        };
        let fingerprint = fingerprint(&inner.certificate);
        Self { inner, fingerprint, config: config(MTU), small: config(SMALL_MTU) }
    }

    /// SHA-256 of the certificate in DER form (RFC 8122, 5).
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(..)")
    }
}

fn fingerprint(der: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, der).as_ref());
    bytes
}

/// What the handshake and the records after it bring.
pub(crate) enum DtlsEvent {
    Packet(Vec<u8>),
    /// SHA-256 of the peer's certificate.
    PeerCertificate([u8; 32]),
    Keys(Profile, Vec<u8>),
    Connected,
    Data(Vec<u8>),
    Closed,
}

pub(crate) struct Dtls {
    inner: dimpl::Dtls,
    is_client: bool,
    now: Instant,
    /// How far `dimpl`'s clock has been put forward.
    ahead: Duration,
    timeout: Option<Instant>,
    is_connected: bool,
    buffer: Vec<u8>,
}

impl Dtls {
    pub(crate) fn new(
        now: Instant,
        certificate: &Certificate,
        version: DtlsVersion,
        is_client: bool,
        is_small: bool,
    ) -> Result<Self, dimpl::Error> {
        let config = if is_small { &certificate.small } else { &certificate.config };
        let (config, own) = (Arc::clone(config), certificate.inner.clone());
        let mut inner = match version {
            DtlsVersion::Newest => dimpl::Dtls::new_auto(config, own, now),
            DtlsVersion::V12 => dimpl::Dtls::new_12(config, own, now),
        };
        inner.set_active(is_client);
        // A ClientHello that comes before this would make it panic.
        inner.handle_timeout(now)?;
        Ok(Self {
            inner,
            is_client,
            now,
            ahead: Duration::ZERO,
            timeout: None,
            is_connected: false,
            buffer: Vec::new(),
        })
    }

    /// Whether this is the first message of a client that has had no answer to larger datagrams.
    pub(crate) fn is_small_hello(datagram: &[u8]) -> bool {
        // `dimpl` fills a ClientHello up to the datagram that it is given.
        let is_hello =
            datagram.first() == Some(&HANDSHAKE) && datagram.get(13) == Some(&CLIENT_HELLO);
        is_hello && datagram.len() == SMALL_MTU
    }

    pub(crate) fn is_client(&self) -> bool {
        self.is_client
    }

    pub(crate) fn is_version_13(&self) -> bool {
        self.inner.protocol_version() == Some(ProtocolVersion::DTLS1_3)
    }

    /// Takes a datagram. Returns whether it may be the peer's: others are dropped.
    pub(crate) fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<bool, dimpl::Error> {
        if !self.is_connected && !self.may_belong_to_handshake(datagram) {
            return Ok(false);
        }
        self.handle_timeout(now)?;
        match without_forgeries(datagram) {
            datagram if datagram.is_empty() => Ok(false),
            datagram => self.inner.handle_packet(&datagram).map(|()| true),
        }
    }

    /// Before there are keys, anybody can put the peer's address on a datagram. While it looks for the version, a client
    /// takes anything but a ServerHello for a fatal error, and a server keeps whatever comes.
    fn may_belong_to_handshake(&self, datagram: &[u8]) -> bool {
        let is_undecided = self.inner.protocol_version().is_none();
        let message = datagram.get(13).filter(|_| datagram.first() == Some(&HANDSHAKE));
        datagram.len() <= MAX_HANDSHAKE_DATAGRAM
            && match (is_undecided, self.is_client) {
                (false, _) => true,
                (true, true) => matches!(message, Some(&(SERVER_HELLO | HELLO_VERIFY_REQUEST))),
                (true, false) => matches!(message, Some(&CLIENT_HELLO)),
            }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), dimpl::Error> {
        self.now = now;
        self.inner.handle_timeout(now + self.ahead)
    }

    /// Sends one record of application data. Returns `false` before a version is decided on.
    pub(crate) fn send(&mut self, data: &[u8]) -> Result<bool, dimpl::Error> {
        Ok(self.inner.send_application_data(data)? == data.len())
    }

    pub(crate) fn close(&mut self) -> Result<(), dimpl::Error> {
        self.inner.close()
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.timeout
    }

    /// What happens next; `None` until more is handed in.
    pub(crate) fn poll(&mut self) -> Option<DtlsEvent> {
        if self.buffer.is_empty() {
            let len = if self.is_connected { RECORD_BUFFER } else { HANDSHAKE_BUFFER };
            self.buffer = vec![0; len];
        }
        loop {
            let needed = match self.inner.poll_output(&mut self.buffer) {
                Output::Packet(packet) => return Some(DtlsEvent::Packet(packet.to_vec())),
                Output::PeerCert(der) => {
                    return Some(DtlsEvent::PeerCertificate(fingerprint(der)));
                }
                Output::KeyingMaterial(keys, profile) => {
                    if let Some(profile) = srtp_profile(profile) {
                        return Some(DtlsEvent::Keys(profile, keys.to_vec()));
                    }
                    continue;
                }
                Output::Connected => {
                    self.is_connected = true;
                    return Some(DtlsEvent::Connected);
                }
                Output::ApplicationData(data) => return Some(DtlsEvent::Data(data.to_vec())),
                Output::CloseNotify => return Some(DtlsEvent::Closed),
                Output::BufferTooSmall { needed } => needed,
                Output::Timeout(theirs) => {
                    let wait = theirs.saturating_duration_since(self.now + self.ahead);
                    if wait > MAX_RTO && wait < NOT_A_RETRY {
                        self.ahead += wait - MAX_RTO;
                    }
                    let is_retry = wait < NOT_A_RETRY;
                    self.timeout = theirs.checked_sub(self.ahead).filter(|_| is_retry);
                    if self.is_connected && self.buffer.len() == HANDSHAKE_BUFFER {
                        self.buffer = Vec::new();
                    }
                    return None;
                }
                _ => continue,
            };
            if needed > MAX_RECORD_BYTES {
                self.timeout = None;
                return None;
            }
            self.buffer.resize(needed, 0);
        }
    }
}

/// Leaves out alerts and acknowledgements that are not encrypted. Before the handshake is done, `dimpl` accepts them from any
/// sender that forges the peer's address: a third party could end the connection with one datagram, or keep lost packets
/// of the handshake from being sent again. What is broken shows by silence, too.
fn without_forgeries(datagram: &[u8]) -> Cow<'_, [u8]> {
    let mut kept = Cow::Borrowed(datagram);
    let mut at = 0;
    while let Some(len) = record_len(&datagram[at..]) {
        let Some(record) = datagram.get(at..at + len) else { break };
        let is_sealed = record.len() < 5 || record[3..5] != [0; 2];
        if matches!(record[0], ALERT | ACK) && !is_sealed {
            let rest = datagram.len() - at;
            let start = kept.len() - rest;
            kept.to_mut().drain(start..start + len);
        }
        at += len;
    }
    kept
}

/// Bytes of the first record; `None` if they cannot be told, or if there is none.
fn record_len(records: &[u8]) -> Option<usize> {
    // RFC 9147, 4: the bits of an encrypted record tell of an identifier (16), two bytes of number (8), and a length (4).
    let header = match *records.first()? {
        first @ 0x20..=0x3f => match (first & 16, first & 4) {
            (0, 4) => 4 + usize::from(first & 8 != 0),
            _ => return None,
        },
        _ => RECORD_HEADER_BYTES,
    };
    let length = *records.get(..header)?.last_chunk()?;
    Some(header + usize::from(u16::from_be_bytes(length)))
}

fn srtp_profile(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        #[allow(unreachable_patterns)]
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let len = body.len() as u8;
        [&[kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 7, 0, len], body].concat()
    }

    #[test]
    fn alerts_and_acknowledgements_that_nobody_sealed_are_left_out_wherever_they_are() {
        let hello = record(HANDSHAKE, 0, &[1; 40]);
        let alert = record(ALERT, 0, &[1, 0]);
        let sealed = record(ALERT, 1, &[7; 18]);
        let of_13 = [&[0x2c, 0, 0, 0, 3][..], &[9; 3]].concat();
        let of_13_short = [&[0x24, 0, 0, 3][..], &[9; 3]].concat();
        let ack = record(ACK, 0, &[0, 0]);
        assert!(without_forgeries(&alert).is_empty() && without_forgeries(&ack).is_empty());
        let of_13_first = [&of_13[..], &of_13_short, &alert, &hello].concat();
        let of_13_kept = [&of_13[..], &of_13_short, &hello].concat();
        assert_eq!(*without_forgeries(&of_13_first), of_13_kept);
        let mixed = [&alert[..], &hello, &ack, &alert, &sealed, &alert].concat();
        assert_eq!(*without_forgeries(&mixed), [&hello[..], &sealed].concat());
        for cut in 0..mixed.len() {
            assert!(without_forgeries(&mixed[..cut]).len() <= cut);
        }
        assert_eq!(*without_forgeries(&[]), []);
    }
}
