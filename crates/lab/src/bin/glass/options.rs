//! The command line.

use crate::lines;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const HELP: &str = "\
Glass to glass: how long a picture takes from paint to paint, between two displays of its own.

Usage: glass [--size WxH]… [--seconds N] [--lllsi PATH] [--peer vnc | --line NAME…] [--json]

  --size WxH    Size of both screens; may be repeated [default: 1280x720 and 1920x1080]
  --seconds N   How long to measure while the screen scrolls, and half as long the other times [default: 15]
  --lllsi PATH  The program to measure [default: `lllsi` beside this one]
  --peer vnc    Measure TigerVNC too: packages tigervnc-scraping-server and tigervnc-viewer
  --line NAME…  Over a line of this name instead, or `all`; needs root. 80 ms there and back unless told:
                clean, loss1, loss5, loss10 (% lost), cuts (80 ms every 3 s), jitter (30 ms more or less),
                far (300 ms, 1 % lost), 8M, 4M (40 ms), 3M, 2M, 1M, 300k (bit/s from the host)
  --json        One JSON object for each size and program instead of a table";

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) sizes: Vec<(u16, u16)>,
    pub(crate) time: Duration,
    pub(crate) lllsi: PathBuf,
    pub(crate) vnc: bool,
    pub(crate) lines: Vec<String>,
    pub(crate) json: bool,
}

impl Options {
    /// `None`: help is wanted.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let beside = std::env::current_exe().unwrap_or_default().with_file_name("lllsi");
        let time = Duration::from_secs(15);
        let (sizes, lines) = (vec![], vec![]);
        let mut options = Self { sizes, time, lllsi: beside, vnc: false, lines, json: false };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--size" => options.sizes.push(size(&value()?)?),
                "--seconds" => options.time = seconds(&value()?)?,
                "--lllsi" => options.lllsi = value()?.into(),
                "--peer" => match value()?.as_str() {
                    "vnc" => options.vnc = true,
                    other => return Err(format!("peer `{other}` is unknown")),
                },
                "--line" => match value()?.as_str() {
                    "all" => options.lines.extend(lines::NAMES.map(String::from)),
                    name if lines::named(name).is_some() => options.lines.push(name.into()),
                    other => return Err(format!("line `{other}` is unknown")),
                },
                "--json" => options.json = true,
                "-h" | "--help" => return Ok(None),
                _ => return Err(format!("`{word}` is unknown")),
            }
        }
        if options.sizes.is_empty() {
            options.sizes = vec![(1280, 720), (1920, 1080)];
        }
        Ok(Some(options))
    }
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let size = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    size.filter(|(w, h)| (640..=7680).contains(w) && (360..=4320).contains(h))
        .ok_or(format!("`{text}` is no size between 640x360 and 7680x4320"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (2..=600).contains(seconds));
    seconds.map(Duration::from_secs).ok_or(format!("`{text}` is no number from 2 to 600"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_line_is_understood() {
        let all = "--size 800x600 --seconds 9 --lllsi /x/lllsi --peer vnc --json --size 1280x720";
        let options = parse(all).unwrap().unwrap();
        assert_eq!(options.sizes, [(800, 600), (1280, 720)]);
        assert_eq!((options.time, options.vnc), (Duration::from_secs(9), true));
        assert_eq!((options.lllsi, options.json), (PathBuf::from("/x/lllsi"), true));
        assert_eq!(parse("").unwrap().unwrap().sizes.len(), 2);
        assert_eq!(parse("--json --help"), Ok(None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["--size 12", "--size 1x1", "--seconds 1", "--peer x", "--seconds", "x"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
