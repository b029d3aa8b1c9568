//! Socket options that every connection of the relay gets, and the limit of file descriptors.
//!
//! Runs in: the accept and dial threads; the descriptor limit at start. Owns nothing.
//! Invariant: no connection outlives a dead peer by more than `TCP_USER_TIMEOUT` while bytes are under way.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};

use crate::base::limits::{TCP_KEEPALIVE_SECONDS, TCP_USER_TIMEOUT_MS};

/// No delay (a frame is smaller than a segment), keep-alive, and an end to unacknowledged bytes.
///
/// # Errors
/// Those of `setsockopt`: the connection is already gone.
pub(crate) fn apply(socket: &impl AsFd) -> io::Result<()> {
    let reference = SockRef::from(socket);
    reference.set_tcp_nodelay(true)?;
    let interval = Duration::from_secs(TCP_KEEPALIVE_SECONDS);
    reference.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(interval).with_interval(interval).with_retries(3),
    )?;
    reference.set_tcp_user_timeout(Some(Duration::from_millis(u64::from(TCP_USER_TIMEOUT_MS))))
}

/// Raises the limit of open files to what the system allows this process, and returns it.
///
/// # Errors
/// Those of `setrlimit`, which a process may always do up to its hard limit.
pub(crate) fn raise_file_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
