//! A description's form: lines `x=value` in the order of RFC 8866, 5, gathered into the session's section and one for
//! each media line.

use super::{MAX_BYTES, MAX_LINES, ParseError};

/// A line `a=name:value`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    /// Its number, from 1.
    pub(super) line: usize,
    pub(super) name: &'a str,
    /// Empty if there is none.
    pub(super) value: &'a str,
}

impl Attribute<'_> {
    /// That it is wrong. The caller gives the name again because the text's own may not live on.
    pub(super) fn wrong(&self, attribute: &'static str, problem: &'static str) -> ParseError {
        ParseError::Attribute { line: self.line, attribute, problem }
    }
}

/// The session's lines, or those of a media line.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// The number of its first line, from 1.
    pub(super) line: usize,
    /// Value of `o=` or `m=`.
    pub(super) head: &'a str,
    pub(super) attributes: Vec<Attribute<'a>>,
}

/// Splits a description; the first section is the session's.
pub(super) fn split(text: &str) -> Result<(Section<'_>, Vec<Section<'_>>), ParseError> {
    if text.len() > MAX_BYTES {
        return Err(ParseError::TooLong { bytes: text.len() });
    }
    let mut session = Section { line: 1, head: "", attributes: Vec::new() };
    let mut media: Vec<Section<'_>> = Vec::new();
    let mut order = Order::default();
    for (index, line) in text.trim_end_matches(['\r', '\n']).split('\n').enumerate() {
        let number = index + 1;
        let wrong = |problem| ParseError::Line { line: number, problem };
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(wrong("has control characters"));
        }
        let Some((letter, value)) = line.split_once('=').filter(|(letter, _)| letter.len() == 1)
        else {
            return Err(wrong("is not of the form x=value"));
        };
        order.next(letter.as_bytes()[0]).map_err(wrong)?;
        let lines = media.len();
        match (letter, media.last_mut()) {
            ("v", _) if value != "0" => return Err(wrong("is of another version than 0")),
            ("o", _) => session.head = value,
            ("m", _) if lines == MAX_LINES => {
                return Err(ParseError::TooMany {
                    line: number,
                    what: "media lines",
                    most: MAX_LINES,
                });
            }
            ("m", _) => {
                media.push(Section { line: number, head: value, attributes: Vec::new() });
            }
            ("a", section) => {
                let (name, value) = value.split_once(':').unwrap_or((value, ""));
                let attribute = Attribute { line: number, name, value };
                section.unwrap_or(&mut session).attributes.push(attribute);
            }
            _ => {}
        }
    }
    order.end(text.lines().count())?;
    Ok((session, media))
}

/// Checks the order of lines.
#[derive(Debug, Default)]
struct Order {
    is_media: bool,
    /// Of the last line.
    rank: usize,
}

/// Times may repeat with what belongs to them, so these three have one rank.
const TIMES: &[u8] = b"trz";
const SESSION: &[&[u8]] =
    &[b"v", b"o", b"s", b"i", b"u", b"e", b"p", b"c", b"b", TIMES, b"k", b"a"];
const MEDIA: &[&[u8]] = &[b"m", b"i", b"c", b"b", b"k", b"a"];
/// Rank of the first letter that may be missing, from 1.
const OPTIONAL: usize = 4;
/// Rank of times, from 1.
const TIMES_RANK: usize = 10;
/// Letters that occur once in a section.
const ONCE: &[u8] = b"vosiuk";

