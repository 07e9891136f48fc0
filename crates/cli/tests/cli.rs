//! The program as its users see it: the real binary, on loopback, by its JSON.

mod util;

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use util::{NO_DISPLAY, Program, alone, free_port, lllsi, number, spoilt, text};

/// A host of a small test card with a server of its own, and its link.
fn host(more: &[&str]) -> (Program, String) {
    let mut args = vec!["host", "--source", "test", "--size", "320x180"];
    args.extend_from_slice(more);
    if !more.contains(&"--server") {
        args.extend(["--listen", "127.0.0.1:0"]);
    }
    let mut host = Program::start(&args);
    let link = text(&host.event("ready"), "link");
    (host, link)
}

fn join(link: &str, more: &[&str]) -> Program {
    let mut args = vec!["join", link, "--headless"];
    args.extend_from_slice(more);
    Program::start(&args)
}

fn serve(port: u16) -> Program {
    let mut server = Program::start(&["serve", "--listen", &format!("127.0.0.1:{port}")]);
    server.event("ready");
    server
}

/// Next figures without a gap: frames come, none was ever lost, no keyframe was asked for.
fn unharmed(viewer: &mut Program) {
    let stats = viewer.event("stats");
    let losses = ["lost", "missed", "frames_lost", "keyframe_requests"];
    if number(&stats, "fps") <= 0.0 || losses.iter().any(|member| stats[member] != 0) {
        viewer.fail(&format!("harmed: {stats}"));
    }
}

fn viewer_state<'a>(state: &'a str, id: &'a Value) -> impl Fn(&Value) -> bool + 'a {
    move |e| e["event"] == "viewer" && e["state"] == state && (id.is_null() || e["id"] == *id)
}

#[test]
fn a_server_answers_health_checks_and_ends_on_sigterm() {
    let mut server = Program::start(&["serve", "--listen", "127.0.0.1:0"]);
    let ready = server.event("ready");
    let address = text(&ready, "http").replace("http://", "");
    assert_eq!(address, text(&ready, "stun"));
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.ends_well();
}

#[test]
#[cfg(target_os = "linux")] // where all of 127.0.0.0/8 is this machine
fn a_doctor_finds_a_server_of_this_machine_in_order() {
    let args = ["serve", "--listen", "127.0.0.1:0", "--stun-alt", "127.0.0.2"];
    let mut server = Program::start(&args);
    let url = text(&server.event("ready"), "http");
    let mut command = lllsi(&["doctor", "--server", &url]);
    let mut doctor = Program::spawn("doctor", command.envs(NO_DISPLAY));
    let nat = doctor.wait_for("its NAT", |event| event["topic"] == "nat");
    assert_eq!((&nat["nat"]["kind"], &nat["nat"]["filtering"]), (&"none".into(), &"open".into()));
    assert_eq!(doctor.event("diagnosis")["nat"]["ipv4"], "none");
    assert_eq!(doctor.exit_code(), 0, "{doctor}");
}

#[test]
fn a_second_address_for_stun_that_cannot_be_one_is_refused() {
    for (second, next_step) in [
        ("127.0.0.1", "a second IP address that this machine has"),
        ("192.0.2.77", "a second IP address that this machine has"),
        ("::1", "of the family of --listen"),
    ] {
        let args = ["serve", "--listen", "127.0.0.1:0", "--stun-alt", second];
        Program::start(&args).fails("listen", 14, next_step);
    }
}

#[test]
fn a_directory_for_state_has_one_server_and_a_host_without_one_is_told() {
    let state = tempfile::tempdir().expect("a temporary directory");
    let directory = state.path().to_str().expect("a name");
    let args = ["serve", "--listen", "127.0.0.1:0", "--state", directory];
    let mut server = Program::start(&args);
    let url = text(&server.event("ready"), "http");
    Program::start(&args).fails("file", 18, "another directory");
    let args = ["host", "--source", "test", "--server", &url, "--room", "kitchen"];
    let mut homeless = lllsi(&args);
    homeless.env_remove("HOME").env_remove("XDG_STATE_HOME").env("LLLSI_PASSWORD", "right one");
    Program::spawn("host", &mut homeless).fails("file", 18, "--state");
    server.ends_well();
    std::fs::write(state.path().join("names.json"), "{").expect("it can be written");
    Program::start(&["serve", "--listen", "127.0.0.1:0", "--state", directory]).fails(
        "file",
        18,
        "all names are free",
    );
}

