//! The WebRTC profile of a link: codec, channels, certificate, timers. The same for native peers and browsers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lllsi_proto::control::{CONTROL_CHANNEL, PULSE_CHANNEL};
use lllsi_proto::rtsmp::{LIVE_CHANNEL, STREAMS_CHANNEL};
use str0m::channel::{ChannelConfig, Reliability};
use str0m::config::{DtlsCert, DtlsVersion};
use str0m::media::Pt;
use str0m::rtp::Extension;
use str0m::{Candidate, Rtc, RtcConfig};

use super::dtls;

/// A check that is not answered is repeated after this, then after twice that, and so on. The first ones often meet a
/// NAT that the other side has not opened yet.
const FIRST_CHECK_RTO: Duration = Duration::from_millis(60);
/// Up to this; it is also how often a path in use is checked.
const MAX_CHECK_RTO: Duration = Duration::from_secs(2);
/// So that checks go on for about 14 s.
const MAX_CHECKS: usize = 11;
/// The number of the header extension that asks for no playout delay, if the offer gives it no other.
pub(super) const PLAYOUT_DELAY: u8 = 2;
/// Bytes that all channels may hold. Each has a bound of its own below that.
const MAX_BUFFERED: usize = 1 << 20;
pub(super) const VIDEO_PT: u8 = 102;
const VIDEO_RESEND_PT: u8 = 103;
/// Constrained baseline, level 3.1: what every WebRTC peer decodes. The true level stands in the stream.
const H264_PROFILE: u32 = 0x42e01f;

/// The certificate of a host's or client's links. Made once, used for all of them: making one costs milliseconds.
#[derive(Clone)]
pub struct Certificate(DtlsCert);

impl Certificate {
    /// Makes a self-signed certificate with a fresh key.
    pub fn generate() -> Self {
        let certificate = dtls::provider().dtls_provider.generate_certificate();
        Self(certificate.expect("the built-in provider makes certificates"))
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(..)")
    }
}

pub(super) fn config(certificate: &Certificate) -> RtcConfig {
    let mut config = RtcConfig::new()
        .clear_codecs()
        .clear_extension_map()
        .set_extension(1, Extension::RtpMid)
        .set_dtls_cert(certificate.0.clone())
        .set_crypto_provider(Arc::new(dtls::provider()))
        // 1.3 where the other side knows it: a round trip less.
        .set_dtls_version(DtlsVersion::Auto)
        .set_rtp_mode(true)
        // SCTP's handshake travels in the descriptions, where the other side knows how (draft-hancke-tsvwg-snap).
        .set_snap_enabled(true)
        .set_sctp_max_buffered_amount(MAX_BUFFERED);
    config.set_initial_stun_rto(FIRST_CHECK_RTO);
    config.set_max_stun_rto(MAX_CHECK_RTO);
    config.set_max_stun_retransmits(MAX_CHECKS);
    let resend = Some(Pt::new_with_value(VIDEO_RESEND_PT));
    config.codec_config().add_h264(Pt::new_with_value(VIDEO_PT), resend, true, H264_PROFILE);
    config
}

/// The data channels of a link: `control`, `pulse`, `streams`, `live`. Out-of-band negotiated: they are open as soon as SCTP
/// is.
pub(super) fn channels() -> [ChannelConfig; 4] {
    let channel = |label: &str, number, is_reliable| ChannelConfig {
        label: label.into(),
        ordered: is_reliable,
        reliability: match is_reliable {
            true => Reliability::Reliable,
            false => Reliability::MaxRetransmits { retransmits: 0 },
        },
        negotiated: Some(number),
        ..ChannelConfig::default()
    };
    [
        channel("control", CONTROL_CHANNEL, true),
        channel("pulse", PULSE_CHANNEL, false),
        channel("streams", STREAMS_CHANNEL, true),
        channel("live", LIVE_CHANNEL, false),
    ]
}

pub(super) fn add_host_candidates(rtc: &mut Rtc, locals: &[SocketAddr]) {
    for &addr in locals {
        match Candidate::host(addr, "udp") {
            Ok(candidate) => drop(rtc.add_local_candidate(candidate)),
            Err(error) => tracing::debug!(%addr, %error, "local address not usable"),
        }
    }
}
