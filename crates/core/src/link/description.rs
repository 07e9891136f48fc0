//! Session descriptions and candidates of the other side, looked over before str0m parses them.
//!
//! str0m trusts a description's size, panics on a user fragment that does not fit a STUN message (`is` 0.12,
//! `agent.rs`, "IO error writing STUN reply") and on a payload type declared twice (str0m 0.25, `payload_params.rs`,
//! "Pt locked multiple times"). Nobody writes such descriptions in good faith.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use str0m::Candidate;

/// Bytes of a description.
const MAX_BYTES: usize = 16 * 1024;
/// Its `m=` lines: video and data now, audio both ways later.
const MAX_MEDIA: usize = 8;
/// Bytes of `a=ice-ufrag` and `a=ice-pwd` values. A check's user name holds two user fragments in 128 bytes.
const MAX_CREDENTIAL_BYTES: usize = 60;
/// Bytes of a candidate line.
const MAX_CANDIDATE_BYTES: usize = 256;
/// Candidates taken from the other side, in the description and after it.
pub(crate) const MAX_CANDIDATES: usize = 20;

/// A description that may be parsed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Without the candidates that are not to be tried.
    pub(crate) text: String,
    /// How many candidates it has.
    pub(crate) candidates: usize,
    /// How many were taken out.
    pub(crate) left_out: u64,
}

/// Looks a description over; else what is wrong with it.
pub(crate) fn check(description: &str) -> Result<Checked, String> {
    if description.len() > MAX_BYTES {
        return Err(format!("{} bytes, at most {MAX_BYTES} allowed", description.len()));
    }
    let (mut media, mut payload_types) = (0, HashSet::new());
    let text = String::with_capacity(description.len());
    let mut checked = Checked { text, candidates: 0, left_out: 0 };
    for line in description.lines() {
        if line.starts_with("m=") {
            media += 1;
            payload_types.clear();
        } else if let Some(map) = line.strip_prefix("a=rtpmap:") {
            let payload_type = map.split_whitespace().next().unwrap_or_default();
            if !payload_types.insert(payload_type) {
                return Err(format!("payload type {payload_type} is declared twice"));
            }
        } else if let Some(value) =
            ["a=ice-ufrag:", "a=ice-pwd:"].iter().find_map(|a| line.strip_prefix(a))
        {
            if value.len() > MAX_CREDENTIAL_BYTES {
                return Err(format!("ICE credentials of {} bytes", value.len()));
            }
        } else if let Some(candidate) = line.strip_prefix("a=candidate:") {
            // Honest peers have some too: addresses that servers told them, addresses piled up by a restless NAT.
            let tried = candidate.len() <= MAX_CANDIDATE_BYTES && leads_somewhere(candidate);
            if !tried || checked.candidates == MAX_CANDIDATES {
                checked.left_out += 1;
                continue;
            }
            checked.candidates += 1;
        }
        checked.text.push_str(line);
        checked.text.push_str("\r\n");
    }
    if media > MAX_MEDIA {
        return Err(format!("{media} media lines, at most {MAX_MEDIA} allowed"));
    }
    Ok(checked)
}

/// A trickled candidate, if it is one that may be tried.
pub(crate) fn candidate(line: &str) -> Result<Candidate, String> {
    if line.len() > MAX_CANDIDATE_BYTES {
        return Err(format!("{} bytes, at most {MAX_CANDIDATE_BYTES} allowed", line.len()));
    }
    let candidate = Candidate::from_sdp_string(line).map_err(|e| e.to_string())?;
    if may_be_tried(candidate.addr()) { Ok(candidate) } else { Err("it leads nowhere".into()) }
}

fn leads_somewhere(candidate: &str) -> bool {
    let mut fields = candidate.split_whitespace().skip(4);
    match (fields.next().map(str::parse), fields.next().map(str::parse)) {
        (Some(Ok(ip)), Some(Ok(port))) => may_be_tried(SocketAddr::new(ip, port)),
        // A name, such as a browser's `….local`: not tried.
        _ => true,
    }
}

/// Whether a datagram to this address reaches at most one machine, at a real port.
pub(super) fn may_be_tried(address: SocketAddr) -> bool {
    let broadcast = matches!(address.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0
        && !address.ip().is_unspecified()
        && !address.ip().is_multicast()
        && !broadcast
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_descriptions_pass() {
        let description = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102 103\r\na=ice-ufrag:abcd\r\n\
            a=rtpmap:102 H264/90000\r\na=rtpmap:103 rtx/90000\r\n\
            a=candidate:1 1 udp 2130706175 203.0.113.1 5000 typ host\r\n\
            a=candidate:2 1 udp 2130706175 0a1b.local 5000 typ host\r\n\
            m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
        let checked = Checked { text: description.into(), candidates: 2, left_out: 0 };
        assert_eq!(check(description), Ok(checked));
    }

    #[test]
    fn hostile_descriptions_are_refused() {
        let hostile = [
            "a".repeat(MAX_BYTES + 1),
            "m=audio 0 X 0\n".repeat(MAX_MEDIA + 1),
            format!("a=ice-ufrag:{}", "u".repeat(200)),
            "m=video 9 X 102\na=rtpmap:102 H264/90000\na=rtpmap:102 rtx/90000".into(),
        ];
        for description in hostile {
            assert!(check(&description).is_err(), "{}", &description[..40.min(description.len())]);
        }
    }

    #[test]
    fn candidates_that_lead_nowhere_and_surplus_ones_are_left_out() {
        let nowhere = "a=candidate:1 1 udp 1 239.0.0.1 5000 typ host\n\
            a=candidate:1 1 udp 1 192.0.2.1 0 typ host\n";
        let checked = Checked { text: String::new(), candidates: 0, left_out: 2 };
        assert_eq!(check(nowhere), Ok(checked));
        let many = "a=candidate:1 1 udp 1 192.0.2.1 5 typ host\n".repeat(MAX_CANDIDATES + 1);
        let Checked { text, candidates, left_out } = check(&many).unwrap();
        assert_eq!((text.lines().count(), candidates), (MAX_CANDIDATES, MAX_CANDIDATES));
        assert_eq!(left_out, 1);
        let long = format!("a=candidate:1 1 udp 1 192.0.2.1 5 typ host {}", "x".repeat(256));
        assert_eq!(check(&long).map(|checked| checked.left_out), Ok(1));
    }

    #[test]
    fn trickled_candidates_must_lead_somewhere() {
        assert!(candidate("candidate:1 1 udp 2130706175 203.0.113.1 5000 typ host").is_ok());
        for line in [
            "candidate:1 1 udp 2130706175 255.255.255.255 5000 typ host",
            "candidate:1 1 udp 2130706175 0.0.0.0 5000 typ host",
            "nonsense",
            &format!("candidate:1 1 udp 1 192.0.2.1 5 typ host {}", "x".repeat(256)),
        ] {
            assert!(candidate(line).is_err(), "{line}");
        }
    }
}