#[test]
fn time_that_runs_out_before_anything_came_is_a_failure() {
    let (_host, link) = host(&["--lobby"]);
    join(&link, &["--seconds", "1"]).fails("no_picture", 20, "lets you in");
    let args = ["host", "--source", "test", "--seconds", "1", "--server", "http://192.0.2.1:9"];
    Program::start(&args).fails("server_unreachable", 4, "Check its address");
}

#[test]
fn a_host_says_whom_it_does_not_know_and_whom_it_sent_away() {
    let (mut host, link) = host(&["--max-viewers", "1"]);
    let mut viewer = join(&link, &[]);
    viewer.event("connected");
    join(&link, &[]).fails("room_full", 7, "when a viewer has left");
    host.event("refused");
    host.type_line("kick 99");
    assert_eq!(host.event("no_such_viewer")["id"], 99);
    host.type_line("sing");
    assert_eq!(host.event("no_such_command")["line"], "sing");
}

#[test]
fn a_stream_ends_when_nobody_reads_what_it_says() {
    let args = ["host", "--source", "test", "--listen", "127.0.0.1:0", "--seconds", "60"];
    let (mut host, started) = (lllsi(&args), Instant::now());
    let mut host = host.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("it starts");
    drop(host.stdout.take());
    // It notices at the next thing that it says, once a second.
    assert!(host.wait().expect("it ends").success());
    assert!(started.elapsed() < Duration::from_secs(45), "not before its time");
    let full = File::options().write(true).open("/dev/full").expect("this system has it");
    let page = lllsi(&["page"]).stdout(full).status().expect("it starts");
    assert_eq!(page.code(), Some(18));
}

/// It once spun: a whole core for nothing.
#[test]
#[cfg(target_os = "linux")]
fn a_server_that_nobody_uses_rests() {
    let mut server = Program::start(&["serve", "--listen", "127.0.0.1:0"]);
    server.event("ready");
    let stat = format!("/proc/{}/stat", server.id());
    std::thread::sleep(Duration::from_secs(3));
    let stat = std::fs::read_to_string(stat).expect("it runs");
    // User and system time in hundredths of a second: proc_pid_stat(5).
    let fields: Vec<_> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|n| n.parse::<u64>().expect("a number")).sum();
    assert!(ticks < 50, "{ticks} hundredths of a second in three seconds");
}

#[test]
fn the_demo_streams_to_itself() {
    let _alone = alone();
    let mut demo = Program::start(&[
        "demo",
        "--headless",
        "--seconds",
        "3",
        "--source",
        "test",
        "--size",
        "640x360",
    ]);
    assert_eq!(demo.event("connected")["path"], "direct");
    let first = demo.event("first_frame");
    assert_eq!((&first["width"], &first["height"]), (&640.into(), &360.into()));
    let stats = demo.wait_for("viewer's stats", |e| e.get("decode_errors").is_some());
    assert!(number(&stats, "fps") > 0.0, "{stats}");
    assert_eq!(stats["decode_errors"], 0);
    let end = demo.event("end");
    assert_eq!(end["reason"], "left");
    assert!(number(&end, "frames") > 0.0, "{end}");
    assert_eq!(demo.exit_code(), 0);
}

#[test]
fn eight_viewers_cost_one_encode_per_frame_and_do_not_disturb_each_other() {
    let _alone = alone();
    let (mut host, link) = host(&["--fps", "30"]);
    let decode: [&[&str]; 2] = [&[], &["--no-decode"]];
    let mut viewers: Vec<_> = (0..8)
        .map(|n| join(&link, &[&["--name", &format!("viewer {n}")], decode[n % 2]].concat()))
        .collect();
    for viewer in &mut viewers {
        viewer.event("first_frame");
    }
    for viewer in &mut viewers {
        unharmed(viewer);
    }
    // Those that came late begin in a layer of their own, and join the others.
    let is_shared = |e: &Value| {
        let encodes = e["encodes"].as_f64();
        e["viewers"] == 8 && encodes > Some(0.0) && encodes < Some(40.0)
    };
    host.wait_for("one encode of each frame for eight viewers", is_shared);
    let next = number(&host.event("stats"), "encodes");
    assert!(next > 0.0 && next < 40.0, "{next} encodes a second for 30 frames\n{host}");

    let victim = host
        .said()
        .into_iter()
        .find(|e| viewer_state("connected", &Value::Null)(e) && e["name"] == "viewer 3")
        .expect("it is connected");
    viewers.remove(3).kill();
    let killed = Instant::now();
    viewers.iter_mut().for_each(Program::forget);
    host.wait_for("end of the killed viewer", viewer_state("left", &victim["id"]));
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(6), "dropped after {took:?}\n{host}");
    for viewer in &mut viewers {
        viewer.forget();
        unharmed(viewer);
    }
}

