//! Network namespaces that stand for machines.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::util::{NO_DISPLAY, Program, lllsi, run};

/// Machines, until they are dropped.
pub(crate) struct Spaces {
    prefix: String,
    names: Vec<&'static str>,
}

/// Where a wire ends: a machine, its device there, and the device's address.
pub(crate) type End<'a> = (&'a str, &'a str, &'a str);

impl Spaces {
    /// Machines of these names, each alone.
    pub(crate) fn new(names: &[&'static str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let spaces =
            Self { prefix: format!("lllsi{}-{number}", std::process::id()), names: names.to_vec() };
        for name in names {
            run(Command::new("ip").args(["netns", "add", &spaces.full(name)]));
            spaces.ip(name, "link set lo up");
        }
        spaces
    }

    /// The name of a machine's namespace.
    pub(crate) fn full(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Runs `ip` on a machine.
    pub(crate) fn ip(&self, name: &str, words: &str) {
        run(Command::new("ip").args(["-n", &self.full(name)]).args(words.split_whitespace()));
    }

    /// A wire between two machines.
    pub(crate) fn wire(&self, a: End<'_>, b: End<'_>) {
        let to = self.full(b.0);
        self.ip(a.0, &format!("link add {} type veth peer name {} netns {to}", a.1, b.1));
        for (name, device, address) in [a, b] {
            self.address(name, device, address);
            self.ip(name, &format!("link set {device} up"));
        }
    }

    /// Gives a device another address.
    pub(crate) fn address(&self, name: &str, device: &str, address: &str) {
        // Without waiting whether somebody else has it.
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.ip(name, &format!("address add {address} dev {device} {nodad}"));
    }

    /// A firewall for what comes into a machine, or leaves it: it drops all that these rules of nftables do not accept.
    pub(crate) fn filter(&self, name: &str, chain: &str, rules: &[&str]) {
        let nft = |words: &str| {
            let space = self.full(name);
            run(Command::new("ip").args(["netns", "exec", &space, "nft", words]));
        };
        nft(&format!("add table inet own-{chain}"));
        let hook = format!("type filter hook {chain} priority 0; policy drop;");
        nft(&format!("add chain inet own-{chain} rules {{ {hook} }}"));
        rules.iter().for_each(|rule| nft(&format!("add rule inet own-{chain} rules {rule}")));
    }

    /// A host and a viewer with a router between them, that sends packets of at most `mtu` bytes to the viewer. They have the addresses
    /// 10.9.1.1 and 10.9.2.1.
    pub(crate) fn over_a_narrow_router(mtu: u32) -> Self {
        let spaces = Self::new(&["host", "router", "viewer"]);
        spaces.wire(("host", "eth", "10.9.1.1/24"), ("router", "left", "10.9.1.2/24"));
        spaces.wire(("router", "right", "10.9.2.2/24"), ("viewer", "eth", "10.9.2.1/24"));
        spaces.route_between("router");
        spaces.ip("host", "route add default via 10.9.1.2");
        spaces.ip("viewer", "route add default via 10.9.2.2");
        spaces.narrow("router", "right", mtu);
        spaces
    }

    /// Limits the packets that a router sends over a device to `mtu` bytes. The router sends no ICMP errors, and shrinks the segments
    /// of TCP as tunnels do.
    fn narrow(&self, router: &str, device: &str, mtu: u32) {
        self.ip(router, &format!("link set {device} mtu {mtu}"));
        self.filter(router, "output", &["meta l4proto != icmp accept"]);
        let segments = format!("tcp flags syn tcp option maxseg size set {}", mtu - 60);
        self.filter(router, "forward", &[&segments, "accept"]);
    }

    /// Makes a machine a router.
    pub(crate) fn route_between(&self, name: &str) {
        let forward = "echo 1 >/proc/sys/net/ipv4/ip_forward";
        run(Command::new("ip").args(["netns", "exec", &self.full(name), "sh", "-c", forward]));
    }

    /// A bridge for containers, with one of them.
    pub(crate) fn bridge(&self, name: &str, bridge: &str, address: &str) {
        self.ip(name, &format!("link add {bridge} type bridge"));
        self.ip(name, &format!("link add {bridge}c type veth peer name {bridge}d"));
        self.ip(name, &format!("link set {bridge}c master {bridge}"));
        self.address(name, bridge, address);
        for device in [format!("{bridge}c"), format!("{bridge}d"), bridge.to_owned()] {
            self.ip(name, &format!("link set {device} up"));
        }
    }

    /// What a machine thinks that names mean.
    pub(crate) fn hosts(&self, name: &str, lines: &str) {
        write_hosts(&self.full(name), lines);
    }

    /// Starts the program on a machine.
    pub(crate) fn start(&self, name: &str, args: &[&str]) -> Program {
        let inner = lllsi(args);
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.full(name)])
            .arg(inner.get_program())
            .args(inner.get_args())
            .env_remove("LLLSI_LINK")
            .envs(NO_DISPLAY)
            .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
        Program::spawn(&format!("{name}: {}", args.join(" ")), &mut command)
    }
}

/// `ip netns exec` shows the files there in place of those in `/etc`.
pub(crate) fn etc(space: &str) -> PathBuf {
    PathBuf::from("/etc/netns").join(space)
}

/// What a namespace thinks that names mean, as in `/etc/hosts`.
pub(crate) fn write_hosts(space: &str, lines: &str) {
    fs::create_dir_all(etc(space)).expect("a directory for the machine");
    fs::write(etc(space).join("hosts"), lines).expect("its hosts file");
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "delete", &self.full(name)]).status();
            let _ = fs::remove_dir_all(etc(&self.full(name)));
        }
    }
}
