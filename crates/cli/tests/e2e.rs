//! The program in a real environment: an X server with a terminal on it, and home networks behind real NATs.
//! `.ci/e2e` installs what this needs. A part that is missing is a failure, never a reason to skip.

mod util;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use util::{Program, alone, lllsi, number, run, text};

/// The picture at rest must be as good as this.
const LEAST_PSNR: f64 = 32.0;
/// Far below what is seen on a quiet machine: this lane finds faults, benchmarks find slowness.
const LEAST_FPS: f64 = 10.0;

/// A helper program, killed when dropped.
struct Helper(Child);

impl Helper {
    fn start(command: &mut Command) -> Self {
        let started = command.spawn();
        Self(started.unwrap_or_else(|error| {
            panic!("{command:?} does not start: {error}; `.ci/e2e` installs what is needed")
        }))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An X server of our own; its display, such as `:1`.
fn x_server() -> (Helper, String) {
    let mut server = Helper::start(
        Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x720x24"])
            .args(["-nolisten", "tcp", "-noreset"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let stdout = server.0.stdout.take().expect("it is piped");
    let mut number = String::new();
    BufReader::new(stdout).read_line(&mut number).expect("Xvfb tells its display");
    assert!(!number.is_empty(), "Xvfb ended at once");
    (server, format!(":{}", number.trim()))
}

/// A terminal over the whole screen, which scrolls text until the file `stop` is there.
fn scrolling_terminal(display: &str, stop: &Path) -> Helper {
    let script = r#"n=0
        until [ -e "$0" ]; do
            n=$((n + 1))
            echo "$n $((n * 7919)) The quick brown fox jumps over the lazy dog, $((n * n)) times. 0O1lI|{}[]() $n"
            sleep 0.02
        done
        exec sleep 1000"#;
    Helper::start(
        Command::new("xterm")
            .args(["-display", display, "-geometry", "211x55+0+0", "-e", "sh", "-c", script])
            .arg(stop),
    )
}

/// Width, height and luma (BT.709) of a PNG.
fn luma(path: &Path) -> (u32, u32, Vec<f64>) {
    let file = BufReader::new(File::open(path).expect("the picture was written"));
    let mut decoder = png::Decoder::new(file);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().expect("it is a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("it is not huge")];
    let info = reader.next_frame(&mut pixels).expect("it is whole");
    let luma =
        pixels[..info.buffer_size()].chunks_exact(info.color_type.samples()).map(|p| match p {
            [r, g, b, ..] => {
                0.2126 * f64::from(*r) + 0.7152 * f64::from(*g) + 0.0722 * f64::from(*b)
            }
            grey => f64::from(grey[0]),
        });
    (info.width, info.height, luma.collect())
}

/// How alike two pictures are, in dB.
fn psnr(one: &Path, other: &Path) -> f64 {
    let ((width, height, one), (w, h, other)) = (luma(one), luma(other));
    assert_eq!((width, height), (w, h), "the sizes differ");
    let squares: f64 = one.iter().zip(&other).map(|(a, b)| (a - b).powi(2)).sum();
    10.0 * (255.0 * 255.0 * one.len() as f64 / squares).log10()
}

/// A picture of text has both, and much of each.
fn assert_text_is_shown(path: &Path) {
    let (_, _, luma) = luma(path);
    let dark = luma.iter().filter(|y| **y < 64.0).count();
    let bright = luma.iter().filter(|y| **y > 192.0).count();
    let least = luma.len() / 50;
    assert!(dark > least && bright > least, "no text: {dark} dark and {bright} bright pixels");
}

fn member_after(viewer: &mut Program, seconds: usize, member: &str) -> f64 {
    let figures = (0..seconds).map(|_| number(&viewer.event("stats"), member));
    figures.sum::<f64>() / seconds as f64
}

#[test]
fn a_viewer_sees_the_real_screen() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [stop, snapshot, screenshot] =
        ["stop", "snapshot.png", "screenshot.png"].map(|name| directory.path().join(name));
    let (_server, display) = x_server();
    let _terminal = scrolling_terminal(&display, &stop);
    let source = format!("screen{display}");
    let mut host = Program::start(&["host", "--source", &source, "--listen", "127.0.0.1:0"]);
    let link = text(&host.event("ready"), "link");
    let path = snapshot.to_str().expect("it is UTF-8");
    let mut viewer = Program::start(&["join", &link, "--headless", "--snapshot", path]);
    let first = viewer.event("first_frame");
    assert_eq!((&first["width"], &first["height"]), (&1280.into(), &720.into()));

    viewer.wait_for("scrolling", |e| e["fps"].as_f64() > Some(LEAST_FPS));
    let fps = member_after(&mut viewer, 5, "fps");
    eprintln!("while it scrolls: {fps:.1} fps, {}", viewer.event("stats"));
    assert!(fps > LEAST_FPS, "{fps} fps\n{viewer}{host}");

    File::create(&stop).expect("the terminal can be stopped");
    host.forget();
    host.wait_for("rest", |e| e["event"] == "stats" && e["encodes"] == 0);
    viewer.forget();
    viewer.wait_for("rest", |e| e["event"] == "stats" && e["fps"] == 0.0);
    run(Command::new("import").args(["-display", &display, "-window", "root"]).arg(&screenshot));
    viewer.ends_well();
    assert_text_is_shown(&screenshot);
    let psnr = psnr(&snapshot, &screenshot);
    eprintln!("at rest: PSNR-Y {psnr:.1} dB");
    assert!(psnr >= LEAST_PSNR, "{psnr} dB\n{viewer}{host}");
}

#[test]
fn a_screen_that_is_not_there_is_told() {
    let args = ["host", "--source", "screen:99", "--listen", "127.0.0.1:0"];
    Program::start(&args).fails("source", 15, "--source test");
}

/// The outer addresses of the two homes in `lab/nat.sh`, and the server's.
const OUTER_A: &str = "192.0.2.2:";
const OUTER_B: &str = "198.51.100.2:";
const SERVER: &str = "203.0.113.1:36542";

/// Two homes and a server between them, see `lab/nat.sh`. Removed when dropped.
struct Lab(String);

impl Lab {
    fn new(nat_a: &str, nat_b: &str) -> Self {
        let lab = Self(format!("lllsi{}-{nat_a}-{nat_b}", std::process::id()));
        run(Self::script().args(["up", &lab.0, nat_a, nat_b]));
        lab
    }

    fn script() -> Command {
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../lab/nat.sh"))
    }

    fn start(&self, place: &str, args: &[&str]) -> Program {
        let inner = lllsi(args);
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &format!("{}-{place}", self.0)])
            .arg(inner.get_program())
            .args(inner.get_args())
            .env_remove("LLLSI_LINK");
        Program::spawn(&format!("{place}: {}", args.join(" ")), &mut command)
    }

    /// A server on the internet, a host in home a, a viewer in home b.
    fn session(&self) -> (Program, Program, Program) {
        // All addresses of a machine that has several: STUN must answer from the one that was asked.
        let mut server = self.start("inet", &["serve"]);
        server.event("ready");
        let url = format!("http://{SERVER}");
        let mut host = self.start("a-home", &["host", "--source", "test", "--server", &url]);
        let link = text(&host.event("ready"), "link");
        let viewer = self.start("b-home", &["join", &link, "--headless"]);
        (server, host, viewer)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Self::script().args(["down", &self.0]).status();
    }
}

/// Host and viewer meet directly, and see each other at these addresses.
fn meets(nat_a: &str, nat_b: &str, host_at: &str, viewer_at: &str) {
    let _alone = alone();
    let lab = Lab::new(nat_a, nat_b);
    let (_server, mut host, mut viewer) = lab.session();
    let connected = viewer.event("connected");
    eprintln!("{nat_a} to {nat_b}: {connected}");
    assert_eq!(connected["path"], "direct");
    assert!(text(&connected, "remote").starts_with(host_at), "{connected}");
    let connected = host.wait_for("viewer", |e| e["state"] == "connected");
    assert!(text(&connected, "remote").starts_with(viewer_at), "{connected}");
    viewer.event("first_frame");
    assert!(member_after(&mut viewer, 2, "fps") > 0.0, "{viewer}");
    assert!(!viewer.said().iter().any(lost), "{viewer}{host}");
}

fn lost(event: &Value) -> bool {
    event["frames_lost"].as_u64() > Some(0)
}

#[test]
fn peers_meet_between_networks() {
    meets("none", "none", "10.0.1.2:", "10.0.2.2:");
}

#[test]
fn peers_meet_through_the_usual_nats() {
    meets("port", "port", OUTER_A, OUTER_B);
}

#[test]
fn peers_behind_two_symmetric_nats_are_told_that_there_is_no_path() {
    let _alone = alone();
    let lab = Lab::new("symmetric", "symmetric");
    let (_server, mut host, mut viewer) = lab.session();
    viewer.event("admitted");
    viewer.fails("no_path", 12, "Try another network");
    host.wait_for("its end", |e| e["state"] == "left");
}