#[test]
fn a_session_outlives_its_server_and_the_old_link_works_at_the_next() {
    let _alone = alone();
    let port = free_port();
    let mut server = serve(port);
    let (mut host, link) = host(&["--server", &format!("http://127.0.0.1:{port}")]);
    let mut viewer = join(&link, &[]);
    viewer.event("first_frame");
    server.kill();
    host.event("server_lost");
    viewer.event("server_lost");
    for _second in 0..5 {
        unharmed(&mut viewer);
    }
    let _server = serve(port);
    host.event("server_back");
    let mut late = join(&link, &[]);
    late.event("first_frame");
    viewer.forget();
    unharmed(&mut viewer);
    let said = viewer.said();
    let disturbed =
        |e: &&Value| ["path", "restarting", "end", "error"].iter().any(|n| e["event"] == *n);
    assert_eq!(said.iter().find(disturbed), None, "{viewer}");
}

#[test]
fn a_lobby_keeps_clients_waiting_until_the_host_admits_them_and_it_can_kick() {
    let _alone = alone();
    let (mut host, link) = host(&["--lobby"]);
    let mut viewer = join(&link, &["--name", "Ada"]);
    viewer.event("waiting");
    let waiting = host.wait_for("knock", viewer_state("waiting", &Value::Null));
    assert_eq!(waiting["name"], "Ada");
    let code = viewer.said().iter().find_map(|e| e["code"].as_str().map(str::to_owned));
    assert_eq!(waiting["code"].as_str(), code.as_deref(), "both see the same digits");
    host.type_line(&format!("admit {}", waiting["id"]));
    viewer.event("admitted");
    viewer.event("first_frame");
    host.wait_for("viewer", viewer_state("connected", &waiting["id"]));
    host.type_line(&format!("kick {}", waiting["id"]));
    assert_eq!(viewer.event("end")["reason"], "kicked");
    viewer.fails("kicked", 9, "Ask the host");
    host.wait_for("its end", viewer_state("left", &waiting["id"]));

    let mut waiting = join(&link, &[]);
    waiting.event("waiting");
    host.type_line("start");
    waiting.event("first_frame");
}

#[test]
fn clients_in_the_lobby_learn_how_their_wait_ended() {
    let _alone = alone();
    let (mut host, link) = host(&["--lobby"]);
    let mut kicked = join(&link, &[]);
    kicked.event("waiting");
    host.type_line("kick 1");
    kicked.fails("kicked", 9, "Ask the host");
    let mut left = join(&link, &[]);
    left.event("waiting");
    host.ends_well();
    left.fails("host_closed", 10, "Ask the host for a new link");
}

#[test]
fn an_invitation_that_is_used_up_can_be_renewed() {
    let _alone = alone();
    let (mut host, link) = host(&["--invite-uses", "1", "--invite-expires", "2h"]);
    let mut first = join(&link, &[]);
    first.event("first_frame");
    join(&link, &[]).fails("invite_expired", 23, "Ask the host for a new link");
    host.type_line("renew");
    let renewed = text(&host.event("link"), "link");
    join(&link, &[]).fails("wrong_secret", 6, "ask the host for a new one");
    join(&renewed, &[]).event("first_frame");
    unharmed(&mut first);
}

#[test]
fn a_wrong_room_a_wrong_secret_and_a_damaged_link_are_told_apart() {
    let _alone = alone();
    let (mut host, link) = host(&[]);
    join(&spoilt(&link, 1), &[]).fails("unknown_room", 5, "Ask the host");
    join(&spoilt(&link, 3), &[]).fails("wrong_secret", 6, "Copy the whole link");
    host.event("rejected");
    join(&link[..link.len() - 9], &[]).fails("bad_link", 3, "Copy the whole invite link");
    join("nonsense", &[]).fails("bad_link", 3, "Copy the whole invite link");
    join(&link, &[]).event("first_frame");
}

#[test]
fn a_link_of_another_version_is_told() {
    let key = "A".repeat(43);
    let link = format!("http://127.0.0.1:1/#v1.{key}.{key}.{key}");
    join(&link, &[]).fails("version", 8, "Install the newest");
}

