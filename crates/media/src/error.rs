//! The one error of this crate: what failed, on what, and what to do next.

use crate::picture::Size;

/// Why a picture could not be captured, converted, encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No display was named and the environment names none.
    #[error("no display: DISPLAY is not set")]
    NoDisplay,

    /// This build cannot capture screens on this system.
    #[error("screen capture is not available on {system} yet")]
    NoScreenCapture {
        /// The operating system, as Rust names it.
        system: &'static str,
    },

    /// The display is named but does not answer, or refuses us.
    #[error("cannot open display {display}: {reason}; check its name and your right to use it")]
    OpenDisplay {
        /// The display as it was asked for.
        display: String,
        /// What the display or the system said.
        reason: String,
    },

    /// The display answers but cannot be captured.
    #[error("cannot capture display {display}: {reason}")]
    UnsupportedDisplay {
        /// The display as it was asked for.
        display: String,
        /// What is missing, and what would help.
        reason: String,
    },

    /// The display went away while it was captured, or while a window was open on it. Open it
    /// again, or end the stream.
    #[error("display {display} is gone: {reason}")]
    DisplayLost {
        /// The display as it was asked for.
        display: String,
        /// What the display or the system said.
        reason: String,
    },

    /// No window can be opened.
    #[error("no window can be opened: {reason}")]
    NoWindow {
        /// What the display or the system said.
        reason: String,
    },

    /// Text that is not a size.
    #[error("`{text}` is not a picture size; write width x height in pixels, such as 1280x720")]
    NotASize {
        /// The text as it was given.
        text: String,
    },

    /// A size that this operation cannot work with.
    #[error("a picture of {size} cannot be handled here: {reason}")]
    UnusableSize {
        /// The size as it was given.
        size: Size,
        /// The limit it breaks.
        reason: &'static str,
    },

    /// A picture of another size than the encoder was made for. Make a new encoder.
    #[error("the encoder was made for {expected} and got a picture of {found}; make a new encoder")]
    SizeChanged {
        /// The encoder's size.
        expected: Size,
        /// The picture's size.
        found: Size,
    },

    /// A frame rate outside what the encoder can plan for.
    #[error("{fps} frames a second is not possible; choose 1 to {most}")]
    FrameRate {
        /// The rate as it was given.
        fps: u32,
        /// The highest possible rate.
        most: u32,
    },

    /// A colour conversion or scaling failed.
    #[error("cannot convert a picture of {size}: {reason}")]
    Convert {
        /// The picture's size.
        size: Size,
        /// What the converter said.
        reason: String,
    },

    /// The codec could not be set up.
    #[error("cannot set up the H.264 {codec}: {step} answered {code}")]
    CodecSetup {
        /// `encoder` or `decoder`.
        codec: &'static str,
        /// The step that failed.
        step: &'static str,
        /// The codec's own number for the reason.
        code: i64,
    },

    /// The encoder failed on a picture. Make a new encoder.
    #[error("the H.264 encoder failed at {step} with {code}; make a new encoder")]
    Encode {
        /// The step that failed.
        step: &'static str,
        /// The codec's own number for the reason.
        code: i64,
    },

    /// A stage of the picture pipeline panicked.
    #[error(
        "the {stage} stage ended unexpectedly; this is a defect: please report it, with the log"
    )]
    Panicked {
        /// Which.
        stage: &'static str,
    },

    /// A damaged access unit. Ask the sender for a keyframe.
    #[error("damaged video ({bytes} bytes, decoder state {state:#x}); ask for a keyframe")]
    Damaged {
        /// The length of the access unit.
        bytes: usize,
        /// The decoder's own flags for the reason.
        state: i32,
    },

    /// Nothing can be decoded before a keyframe arrives: at the start, or after damage.
    #[error("waiting for a keyframe; ask the sender for one")]
    NeedsKeyframe,
}
