//! Viewers in a real browser.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lllsi_lab::{Chromium, Space, Tab};
use serde_json::Value;

use crate::LEAST_FPS;
use crate::spaces::Spaces;
use crate::util::{self, Program, alone, number, spoilt};

/// Screens of people who watch: width and height, and whether they like it dark.
const DESKTOP: ((u32, u32), bool) = ((1280, 800), false);
const PHONE: ((u32, u32), bool) = ((390, 844), true);
const VECTORS: &str = include_str!("vectors.js");
const BOUNDS: &str = include_str!("bounds.js");

/// A host with a test card, and its link.
pub(crate) fn host(more: &[&str]) -> (Program, String) {
    let mut args =
        vec!["host", "--source", "test", "--size", "1280x720", "--listen", "127.0.0.1:0"];
    args.extend(more);
    let mut host = Program::start(&args);
    let link = util::text(&host.event("ready"), "link");
    (host, link)
}

/// Waits until the page is in this state.
pub(crate) fn state(tab: &Tab, wanted: &str) {
    tab.until(wanted, &format!("document.body?.dataset.state === '{wanted}'"));
}

/// Opens an invite link and clicks on what it offers.
pub(crate) fn join(browser: &Chromium, link: &str, name: &str) -> Tab {
    let tab = browser.open(link);
    tab.resize(DESKTOP.0, DESKTOP.1);
    state(&tab, "form");
    tab.until("an invitation", "document.body?.dataset.way === 'invited'");
    click_join(&tab, name);
    tab
}

pub(crate) fn click_join(tab: &Tab, name: &str) {
    let _ = tab.evaluate(&format!(
        "document.querySelector('#name').value = '{name}'; document.querySelector('#form button').click()"
    ));
}

pub(crate) fn click(tab: &Tab, id: &str) {
    let _ = tab.evaluate(&format!("document.querySelector('#{id}').click()"));
}

/// The page's own figures of the last second.
pub(crate) fn figures(tab: &Tab) -> Value {
    let text = tab.until("figures", "document.querySelector('#stage').dataset.figures");
    serde_json::from_str(text.as_str().expect("a text")).expect("the figures are JSON")
}

/// How the page says that it ended: code, and all that is read.
pub(crate) fn end(tab: &Tab) -> (String, String) {
    state(tab, "ended");
    let code = tab.evaluate("document.body.dataset.code ?? ''");
    let words = tab.evaluate("document.querySelector('#card').innerText");
    (code.as_str().expect("a text").into(), words.as_str().expect("a text").into())
}

/// Keeps pictures of the page as desktops and phones show it, for people to look at.
pub(crate) fn keep(tab: &Tab, name: &str) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    fs::create_dir_all(&directory).expect("a directory for screenshots");
    for (kind, (size, dark)) in [("desktop", DESKTOP), ("phone", PHONE)] {
        tab.resize(size, dark);
        tab.screenshot(&directory.join(format!("{name}-{kind}.png")));
    }
    tab.resize(DESKTOP.0, DESKTOP.1);
}

#[test]
fn a_browser_plays_the_stream_from_its_link() {
    let _alone = alone();
    let (mut host, link) = host(&[]);
    let browser = Chromium::start();
    let tab = browser.open(&link);
    state(&tab, "form");
    assert_eq!(tab.evaluate("location.href.includes('#')"), false, "the secret is not shown");
    keep(&tab, "form");
    tab.until("an invitation", "document.body.dataset.way === 'invited'");
    click_join(&tab, "Ada");
    state(&tab, "playing");
    let viewer = host.wait_for("the viewer", |e| e["state"] == "connected");
    assert_eq!(viewer["name"], "Ada");
    let seen = steady(&tab);
    eprintln!("{seen:#}");
    assert!(number(&seen, "fps") > LEAST_FPS, "{seen}");
    assert!(!seen["path"].as_str().expect("a path").contains("relay"), "{seen}");
    assert_eq!((&seen["width"], &seen["height"]), (&1280.into(), &720.into()));
    assert!(seen["stages"].is_object(), "each stage is told: {seen}");
    click(&tab, "show-figures");
    tab.until(
        "the longest stage",
        "document.querySelector('#figures').textContent.includes('most')",
    );
    keep(&tab, "playing");
    click(&tab, "leave");
    let (code, words) = end(&tab);
    assert!(code.is_empty() && words.contains("You left"), "{words}");
    let left = host.wait_for("its end", |e| e["state"] == "left");
    assert_eq!(left["reason"], "the viewer left");
}

/// Chromium drops what comes from its STUN server's address, which the host's own server must not be then.
#[test]
fn a_browser_meets_a_host_at_the_port_of_its_own_server() {
    let _alone = alone();
    let args = ["host", "--source", "test", "--size", "320x180", "--listen", "0.0.0.0:0"];
    let mut host = Program::start(&args);
    let ready = host.event("ready");
    let links = ready["links"].as_array().expect("there are links");
    let link = links.iter().filter_map(Value::as_str).find(|link| link.starts_with("https://"));
    let link = link.expect("this machine has an address besides loopback");
    let browser = Chromium::start();
    let tab = join(&browser, link, "Ada");
    state(&tab, "playing");
}

