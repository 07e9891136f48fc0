//! `lllsi bench fanout`: what one packet to one viewer costs a host.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use lllsi::fanout::{BURST, Publisher, Sinks, bare_seal, bare_send, processor_time};
use serde_json::{Value, json};

use super::memory;
use crate::args;
use crate::failure::{Code, Failure};
use crate::report::{Report, rounded};

/// The thread of a host that sends.
const NET: &str = "net";
/// Packets sent in a second, to all viewers together: sinks share the processors.
const PACKETS_PER_SECOND: f64 = 30_000.0;
const MAX_BURSTS_PER_SECOND: f64 = 60.0;
/// How long viewers may take to join, all together.
const JOIN_TIMEOUT: Duration = Duration::from_secs(120);
/// After joining, and before anything is measured.
const SETTLE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(5);
/// A stream of this rate, in packets of 1,200 bytes.
const STREAM_BITS: f64 = 4_000_000.0;
const PACKET_BITS: f64 = 1200.0 * 8.0;

/// Another process of this program, which ends with this one.
struct Helper {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    fn start(args: &[&str]) -> Result<Self, Failure> {
        let failed =
            |error| Failure::new(Code::File, format!("cannot start another process: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).expect("both are pipes");
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// The next line of JSON that it writes.
    fn line(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        let value = read.ok().and_then(|_| serde_json::from_str(&line).ok());
        value.ok_or_else(|| Failure::new(Code::File, "another process ended too early".to_owned()))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The viewers' process: gets a link on a line of its input, and ends with its input.
pub(crate) fn sinks(args: &args::BenchFanout) -> Result<(), Failure> {
    lllsi::raise_file_limit();
    let mut lines = std::io::stdin().lines();
    let link = lines.next().and_then(Result::ok).unwrap_or_default();
    let invite = link.parse().map_err(lllsi::Error::Link)?;
    let sinks = Sinks::start(&invite, args.viewers)?;
    println!("{}", json!({"drains": sinks.drains()}));
    lines.for_each(drop);
    Ok(())
}

pub(crate) fn fanout(args: &args::BenchFanout, report: &Report) -> Result<(), Failure> {
    lllsi::raise_file_limit();
    let mut server = Helper::start(&["--json", "serve", "--listen", "127.0.0.1:0"])?;
    let ready = server.line()?;
    let url = ready["http"].as_str().unwrap_or_default().to_owned();
    let (mut publisher, invite) = Publisher::start(&url, args.viewers)?;
    let number = args.viewers.to_string();
    report.say(&format!("{number} viewers join."));
    let before = memory(std::process::id())?;
    let mut viewers = Helper::start(&["bench", "fanout-sinks", "--viewers", &number])?;
    writeln!(viewers.input, "{invite}").map_err(|error| Failure::new(Code::File, error))?;
    let told = viewers.line()?;
    let drains: Vec<SocketAddr> = serde_json::from_value(told["drains"].clone())
        .map_err(|error| Failure::new(Code::File, error))?;
    let began = Instant::now();
    while publisher.connected() < args.viewers {
        if began.elapsed() > JOIN_TIMEOUT {
            let got = publisher.connected();
            return Err(Failure::new(Code::File, format!("only {got} of {number} viewers joined")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(SETTLE);
    let idle = spent(|| std::thread::sleep(IDLE))? / f64::from(args.viewers) / IDLE.as_secs_f64();
    let (packets, net) = stream(&mut publisher, args)?;
    let after = memory(std::process::id())?;
    publisher.close();
    let figures = Figures {
        viewers: args.viewers,
        packets,
        us_per_packet: net / packets,
        kb_per_viewer: after.saturating_sub(before) as f64 / 1000.0 / f64::from(args.viewers),
        idle,
        seal: bare_seal(lllsi::fanout::Profile::AeadAes128Gcm, args.viewers as usize)?,
        seal_cm: bare_seal(lllsi::fanout::Profile::Aes128CmSha1_80, args.viewers as usize)?,
        gso: bare_send(&drains, true)?,
        sendto: bare_send(&drains, false)?,
    };
    figures.tell(report);
    Ok(())
}

/// Microseconds of the host's thread that something takes.
fn spent(act: impl FnOnce()) -> Result<f64, Failure> {
    let before = processor_time(Some(NET))?;
    act();
    Ok((processor_time(Some(NET))? - before).as_secs_f64() * 1e6)
}

/// Sends frames at a steady rate. Returns how many packets went to all viewers together, and the microseconds they took.
fn stream(publisher: &mut Publisher, args: &args::BenchFanout) -> Result<(f64, f64), Failure> {
    let each = publisher.packets() as f64 * f64::from(args.viewers);
    let rate = (PACKETS_PER_SECOND / each).min(MAX_BURSTS_PER_SECOND);
    let every = Duration::from_secs_f64(1.0 / rate);
    let frames = (rate * args.seconds as f64).ceil().max(1.0);
    let mut send = |frames: f64| {
        let began = Instant::now();
        for frame in 0..frames as u32 {
            publisher.send();
            let next = began + every * (frame + 1);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    };
    send(rate.ceil());
    let net = spent(|| send(frames))?;
    Ok((frames * each, net))
}

struct Figures {
    viewers: u32,
    packets: f64,
    us_per_packet: f64,
    kb_per_viewer: f64,
    idle: f64,
    seal: f64,
    seal_cm: f64,
    gso: f64,
    sendto: f64,
}

impl Figures {
    fn tell(&self, report: &Report) {
        let ratio = self.us_per_packet / (self.seal + self.gso);
        let cm = self.us_per_packet - self.seal + self.seal_cm;
        let per_core = 1e6 / (self.us_per_packet * STREAM_BITS / PACKET_BITS);
        let Self {
            viewers,
            packets,
            us_per_packet,
            kb_per_viewer,
            idle,
            seal,
            seal_cm,
            gso,
            sendto,
        } = *self;
        report.say(&format!("{packets:.0} packets to {viewers} viewers, a burst of {BURST} full ones and a small one each:"));
        report.say(&format!("  {us_per_packet:.2} µs a packet; sealed and sent bare {:.2} µs: {ratio:.2} times that", seal + gso));
        report.say(&format!("  bare: AES-GCM {seal:.2} µs, AES-CM with SHA-1 {seal_cm:.2} µs, 14 in one send {gso:.2} µs, one by one {sendto:.2} µs"));
        report.say(&format!("  with AES-CM, by these figures: {cm:.2} µs a packet"));
        report.say(&format!("  {per_core:.0} viewers on a core at 4 Mbit/s; {kb_per_viewer:.0} kB a viewer; an idle link takes {idle:.1} µs a second"));
        report.event(&json!({
            "event": "fanout", "viewers": viewers, "packets": packets,
            "us_per_packet": rounded(us_per_packet), "ratio": rounded(ratio),
            "kb_per_viewer": rounded(kb_per_viewer), "viewers_per_core": rounded(per_core),
            "idle_us_per_link_second": rounded(idle), "bare_seal_us": rounded(seal),
            "bare_gso_us": rounded(gso), "bare_sendto_us": rounded(sendto),
            "seal_cm_us": rounded(seal_cm), "us_per_packet_cm_estimated": rounded(cm),
        }));
    }
}
