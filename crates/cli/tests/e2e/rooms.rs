//! Rooms with names and passwords, in programs and browsers; and somebody who squats a name.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lllsi_core::password::answer;
use lllsi_core::seal::{HostIdentity, Responder};
use lllsi_lab::{Chromium, Tab};
use lllsi_proto::WIRE_VERSION;
use lllsi_proto::invite::RoomToken;
use lllsi_proto::rendezvous::{Blob, ClientId, Reply, Request};
use lllsi_proto::sealed::{Envelope, Rejection};
use serde_json::Value;
use tungstenite::{Message, WebSocket};

use crate::LEAST_FPS;
use crate::browser::{click, end, fails, host, keep, state, steady};
use crate::util::{self, PATIENCE, Program, alone, lllsi, number};

pub(crate) const NAME: &str = "Küche 1";
/// What a host is given; one that generates its own says so.
pub(crate) const PASSWORD: &str = "correct horse";

/// The server of a link.
pub(crate) fn server_of(link: &str) -> String {
    link.split_once("/#").expect("a link has a fragment").0.to_owned()
}

/// A program that joins by name and password.
pub(crate) fn program(server: &str, name: &str, password: &str) -> Program {
    let args = ["join", "--headless", "--server", server, "--room", name];
    Program::spawn("join", lllsi(&args).env("LLLSI_PASSWORD", password))
}

/// A host with a room of this name.
pub(crate) fn named_host(name: &str, password: &str, args: &[&str]) -> Program {
    let mut all = vec!["host", "--source", "test", "--size", "320x180", "--room", name];
    all.extend(args);
    Program::spawn("host", lllsi(&all).env("LLLSI_PASSWORD", password))
}

/// The page's form, with the room's name in it.
pub(crate) fn form(browser: &Chromium, server: &str) -> Tab {
    let tab = browser.open(&format!("{server}/#room={NAME}"));
    tab.until("the form", "document.body?.dataset.way === 'room'");
    assert_eq!(tab.evaluate("document.querySelector('#room').value"), NAME);
    assert_eq!(tab.evaluate("location.href.includes('#')"), false);
    tab
}

/// Types a password and clicks on what the form offers.
pub(crate) fn try_password(tab: &Tab, password: &str) {
    let _ = tab.evaluate(&format!(
        "document.querySelector('#password').value = '{password}'; document.querySelector('#form button').click()"
    ));
}

/// Back to the form after a failure.
fn back(tab: &Tab) {
    click(tab, "again");
    state(tab, "form");
}

#[test]
fn a_browser_plays_a_room_by_its_name_and_password_and_comes_back_without_them() {
    let _alone = alone();
    let mut host = Program::start(&[
        "host",
        "--source",
        "test",
        "--size",
        "1280x720",
        "--listen",
        "127.0.0.1:0",
        "--room",
        NAME,
    ]);
    let ready = host.event("ready");
    assert_eq!(ready["room"]["name"], NAME);
    let password = ready["room"]["password"].as_str().expect("it is generated").to_owned();
    let server = server_of(&util::text(&ready, "link"));
    let browser = Chromium::start();
    let tab = form(&browser, &server);
    keep(&tab, "room-form");
    // As some keyboards write it.
    let _ = tab.evaluate("document.querySelector('#room').value = ' Ku\\u0308che 1'");
    try_password(&tab, &password);
    state(&tab, "playing");
    let seen = steady(&tab);
    eprintln!("{seen}");
    assert!(number(&seen, "fps") > LEAST_FPS, "{seen}");
    assert!(!seen["path"].as_str().expect("a path").contains("relay"), "{seen}");

    // The password is forgotten; what the host gave is enough.
    assert_eq!(tab.evaluate("document.querySelector('#password').value"), "");
    click(&tab, "leave");
    end(&tab);
    click(&tab, "again");
    state(&tab, "playing");
    let mut native = program(&server, NAME, &password);
    native.event("first_frame");
    native.ends_well();
}

#[test]
fn wrong_passwords_are_told_and_slowed_and_a_browser_stops_after_three() {
    let _alone = alone();
    let mut host = named_host(NAME, PASSWORD, &["--listen", "127.0.0.1:0"]);
    let ready = host.event("ready");
    assert!(ready["room"]["password"].is_null(), "who has chosen it knows it: {ready}");
    let link = util::text(&ready, "link");
    let server = server_of(&link);
    let browser = Chromium::start();
    let tab = form(&browser, &server);
    for _ in 0..2 {
        try_password(&tab, "incorrect horse");
        fails(&tab, "wrong_password", "Ask the host");
        back(&tab);
    }
    try_password(&tab, "incorrect horse");
    fails(&tab, "impostor", "by another way");
    back(&tab);
    for _ in 0..3 {
        host.event("wrong_password");
    }
    try_password(&tab, PASSWORD);
    assert_eq!(end(&tab).0, "impostor");
    Program::start(&["join", &link, "--headless"]).event("first_frame");
    let told = host.said().into_iter().filter(|e| e["event"] == "wrong_password").count();
    assert_eq!(told, 3, "the page does not even ask");

    // Others go on guessing, so that hardly ever a try is left.
    let goes_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while goes_on.load(Ordering::Relaxed) {
                    outcome(&mut program(&server, NAME, "wrong"));
                }
            });
        }
        let slowed = || outcome(&mut program(&server, NAME, PASSWORD)) == "too_many_tries";
        within_patience("a program is slowed", slowed);
        let other = form(&browser, &server);
        within_patience("a tab is slowed", || page_outcome(&other) == "too_many_tries");
        fails(&other, "too_many_tries", "Wait a minute");
        Program::start(&["join", &link, "--headless"]).event("first_frame");
        goes_on.store(false, Ordering::Relaxed);
        // In five seconds one is free again.
        within_patience("a tab is let in", || page_outcome(&other).is_empty());
    });
}