#[test]
fn errors_show_no_secret() {
    let _alone = alone();
    let (_host, link) = host(&[]);
    let secret = link.rsplit('.').next().expect("the last part is the secret");
    for link in [spoilt(&link, 1), link.replace("#v2.", "#v9."), format!("{link}.more")] {
        let mut viewer = join(&link, &[]);
        viewer.exit_code();
        assert!(!viewer.to_string().contains(secret), "{viewer}");
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let mut host = Program::start(&["host", "--source", "test", "--server", &nowhere]);
    host.fails("server_unreachable", 4, "Check its address");
    let key = "A".repeat(43);
    let link = format!("{nowhere}/#v2.{key}.{key}.{key}");
    join(&link, &[]).fails("server_unreachable", 4, "Check its address");
}

#[test]
fn a_port_in_use_is_told() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("some port is free");
    for address in [tcp.local_addr(), udp.local_addr()] {
        let address = address.expect("it is bound").to_string();
        let next = "choose another port";
        Program::start(&["serve", "--listen", &address]).fails("listen", 14, next);
        let args = ["host", "--source", "test", "--listen", &address];
        Program::start(&args).fails("listen", 14, next);
    }
}

#[test]
fn a_full_room_admits_again_when_a_viewer_leaves() {
    let _alone = alone();
    let (mut host, link) = host(&["--max-viewers", "1"]);
    let mut first = join(&link, &["--no-decode"]);
    first.event("first_frame");
    join(&link, &[]).fails("room_full", 7, "Try again when a viewer has left");
    first.ends_well();
    host.wait_for("its end", viewer_state("left", &1.into()));
    join(&link, &[]).event("first_frame");
}

#[test]
fn viewers_learn_that_the_host_closed_or_vanished() {
    let _alone = alone();
    let (mut closing, link) = host(&[]);
    let mut viewer = join(&link, &[]);
    viewer.event("first_frame");
    closing.ends_well();
    viewer.fails("host_closed", 10, "Ask the host for a new link");

    let (mut vanishing, link) = host(&[]);
    let mut viewer = join(&link, &["--patience", "3"]);
    viewer.event("first_frame");
    vanishing.kill();
    let killed = Instant::now();
    viewer.event("away");
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(8), "noticed after {took:?}\n{viewer}");
    // Its server went with it: it might be the network.
    viewer.fails("host_vanished", 11, "Check your network");
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(12), "given up after {took:?}\n{viewer}");
}

#[test]
fn the_link_may_come_from_stdin_or_the_environment() {
    let _alone = alone();
    let mut nothing = Program::start(&["join", "--headless"]);
    nothing.close_stdin();
    nothing.fails("bad_link", 3, "LLLSI_LINK");

    let (_host, link) = host(&[]);
    let mut typed = Program::start(&["join", "--headless"]);
    typed.type_line(&link);
    typed.event("first_frame");
    let mut command = lllsi(&["join", "--headless"]);
    Program::spawn("join", command.env("LLLSI_LINK", &link)).event("first_frame");
}

#[test]
fn a_rooms_password_comes_from_a_file_stdin_or_the_environment_and_renewing_ends_it() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("password");
    std::fs::write(&file, "hunter2\n").expect("it can be written");
    let file = file.to_str().expect("it is UTF-8");
    let (mut host, link) = host(&["--room", "den", "--password-file", file]);
    host.wait_for("advice", |e| e["message"].as_str().is_some_and(|m| m.contains("short")));
    let server = link.split_once("/#").expect("a fragment").0;
    let args = ["join", "--headless", "--server", server, "--room", "den"];
    Program::start(&[&args[..], &["--password-file", file]].concat()).event("first_frame");
    Program::spawn("join", lllsi(&args).env("LLLSI_PASSWORD", "hunter2")).event("first_frame");
    let mut typed = Program::start(&args);
    typed.type_line("hunter2");
    typed.event("first_frame");

    let mut nothing = Program::start(&args);
    nothing.close_stdin();
    nothing.fails("wrong_password", 24, "--password-file");
    let mut missing = Program::start(&[&args[..], &["--password-file", "/nowhere"]].concat());
    missing.fails("file", 18, "/nowhere");

    host.type_line("renew");
    let renewed = host.event("link");
    let password = text(&renewed["room"], "password");
    Program::spawn("join", lllsi(&args).env("LLLSI_PASSWORD", "hunter2")).fails(
        "wrong_password",
        24,
        "Ask the host",
    );
    Program::spawn("join", lllsi(&args).env("LLLSI_PASSWORD", password)).event("first_frame");
}

