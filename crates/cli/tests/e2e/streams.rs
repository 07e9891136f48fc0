//! Streams of anything between programs and a real browser.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lllsi::stream::Raw;
use lllsi::{Host, HostEvent, Publish, Server, ServerConfig, Source};
use lllsi_lab::Chromium;
use serde_json::json;

use crate::browser::keep;
use crate::util::alone;

/// One of the examples, which ends with this; and the address of its page.
struct Example(Child, String, String);

fn example(name: &str, directory: &Path) -> Example {
    let tests = std::env::current_exe().expect("this test is a file");
    let built = tests.parent().and_then(Path::parent).expect("the directory of what is built");
    let path = built.join("examples").join(name);
    let started = Command::new(&path).current_dir(directory).stdout(Stdio::piped()).spawn();
    let mut child = started.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut links =
        lines.map_while(Result::ok).filter_map(|line| Some(line[line.find("http")?..].to_owned()));
    let [link, page] = [(); 2].map(|()| links.next().expect("it tells its addresses"));
    // What it says then is not read: it must not wait for that.
    std::thread::spawn(move || links.for_each(drop));
    Example(child, link, page)
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn telemetry_is_read_in_a_browser() {
    let _alone = alone();
    let host = example("telemetry", Path::new("."));
    let browser = Chromium::start();
    let tab = browser.open(&host.2);
    tab.until("readings", "Number(document.querySelector('#rpm')?.textContent) > 2000");
    let curve = "[...document.querySelector('#curve').getContext('2d').getImageData(0, 0, 600, 200).data].some(Boolean)";
    tab.until("a curve", curve);
    keep(&tab, "telemetry");
}

#[test]
fn a_whiteboard_is_shared_by_browsers_and_a_program() {
    let _alone = alone();
    let host = example("whiteboard", Path::new("."));
    let browser = Chromium::start();
    let [first, second] = [(); 2].map(|()| browser.open(&host.2));
    let lines = |wanted: &str| {
        format!("document.querySelector('#state')?.textContent === '{wanted} lines'")
    };
    first.until("an empty board", &lines("0"));
    let _ = first.evaluate(
        "(() => {
            const board = document.querySelector('#board');
            board.setPointerCapture = () => {};
            const at = (type, x) => board.dispatchEvent(new PointerEvent(type, { clientX: x, clientY: 200, pointerId: 1 }));
            at('pointerdown', 100);
            for (let x = 110; x < 200; x += 10) at('pointermove', x);
            at('pointerup', 200);
        })()",
    );
    second.until("what the other drew", &lines("9"));
    let _drawer = {
        let tests = std::env::current_exe().expect("this test is a file");
        let built = tests.parent().and_then(Path::parent).expect("a directory");
        let mut command = Command::new(built.join("examples/whiteboard"));
        let child = command.arg(&host.1).stdout(Stdio::null()).spawn().expect("it starts");
        Example(child, String::new(), String::new())
    };
    for tab in [&first, &second] {
        tab.until("what the program drew", &lines("59"));
    }
    keep(&second, "whiteboard");
    let _ = second.evaluate("document.querySelector('#clear').click()");
    first.until("an empty board again", &lines("0"));
}

/// The pages of the guide, as it shows them.
#[test]
fn the_guides_page_works() {
    let _alone = alone();
    let guide = include_str!("../../../../docs/guide.md");
    let block = |language: &str| {
        let after = guide.split_once(&format!("```{language}\n")).expect("the guide shows it").1;
        after.split_once("```").expect("it ends").0
    };
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guide");
    fs::create_dir_all(directory.join("pages")).expect("a directory");
    fs::write(directory.join("pages/index.html"), block("html")).expect("it is written");
    fs::write(directory.join("pages/app.js"), block("js")).expect("it is written");
    let host = example("guide", &directory);
    let browser = Chromium::start();
    let tab = browser.open(&host.2);
    tab.until("a speed", "/^Car 7: \\d+ km/.test(document.querySelector('#speed')?.textContent)");
    tab.until(
        "the board",
        "document.querySelector('#board')?.textContent === 'race: about to begin'",
    );
    let _ = tab.evaluate(
        "document.querySelector('#text').value = 'hello'; document.querySelector('#form').requestSubmit()",
    );
    tab.until(
        "what was written",
        "document.querySelector('#board')?.textContent.includes('browser: hello')",
    );
    keep(&tab, "guide");
}

