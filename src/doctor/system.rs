//! What the machine allows: open files, the queue of connections, memory for sockets.
//!
//! Runs in: the main thread. Reads /proc; changes nothing but this process's own limit of open files.
//! Invariant: none of these is bad by itself: fewer calls are possible, and that is said.

use std::fs;

use super::Examination;
use crate::net::options;
use crate::server::descriptors_needed;

/// Connections that wait to be accepted: what a burst of calls may have.
const BACKLOG: u64 = 128;

impl Examination<'_> {
    /// Limits of files and sockets.
    pub(super) fn system(&mut self) {
        let (calls, check) = (self.config.listen.max_calls, "open files");
        let needed = descriptors_needed(calls);
        match options::raise_file_limit() {
            Ok(limit) if limit >= needed => {
                self.report.good(check, format!("{limit} allowed, {needed} needed for {calls} calls"));
            }
            Ok(limit) => self.report.warn(
                check,
                format!(
                    "{limit} allowed, {needed} needed for listen.max_calls = {calls}: calls beyond it are shed"
                ),
                format!("LimitNOFILE={needed} in the systemd unit, nofile in the compose file, or a lower listen.max_calls"),
            ),
            Err(error) => self.report.warn(check, format!("the limit cannot be read: {error}"), "ulimit -n shows it"),
        }
        let backlog = fs::read_to_string("/proc/sys/net/core/somaxconn")
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        match backlog {
            Some(n) if n >= BACKLOG => {
                self.report.good("waiting connections", format!("{n} may wait to be accepted"))
            }
            Some(n) => self.report.warn(
                "waiting connections",
                format!("only {n} may wait to be accepted: a burst of calls is refused"),
                "sysctl net.core.somaxconn=4096",
            ),
            None => self.report.skip("waiting connections", "/proc/sys/net/core/somaxconn cannot be read"),
        }
    }
}
