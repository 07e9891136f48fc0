//! The command line.

use crate::lines;
use lllsi_lab::arguments::{number, size};
use lllsi_lab::{Scene, USUAL_FPS};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const HELP: &str = "\
Glass to glass: how long a picture takes from paint to paint, between two displays of its own.

Usage: glass [--size WxH]… [--seconds N] [--lllsi PATH] [--peer vnc] [--json]
       glass [--size WxH]… [--lllsi PATH] --line NAME… [--peer chromium] [--runs N]
             [--scene NAME] [--bitrate RATE] [--beside tcp] [--json]

  --size WxH    Size of both screens; may be repeated [default: 1280x720 and 1920x1080]
  --seconds N   How long to measure while the screen scrolls, and half as long the other times [default: 15]
  --lllsi PATH  The program to measure [default: `lllsi` beside this one]
  --peer vnc    Measure TigerVNC too: packages tigervnc-scraping-server and tigervnc-viewer
  --line NAME…  Over a line of this name instead, or `all`; needs root. 80 ms there and back unless told:
                clean, loss1, loss5, loss10 (% lost), cuts (80 ms every 3 s), jitter (30 ms more or less),
                far (300 ms, 1 % lost), dip (8 Mbit/s, 8 s of 2), 8M, 4M (40 ms), 3M, 2M, 1M, 300k (bit/s from the host),
                8M50ms, 8M200ms (40 ms, and queues of 50 and 200 ms)
  --peer chromium  Over the same lines LLLSI's page in Chromium too, and Chromium's own screen share
  --runs N      Measure each line so many times, in turn with the peers, and print medians [default: 1]
  --scene NAME  What is painted while a line is watched: scroll, pages (another page of text each time), film, noise
                [default: scroll]
  --bitrate RATE  The host's limit [default: its own]
  --beside tcp  A download over TCP (CUBIC) shares the line, which is watched for a minute
  --json        One JSON object for each size and program instead of a table";

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) sizes: Vec<(u16, u16)>,
    pub(crate) time: Duration,
    pub(crate) lllsi: PathBuf,
    pub(crate) vnc: bool,
    pub(crate) chromium: bool,
    pub(crate) runs: u32,
    pub(crate) scene: Scene,
    pub(crate) bitrate: Option<String>,
    pub(crate) beside: bool,
    pub(crate) lines: Vec<String>,
    pub(crate) json: bool,
}

impl Options {
    /// How long a line is watched.
    pub(crate) fn watched(&self) -> Duration {
        if self.beside { lines::TIME_BESIDE } else { lines::TIME }
    }

    /// `None`: help is wanted.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let lllsi = std::env::current_exe().unwrap_or_default().with_file_name("lllsi");
        let time = Duration::from_secs(15);
        let (sizes, lines) = (vec![], vec![]);
        let (vnc, chromium, beside, json) = (false, false, false, false);
        let (scene, bitrate) = (Scene::Scroll { fps: USUAL_FPS }, None);
        let runs = 1;
        let mut options =
            Self { sizes, time, lllsi, vnc, chromium, runs, scene, bitrate, beside, lines, json };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--size" => options.sizes.push(size(&value()?)?),
                "--seconds" => {
                    options.time = Duration::from_secs(number(&value()?, 2..=600)?.into())
                }
                "--runs" => options.runs = number(&value()?, 1..=99)?,
                "--scene" => options.scene = Scene::named(&value()?)?,
                "--bitrate" => options.bitrate = Some(value()?),
                "--lllsi" => options.lllsi = value()?.into(),
                "--peer" => match value()?.as_str() {
                    "vnc" => options.vnc = true,
                    "chromium" => options.chromium = true,
                    other => return Err(format!("peer `{other}` is unknown")),
                },
                "--beside" => match value()?.as_str() {
                    "tcp" => options.beside = true,
                    other => return Err(format!("`{other}` is nothing to be beside")),
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
        if options.lines.is_empty() && (options.chromium || options.beside || options.runs > 1) {
            return Err("`--peer chromium`, `--beside` and `--runs` are for `--line`".into());
        }
        if options.vnc && !options.lines.is_empty() {
            return Err("`--peer vnc` is not for `--line`".into());
        }
        if options.sizes.is_empty() {
            options.sizes = vec![(1280, 720), (1920, 1080)];
        }
        Ok(Some(options))
    }
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
