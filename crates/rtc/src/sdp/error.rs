//! What can be wrong with descriptions.

use super::MAX_BYTES;

/// Why a description is refused. Its text holds nothing secret: of the description only numbers of lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It has too many bytes.
    #[error("the description has {bytes} bytes, at most {MAX_BYTES} are taken")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// It has too many of something.
    #[error("line {line}: more than {most} {what}")]
    TooMany {
        /// The line, from 1.
        line: usize,
        /// Of what.
        what: &'static str,
        /// How many are taken.
        most: usize,
    },
    /// A line is wrong.
    #[error("line {line} {problem}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An attribute is wrong.
    #[error("line {line}: a={attribute} {problem}")]
    Attribute {
        /// The line, from 1.
        line: usize,
        /// The attribute.
        attribute: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An attribute is missing.
    #[error("a={attribute} is missing from the media line in line {line}")]
    Missing {
        /// The media line, from 1.
        line: usize,
        /// The attribute.
        attribute: &'static str,
    },
    /// Lines that share a transport contradict each other.
    #[error("a={attribute} of the media line in line {line} differs from that of an earlier one")]
    Conflict {
        /// The later media line, from 1.
        line: usize,
        /// The attribute.
        attribute: &'static str,
    },
    /// Nothing is offered, or everything is rejected.
    #[error("no media line that is not rejected")]
    NoMedia,
}

/// Why an offer is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The offer insists on being the DTLS server, which is the answerer's part.
    #[error("the offer wants to be the DTLS server")]
    Setup,
    /// No line of it is taken.
    #[error("nothing of the offer is taken")]
    NothingTaken,
}

/// Why an answer does not fit its offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MismatchError {
    /// The answer does not say who begins the DTLS handshake, or says what the offer excludes.
    #[error("the answer's a=setup does not fit the offer")]
    Setup,
    /// The answer has not as many media lines.
    #[error("the answer has not as many media lines as the offer")]
    Lines,
    /// A media line differs.
    #[error("media line {index} of the answer does not fit the offer: {what}")]
    Line {
        /// The media line, from 0.
        index: usize,
        /// What does not fit.
        what: &'static str,
    },
}

/// Why a description may not follow another of the same session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    /// Another certificate.
    #[error("the fingerprint has changed")]
    Fingerprint,
    /// Another DTLS role.
    #[error("the DTLS role has changed")]
    Setup,
    /// Only one of user fragment and password is new (RFC 8445, 9).
    #[error("only one half of the ICE credentials has changed")]
    Credentials,
    /// Media lines are gone.
    #[error("media lines are gone")]
    Lines,
    /// A media line has become another.
    #[error("media line {index} has changed: {what}")]
    Line {
        /// The media line, from 0.
        index: usize,
        /// What has changed.
        what: &'static str,
    },
}
