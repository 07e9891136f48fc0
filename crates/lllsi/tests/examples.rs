//! The examples run, natively. Browsers join them in the end-to-end tests.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// An example that runs, and what it says. It ends with this.
struct Example {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

fn example(name: &str, args: &[&str]) -> Example {
    example_in(Path::new("."), name, args)
}

fn example_in(directory: &Path, name: &str, args: &[&str]) -> Example {
    let tests = std::env::current_exe().expect("this test is a file");
    let path: PathBuf =
        tests.parent().and_then(|deps| deps.parent()).expect("target").join("examples").join(name);
    let mut command = Command::new(&path);
    let mut child = command
        .args(args)
        .current_dir(directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (sender, lines) = channel();
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    std::thread::spawn(move || {
        let _ = stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line));
    });
    Example { child, lines, said: Vec::new() }
}

impl Example {
    /// Waits for a line like this; what follows the words.
    fn says(&mut self, words: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if let Some((_, rest)) = line.split_once(words) {
                        return rest.trim().to_owned();
                    }
                }
                Err(_) => panic!("it did not say `{words}`, but {:#?}", self.said),
            }
        }
    }

    fn ends_well(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return assert!(status.success(), "{status}: {:#?}", self.said);
            }
            assert!(Instant::now() < deadline, "it does not end: {:#?}", self.said);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn mediator() {
    let mut mediator = example("mediator", &[]);
    mediator.says("15 °C");
    mediator.says("22 °C");
    mediator.ends_well();
}

#[test]
fn own_protocol() {
    let mut example = example("own_protocol", &[]);
    example.says("moved to 10, 20");
    example.says("right click at 51, 100");
    example.ends_well();
}

#[test]
fn telemetry() {
    let mut host = example("telemetry", &[]);
    let link = host.says("Read along:");
    let mut readers = [example("telemetry", &[&link]), example("telemetry", &[&link])];
    for reader in &mut readers {
        reader.says("rpm");
        reader.says("rpm");
    }
}

#[test]
fn whiteboard() {
    let mut host = example("whiteboard", &[]);
    let link = host.says("Draw along:");
    let mut first = example("whiteboard", &[&link]);
    host.says("draws");
    let mut second = example("whiteboard", &[&link]);
    first.says("draws");
    host.says("draws");
    second.says("draws");
}

#[test]
fn file_drop() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [from, to] = ["from", "to"].map(|name| directory.path().join(name));
    let content: Vec<u8> =
        (0..20_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&from, &content).expect("it is written");
    let mut host = example("file_drop", &[from.to_str().expect("text")]);
    let link = host.says("Take it:");
    let mut taker = example("file_drop", &[&link, to.to_str().expect("text")]);
    taker.says("the checksum is right");
    host.says("All of it was taken");
    host.ends_well();
    taker.ends_well();
    assert!(std::fs::read(&to).expect("it is there") == content);
}

const GUIDE: &str = include_str!("../../../docs/guide.md");

/// The blocks of the guide in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    GUIDE.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// What the guide shows is what is built and run here, and in a browser by the end-to-end tests.
#[test]
fn guide() {
    assert_eq!(
        blocks("rust"),
        [include_str!("../../../examples/guide.rs")],
        "examples/guide.rs is another"
    );
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pages = directory.path().join("pages");
    std::fs::create_dir(&pages).expect("it is made");
    std::fs::write(pages.join("index.html"), blocks("html")[0]).expect("it is written");
    std::fs::write(pages.join("app.js"), blocks("js")[0]).expect("it is written");
    let mut host = example_in(directory.path(), "guide", &[]);
    let link = host.says("link:");
    let mut reader = example("guide", &[&link]);
    reader.says("car 7");
    reader.says(r#"("terminal", "was here")"#);
}
