//! What must be so before the relay starts: enough descriptors, a free port; and the words for an operator where it is
//! not.
//!
//! Runs in: the main thread, once. Owns nothing.
//! Invariant: whatever is missing is named together with its remedy.

use std::io;
use std::net::SocketAddr;

use log::{info, warn};

use crate::config::ListenConfig;
use crate::net::listener::Listener;
use crate::net::options;
use crate::net::passed::Passed;

/// Descriptors that a call needs: its leg and its link.
const DESCRIPTORS_PER_CALL: u64 = 2;
/// Descriptors beside those of calls: polls, wakers, log, unfinished handshakes.
const DESCRIPTORS_MORE: u64 = 320;

/// Open files that a relay with so many calls needs.
pub(crate) fn descriptors_needed(max_calls: usize) -> u64 {
    max_calls as u64 * DESCRIPTORS_PER_CALL + DESCRIPTORS_MORE
}

/// Raises the limit of open files, and warns where it stays below what `max_calls` calls need.
pub(super) fn check_file_limit(max_calls: usize) {
    let needed = descriptors_needed(max_calls);
    match options::raise_file_limit() {
        Ok(limit) if limit < needed => warn!(
            "the limit of open files is {limit}, and listen.max_calls = {max_calls} needs {needed}: calls beyond it will \
             be shed; raise it with LimitNOFILE= in the systemd unit or ulimit -Hn"
        ),
        Ok(_) => {}
        Err(problem) => warn!("the limit of open files cannot be raised: {problem}"),
    }
}

/// The sockets for legs: those that were passed, or our own.
pub(super) fn listen(
    listen: &ListenConfig,
    passed: &mut Passed,
) -> Result<(Vec<Listener>, SocketAddr), String> {
    let ports = [Some(listen.port), listen.audiosocket_port];
    let wanted: Vec<_> = ports.into_iter().flatten().map(|port| SocketAddr::new(listen.host, port)).collect();
    let mut listeners = Vec::new();
    if passed.legs.is_empty() {
        for wanted in &wanted {
            listeners.push(Listener::bind(*wanted).map_err(|problem| cannot_listen(*wanted, &problem))?);
        }
    }
    for socket in passed.legs.drain(..) {
        let unusable = |problem| format!("a socket for legs that was passed is of no use: {problem}");
        listeners.push(Listener::adopt(socket).map_err(unusable)?);
    }
    let addresses: Result<Vec<_>, _> = listeners.iter().map(Listener::local_addr).collect();
    let addresses =
        addresses.map_err(|problem| format!("the address of a socket is not known: {problem}"))?;
    for wanted in wanted.iter().filter(|wanted| wanted.port() != 0) {
        if !addresses.iter().any(|address| address.port() == wanted.port()) {
            warn!("nothing listens on port {}: it is not among the sockets that were passed", wanted.port());
        }
    }
    for address in addresses.iter().skip(1) {
        info!("AudioSocket server: {address}");
    }
    Ok((listeners, addresses[0]))
}

/// Why `address` cannot be listened on, and what to do.
fn cannot_listen(address: SocketAddr, problem: &io::Error) -> String {
    let remedy = match problem.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program has the port: find it with `ss -ltnp 'sport = :{}'`, or set \
             FREESWITCH_AUDIO_SOCKET_PORT (listen.audiosocket_port, if it is that) to a free one",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            "the address is not of this machine: set AUDIO_SOCKET_HOST to one that is, or to 0.0.0.0"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one".to_owned()
        }
        _ => "check AUDIO_SOCKET_HOST and FREESWITCH_AUDIO_SOCKET_PORT".to_owned(),
    };
    format!("cannot listen on {address}: {problem}; {remedy}")
}
