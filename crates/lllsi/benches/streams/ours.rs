//! The streams of this library.

use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lllsi::stream::Raw;
use lllsi::{Client, Host, HostEvent, Publish, Server, ServerConfig, Source, VectorStream};

use crate::figures::{Seen, cpu, memory, seen, stamp};
use crate::machine::{Meter, Stills};
use crate::{Measured, Plan};

const DEADLINE: Duration = Duration::from_secs(2);

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn host(viewers: usize) -> (Server, Host) {
    let mut config = ServerConfig { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() };
    config.limits.joins_per_minute = 10_000;
    config.limits.connections_per_minute = 10_000;
    config.limits.max_connections_per_address = 10_000;
    let server = Server::start(config).expect("the server starts");
    let url = format!("http://{}", server.http());
    let host =
        Host::builder().server(url).source(Source::None).max_viewers(viewers as u32 + 4).start();
    let host = host.expect("the host starts");
    while !matches!(host.recv(soon()).expect("the room opens"), HostEvent::Open) {}
    (server, host)
}

/// Reads a stream on a thread of its own; what came while `is_on`.
fn reader(
    stream: VectorStream<Raw>,
    epoch: Instant,
    is_on: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
) -> JoinHandle<Vec<Seen>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        while !ends.load(Ordering::Relaxed) {
            let next = stream.pop_front(Instant::now() + Duration::from_millis(200));
            if let Ok(Some(Raw(frame))) = next
                && is_on.load(Ordering::Relaxed)
            {
                all.push(seen(epoch, &frame));
            }
        }
        all
    })
}

/// Pushes at a rate until `ends`: frames that are made when they are due, or when this wakes up after that.
fn pace(per_second: u32, ends: &AtomicBool, mut push: impl FnMut(Instant)) {
    let began = Instant::now();
    let (mut woken_at, mut pushed) = (began, 0u32);
    while !ends.load(Ordering::Relaxed) {
        let due = began + Duration::from_secs(1) * pushed / per_second;
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::sleep(left);
            woken_at = Instant::now();
        }
        push(due.max(woken_at));
        pushed += 1;
    }
}

struct Crowd {
    clients: Vec<Client>,
    readers: Vec<JoinHandle<Vec<Seen>>>,
    is_on: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
}

impl Crowd {
    fn new(host: &Host, count: usize, name: &str, epoch: Instant) -> Self {
        let (is_on, ends) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (mut clients, mut readers) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let client = Client::join(host.link()).decode(false).start().expect("it joins");
            let stream = client.vector(name).expect("it subscribes");
            readers.push(reader(stream, epoch, Arc::clone(&is_on), Arc::clone(&ends)));
            clients.push(client);
        }
        Self { clients, readers, is_on, ends }
    }

    fn end(self) -> Vec<Seen> {
        self.ends.store(true, Ordering::Relaxed);
        self.readers.into_iter().flat_map(|reader| reader.join().expect("it ends well")).collect()
    }
}

pub(crate) fn fanout(plan: Plan) -> Measured {
    let epoch = Instant::now();
    let (_server, host) = host(plan.subscribers);
    let out = host.publish::<Raw>(Publish::real_time("down", DEADLINE)).expect("it is published");
    let crowd = Crowd::new(&host, plan.subscribers, "down", epoch);
    assert!(out.stream().wait_for_subscribers(plan.subscribers, soon()), "not all came");
    let ends = Arc::clone(&crowd.ends);
    // One thread speaks for all of them.
    let ups: Vec<_> = crowd
        .clients
        .iter()
        .map(|client| {
            client.publish::<Raw>(Publish::real_time("up", DEADLINE)).expect("it is published")
        })
        .collect();
    let mut up_readers = Vec::new();
    while up_readers.len() < plan.subscribers {
        let event = host.recv(soon()).expect("all publish");
        if let HostEvent::Announced(stream) = event {
            let stream = host.vector_from::<Raw>(stream.peer, "up").expect("it subscribes");
            up_readers.push(reader(stream, epoch, Arc::clone(&crowd.is_on), Arc::clone(&ends)));
        }
    }
    let speakers = {
        let (ends, per_second) = (Arc::clone(&ends), plan.up_per_second * ups.len() as u32);
        std::thread::spawn(move || {
            let mut turn = ups.iter().cycle();
            pace(per_second, &ends, |made_at| {
                let up = turn.next().expect("it has no end");
                up.push_back(Raw(stamp(epoch, made_at).into())).expect("the session is on");
            });
        })
    };
    let publisher = {
        let (ends, out) = (Arc::clone(&ends), out.clone());
        std::thread::spawn(move || {
            pace(plan.down_per_second, &ends, |made_at| {
                out.push_back(Raw(stamp(epoch, made_at).into())).expect("the session is on");
            });
        })
    };
    let (stills, cpu, memory) = measure(epoch, &crowd.is_on, plan.seconds);
    let down = crowd.end();
    for thread in [speakers, publisher] {
        thread.join().expect("it ends well");
    }
    let up = up_readers.into_iter().flat_map(|reader| reader.join().expect("it ends well"));
    Measured::new([down, up.collect()], stills, cpu, memory)
}

