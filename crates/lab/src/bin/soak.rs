//! A long run of the real program: one host, viewers that come and go, loss on the line, a server that is restarted; and
//! whether the host's and the server's memory, threads and descriptors stay as they are.

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt::Write as _;
    use std::io::{BufRead, BufReader};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, ExitCode, Stdio};
    use std::time::{Duration, Instant};

    use lllsi_lab::Usage;

    const HELP: &str = "\
Runs host, server and viewers for a while, in a network of their own, and tells what host and server use of memory,
threads and descriptors. Needs root, iproute2 and nftables.

  cargo build --release && cargo run --release -p lllsi-lab --bin soak -- [OPTIONS]

  --minutes N   how long (30)
  --viewers N   at once (10)
  --loss N      of a hundred UDP packets lost on the way (3)
  --lllsi FILE  the program (the one beside this)";
    /// Says that this process is inside its network.
    const INSIDE: &str = "LLLSI_SOAK_INSIDE";
    const SERVER: &str = "127.0.0.1:36542";
    const SAMPLE_EVERY: Duration = Duration::from_secs(5);
    /// The server is killed and started again.
    const RESTART_EVERY: Duration = Duration::from_secs(120);

    struct Options {
        minutes: u64,
        viewers: usize,
        loss: u32,
        lllsi: PathBuf,
    }

    fn options() -> Option<Options> {
        let beside = std::env::current_exe().unwrap_or_default().with_file_name("lllsi");
        let mut options = Options { minutes: 30, viewers: 10, loss: 3, lllsi: beside };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next()?;
            match word.as_str() {
                "--minutes" => options.minutes = value.parse().ok()?,
                "--viewers" => options.viewers = value.parse().ok()?,
                "--loss" => options.loss = value.parse().ok()?,
                "--lllsi" => options.lllsi = value.into(),
                _ => return None,
            }
        }
        Some(options)
    }

    /// A program of ours; killed when dropped.
    struct Running(Child);

    impl Running {
        fn start(program: &Path, words: &[&str], stdout: Stdio) -> Self {
            let mut command = Command::new(program);
            command.arg("--json").args(words).stdin(Stdio::null()).stdout(stdout);
            Self(command.stderr(Stdio::null()).spawn().expect("the program starts"))
        }

        fn usage(&self) -> Usage {
            Usage::of(self.0.id())
        }

        fn has_ended(&mut self) -> bool {
            self.0.try_wait().expect("it is ours").is_some()
        }

        /// Asks it to end.
        fn terminate(&self) {
            let id = self.0.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &id]).status();
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    pub(super) fn main() -> ExitCode {
        let Some(options) = options() else {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        };
        if std::env::var_os(INSIDE).is_none() {
            let own = std::env::current_exe().expect("it has a name");
            let status = Command::new("unshare")
                .args(["--net", "--"])
                .arg(own)
                .args(std::env::args().skip(1))
                .env(INSIDE, "1")
                .status();
            let went_well = status.is_ok_and(|status| status.success());
            return if went_well { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        network(options.loss);
        soak(&options)
    }

    fn run(line: &str) {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a program");
        let status = Command::new(program).args(words).status();
        assert!(status.is_ok_and(|status| status.success()), "{line} failed");
    }

    fn network(loss: u32) {
        run("ip link set lo up");
        run("nft add table inet soak");
        run("nft add chain inet soak in { type filter hook input priority 0 ; }");
        run(&format!(
            "nft add rule inet soak in udp dport != 36542 numgen random mod 100 < {loss} drop"
        ));
    }

    fn server(program: &Path) -> Running {
        Running::start(program, &["serve", "--listen", SERVER], Stdio::null())
    }

    /// A host, and its link.
    fn host(program: &Path, viewers: usize) -> (Running, String) {
        let most = (4 * viewers).to_string();
        let url = format!("http://{SERVER}");
        let words = ["host", "--server", &url, "--source", "test", "--max-viewers", &most];
        let mut host = Running::start(program, &words, Stdio::piped());
        let mut lines = BufReader::new(host.0.stdout.take().expect("it is piped")).lines();
        let link = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let event: serde_json::Value = serde_json::from_str(&line).ok()?;
            Some(event.get("link")?.as_str()?.to_owned())
        });
        // What it says later is read and forgotten.
        std::thread::spawn(move || lines.for_each(drop));
        (host, link.expect("it tells its link"))
    }

    /// What was seen of one process.
    #[derive(Default)]
    struct Seen(Vec<Usage>);

    impl Seen {
        /// Medians of the first and last quarter: memory in MiB, threads, descriptors.
        fn quarters(&self) -> [[f64; 3]; 2] {
            let quarter = (self.0.len() / 4).max(1);
            let of = |usages: &[Usage]| {
                let fields: [fn(&Usage) -> f64; 3] = [
                    |usage| usage.rss_bytes as f64 / 1048576.0,
                    |usage| usage.threads as f64,
                    |usage| usage.fds as f64,
                ];
                fields.map(|field| {
                    let mut values: Vec<_> = usages.iter().map(field).collect();
                    values.sort_by(f64::total_cmp);
                    values.get(values.len() / 2).copied().unwrap_or_default()
                })
            };
            [
                of(&self.0[..quarter.min(self.0.len())]),
                of(&self.0[self.0.len().saturating_sub(quarter)..]),
            ]
        }

        fn line(&self, name: &str) -> String {
            let [first, last] = self.quarters();
            let mut line = format!("{name:8}");
            for (what, i) in [("MiB", 0), ("threads", 1), ("descriptors", 2)] {
                let _ = write!(line, "  {:.1} → {:.1} {what}", first[i], last[i]);
            }
            line
        }

        /// Whether it grows: by more than a tenth and 4 MiB, or by more than a few threads or descriptors.
        fn grows(&self) -> bool {
            let [first, last] = self.quarters();
            last[0] > first[0] * 1.1 + 4.0 || last[1] > first[1] + 2.0 || last[2] > first[2] + 8.0
        }
    }

    fn soak(options: &Options) -> ExitCode {
        let begin = Instant::now();
        let mut server = server(&options.lllsi);
        std::thread::sleep(Duration::from_secs(1)); // a host tries for as long as it needs, but not the first time
        let (mut host, link) = host(&options.lllsi, options.viewers);
        let (mut of_host, mut of_server) = (Seen::default(), Seen::default());
        let mut viewers: Vec<(Running, Instant, bool)> = Vec::new();
        let (mut come, mut restarts, mut next_restart) = (0u64, 0, begin + RESTART_EVERY);
        let mut next_sample = begin + SAMPLE_EVERY;
        while begin.elapsed() < Duration::from_secs(60 * options.minutes) {
            assert!(!host.has_ended(), "the host ended");
            let now = Instant::now();
            viewers.retain_mut(|(viewer, until, politely)| {
                if now >= *until && *politely {
                    viewer.terminate();
                    (*until, *politely) = (now + Duration::from_secs(3), false);
                    return true;
                }
                now < *until && !viewer.has_ended()
            });
            while viewers.len() < options.viewers {
                come += 1;
                // Any schedule will do that repeats late: from 5 to 60 seconds, every other one without a word.
                let stays = Duration::from_secs(5 + come * 7919 % 56);
                let words = ["join", &link, "--headless", "--no-decode"];
                let viewer = Running::start(&options.lllsi, &words, Stdio::null());
                viewers.push((viewer, now + stays, come % 2 == 0));
            }
            if now >= next_restart {
                (restarts, next_restart) = (restarts + 1, now + RESTART_EVERY);
                drop(server);
                server = self::server(&options.lllsi);
            }
            if now >= next_sample {
                next_sample = now + SAMPLE_EVERY;
                of_host.0.push(host.usage());
                of_server.0.push(server.usage());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        println!(
            "{} minutes, {come} viewers came, {} at once, {} % of packets lost, the server was restarted {restarts} times.",
            options.minutes, options.viewers, options.loss
        );
        println!("Medians of the first and the last quarter:");
        println!("{}\n{}", of_host.line("host"), of_server.line("server"));
        if of_host.grows() || of_server.grows() {
            println!("Something grows.");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("This runs on Linux only.");
}
