//! What a hostile peer does: seals whatever bytes it likes with the keys that it has got by being admitted.

use std::time::Instant;

use super::{Track, Transport};
use crate::Transmit;
use crate::filter::wire;
use crate::rtp::Header;

#[doc(hidden)]
impl Transport {
    /// Sends bytes as an RTP packet. `index` is above all that were used with its SSRC before. Returns whether the bytes
    /// could be sealed.
    pub fn send_raw_rtp(&mut self, packet: &[u8], index: u64) -> bool {
        let (Some(header), Some(route)) = (Header::parse(packet), self.route) else { return false };
        let Some((sealer, _)) = &mut self.srtp else { return false };
        let mut contents = packet.to_vec();
        let is_sealed = sealer.seal_rtp(&mut contents, 0, header.len, header.ssrc, index);
        if is_sealed {
            self.transmits.push_back(Transmit { route, contents, segment_size: None });
        }
        is_sealed
    }

    /// Sends bytes as an RTCP packet, which needs eight of them.
    pub fn send_raw_rtcp(&mut self, packet: &[u8]) {
        self.send_rtcp(packet.to_vec());
    }

    /// Sends bytes as an SCTP packet.
    pub fn send_raw_sctp(&mut self, now: Instant, packet: &[u8]) {
        if let Some(dtls) = self.dtls.as_mut().filter(|_| self.is_connected)
            && dtls.send(packet).is_ok()
        {
            self.drive_dtls(now);
        }
    }

    /// The tag that SCTP packets to the peer carry, and the TSN that the peer expects first.
    pub fn sctp_numbers(&self) -> Option<(u32, u32)> {
        let lines = self.remote.iter().flat_map(|remote| &remote.lines);
        let theirs = lines.filter_map(|line| line.application()).find_map(|a| a.sctp_init.clone());
        let tag = theirs?.get(4..8)?.try_into().ok()?;
        let ours = wire::parse_token(self.channels.local_init())?;
        Some((u32::from_be_bytes(tag), ours.initial_tsn))
    }

    /// The last TSN that this end has sent; messages of its own would use those after it.
    pub fn sctp_sent(&self) -> Option<u32> {
        self.channels.last_tsn().or_else(|| Some(self.sctp_numbers()?.1.wrapping_sub(1)))
    }

    /// The peer's last TSN up to which all has come.
    pub fn sctp_received(&self) -> Option<u32> {
        self.channels.received()
    }

    /// The SSRC of a track that the peer sends.
    pub fn incoming_ssrc(&self, track: Track) -> Option<u32> {
        let receiver = self.receivers.iter().find(|(of, _)| *of == track);
        receiver.map(|(_, receiver)| receiver.ssrc())
    }

    /// The SSRC of a track that this end sends.
    pub fn outgoing_ssrc(&self, track: Track) -> Option<u32> {
        let sender = self.senders.iter().find(|(of, _)| *of == track);
        sender.map(|(_, sender)| sender.ssrc())
    }

    /// What a connectivity check to the peer names, and the password that signs it.
    pub fn check_credentials(&self) -> Option<(String, String)> {
        let theirs = &self.remote.as_ref()?.credentials;
        let ours = self.ice.credentials();
        Some((format!("{}:{}", theirs.ufrag(), ours.ufrag()), theirs.pwd().into()))
    }
}
