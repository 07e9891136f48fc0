//! The WebRTC profile of a link: media lines and channels. The same for native peers and browsers.

use lllsi_proto::control::{CONTROL_CHANNEL, PULSE_CHANNEL};
use lllsi_proto::rtsmp::{LIVE_CHANNEL, STREAMS_CHANNEL};
use lllsi_rtc::sdp::Want;
use lllsi_rtc::{Certificate, Channel, Config, DtlsVersion, Reliability};

use crate::seal::derive;

pub(super) fn config(certificate: &Certificate, seed: &[u8; 32]) -> Config {
    let [first, second] = [0, 1].map(|number| derive(seed, b"transport", number));
    let mut random = [0; 48];
    random[..32].copy_from_slice(&first);
    random[32..].copy_from_slice(&second[..16]);
    Config {
        certificate: certificate.clone(),
        // 1.3 where the other side knows it: a round trip less.
        dtls: DtlsVersion::Newest,
        channels: channels().into(),
        max_peer_channels: 0,
        random,
    }
}

/// What a client wants of a host.
pub(super) fn wants() -> [Want; 2] {
    [Want::video("0"), Want::data("1")]
}

/// The data channels of a link. Out-of-band negotiated: they are open as soon as SCTP is.
fn channels() -> [Channel; 4] {
    let channel = |label: &str, id, is_reliable| Channel {
        id,
        label: label.into(),
        protocol: String::new(),
        ordered: is_reliable,
        negotiated: true,
        reliability: match is_reliable {
            true => Reliability::Reliable,
            false => Reliability::MaxRetransmits(0),
        },
    };
    [
        channel("control", CONTROL_CHANNEL, true),
        channel("pulse", PULSE_CHANNEL, false),
        channel("streams", STREAMS_CHANNEL, true),
        channel("live", LIVE_CHANNEL, false),
    ]
}
