//! `null-relay`: the floor of any relay's CPU: opaque messages of the real sizes, read on one side and written on the
//! other.
//!
//! Runs in: its own process, one thread. Invariant: standard output is one line, the address; exit status 2 after
//! wrong usage; otherwise it runs until killed.

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use argh::FromArgs;
use tandem_loadtest::callgen::args;
use tandem_loadtest::null_relay::NullRelay;

/// Copy messages between legs (callgen --floor) and links (gemini-sim --floor), and do nothing else.
#[derive(FromArgs)]
struct Args {
    /// where legs connect, HOST:PORT; port 0 takes a free one
    #[argh(option, from_str_fn(addr))]
    listen: SocketAddr,
    /// where each leg's link goes, HOST:PORT
    #[argh(option, from_str_fn(addr))]
    upstream: SocketAddr,
}

fn addr(text: &str) -> Result<SocketAddr, String> {
    let mut addrs = text.to_socket_addrs().map_err(|e| format!("{text:?} is no HOST:PORT: {e}"))?;
    addrs.next().ok_or_else(|| format!("{text:?} has no address"))
}

fn main() -> ExitCode {
    env_logger::init();
    let args: Args = match args::parse("null-relay") {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    args::raise_file_limit();
    let relay = match NullRelay::bind(args.listen, args.upstream) {
        Ok(relay) => relay,
        Err(e) => {
            eprintln!("null-relay: cannot listen on {}: {e}; choose another --listen", args.listen);
            return ExitCode::FAILURE;
        }
    };
    match relay.local_addr() {
        Ok(addr) => println!("null-relay listening on {addr}"),
        Err(e) => {
            eprintln!("null-relay: its own address is unknown: {e}");
            return ExitCode::FAILURE;
        }
    }
    static NEVER: AtomicBool = AtomicBool::new(false);
    match relay.run(&NEVER) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("null-relay: the poll failed: {e}");
            ExitCode::FAILURE
        }
    }
}