/// Each item goes to the browser, and comes back by a stream of the browser's own.
#[test]
fn a_browser_and_a_host_give_each_other_streams() {
    let _alone = alone();
    let soon = || Instant::now() + Duration::from_secs(30);
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(ServerConfig { listen, ..Default::default() }).expect("it starts");
    let url = format!("http://{}", server.http());
    let host = Host::builder().server(&url).source(Source::None).start().expect("it starts");
    while !matches!(host.recv(soon()).expect("the room opens"), HostEvent::Open) {}
    let out = host.publish::<(u32, Option<String>, f64)>("out").expect("it is published");
    let bytes = host.publish::<Raw>(Publish::real_time("bytes", Duration::from_secs(5)));
    let bytes = bytes.expect("it is published");
    let browser = Chromium::start();
    let tab = browser.open(&url);
    let script = json!(host.link()).to_string();
    let _ = tab.evaluate(&format!(
        "(async () => {{
            const {{ join }} = await import('/room.js');
            const room = await join({script}, {{ name: 'echo' }});
            const echo = await room.publish('echo', {{ mode: 'reliable' }});
            const live = await room.publish('live', {{ mode: {{ realTime: 5000 }}, format: 'bytes' }});
            (async () => {{ for await (const item of room.vector('out')) await echo.push(item); }})();
            (async () => {{ for await (const item of room.vector('bytes')) await live.push(item); }})();
        }})().catch((error) => (document.title = `failed: ${{error}}`)), 'begun'"
    ));
    let mut peer = None;
    let mut theirs = 0;
    while theirs < 2 {
        match host.recv(soon()) {
            Some(HostEvent::Announced(stream)) => {
                peer = Some(stream.peer);
                theirs += 1;
            }
            Some(_) => {}
            None => panic!("the browser gives no streams: {}", tab.evaluate("document.title")),
        }
    }
    let peer = peer.expect("it has told");
    let echo = host.vector_from::<(u32, Option<String>, f64)>(peer, "echo").expect("it is on");
    let live = host.vector_from::<Raw>(peer, "live").expect("it is on");
    for stream in [out.stream(), bytes.stream()] {
        assert!(stream.wait_for_subscribers(1, soon()));
    }
    let item = |n: u32| {
        let text =
            (!n.is_multiple_of(3)).then(|| "ä".repeat(if n == 100 { 500_000 } else { n as usize }));
        (n, text, f64::from(n) / 8.0)
    };
    let pushing = out.clone();
    let pusher = std::thread::spawn(move || {
        (0..500).for_each(|n| pushing.push_back(item(n)).expect("it is on"))
    });
    for n in 0..500 {
        let got = echo.pop_front(soon()).expect("it makes sense").expect("in time");
        assert!(got == item(n), "item {n}");
    }
    pusher.join().expect("it ends well");
    // What is real-time may be lost: it is sent until one comes back, whole.
    let payload: Vec<u8> = (0..50_000u32).map(|n| (n % 251) as u8).collect();
    let deadline = soon();
    let got = loop {
        bytes.push_back(Raw(payload.clone().into())).expect("it is on");
        let next = live.recv(Instant::now() + Duration::from_millis(100)).expect("it makes sense");
        if let Some(got) = next {
            break got;
        }
        assert!(Instant::now() < deadline, "nothing came back");
    };
    assert!(got.item.0 == payload);
    assert!(got.age.expect("the browser knows our clock") < Duration::from_secs(5));
}
