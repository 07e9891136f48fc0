//! The host's screen: a real X server with something on it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use lllsi_lab::screen::{Picture, grab, psnr};
use lllsi_lab::{Desktop, Painter, Scene, Usage, XServer};

use crate::util::{Program, alone, number};
use crate::{LEAST_FPS, host, mean};

/// The picture at rest must be as good as this, in dB.
const LEAST_PSNR: f64 = 42.0;

/// A terminal over the whole screen, which scrolls text until the file `stop` is there. Killed when dropped.
struct Terminal(Child);

impl Terminal {
    fn start(display: &str, stop: &Path) -> Self {
        let script = r#"n=0
            until [ -e "$0" ]; do
                n=$((n + 1))
                echo "$n $((n * 7919)) The quick brown fox jumps over the lazy dog, $((n * n)) times. 0O1lI|{}[]() $n"
                sleep 0.02
            done
            exec sleep 1000"#;
        let mut command = Command::new("xterm");
        command
            .args(["-display", display, "-geometry", "211x55+0+0", "-e", "sh", "-c", script])
            .arg(stop);
        let started = command.spawn();
        Self(started.unwrap_or_else(|error| {
            panic!("xterm does not start: {error}; `.ci/e2e` installs what is needed")
        }))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The luma of a PNG as `lllsi` writes it.
fn luma(path: &Path) -> Picture {
    let file = std::io::BufReader::new(File::open(path).expect("the picture was written"));
    let mut reader = png::Decoder::new(file).read_info().expect("it is a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("it is not huge")];
    let info = reader.next_frame(&mut pixels).expect("it is whole");
    let luma = pixels[..info.buffer_size()].chunks_exact(3).map(|p| {
        let [r, g, b] = [p[0], p[1], p[2]].map(f64::from);
        (0.2126 * r + 0.7152 * g + 0.0722 * b).round() as u8
    });
    let (width, height) = (info.width as usize, info.height as usize);
    Picture { width, height, luma: luma.collect() }
}

/// A picture of text has both, and much of each.
fn assert_text_is_shown(picture: &Picture) {
    let dark = picture.luma.iter().filter(|y| **y < 64).count();
    let bright = picture.luma.iter().filter(|y| **y > 192).count();
    let least = picture.luma.len() / 50;
    assert!(dark > least && bright > least, "no text: {dark} dark and {bright} bright pixels");
}

#[test]
fn a_viewer_sees_the_real_screen() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [stop, snapshot] = ["stop", "snapshot.png"].map(|name| directory.path().join(name));
    let server = XServer::start((1280, 720), 24);
    let _terminal = Terminal::start(server.display(), &stop);
    let (mut host, link) = host(server.display());
    let path = snapshot.to_str().expect("it is UTF-8");
    let mut viewer = Program::start(&["join", &link, "--headless", "--snapshot", path]);
    let first = viewer.event("first_frame");
    assert_eq!((&first["width"], &first["height"]), (&1280.into(), &720.into()));

    viewer.wait_for("scrolling", |e| e["fps"].as_f64() > Some(LEAST_FPS));
    let fps = mean(&mut viewer, 5, "fps");
    eprintln!("while it scrolls: {fps:.1} fps, {}", viewer.event("stats"));
    assert!(fps > LEAST_FPS, "{fps} fps\n{viewer}{host}");

    File::create(&stop).expect("the terminal can be stopped");
    host.forget();
    host.wait_for("rest", |e| e["event"] == "stats" && e["encodes"] == 0);
    viewer.forget();
    viewer.wait_for("rest", |e| e["event"] == "stats" && e["fps"] == 0.0);
    let screen = grab(server.display());
    viewer.ends_well();
    assert_text_is_shown(&screen);
    let psnr = psnr(&luma(&snapshot), &screen);
    eprintln!("at rest: PSNR-Y {psnr:.1} dB");
    // The pointer is in the stream, and not in what is read from the screen.
    assert!(psnr >= 32.0, "{psnr} dB\n{viewer}{host}");
}

#[test]
fn a_screen_at_rest_becomes_sharp_and_costs_nearly_nothing() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let snapshot = directory.path().join("snapshot.png");
    let server = XServer::start((1280, 720), 24);
    let _painter = Painter::start(server.display(), Scene::Still);
    let (mut host, link) = host(server.display());
    let path = snapshot.to_str().expect("it is UTF-8");
    let mut viewer = Program::start(&["join", &link, "--headless", "--snapshot", path]);
    viewer.event("first_frame");
    host.forget();
    // Twice in a row: a machine that stalls tells two seconds at once.
    while !(0..2).all(|_| host.event("stats")["encodes"] == 0) {}
    let before = Usage::of(host.id());
    let stats: Vec<_> = (0..5).map(|_| host.event("stats")).collect();
    assert!(stats.iter().all(|stats| stats["encodes"] == 0), "no video: {stats:?}");
    let bytes = stats.iter().map(|stats| number(stats, "bitrate_bps")).sum::<f64>() / 5.0;
    let cpu = (Usage::of(host.id()).cpu - before.cpu).as_secs_f64() / 5.0 * 100.0;
    let screen = grab(server.display());
    viewer.ends_well();
    let psnr = psnr(&luma(&snapshot), &screen);
    eprintln!(
        "at rest: {cpu:.1} % of a core at the host, {bytes} bit/s of signs of life, PSNR-Y {psnr:.1} dB"
    );
    assert!(
        psnr >= LEAST_PSNR && bytes < 4000.0 && cpu < 15.0,
        "{psnr} dB, {bytes} bit/s, {cpu} %"
    );
}

#[test]
fn a_screen_that_changes_its_size_is_followed() {
    let _alone = alone();
    let server = XServer::start((800, 600), 24);
    let _painter = Painter::start(server.display(), Scene::Tick { fps: 20.0 });
    let (_host, link) = host(server.display());
    let mut viewer = Program::start(&["join", &link, "--headless"]);
    assert_eq!(viewer.event("first_frame")["width"], 800);
    for (width, height) in [(640, 480), (721, 401), (800, 600)] {
        Desktop::at(server.display()).resize_screen((width, height));
        // Video has even sides.
        let [width, height] = [width, height].map(|side| u64::from(side & !1));
        viewer.wait_for("the new size", |e| {
            e["event"] == "size" && e["width"] == width && e["height"] == height
        });
    }
    let frames_lost = viewer.event("stats")["frames_lost"].clone();
    assert_eq!(frames_lost, 0, "{viewer}");
}

#[test]
fn a_screen_that_is_not_there_is_told() {
    let args = ["host", "--source", "screen:9999", "--listen", "127.0.0.1:0"];
    Program::start(&args).fails("source", 15, "--source test");
}

#[test]
fn a_screen_of_few_colours_is_told() {
    let server = XServer::start((640, 480), 16);
    let source = format!("screen{}", server.display());
    let args = ["host", "--source", &source, "--listen", "127.0.0.1:0"];
    Program::start(&args).fails("source", 15, "24-bit colour");
}

#[test]
fn a_screen_that_goes_away_ends_the_stream_on_both_sides() {
    let _alone = alone();
    let mut server = XServer::start((640, 480), 24);
    let (mut host, link) = host(server.display());
    let mut viewer = Program::start(&["join", &link, "--headless"]);
    viewer.event("first_frame");
    server.kill();
    host.fails("source", 15, "is gone");
    viewer.fails("source_lost", 22, "once its screen is back");
}

#[test]
fn host_and_viewer_need_little_memory() {
    let _alone = alone();
    let server = XServer::start((1920, 1080), 24);
    let _painter = Painter::start(server.display(), Scene::Scroll { fps: 20.0 });
    let (host, link) = host(server.display());
    let mut viewer = Program::start(&["join", &link, "--headless"]);
    viewer.event("first_frame");
    std::thread::sleep(Duration::from_secs(5));
    for (who, id) in [("host", host.id()), ("viewer", viewer.id())] {
        let usage = Usage::of(id);
        let megabytes = usage.rss_bytes / 1_000_000;
        eprintln!("{who} at 1080p: {megabytes} MB, {} threads", usage.threads);
        assert!(megabytes < 150, "{who}: {usage:?}");
    }
}
