//! Rooms with names and passwords, in programs and browsers; and somebody who squats a name.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Instant;

use lllsi_core::password::answer;
use lllsi_core::seal::{HostIdentity, Responder};
use lllsi_lab::{Chromium, Tab};
use lllsi_proto::WIRE_VERSION;
use lllsi_proto::invite::RoomToken;
use lllsi_proto::rendezvous::{Blob, ClientId, Reply, Request};
use lllsi_proto::sealed::Envelope;
use serde_json::Value;
use tungstenite::{Message, WebSocket};

use crate::LEAST_FPS;
use crate::browser::{click, end, fails, host, in_motion, keep, state};
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
    let seen = in_motion(&tab);
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
    try_password(&tab, PASSWORD);
    assert_eq!(end(&tab).0, "impostor", "it does not even ask");
    assert_eq!(host.said().iter().filter(|e| e["event"] == "wrong_password").count(), 3);

    // Somebody goes on guessing.
    let (stop, stopped) = channel::<()>();
    std::thread::scope(|scope| {
        let (flooded, wait) = channel();
        let (guessed, link) = (&server, &link);
        scope.spawn(move || {
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                let error = program(guessed, NAME, "wrong").event("error");
                let _ = flooded.send(util::text(&error, "code"));
            }
        });
        let slowed = wait.iter().find(|code| code != "wrong_password");
        assert_eq!(slowed.as_deref(), Some("too_many_tries"));
        let other = form(&browser, &server);
        try_password(&other, PASSWORD);
        fails(&other, "too_many_tries", "Wait a minute");
        program(&server, NAME, PASSWORD).fails("too_many_tries", 25, "it is not slowed down");
        Program::start(&["join", link, "--headless"]).event("first_frame");
        drop(stop);
        // In five seconds one is free again.
        let deadline = Instant::now() + PATIENCE;
        loop {
            back(&other);
            try_password(&other, PASSWORD);
            let ended = "['playing', 'ended'].includes(document.body.dataset.state)";
            other.until("its end", ended);
            if other.evaluate("document.body.dataset.state") == "playing" {
                break;
            }
            assert_eq!(end(&other).0, "too_many_tries");
            assert!(Instant::now() < deadline, "nobody is locked out for good");
        }
    });
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
}

/// Somebody who has opened a room under a name, and answers whoever comes with a guess at its password.
struct Squatter {
    socket: WebSocket<TcpStream>,
    identity: HostIdentity,
    /// What clients are told in the end: an envelope.
    refusal: Vec<u8>,
}

impl Squatter {
    fn open(server: &str, name: &str) -> Self {
        let address = server.trim_start_matches("http://");
        let stream = TcpStream::connect(address).expect("the server is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        let url = format!("ws://{address}/v1/rendezvous");
        let (socket, _) = tungstenite::client(url, stream).expect("it speaks WebSocket");
        let identity = HostIdentity::from_random([3; 96]);
        let mut squatter = Self { socket, identity, refusal: vec![1, 3, 1] };
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
        self.say(&Request::Relay { client: Some(client), blob: Blob(self.refusal.to_vec()) });
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
    squatter.refusal = vec![1, 3, 4];
    let mut native = program(&url, NAME, PASSWORD);
    assert!(!squatter.guess("123456"));
    native.fails("tampered", 13, "interferes");
    back(&tab);
    try_password(&tab, PASSWORD);
    assert!(!squatter.guess("123456"));
    fails(&tab, "tampered", "another server");
    back(&tab);
    squatter.refusal = vec![1, 3, 2];
    try_password(&tab, PASSWORD);
    assert!(!squatter.guess("password"));
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
    let command = format!("{program} join --headless --server {server} --room '{NAME}'");
    // A terminal of its own, with what is read from here as what is typed.
    let mut terminal = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env_remove("LLLSI_PASSWORD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a terminal");
    let mut keyboard = terminal.stdin.take().expect("it is piped");
    let mut screen = terminal.stdout.take().expect("it is piped");
    let mut shown = String::new();
    for n in 1..=3 {
        while shown.matches("Password of the room").count() < n {
            let mut some = [0; 1024];
            let length = screen.read(&mut some).expect("it can be read");
            assert!(length > 0, "it ended: {shown}");
            shown.push_str(&String::from_utf8_lossy(&some[..length]));
        }
        keyboard.write_all(b"incorrect horse\n").expect("it can be typed");
    }
    screen.read_to_string(&mut shown).expect("it can be read");
    assert!(shown.contains("may not be your host"), "{shown}");
    assert!(!shown.contains("incorrect"), "what is typed is not shown: {shown}");
    assert_eq!(terminal.wait().expect("it ended").code(), Some(28));
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
