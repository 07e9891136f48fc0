use super::split_u32;

/// A generic NACK (RFC 4585 §6.2.1).
#[derive(Clone, Copy, Debug)]
pub struct Nack<'a> {
    /// The SSRC of the receiver.
    pub sender: u32,
    /// The SSRC whose packets are lost.
    pub media_ssrc: u32,
    entries: &'a [[u8; 4]],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender, rest) = split_u32(body)?;
        let (media_ssrc, rest) = split_u32(rest)?;
        let (entries, rest) = rest.as_chunks();
        (!entries.is_empty() && rest.is_empty()).then_some(Nack { sender, media_ssrc, entries })
    }

    /// The lost sequence numbers, at most 17 per 4 bytes of the packet. A peer may repeat them.
    pub fn sequences(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.entries.iter().flat_map(|&[high, low, mask_high, mask_low]| {
            let first = u16::from_be_bytes([high, low]);
            let mask = u16::from_be_bytes([mask_high, mask_low]);
            let following = (0..16u16)
                .filter(move |bit| mask >> bit & 1 != 0)
                .map(move |bit| first.wrapping_add(bit + 1));
            std::iter::once(first).chain(following)
        })
    }
}

/// A full intra request (RFC 5104 §4.3.1).
#[derive(Clone, Copy, Debug)]
pub struct Fir<'a> {
    /// The SSRC of the requester.
    pub sender: u32,
    entries: &'a [[u8; 8]],
}

impl<'a> Fir<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender, rest) = split_u32(body)?;
        // RFC 5104 §4.3.1.2 has no use for the media SSRC here: the entries name the sources.
        let (_, rest) = split_u32(rest)?;
        let (entries, rest) = rest.as_chunks();
        (!entries.is_empty() && rest.is_empty()).then_some(Fir { sender, entries })
    }

    /// The requests as (video's SSRC, request number). A number seen before is a repetition.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u8)> + use<'a> {
        self.entries
            .iter()
            .map(|&[a, b, c, d, number, ..]| (u32::from_be_bytes([a, b, c, d]), number))
    }
}

/// Something of the application's own (RFC 3550 §6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct App<'a> {
    /// A number from 0 to 31 within the name.
    pub subtype: u8,
    /// The SSRC of the sender.
    pub sender: u32,
    /// Whose data it is: four ASCII characters.
    pub name: [u8; 4],
    /// The data, in whole words.
    pub data: &'a [u8],
}

impl<'a> App<'a> {
    pub(super) fn parse(subtype: u8, body: &'a [u8]) -> Option<Self> {
        let (sender, rest) = split_u32(body)?;
        let (name, data) = rest.split_first_chunk()?;
        Some(App { subtype, sender, name: *name, data })
    }
}

/// The end of sources (RFC 3550 §6.6).
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a> {
    sources: &'a [[u8; 4]],
}

impl<'a> Bye<'a> {
    /// What follows the sources is the reason, a text that nobody here reads.
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let (sources, _) = body.as_chunks();
        Some(Bye { sources: sources.get(..usize::from(count))? })
    }

    /// The SSRCs that end, 31 at most.
    pub fn sources(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.sources.iter().map(|source| u32::from_be_bytes(*source))
    }
}