impl Order {
    fn next(&mut self, letter: u8) -> Result<(), &'static str> {
        if letter == b'm' {
            if !self.is_media && self.rank < TIMES_RANK {
                return Err("begins media before the times of the session (t=)");
            }
            (self.is_media, self.rank) = (true, 1);
            return Ok(());
        }
        let ranks = if self.is_media { MEDIA } else { SESSION };
        let Some(rank) = ranks.iter().position(|letters| letters.contains(&letter)) else {
            return Err("is of a type that does not belong there");
        };
        let rank = rank + 1;
        let is_repeated = rank == self.rank && ONCE.contains(&letter);
        let is_early = !self.is_media && rank > self.rank + 1 && self.rank + 1 < OPTIONAL
            || !self.is_media && rank > TIMES_RANK && self.rank < TIMES_RANK;
        if is_repeated || is_early || rank < self.rank {
            return Err("is out of order");
        }
        self.rank = rank;
        Ok(())
    }

    fn end(&self, lines: usize) -> Result<(), ParseError> {
        if self.is_media || self.rank >= TIMES_RANK {
            return Ok(());
        }
        Err(ParseError::Line { line: lines.max(1), problem: "ends the description too early" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";

    fn problem(text: &str) -> String {
        split(text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn sections_hold_their_attributes() {
        let text = format!("{HEAD}a=x:1:2\nm=video 9 A 1\nc=IN IP4 0.0.0.0\na=y\nm=audio 9 A 1\n");
        let (session, media) = split(&text).unwrap();
        assert_eq!(session.head, "- 1 2 IN IP4 0.0.0.0");
        assert_eq!((session.attributes[0].name, session.attributes[0].value), ("x", "1:2"));
        assert_eq!((media[0].line, media[0].head), (6, "video 9 A 1"));
        assert_eq!((media[0].attributes[0].name, media[0].attributes[0].value), ("y", ""));
        assert!(media[1].attributes.is_empty());
    }

    #[test]
    fn every_line_of_the_rfc_has_its_place() {
        let session = "v=0\no=-\ns=-\ni=x\nu=x\ne=x\ne=x\np=x\nc=x\nb=x\nb=x\nt=0 0\nr=x\nt=0 0\nz=x\nk=x\na=x\na=x\n";
        let media = "m=x\ni=x\nc=x\nc=x\nb=x\nk=x\na=x\n";
        assert_eq!(split(&[session, media, media].concat()).unwrap().1.len(), 2);
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        for (text, expected) in [
            ("", "line 1 is not of the form x=value"),
            ("o=-", "line 1 is out of order"),
            ("v=1", "line 1 is of another version than 0"),
            ("v=0\nv=0", "line 2 is out of order"),
            ("v=0\ns=-", "line 2 is out of order"),
            ("v=0\no=-\ns=-", "line 3 ends the description too early"),
            ("v=0\no=-\ns=-\na=x", "line 4 is out of order"),
            ("v=0\no=-\ns=-\nm=x", "line 4 begins media before the times of the session (t=)"),
            ("v=0\no=-\ns=-\nt=0 0\nc=x", "line 5 is out of order"),
            ("v=0\no=-\ns=-\nt=0 0\nm=x\na=x\nc=x", "line 7 is out of order"),
            ("v=0\no=-\ns=-\nt=0 0\nm=x\nt=0 0", "line 6 is of a type that does not belong there"),
            ("v=0\no=-\ns=-\nt=0 0\n\na=x", "line 5 is not of the form x=value"),
            ("v=0\no=-\ns=-\nt=0 0\na=x\ry", "line 5 has control characters"),
            ("v=0\no=-\ns=-\nt=0 0\nä=x", "line 5 is not of the form x=value"),
        ] {
            assert_eq!(problem(text), expected, "{text:?}");
        }
    }

    #[test]
    fn size_and_media_lines_are_bounded() {
        let most = format!("{HEAD}{}", "m=video 9 A 1\n".repeat(MAX_LINES));
        assert!(split(&most).is_ok());
        assert_eq!(problem(&format!("{most}m=video 9 A 1")), "line 13: more than 8 media lines");
        let long = format!("{HEAD}a={}", "x".repeat(MAX_BYTES - HEAD.len() - 2));
        assert!(split(&long).is_ok());
        assert_eq!(
            problem(&format!("{long}x")),
            "the description has 16385 bytes, at most 16384 are taken"
        );
    }
}
