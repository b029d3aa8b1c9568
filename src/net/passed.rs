//! Listening sockets that whoever starts the relay passes to it, as systemd does (sd_listen_fds(3)): LISTEN_FDS,
//! LISTEN_FDNAMES and LISTEN_PID.
//!
//! Runs in: the main thread, at start. Owns the sockets until they are taken. Never binds anything.
//! Invariant: a socket that was passed is served, or the relay does not start: connections would wait on it for ever.

use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// The name of sockets for legs. Where there are several, what comes to one is what comes to the other.
const LEGS: &str = "legs";
/// The name of the admin server's socket.
const ADMIN: &str = "admin";
/// Sockets for legs at most.
pub(crate) const LEGS_MAX: usize = 2;

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Those for legs.
    pub legs: Vec<TcpListener>,
    /// That of the admin server.
    pub admin: Option<TcpListener>,
}

impl Passed {
    /// Takes those that are meant for this process.
    ///
    /// # Errors
    /// What is wrong with one, and what to do.
    pub(crate) fn from_environment() -> Result<Self, String> {
        let names = std::env::var("LISTEN_FDNAMES").ok();
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Vec::new();
        for n in 0..descriptors.len() {
            let socket = descriptors.take_tcp_listener(n).map_err(|problem| problem.to_string());
            let socket = socket.and_then(|socket| socket.ok_or_else(|| "it was passed twice".to_owned()));
            let is_listening = |socket: &TcpListener| SockRef::from(socket).is_listener().unwrap_or(false);
            let socket = socket.and_then(|socket| {
                if is_listening(&socket) { Ok(socket) } else { Err("it does not listen".to_owned()) }
            });
            sockets.push(socket.map_err(|problem| {
                format!("socket {} of those that were passed (LISTEN_FDS) is of no use: {problem}", n + 1)
            })?);
        }
        Self::named(names.as_deref(), sockets)
    }

    /// Each to where its name says. Without names all are for legs, as systemd-socket-activate passes them.
    fn named(names: Option<&str>, sockets: Vec<TcpListener>) -> Result<Self, String> {
        let mut passed = Self::default();
        let mut names = names.filter(|names| !names.is_empty()).map(|names| names.split(':'));
        for socket in sockets {
            match names.as_mut().map_or(LEGS, |names| names.next().unwrap_or_default()) {
                // What systemd-socket-activate calls a socket that was not given a name.
                LEGS | "unknown" if passed.legs.len() < LEGS_MAX => passed.legs.push(socket),
                ADMIN if passed.admin.is_none() => passed.admin = Some(socket),
                name @ (LEGS | "unknown" | ADMIN) => {
                    return Err(format!("more sockets with the name {name:?} were passed than are served"));
                }
                name => {
                    return Err(format!(
                        "a socket with the name {name:?} was passed, and only {LEGS:?} and {ADMIN:?} are known: set \
                         FileDescriptorName= in the socket unit to one of them"
                    ));
                }
            }
        }
        Ok(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: Option<&str>, count: usize) -> Result<(usize, bool), String> {
        let socket = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
        let passed = Passed::named(names, (0..count).map(socket).collect())?;
        Ok((passed.legs.len(), passed.admin.is_some()))
    }

    #[test]
    fn each_goes_where_its_name_says() {
        assert_eq!(named(None, 0), Ok((0, false)));
        assert_eq!(named(None, 2), Ok((2, false)));
        assert_eq!(named(Some("unknown"), 1), Ok((1, false)));
        assert_eq!(named(Some("admin"), 1), Ok((0, true)));
        assert_eq!(named(Some("legs:legs:admin"), 3), Ok((2, true)));
        assert_eq!(named(Some("admin:legs"), 2), Ok((1, true)));
    }

    #[test]
    fn what_nobody_would_serve_is_refused_by_its_name() {
        for (names, count, words) in [
            (Some("tandem.socket"), 1, "\"tandem.socket\""),
            (Some("legs"), 2, "\"\""),
            (Some("admin:admin"), 2, "\"admin\""),
            (None, 3, "\"legs\""),
        ] {
            let refused = named(names, count).expect_err("refused");
            assert!(refused.contains(words), "{refused}");
        }
    }
}