/// Lets it settle, then counts for so long.
fn measure(epoch: Instant, is_on: &AtomicBool, seconds: u64) -> (Stills, Duration, [u64; 2]) {
    std::thread::sleep(Duration::from_secs(1));
    is_on.store(true, Ordering::Relaxed);
    let (meter, before) = (Meter::start(), cpu());
    let quarter = Duration::from_secs(seconds) / 4;
    std::thread::sleep(quarter);
    let first = memory();
    std::thread::sleep(quarter * 3);
    let (stills, cpu) = (meter.end(epoch), cpu() - before);
    is_on.store(false, Ordering::Relaxed);
    (stills, cpu, [first, memory()])
}

/// With the address of a page that browsers may be on.
pub(crate) fn with_a_page<T>(act: impl FnOnce(&str) -> T) -> T {
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(ServerConfig { listen, ..Default::default() }).expect("it starts");
    act(&format!("http://{}/healthz", server.http()))
}

/// Bytes a second through one link.
pub(crate) fn bulk(time: Duration) -> f64 {
    let (_server, host) = host(1);
    let out = host.publish::<Raw>("bulk").expect("it is published");
    let client = Client::join(host.link()).decode(false).start().expect("it joins");
    let stream = client.vector::<Raw>("bulk").expect("it subscribes");
    assert!(out.stream().wait_for_subscribers(1, soon()), "it did not come");
    let piece = bytes::Bytes::from(vec![7; 64 << 10]);
    let ends = Arc::<AtomicBool>::default();
    let pusher = {
        let ends = Arc::clone(&ends);
        std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                if out.push_back(Raw(piece.clone())).is_err() {
                    return;
                }
            }
        })
    };
    let next = || stream.pop_front(soon()).expect("it is on").expect("in time").0.len();
    let settled = Instant::now() + Duration::from_secs(1);
    while Instant::now() < settled {
        next();
    }
    let (began, mut bytes) = (Instant::now(), 0);
    while began.elapsed() < time {
        bytes += next();
    }
    let rate = bytes as f64 / began.elapsed().as_secs_f64();
    ends.store(true, Ordering::Relaxed);
    while !pusher.is_finished() {
        next();
    }
    rate
}

/// A subscriber in a process of its own, which can be stopped as a whole.
pub(crate) fn subscriber(link: &str) {
    let client = Client::join(link).decode(false).start().expect("it joins");
    let stream = client.vector::<Raw>("down").expect("it subscribes");
    while stream.pop_front(soon()).is_ok() {}
}

/// Full 3.4 s after one was stopped: sooner than its link is given up.
const KEPT: usize = 32 << 10;

/// The others' delays before and after one is stopped.
pub(crate) fn stopped(plan: Plan) -> [Measured; 2] {
    let epoch = Instant::now();
    let (_server, host) = host(plan.subscribers);
    let publish = Publish::reliable("down").keep(KEPT).patience(Duration::ZERO);
    let out = host.publish::<Raw>(publish).expect("it is published");
    let mut victim = Victim(
        Command::new(std::env::current_exe().expect("this is a program"))
            .args(["subscriber", &host.link()])
            .spawn()
            .expect("it starts"),
    );
    let half = || Crowd::new(&host, plan.subscribers, "down", epoch);
    let mut run = |stop: bool| {
        let crowd = half();
        let all = plan.subscribers + usize::from(!stop);
        assert!(out.stream().wait_for_subscribers(all, soon()), "not all came");
        let (ends, pushing) = (Arc::clone(&crowd.ends), out.clone());
        let publisher = std::thread::spawn(move || {
            pace(plan.down_per_second, &ends, |made_at| {
                pushing.push_back(Raw(stamp(epoch, made_at).into())).expect("the session is on");
            });
        });
        if stop {
            victim.signal("-STOP");
        }
        let (stills, cpu, memory) = measure(epoch, &crowd.is_on, plan.seconds);
        let down = crowd.end();
        publisher.join().expect("it ends well");
        Measured::new([down, Vec::new()], stills, cpu, memory)
    };
    [run(false), run(true)]
}

struct Victim(Child);

impl Victim {
    fn signal(&mut self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