#[test]
fn a_browser_says_that_large_packets_do_not_get_through() {
    let _alone = alone();
    let spaces = Spaces::over_a_narrow_router(576);
    let mut host = spaces.start("host", &["host", "--source", "test"]);
    let ready = host.event("ready");
    let links = ready["links"].as_array().expect("there are links");
    let link = links.iter().filter_map(Value::as_str).find(|link| link.contains("//10.9.1.1:"));
    let browser = Chromium::inside(&Space::named(spaces.full("viewer")));
    let tab = join(&browser, link.expect("for the network"), "Ada");
    fails(&tab, "packet_size", "a larger MTU");
}

#[test]
fn a_browser_computes_as_the_documents_say() {
    let (_host, link) = host(&[]);
    let browser = Chromium::start();
    let tab = browser.open(&link);
    state(&tab, "form");
    let checked = tab.evaluate(VECTORS);
    assert!(checked.as_u64() > Some(50), "{checked}");
}

#[test]
fn what_is_over_a_bound_of_the_page_is_not_taken() {
    let (_host, link) = host(&[]);
    let browser = Chromium::start();
    let tab = browser.open(&link);
    state(&tab, "form");
    let tried = tab.evaluate(BOUNDS);
    assert_eq!(tried.as_u64(), Some(13), "{tried}");
}

/// The page ends with this code, and says what to do next.
pub(crate) fn fails(tab: &Tab, code: &str, next: &str) {
    let (found, words) = end(tab);
    assert!(found == code && words.contains(next), "{found}, not {code}: {words}");
    keep(tab, code);
}

#[test]
fn a_browser_is_told_about_links_that_lead_nowhere() {
    let _alone = alone();
    let (mut host, link) = host(&[]);
    let browser = Chromium::start();
    let cut = browser.open(&link[..link.len() - 3]);
    fails(&cut, "bad_link", "Copy it again");

    fails(&join(&browser, &spoilt(&link, 3), "Eve"), "wrong_secret", "ask the host for a new one");
    host.event("rejected");

    let pasted = browser.open(&link[..link.find('#').expect("a fragment")]);
    state(&pasted, "form");
    let elsewhere = link.replace("127.0.0.1", "127.0.0.2");
    let _ = pasted.evaluate(&format!("document.querySelector('#link').value = '{elsewhere}'"));
    click_join(&pasted, "Eve");
    fails(&pasted, "other_server", "it leads there");

    let insecure = browser.open(&link.replace("127.0.0.1", "lan.example"));
    fails(&insecure, "insecure", "https");

    let (mut once, once_link) = self::host(&["--invite-uses", "1"]);
    let only = join(&browser, &once_link, "Ada");
    state(&only, "playing");
    fails(&join(&browser, &once_link, "Eve"), "invite_expired", "Ask the host for a new link");
    once.type_line("quit");

    let (kept, kept_link) = self::host(&[]);
    let address = |link: &str| link[..link.find('#').expect("a fragment")].to_owned();
    let moved = link.replace(&address(&link), &address(&kept_link));
    fails(&join(&browser, &moved, "Eve"), "unknown_room", "Ask the host");
    drop(kept);
}

#[test]
fn a_browser_waits_in_the_lobby_and_is_told_how_it_ends() {
    let _alone = alone();
    let (mut host, link) = host(&["--lobby"]);
    let browser = Chromium::start();
    let ada = join(&browser, &link, "Ada");
    let waiting = host.wait_for("a guest", |e| e["state"] == "waiting");
    assert_eq!(waiting["name"], "Ada");
    ada.until("patience", "document.querySelector('[data-step=waiting]').dataset.is === 'now'");
    let words = ada.evaluate("document.querySelector('#text').innerText");
    let code = waiting["code"].as_str().expect("six digits");
    assert!(words.as_str().expect("a text").contains(code), "{words}, not {code}");
    keep(&ada, "waiting");
    host.type_line(&format!("admit {}", waiting["id"]));
    state(&ada, "playing");
    host.type_line(&format!("kick {}", waiting["id"]));
    fails(&ada, "kicked", "Ask the host");

    // What it was given is worth nothing any more; the link is.
    click(&ada, "again");
    fails(&ada, "wrong_ticket", "as you did the first time");
    click(&ada, "again");
    let waiting = host.wait_for("the guest again", |e| e["state"] == "waiting");
    host.type_line(&format!("admit {}", waiting["id"]));
    state(&ada, "playing");
    host.type_line("quit");
    fails(&ada, "host_closed", "new link");
}

