//! Whatever comes, nothing panics, and what is taken can be answered.

use super::*;
use proptest::prelude::*;

/// One change of a text: where, and what.
#[derive(Clone, Debug)]
enum Change {
    Remove(usize),
    Repeat(usize, usize),
    Swap(usize, usize),
    /// A field of one line becomes that of another.
    Mix(usize, usize, usize),
    Byte(usize, u8),
    Digit(usize, u8),
    Cut(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<usize>;
    prop_oneof![
        at().prop_map(Change::Remove),
        (at(), 1..20_usize).prop_map(|(line, times)| Change::Repeat(line, times)),
        (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
        (at(), at(), at()).prop_map(|(a, b, field)| Change::Mix(a, b, field)),
        (at(), any::<u8>()).prop_map(|(byte, value)| Change::Byte(byte, value)),
        (at(), b'0'..=b'9').prop_map(|(digit, value)| Change::Digit(digit, value)),
        at().prop_map(Change::Cut),
    ]
}

fn apply(text: &str, change: &Change) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return String::new();
    }
    let count = lines.len();
    let mut bytes = text.as_bytes().to_vec();
    match *change {
        Change::Remove(line) => {
            lines.remove(line % count);
        }
        Change::Repeat(line, times) => {
            let line = line % count;
            let copy = lines[line].clone();
            lines.splice(line..line, std::iter::repeat_n(copy, times));
        }
        Change::Swap(a, b) => lines.swap(a % count, b % count),
        Change::Mix(a, b, field) => {
            let separators = [' ', ':', '/', ';', '='];
            let separator = separators[field % separators.len()];
            let other = lines[b % count].rsplit(separator).next().unwrap_or_default().to_owned();
            let line = &mut lines[a % count];
            let fields: Vec<_> = line.split(separator).collect();
            let place = field % fields.len();
            let mixed = fields.iter().enumerate();
            let mixed = mixed.map(|(i, field)| if i == place { &other } else { *field });
            *line = mixed.collect::<Vec<_>>().join(&separator.to_string());
        }
        Change::Byte(byte, value) => {
            let length = bytes.len();
            bytes[byte % length] = value;
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Change::Digit(digit, value) => {
            let digits = bytes.iter().enumerate().filter(|(_, b)| b.is_ascii_digit());
            let digits: Vec<_> = digits.map(|(i, _)| i).collect();
            if let Some(place) = digits.get(digit % digits.len().max(1)) {
                bytes[*place] = value;
            }
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Change::Cut(byte) => {
            let length = bytes.len();
            bytes.truncate(byte % length);
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    }
    lines.join("\r\n")
}

/// Bounds and promises that hold for all that is taken.
fn assert_sound(text: &str) {
    let Ok(mut offer) = Description::parse(text) else { return };
    assert!(offer.lines.len() <= MAX_LINES && offer.candidates.len() <= MAX_CANDIDATES);
    assert!(offer.credentials.ufrag().len() + offer.credentials.pwd().len() <= 120);
    offer.candidates_left_out = 0;
    let written = offer.to_string();
    if written.len() <= MAX_BYTES {
        assert_eq!(Description::parse(&written).as_ref(), Ok(&offer), "{text}\n---\n{written}");
    }
    assert_eq!(check_restart(&offer, &offer), Ok(false));
    let mut ssrc = 0;
    let answer = answer(&offer, &local(), |_| {
        ssrc += 3;
        Some(Take { send: sender(ssrc), is_receiving: true })
    });
    let Ok(answer) = answer else { return };
    assert_eq!(check_answer(&offer, &answer), Ok(()));
    assert_eq!(Description::parse(&answer.to_string()).as_ref(), Ok(&answer), "{text}");
    let _ = check_answer(&parse(NATIVE), &offer);
    let _ = check_restart(&parse(CHROMIUM), &offer);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_taken_or_refused(text in "\\PC{0,400}") {
        assert_sound(&text);
        assert_sound(&format!("v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n{text}"));
    }

    #[test]
    fn changed_descriptions_are_taken_soundly_or_refused(
        which in 0..ALL.len(),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let text = changes.iter().fold(ALL[which].to_owned(), |text, change| apply(&text, change));
        assert_sound(&text);
    }
}

#[test]
fn a_full_description_of_any_one_line_is_cheap() {
    let (session, media) = NATIVE.split_at(NATIVE.find("m=").unwrap());
    for line in media.lines() {
        let many = format!("{line}\n").repeat(MAX_BYTES / line.len());
        let text = format!("{session}{media}{many}");
        assert_sound(&text[..MAX_BYTES.min(text.len())]);
    }
}