fn within_patience(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How it ends for a program: its code, or empty if it sees the stream.
fn outcome(program: &mut Program) -> String {
    let end = program.wait_for("its end", |e| e["event"] == "error" || e["event"] == "first_frame");
    end["code"].as_str().unwrap_or_default().to_owned()
}

/// The same of the right password on the page, from wherever it is.
fn page_outcome(tab: &Tab) -> String {
    if tab.evaluate("document.body.dataset.state") != "form" {
        click(tab, "leave");
        state(tab, "ended");
        click(tab, "back");
        click(tab, "again");
        state(tab, "form");
    }
    try_password(tab, PASSWORD);
    tab.until("its end", "['playing', 'ended'].includes(document.body.dataset.state)");
    let code = tab.evaluate("document.body.dataset.code ?? ''");
    code.as_str().expect("a text").to_owned()
}

#[test]
fn a_name_stays_its_owners_over_restarts_of_server_and_host() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let place = |name: &str| directory.path().join(name).to_str().expect("a path").to_owned();
    let (kept, ours, theirs) = (place("server"), place("ours"), place("theirs"));
    let mut server = Program::start(&["serve", "--listen", "127.0.0.1:0", "--state", &kept]);
    let url = util::text(&server.event("ready"), "http");
    let start = |state: &str| named_host(NAME, PASSWORD, &["--server", &url, "--state", state]);
    let taken = |mut host: Program| host.fails("name_taken", 26, "Choose another name");
    let mut host = start(&ours);
    host.event("ready");
    taken(start(&theirs));
    host.ends_well();
    taken(start(&theirs));

    server.ends_well();
    let address = url.trim_start_matches("http://");
    let _server = {
        let mut server = Program::start(&["serve", "--listen", address, "--state", &kept]);
        server.event("ready");
        server
    };
    taken(start(&theirs));
    let mut host = start(&ours);
    host.event("ready");
    let mut native = program(&url, NAME, PASSWORD);
    native.event("first_frame");
    let mut again = start(&ours);
    again.event("ready");
    host.event("replaced");
    host.forget();
    assert_eq!(host.event("stats")["viewers"], 1, "who is there stays");
}

/// Somebody who has opened a room under a name, and answers whoever comes with a guess at its password.
struct Squatter {
    socket: WebSocket<TcpStream>,
    identity: HostIdentity,
    /// What clients are told in the end, if anything.
    refusal: Option<Rejection>,
}

