//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use lllsi_lab::arguments::{number, size};
use lllsi_lab::{Scene, USUAL_FPS};

pub(crate) const HELP: &str = "\
What viewers on bad lines cost those on good ones: 20 good viewers and LLLSI's page in Chromium, alone and beside one at 500 kbit/s,
one that loses 10 % and one that lies in its reports. Or four viewers behind one uplink. Needs root.

Usage: crowd [--size WxH] [--scene NAME] [--lllsi PATH] [--runs N] [--seconds N] [--behind RATE]

  --size WxH     Size of the host's screen [default: 1280x720]
  --scene NAME   What is painted on it: scroll, pages (another page of text each time), film, noise [default: scroll]
  --lllsi PATH   The program to measure [default: `lllsi` beside this one]
  --runs N       Measure each of both so many times, in turn [default: 5]
  --seconds N    How long [default: 15]
  --behind RATE  Four viewers behind an uplink of so many Mbit/s instead";

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) size: (u16, u16),
    pub(crate) scene: Scene,
    pub(crate) lllsi: PathBuf,
    pub(crate) runs: u32,
    pub(crate) time: Duration,
    /// Bits a second.
    pub(crate) behind: Option<f64>,
}

impl Options {
    /// `None`: help is wanted.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            size: (1280, 720),
            scene: Scene::Scroll { fps: USUAL_FPS },
            lllsi: std::env::current_exe().unwrap_or_default().with_file_name("lllsi"),
            runs: 5,
            time: Duration::from_secs(15),
            behind: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--size" => options.size = size(&value()?)?,
                "--scene" => options.scene = Scene::named(&value()?)?,
                "--lllsi" => options.lllsi = value()?.into(),
                "--runs" => options.runs = number(&value()?, 1..=99)?,
                "--seconds" => {
                    options.time = Duration::from_secs(number(&value()?, 2..=600)?.into())
                }
                "--behind" => options.behind = Some(f64::from(number(&value()?, 1..=1000)?) * 1e6),
                "-h" | "--help" => return Ok(None),
                _ => return Err(format!("`{word}` is unknown")),
            }
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
        let options =
            parse("--scene film --size 800x600 --lllsi /x/lllsi --runs 2 --seconds 9 --behind 6");
        let options = options.unwrap().unwrap();
        assert_eq!((options.size, options.runs), ((800, 600), 2));
        assert_eq!((options.time, options.behind), (Duration::from_secs(9), Some(6e6)));
        assert_eq!(options.scene, Scene::Film { fps: USUAL_FPS });
        assert_eq!(options.lllsi, PathBuf::from("/x/lllsi"));
        assert_eq!(parse("--runs 3 --help"), Ok(None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["--size 12", "--runs 0", "--seconds 1", "--behind x", "--behind", "x"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