#[test]
fn a_server_tells_its_figures_and_takes_a_load() {
    let args = ["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--max-rooms", "3"];
    let mut server = Program::start(&[&args[..], &["--log-every", "1"]].concat());
    let ready = server.event("ready");
    let (url, figures) = (text(&ready, "http"), text(&ready, "metrics"));
    let mut bench = Program::start(&["bench", "rendezvous", "--server", &url, "--rooms", "3"]);
    assert_eq!(bench.event("open")["number"], 3);
    let entered = bench.event("enter");
    assert_eq!((&entered["number"], &entered["failed"]), (&6.into(), &0.into()));
    let mut bench = Program::start(&["bench", "rendezvous", "--server", &url, "--rooms", "9"]);
    bench.fails("refused", 17, "at its limit");
    let mut stream = TcpStream::connect(figures).expect("it listens");
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("it reads");
    let mut told = String::new();
    stream.read_to_string(&mut told).expect("it answers");
    assert!(told.contains("lllsi_refused_total{reason=\"server_full\"} 6"), "{told}");
    let refused = |event: &Value| event["event"] == "stats" && event["refused"]["server_full"] == 6;
    server.wait_for("line with the refusals", refused);
    server.ends_well();
    assert_eq!(server.event("stopping")["opened"], 6, "three by each bench");
}

#[test]
fn the_pages_files_are_written_as_they_are_served_and_as_their_hashes_say() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let to = directory.path().join("page");
    let output = lllsi(&["page", "--to", to.to_str().expect("it is UTF-8")]).output();
    let told: Value = serde_json::from_slice(&output.expect("it runs").stdout).expect("JSON");
    let mut server = Program::start(&["serve", "--listen", "127.0.0.1:0"]);
    let address = text(&server.event("ready"), "http").replace("http://", "");
    for (name, hash) in told["files"].as_object().expect("files") {
        let file = std::fs::read(to.join(name)).expect("it is written");
        let found = Sha256::digest(&file).iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(*hash, found, "{name}");
        let mut stream = TcpStream::connect(&address).expect("it listens");
        let path = if name == "index.html" { "" } else { name };
        let request = format!("GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        assert!(answer.ends_with(&file), "{name}");
    }
}

#[test]
fn a_snapshot_is_a_png_of_the_streams_size() {
    let _alone = alone();
    let (_host, link) = host(&[]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("snapshot.png");
    let mut viewer = join(&link, &["--snapshot", path.to_str().expect("it is UTF-8")]);
    viewer.event("first_frame");
    // The event goes out on the first frame; the figures tell that its picture is there too.
    viewer.event("stats");
    viewer.ends_well();
    let file = BufReader::new(File::open(&path).expect("it was written"));
    let reader = png::Decoder::new(file).read_info().expect("it is a PNG");
    assert_eq!((reader.info().width, reader.info().height), (320, 180));

    let mut viewer = join(&link, &["--seconds", "1", "--snapshot", "/nowhere/snapshot.png"]);
    viewer.fails("file", 18, "Check the path");
}

#[test]
fn people_get_words_on_stderr_instead_of_json() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lllsi"));
    let output =
        command.args(["join", "nonsense"]).stdin(Stdio::null()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty(), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("Copy the whole invite link"), "{words}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_bench_tells_what_a_packet_to_a_viewer_costs() {
    let args = ["bench", "fanout", "--viewers", "2", "--seconds", "1", "--fps", "100"];
    let mut bench = Program::start(&args);
    let told = bench.event("fanout");
    assert_eq!((told["viewers"].as_u64(), told["frames"].as_u64()), (Some(2), Some(200)));
    for member in [
        "arrived",
        "us_per_packet",
        "us_per_packet_cm_estimated",
        "kb_per_viewer",
        "viewers_per_core",
        "idle_us_per_link_second",
        "bare_seal_us",
        "bare_gso_us",
        "bare_sendto_us",
        "seal_cm_us",
    ] {
        if number(&told, member) <= 0.0 {
            bench.fail(&format!("{member}: {told}"));
        }
    }
    // The whole is more than its parts, whatever else the machine does.
    assert!(number(&told, "ratio") > 1.0, "{told}");
    assert_eq!(bench.exit_code(), 0);
}