impl Squatter {
    fn open(server: &str, name: &str) -> Self {
        let address = server.trim_start_matches("http://");
        let stream = TcpStream::connect(address).expect("the server is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        let url = format!("ws://{address}/v1/rendezvous");
        let (socket, _) = tungstenite::client(url, stream).expect("it speaks WebSocket");
        let identity = HostIdentity::from_random([3; 96]);
        let mut squatter = Self { socket, identity, refusal: Some(Rejection::WrongSecret) };
        let token = RoomToken::from_bytes([0xee; 32]);
        let name = Some(name.parse().expect("a name"));
        squatter.say(&Request::Open { version: WIRE_VERSION, token, max_clients: 9, name });
        assert!(matches!(squatter.hear(), Reply::Opened { .. }));
        squatter
    }

    fn say(&mut self, request: &Request) {
        self.socket.send(Message::text(request.to_json())).expect("the server takes it");
    }

    fn hear(&mut self) -> Reply {
        loop {
            if let Message::Text(text) = self.socket.read().expect("the server says something") {
                return Reply::parse(&text).expect("it makes sense");
            }
        }
    }

    /// The next envelope from a client.
    fn envelope(&mut self) -> (ClientId, Vec<u8>) {
        loop {
            if let Reply::Relay { client: Some(client), blob } = self.hear() {
                return (client, blob.0);
            }
        }
    }

    /// Answers the next client with one guess; whether it opens what the client says then.
    fn guess(&mut self, guess: &str) -> bool {
        let (name, guess) = (NAME.parse().expect("a name"), guess.parse().expect("a password"));
        let (client, envelope) = self.envelope();
        let Ok(Envelope::ClientShare { session, share }) = Envelope::parse(&envelope) else {
            panic!("not a share: {envelope:?}")
        };
        let host_key = self.identity.public_key();
        let answered = answer(&name, &guess, &session, &share, &host_key, [2; 32]);
        let (share, shared) = answered.expect("an honest share");
        let blob = Blob(Envelope::HostShare { share, host_key }.to_bytes());
        self.say(&Request::Relay { client: Some(client), blob });
        let (_, envelope) = self.envelope();
        let Ok(Envelope::Handshake(hello)) = Envelope::parse(&envelope) else {
            panic!("not a handshake: {envelope:?}")
        };
        let opens = Responder::accept(&self.identity, &shared, hello).is_ok();
        if let Some(refusal) = self.refusal {
            let blob = Envelope::Rejected(refusal).to_bytes();
            self.say(&Request::Relay { client: Some(client), blob: Blob(blob) });
        }
        opens
    }
}

#[test]
fn whoever_squats_a_name_tests_one_password_with_each_try_and_three_in_all() {
    let _alone = alone();
    let mut server = Program::start(&["serve", "--listen", "127.0.0.1:0"]);
    let url = util::text(&server.event("ready"), "http");
    let mut squatter = Squatter::open(&url, NAME);
    named_host(NAME, PASSWORD, &["--server", &url]).fails("name_taken", 26, "another host has");
    let browser = Chromium::start();
    let tab = form(&browser, &url);

    try_password(&tab, PASSWORD);
    assert!(!squatter.guess("letmein"));
    fails(&tab, "wrong_password", "somebody else answers under this name");
    let mut native = program(&url, NAME, PASSWORD);
    assert!(!squatter.guess("letmein"));
    native.fails("wrong_password", 24, "somebody else answers under this name");

    // Nor can it get more tries by saying something else, or nothing.
    squatter.refusal = Some(Rejection::TooManyTries);
    let mut native = program(&url, NAME, PASSWORD);
    assert!(!squatter.guess("123456"));
    native.fails("tampered", 13, "interferes");
    back(&tab);
    try_password(&tab, PASSWORD);
    assert!(!squatter.guess("123456"));
    fails(&tab, "tampered", "another server");
    back(&tab);
    squatter.refusal = None;
    try_password(&tab, PASSWORD);
    assert!(!squatter.guess("password"));
    click(&tab, "cancel");
    fails(&tab, "impostor", "by another way");

    // That the right guess opens it shows that this would be seen.
    let _native = program(&url, NAME, PASSWORD);
    assert!(squatter.guess(PASSWORD));
    let other = form(&browser, &url);
    try_password(&other, PASSWORD);
    assert!(squatter.guess(PASSWORD));
}

#[test]
fn a_program_on_a_terminal_asks_again_and_stops_after_three() {
    let _alone = alone();
    let mut host = named_host(NAME, PASSWORD, &["--listen", "127.0.0.1:0"]);
    let server = server_of(&util::text(&host.event("ready"), "link"));
    let program = env!("CARGO_BIN_EXE_lllsi");
    let command = format!("tty; exec {program} join --headless --server {server} --room '{NAME}'");
    // A terminal of its own, with what is read from here as what is typed.
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &command, "/dev/null"]).env_remove("LLLSI_PASSWORD");
    let mut terminal = Terminal::start(&mut terminal);
    within_patience("the terminal's name", || terminal.shown().contains('\n'));
    let tty = terminal.shown().lines().next().expect("it is there").trim().to_owned();
    for n in 1..=3 {
        within_patience("the prompt", || {
            terminal.shown().matches("Password of the room").count() == n
        });
        within_patience("what is typed is hidden", || {
            let settings = Command::new("stty").args(["-F", &tty, "-a"]).output();
            let settings = settings.expect("the terminal can be asked").stdout;
            String::from_utf8_lossy(&settings).contains(" -echo ")
        });
        terminal.keyboard.write_all(b"incorrect horse\n").expect("it can be typed");
    }
    within_patience("the warning", || terminal.shown().contains("may not be your host"));
    assert!(!terminal.shown().contains("incorrect"), "{}", terminal.shown());
    assert_eq!(terminal.child.wait().expect("it ended").code(), Some(28));
}

/// A program whose output is gathered; killed when dropped.
struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("there is a terminal");
        let keyboard = child.stdin.take().expect("it is piped");
        let mut screen = child.stdout.take().expect("it is piped");
        let shown: Arc<Mutex<String>> = Arc::default();
        let gathered = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut some = [0; 1024];
            while let Ok(length @ 1..) = screen.read(&mut some) {
                let text = String::from_utf8_lossy(&some[..length]);
                gathered.lock().expect("nobody panics with it").push_str(&text);
            }
        });
        Self { child, keyboard, shown }
    }

    fn shown(&self) -> String {
        self.shown.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_name_that_leads_nowhere_is_told() {
    let _alone = alone();
    let (_host, link) = host(&[]);
    let server = server_of(&link);
    program(&server, "attic", "x").fails("unknown_room", 5, "capital letters");
    let browser = Chromium::start();
    let tab = form(&browser, &server);
    try_password(&tab, "");
    fails(&tab, "bad_room", "Both are needed");
    back(&tab);
    try_password(&tab, PASSWORD);
    fails(&tab, "unknown_room", "capital letters");
    let value: Value = tab.evaluate("document.querySelector('#room').value");
    assert_eq!(value, NAME, "it need not be typed again");
}
