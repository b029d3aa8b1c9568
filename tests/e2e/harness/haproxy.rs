//! A real HAProxy: with a configuration of the test's, or with the one that is shipped, in front of relays of the test's.
//!
//! Runs in: the tests' threads. Owns the process and its files.
//! Invariant: when it is there, it listens; it warns of nothing.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, Relay, admin};

/// See the head of this file.
pub(crate) struct Haproxy {
    process: Child,
    /// Where it takes legs.
    pub(crate) address: SocketAddr,
    /// Where it takes questions for the admin servers.
    pub(crate) admin: SocketAddr,
    commands: PathBuf,
}

fn free() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    free.expect("a free port")
}

/// Where a relay tells agent-checks.
fn agent(relay: &Relay) -> SocketAddr {
    let line = relay.line(&["agent-check for HAProxy: "]);
    line.rsplit(": ").next().and_then(|address| address.trim().parse().ok()).expect("an address")
}

impl Haproxy {
    /// One that passes on to `relay` with this option.
    pub(crate) fn in_front_of(relay: &Relay, option: &str) -> Self {
        let address = free();
        let configuration = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             listen legs\n bind {address}\n server relay {} {option}\n",
            relay.address()
        );
        Self::run(&format!("haproxy-{option}"), &configuration, [address, address])
    }

    /// The shipped one, its two relays being these.
    pub(crate) fn shipped(name: &str, relays: [&Relay; 2]) -> Self {
        let shipped = std::fs::read_to_string("deploy/haproxy/haproxy.cfg").expect("it is there");
        let [legs, admin] = [free(), free()];
        let commands = commands(name);
        let mut configuration = String::new();
        for line in shipped.lines() {
            let mut line = line
                .replace("bind :9094", &format!("bind {legs}"))
                .replace("bind 127.0.0.1:9095", &format!("bind {admin}"))
                .replace("/run/haproxy/admin.sock", commands.to_str().expect("UTF-8"))
                .replace("/dev/log", "127.0.0.1:9")
                .replace("maxconn 20000", "maxconn 500");
            for (number, relay) in (11..).zip(relays) {
                let own = admin::address(relay);
                line = line
                    .replace(&format!("10.0.0.{number}:9095"), &own.to_string())
                    .replace(&format!("10.0.0.{number}:9094"), &relay.address().to_string());
                if line.contains(&format!("relay-{} ", number - 10)) {
                    line = line
                        .replace("check port 9095", &format!("check port {}", own.port()))
                        .replace("agent-port 9096", &format!("agent-port {}", agent(relay).port()));
                }
            }
            writeln!(configuration, "{line}").expect("memory");
        }
        Self::run(name, &configuration, [legs, admin])
    }

    fn run(name: &str, configuration: &str, [address, admin]: [SocketAddr; 2]) -> Self {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.cfg"));
        std::fs::write(&file, configuration).expect("a writable directory");
        let mut command = Command::new("/usr/sbin/haproxy");
        command.args(["-db", "-dW", "-f"]).arg(&file).stdin(Stdio::null());
        let process = command.spawn().expect("haproxy (tests/prerequisites.sh)");
        let mut haproxy = Self { process, address, admin, commands: commands(name) };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let ended = haproxy.process.try_wait().expect("a child of this process");
            assert!(Instant::now() < deadline && ended.is_none(), "HAProxy does not listen: {ended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        haproxy
    }

    /// Tells it something over its own socket, and gives the answer.
    fn command(&self, line: &str) -> String {
        let mut socket = UnixStream::connect(&self.commands).expect("it listens there");
        writeln!(socket, "{line}").expect("it takes commands");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// Status and weight of a relay of the shipped configuration, as the backend sees it.
    pub(crate) fn sees(&self, backend: &str, server: &str) -> (String, String) {
        let table = self.command("show stat");
        let mut rows = table.lines().map(|row| row.trim_start_matches("# ").split(',').collect::<Vec<_>>());
        let head = rows.next().expect("a head");
        let row = rows.find(|row| row.starts_with(&[backend, server])).expect("the relay");
        let column = |name: &str| {
            let at = head.iter().position(|column| *column == name).expect("the column");
            row[at].to_owned()
        };
        (column("status"), column("weight"))
    }

    /// Waits until it sees a relay so.
    pub(crate) fn until_it_sees(&self, backend: &str, server: &str, wanted: impl Fn(&str, u32) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, weight) = self.sees(backend, server);
            if wanted(&status, weight.parse().expect("a number")) {
                return;
            }
            assert!(Instant::now() < deadline, "{server} of {backend} is {status}, weight {weight}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn commands(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tandem-{name}-{}.sock", std::process::id()))
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
        _ = std::fs::remove_file(&self.commands);
    }
}
