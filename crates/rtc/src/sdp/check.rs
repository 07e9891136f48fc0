//! Whether descriptions fit those that went before.

use super::{
    Codec, Description, ExtensionUri, Format, Line, Media, MismatchError, RestartError, Setup,
};

/// Whether an answer fits its offer (RFC 3264, 6): the same media lines in the same order, each with formats,
/// extensions and a direction that the offer allows, and a DTLS role. What passes can be used with the answer alone: nothing in it
/// was not offered.
///
/// # Errors
/// [`MismatchError`] says what does not fit.
pub fn check_answer(offer: &Description, answer: &Description) -> Result<(), MismatchError> {
    let fits = match answer.setup {
        Setup::ActPass => false,
        Setup::Active => offer.setup != Setup::Active,
        Setup::Passive => offer.setup != Setup::Passive,
    };
    if !fits {
        return Err(MismatchError::Setup);
    }
    if offer.lines.len() != answer.lines.len() {
        return Err(MismatchError::Lines);
    }
    for (index, (offered, answered)) in offer.lines.iter().zip(&answer.lines).enumerate() {
        answered_line(offered, answered).map_err(|what| MismatchError::Line { index, what })?;
    }
    Ok(())
}

fn answered_line(offered: &Line, answered: &Line) -> Result<(), &'static str> {
    if answered.kind() != offered.kind() {
        return Err("it is of another kind");
    }
    if answered.is_rejected {
        return Ok(());
    }
    if offered.is_rejected {
        return Err("it was not offered");
    }
    if answered.mid != offered.mid {
        return Err("it has another mid");
    }
    if let (Some(offered), Some(answered)) = (offered.application(), answered.application()) {
        let is_told = answered.sctp_init.is_some() && offered.sctp_init.is_none();
        return if is_told { Err("its a=sctp-init was not asked for") } else { Ok(()) };
    }
    match (offered.media(), answered.media()) {
        (Some(offered), Some(answered)) => answered_media(offered, answered),
        _ => Ok(()),
    }
}

fn answered_media(offered: &Media, answered: &Media) -> Result<(), &'static str> {
    let allowed = offered.direction.reversed();
    let (sends, receives) = (answered.direction.sends(), answered.direction.receives());
    if sends && !allowed.sends() || receives && !allowed.receives() {
        return Err("its direction was not offered");
    }
    if answered.codecs.is_empty() {
        return Err("it has no format");
    }
    for codec in &answered.codecs {
        let Some(of_offer) = offered.codec(codec.payload_type) else {
            return Err("a payload type was not offered");
        };
        let has_same_rtx = codec.rtx.is_none() || codec.rtx == of_offer.rtx;
        if !is_same_format(of_offer, codec) || !has_same_rtx {
            return Err("a payload type was offered as something else");
        }
    }
    for extension in &answered.extensions {
        if offered.extensions.iter().all(|e| e.id != extension.id || e.uri != extension.uri) {
            return Err("a header extension was not offered");
        }
    }
    Ok(())
}

/// Whether they are the same but for parameters in which the two sides may differ.
fn is_same_format(a: &Codec, b: &Codec) -> bool {
    let is_same = match (&a.format, &b.format) {
        // Profile and mode are one for both; the level is each side's own (RFC 6184, 8.2.2).
        (Format::H264(a), Format::H264(b)) => {
            a.profile_level_id[..2] == b.profile_level_id[..2]
                && a.packetization_mode == b.packetization_mode
        }
        (a, b) => a.name().eq_ignore_ascii_case(b.name()),
    };
    is_same && a.clock_rate == b.clock_rate && a.channels == b.channels
}

/// Whether a description may follow an earlier one of the same side in the same session, offer after offer or answer
/// after answer; then whether its ICE credentials are new, which restarts ICE (RFC 8445, 9).
///
/// Certificate and DTLS role stay, and so do the media lines with their identifications and kinds, the SCTP port, the
/// meaning of each payload type and header extension number, and one format of a line at least. Candidates, directions
/// and sources may change, lines may be rejected and appended, and a rejected line may become any other.
///
/// An offer may drop formats that were not taken: that the one in use stays, a comparison of the answers shows.
///
/// # Errors
/// [`RestartError`] says what changed.
pub fn check_restart(previous: &Description, next: &Description) -> Result<bool, RestartError> {
    if previous.fingerprint != next.fingerprint {
        return Err(RestartError::Fingerprint);
    }
    // An offer may be open about the role or insist on the one that it got; which one that was, the answer will tell.
    let is_open = previous.setup == Setup::ActPass || next.setup == Setup::ActPass;
    if previous.setup != next.setup && !is_open {
        return Err(RestartError::Setup);
    }
    let (old, new) = (&previous.credentials, &next.credentials);
    let (is_ufrag_new, is_pwd_new) = (old.ufrag() != new.ufrag(), old.pwd() != new.pwd());
    if is_ufrag_new != is_pwd_new {
        return Err(RestartError::Credentials);
    }
    if next.lines.len() < previous.lines.len() {
        return Err(RestartError::Lines);
    }
    for (index, (old, new)) in previous.lines.iter().zip(&next.lines).enumerate() {
        next_line(old, new).map_err(|what| RestartError::Line { index, what })?;
    }
    Ok(is_ufrag_new)
}

fn next_line(old: &Line, new: &Line) -> Result<(), &'static str> {
    if old.is_rejected {
        return Ok(());
    }
    if old.kind() != new.kind() {
        return Err("its kind");
    }
    if new.is_rejected {
        return Ok(());
    }
    if old.mid != new.mid {
        return Err("its mid");
    }
    let port = |line: &Line| line.application().map(|application| application.sctp_port);
    if port(old) != port(new) {
        return Err("its SCTP port");
    }
    match (old.media(), new.media()) {
        (Some(old), Some(new)) => next_media(old, new),
        _ => Ok(()),
    }
}

fn next_media(old: &Media, new: &Media) -> Result<(), &'static str> {
    let mut is_any_kept = old.codecs.is_empty();
    for codec in &old.codecs {
        // An offer need not repeat what was not taken (RFC 3264, 8.3.2).
        let Some(next) = new.codec(codec.payload_type) else { continue };
        if !is_same_format(codec, next) || codec.rtx != next.rtx {
            return Err("a payload type's meaning");
        }
        is_any_kept = true;
    }
    if !is_any_kept {
        return Err("none of its formats is left");
    }
    let uri = |media: &Media, id: u8| -> Option<ExtensionUri> {
        media.extensions.iter().find(|e| e.id == id).map(|e| e.uri.clone())
    };
    for extension in &old.extensions {
        if uri(new, extension.id).is_some_and(|uri| uri != extension.uri) {
            return Err("a header extension's number");
        }
    }
    Ok(())
}