#[test]
fn a_browser_is_told_that_the_room_is_full_and_notices_that_the_host_is_gone() {
    let _alone = alone();
    let (mut host, link) = host(&["--max-viewers", "1"]);
    let browser = Chromium::start();
    let tab = join(&browser, &link, "Ada");
    state(&tab, "playing");
    fails(&join(&browser, &link, "Bob"), "room_full", "when a viewer has left");
    host.kill();
    fails(&tab, "host_vanished", "once the host is back");
    click(&tab, "again");
    fails(&tab, "server_unreachable", "Check your network");
}

#[test]
fn viewers_on_the_network_come_by_https_with_a_certificate_that_the_link_vouches_for() {
    let _alone = alone();
    let mut server = Program::start(&["serve", "--listen", "127.0.0.1:0"]);
    let ready = server.event("ready");
    let (url, hash) = (util::text(&ready, "https"), util::text(&ready, "certificate"));
    let args = ["host", "--source", "test", "--server", &url, "--server-certificate", &hash];
    let mut host = Program::start(&args);
    let link = util::text(&host.event("ready"), "link");

    let browser = Chromium::start();
    let tab = join(&browser, &link.replace("127.0.0.1", "lan.example"), "Ada");
    state(&tab, "playing");
    assert_eq!(tab.evaluate("location.protocol"), "https:");

    let mut native = Program::start(&["join", &link, "--headless"]);
    native.event("first_frame");
    native.ends_well();
    let mut native = Program::start(&["join", &spoilt(&link, 4), "--headless"]);
    native.fails("server_unreachable", 4, "not the one that was told");
}

/// A tab's figures, once it shows frames as fast as they come.
fn in_motion(tab: &Tab) -> Value {
    let moving = format!(
        "JSON.parse(document.querySelector('#stage').dataset.figures ?? '{{}}').fps > {LEAST_FPS}"
    );
    tab.until("motion", &moving);
    figures(tab)
}

/// Its figures of a whole second.
pub(crate) fn steady(tab: &Tab) -> Value {
    in_motion(tab);
    std::thread::sleep(Duration::from_secs(2)); // of the latter of which the figures are
    figures(tab)
}

#[test]
fn browsers_and_programs_watch_together_and_those_that_vanish_disturb_no_other() {
    let _alone = alone();
    let args = ["host", "--source", "test", "--size", "320x180", "--listen", "127.0.0.1:0"];
    let mut host = Program::start(&args);
    let link = util::text(&host.event("ready"), "link");
    let [browser, another] = [Chromium::start(), Chromium::start()];
    let programs: Vec<_> = (0..4).map(|_| Program::start(&["join", &link, "--headless"])).collect();
    let mut tabs: Vec<_> = (0..3).map(|i| join(&browser, &link, &format!("tab {i}"))).collect();
    tabs.push(join(&another, &link, "tab 3"));
    for tab in &tabs {
        state(tab, "playing");
    }
    host.wait_for("all of them", |e| e["event"] == "stats" && e["viewers"] == 8);
    // A program that joins soon after another may have asked for its first keyframe.
    let mut programs: Vec<_> = programs
        .into_iter()
        .map(|mut program| {
            let seen = program.wait_for("motion", |e| e["fps"].as_f64() > Some(LEAST_FPS));
            (program, seen["keyframe_requests"].clone())
        })
        .collect();
    let lost: Vec<_> = tabs.iter().map(|tab| in_motion(tab)["lost"].clone()).collect();
    host.forget();
    // Those that came late begin in a layer of their own. In the end each frame is encoded once for all.
    let is_shared = |e: &Value| {
        let is_stats = e["event"] == "stats" && e["viewers"] == 8;
        is_stats && e["fps"].as_f64() > Some(LEAST_FPS) && e["encodes"].as_f64() <= Some(45.0)
    };
    let stats = host.wait_for("one encode for all", is_shared);
    eprintln!("eight watch: {stats}");

    // One of either kind vanishes without a word.
    programs.iter_mut().for_each(|(program, _)| program.forget());
    programs.remove(0).0.kill();
    drop((tabs.pop(), another));
    let vanished = Instant::now();
    for _ in 0..2 {
        host.wait_for("the end of one that vanished", |e| e["state"] == "left");
    }
    let took = vanished.elapsed();
    eprintln!("two that vanished were dropped within {took:.1?}");
    assert!(took < Duration::from_secs(10), "dropped after {took:?}");
    for (program, before) in &mut programs {
        let seen = program.event("stats");
        let losses = ["lost", "missed", "frames_lost"].map(|m| &seen[m]);
        eprintln!("a program: {} fps, losses {losses:?}", seen["fps"]);
        assert!(losses.iter().all(|loss| **loss == 0), "{seen}");
        assert_eq!(seen["keyframe_requests"], *before, "{seen}");
    }
    for (tab, before) in tabs.iter().zip(lost) {
        let seen = in_motion(tab);
        eprintln!("a tab: {} fps, {} lost", seen["fps"], seen["lost"]);
        assert_eq!(seen["lost"], before, "{seen}");
    }
}
