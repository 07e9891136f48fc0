//! What a link's data channels are set up with, and what they tell.

use std::time::Duration;

use bytes::Bytes;

/// Most channels of a link, configured ones and the peer's together: the association passes over
/// all its streams for every chunk.
pub const MAX_CHANNELS: usize = 256;

/// Largest [`Config::max_message_bytes`].
pub const MAX_MESSAGE_BYTES: u32 = 64 * 1024 * 1024;

/// How hard a channel tries to deliver a message (RFC 8831 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reliability {
    /// Until it is delivered.
    #[default]
    Reliable,
    /// At most this many retransmissions.
    MaxRetransmits(u16),
    /// At most this long; counted in milliseconds.
    MaxLifetime(Duration),
}

/// A data channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Channel {
    /// SCTP stream id. Chosen by [`open`](super::Channels::open) for a channel that is not
    /// negotiated.
    pub id: u16,
    /// Name for the application; at most [`MAX_NAME_BYTES`](crate::dcep::MAX_NAME_BYTES).
    pub label: String,
    /// Subprotocol; at most [`MAX_NAME_BYTES`](crate::dcep::MAX_NAME_BYTES).
    pub protocol: String,
    /// Whether messages are delivered in order.
    pub ordered: bool,
    /// How hard it tries.
    pub reliability: Reliability,
    /// Both ends know the channel's id, and no DCEP message is sent (RFC 8831 section 6.4).
    pub negotiated: bool,
}

/// What a link's data channels are set up with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Negotiated channels. The peer may send on these as soon as the association begins.
    pub channels: Vec<Channel>,
    /// Channels the peer may have open at a time that it opened with DCEP; 0 forbids DCEP.
    pub peer_channels: u16,
    /// Longest message in bytes that the peer may send: `a=max-message-size`, RFC 8841.
    pub max_message_bytes: u32,
    /// Longest SCTP packet in bytes: what fits a datagram after DTLS, UDP and IP headers.
    pub max_packet_bytes: u16,
    /// Receive window in bytes, announced to the peer. Raised where the messages' size needs it.
    pub receive_window_bytes: u32,
    /// Bytes that may wait to be sent or acknowledged, per channel.
    pub max_buffered_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            channels: Vec::new(),
            peer_channels: 0,
            max_message_bytes: 256 * 1024,
            max_packet_bytes: 1200,
            receive_window_bytes: 2 * 1024 * 1024,
            max_buffered_bytes: 1024 * 1024,
        }
    }
}

/// What happened on the data channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A channel of this end is open: a negotiated one, or one the peer acknowledged.
    Opened(u16),
    /// The peer opened a channel, and it is open.
    OpenedByPeer(Channel),
    /// A message. The first may come before [`Event::Opened`] when the last packet of the
    /// handshake is overtaken.
    Message {
        /// The channel it came on.
        id: u16,
        /// Binary, or text in UTF-8, which is not checked here.
        is_binary: bool,
        /// Its bytes.
        data: Bytes,
    },
    /// A channel that refused a message has room again: at most half of its buffer is used.
    Writable(u16),
    /// The peer closed a channel, or answered that this end closed it. No more will come on it.
    Closed(u16),
    /// The association ended; nothing more will come.
    Lost,
}

/// Why the data channels could not be set up or started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// More than [`MAX_CHANNELS`].
    #[error("too many channels")]
    TooManyChannels,
    /// Two channels with the same id, or the reserved id 65535.
    #[error("channel id {0} cannot be used")]
    ChannelId(u16),
    /// Packets shorter than 500 or longer than 2048 bytes.
    #[error("packets of {0} bytes")]
    PacketBytes(u16),
    /// Messages longer than [`MAX_MESSAGE_BYTES`].
    #[error("messages of {0} bytes")]
    MessageBytes(u32),
    /// Started twice.
    #[error("already started")]
    AlreadyStarted,
    /// The peer's SNAP token is not a usable INIT chunk.
    #[error("bad SNAP token")]
    Token,
}

/// Why a channel could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not started, so it is not known which ids belong to this end; or ended.
    #[error("not started, or ended")]
    NotRunning,
    /// [`MAX_CHANNELS`] are open, less those kept for the peer, or no id is free.
    #[error("too many channels")]
    TooManyChannels,
    /// The id is used, or its last channel's close was not answered yet.
    #[error("channel id {0} is in use")]
    InUse(u16),
    /// A label or protocol that is too long.
    #[error("label or protocol is too long")]
    NameTooLong,
}

/// Why a message could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The channel does not exist, is not open yet, or is closed.
    #[error("channel {0} is not open")]
    NotOpen(u16),
    /// Longer than the peer takes.
    #[error("message of {len} bytes; the peer takes {max}")]
    TooLarge {
        /// The message's length in bytes.
        len: usize,
        /// Most bytes the peer takes.
        max: usize,
    },
}
