//! The command line.

use std::path::PathBuf;

use lllsi_lab::arguments::number;
use lllsi_lab::homes::{KINDS, MOST};

use crate::rush::FIRST;

pub(crate) const HELP: &str = "\
How soon a viewer meets a host behind each pair of NATs: 40 ms there and back between each home and the server, and 80 ms between
the two. Or what it does to two viewers that watch when many more join at once. Needs root.

Usage: pairs [--kind KIND]… [--ordered] [--runs N] [--peer chromium] [--lllsi PATH] [--json]
       pairs --rush [--viewers N] [--routers N] [--lllsi PATH] [--json]

  --kind KIND      A kind of NAT that takes part; may be repeated [default: all of them]
                   none, fullcone, address, port, double, symmetric, symmetric-seq: crates/lab/nat.sh says what they do
  --ordered        Each pair both ways: the host behind one NAT and the viewer behind the other, and the reverse
  --runs N         Measure each pair so many times [default: 5]
  --peer chromium  Chromium with itself in the same homes too, in turn: package chromium
  --lllsi PATH     The program to measure [default: `lllsi` beside this one]
  --rush           Viewers that join one host within 10 s instead. Fails if one of them sees nothing, or if the host sends nothing
                   for 100 ms to one that watches already
  --viewers N      How many [default: 100]
  --routers N      Behind how many routers [default: 10]
  --json           JSON objects instead of text, one for each pair or for the rush";

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) kinds: Vec<&'static str>,
    pub(crate) ordered: bool,
    pub(crate) runs: u32,
    pub(crate) chromium: bool,
    pub(crate) lllsi: PathBuf,
    pub(crate) rush: bool,
    pub(crate) viewers: u32,
    pub(crate) routers: u32,
    pub(crate) json: bool,
}

impl Options {
    /// `None`: help is wanted.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let lllsi = std::env::current_exe().unwrap_or_default().with_file_name("lllsi");
        let (kinds, ordered, runs, chromium) = (vec![], false, 5, false);
        let (rush, viewers, routers, json) = (false, 100, 10, false);
        let mut options =
            Self { kinds, ordered, runs, chromium, lllsi, rush, viewers, routers, json };
        let (mut of_pairs, mut of_rush) = (None, None);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--kind" | "--ordered" | "--runs" | "--peer" => of_pairs = Some(word.clone()),
                "--viewers" | "--routers" => of_rush = Some(word.clone()),
                _ => {}
            }
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--kind" => options.kinds.push(kind(&value()?)?),
                "--ordered" => options.ordered = true,
                "--runs" => options.runs = number(&value()?, 1..=99)?,
                "--peer" => match value()?.as_str() {
                    "chromium" => options.chromium = true,
                    other => return Err(format!("peer `{other}` is unknown")),
                },
                "--lllsi" => options.lllsi = value()?.into(),
                "--rush" => options.rush = true,
                "--viewers" => options.viewers = number(&value()?, 1..=250)?,
                "--routers" => options.routers = number(&value()?, 1..=(MOST - FIRST) as u32)?,
                "--json" => options.json = true,
                "-h" | "--help" => return Ok(None),
                _ => return Err(format!("`{word}` is unknown")),
            }
        }
        match (options.rush, of_pairs, of_rush) {
            (true, Some(word), _) => return Err(format!("{word} is not for --rush")),
            (false, _, Some(word)) => return Err(format!("{word} is for --rush")),
            _ => {}
        }
        if options.kinds.is_empty() {
            options.kinds = KINDS.into();
        }
        Ok(Some(options))
    }

    /// The NATs of host and viewer.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, &'static str)> {
        let hosts = self.kinds.iter().enumerate();
        let pairs = hosts.flat_map(|(number, host)| {
            let first = if self.ordered { 0 } else { number };
            self.kinds[first..].iter().map(move |viewer| (*host, *viewer))
        });
        pairs.collect()
    }
}

fn kind(name: &str) -> Result<&'static str, String> {
    let known = KINDS.into_iter().find(|kind| *kind == name);
    known.ok_or(format!("`{name}` is no kind of NAT: {}", KINDS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_line_is_understood() {
        let line = "--kind port --kind double --runs 2 --peer chromium --json --lllsi /x/lllsi";
        let options = parse(line).unwrap().unwrap();
        assert_eq!((options.runs, options.chromium, options.json), (2, true, true));
        assert_eq!(options.lllsi, PathBuf::from("/x/lllsi"));
        let pairs = [("port", "port"), ("port", "double"), ("double", "double")];
        assert_eq!(options.pairs(), pairs);
        assert_eq!(parse("--rush --viewers 30 --routers 3").unwrap().unwrap().viewers, 30);
        assert_eq!(parse("--runs 3 --help"), Ok(None));
    }

    #[test]
    fn all_pairs_are_measured_unless_told_otherwise() {
        assert_eq!(parse("").unwrap().unwrap().pairs().len(), 28);
        assert_eq!(parse("--ordered").unwrap().unwrap().pairs().len(), 49);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in
            ["--kind x", "--runs 0", "--peer vnc", "--viewers 5", "--rush --runs 2", "--runs"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
