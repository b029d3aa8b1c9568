//! The switch, asked through its event socket: reachable, password, modules, which build, variables, directories.
//!
//! Runs in: the main thread. Owns one connection. Asks only; changes nothing in the switch.
//! Invariant: the questions are fixed texts; nothing that came from anywhere else is sent.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use super::{Examination, PATIENCE};
use crate::config::is_near_address;
use crate::net::probe::{EventSocket, EventSocketProblem};
use crate::threads::esl::CLEAR;

const CHECK: &str = "event socket";
/// Where FreeSWITCH on this machine has it, and the password that it ships with.
const USUAL_HOST: &str = "127.0.0.1";
const USUAL_PASSWORD: &str = "ClueCon";
/// Texts that only builds have which play by themselves: cloudfieldcz', the 1.0.3 release, and relatives.
const PLAYING_BUILDS: [&str; 5] =
    ["clearAudio", "STREAM_PLAYBACK", "injectAudio", "killAudio", "enableBinaryPlayback"];
const NEAR_REMEDY: &str = "set esl.host to the near end of the tunnel";
const NAME_REMEDY: &str = "write an address, or a name that getent hosts knows here, into esl.host";

impl Examination<'_> {
    /// Asks the switch. Returns its `audio_stream_url`, where it or its files tell.
    pub(super) fn switch(&mut self) -> Option<String> {
        let from_files = self.url_in_files();
        let esl = self.config.esl.clone();
        let host = esl.host.as_deref().unwrap_or(USUAL_HOST);
        let address = match (host, esl.port).to_socket_addrs().map(|mut all| all.next()) {
            Ok(Some(address)) => address,
            Ok(None) => {
                self.report.bad(CHECK, format!("esl.host = {host} has no address"), NAME_REMEDY);
                return from_files;
            }
            Err(error) => {
                self.report.bad(CHECK, format!("esl.host = {host}: {error}"), NAME_REMEDY);
                return from_files;
            }
        };
        if !is_near_address(address.ip()) {
            self.report.bad(CHECK, format!("esl.host = {host} is {}: {CLEAR}", address.ip()), NEAR_REMEDY);
            return from_files;
        }
        let mut socket = match self.connect(address) {
            Ok(socket) => socket,
            Err(problem) => {
                self.cannot_ask(address, esl.host.is_some(), problem);
                return from_files;
            }
        };
        self.report.good(CHECK, format!("{address} took the password"));
        match self.ask(&mut socket) {
            Ok(url) => url.or(from_files),
            Err(problem) => {
                self.cannot_ask(address, esl.host.is_some(), problem);
                from_files
            }
        }
    }

    /// The event socket once more, where it could be used before.
    pub(super) fn switch_socket(&self) -> Option<EventSocket> {
        let esl = &self.config.esl;
        let host = esl.host.as_deref().unwrap_or(USUAL_HOST);
        let address = (host, esl.port).to_socket_addrs().ok()?.next()?;
        if is_near_address(address.ip()) { self.connect(address).ok() } else { None }
    }

    fn connect(&self, address: SocketAddr) -> Result<EventSocket, EventSocketProblem> {
        let password = self.config.esl.password.as_ref().map_or(USUAL_PASSWORD, |password| password.expose());
        EventSocket::connect(address, password, PATIENCE, self.clock)
    }

    fn cannot_ask(&mut self, address: SocketAddr, configured: bool, problem: EventSocketProblem) {
        let (found, remedy) = match problem {
            EventSocketProblem::Io(error) if error.kind() == ErrorKind::ConnectionRefused && !configured => {
                // A switch with our scripts does not need it, and Asterisk has none.
                return self.report.skip(
                    CHECK,
                    format!("nobody listens on {address}: esl.host and esl.port name it where FreeSWITCH is elsewhere"),
                );
            }
            EventSocketProblem::Io(error) if error.kind() == ErrorKind::ConnectionRefused => (
                format!("nobody listens on {address}"),
                "start FreeSWITCH, load mod_event_socket, or put esl.host and esl.port right",
            ),
            EventSocketProblem::Io(error) => (
                format!("{address}: {error}"),
                "check event_socket.conf.xml (listen-ip, listen-port) and the firewall",
            ),
            EventSocketProblem::Rejected => (
                format!("{address} turns this machine's address away"),
                "add it to apply-inbound-acl in event_socket.conf.xml, then fs_cli -x 'reload mod_event_socket'",
            ),
            EventSocketProblem::Password => (
                format!("{address} refuses the password"),
                "set esl.password to the password in event_socket.conf.xml",
            ),
            EventSocketProblem::Unknown(what) => (
                format!("{address} is no event socket: {what}"),
                "check esl.host, esl.port and event_socket.conf.xml",
            ),
        };
        self.report.bad(CHECK, found, remedy);
    }

    fn ask(&mut self, socket: &mut EventSocket) -> Result<Option<String>, EventSocketProblem> {
        for (module, needed, remedy) in [
            (
                "mod_audio_stream",
                true,
                "install it (docs/freeswitch.md) and fs_cli -x 'load mod_audio_stream'",
            ),
            ("mod_lua", true, "fs_cli -x 'load mod_lua', and add it to modules.conf.xml"),
            ("mod_curl", false, "only the dialplan that asks /admit needs it: fs_cli -x 'load mod_curl'"),
        ] {
            let exists = socket.api(&format!("module_exists {module}"))?;
            match (exists.as_str(), needed) {
                ("true", _) => self.report.good("module", format!("{module} is loaded")),
                (_, true) => self.report.bad("module", format!("{module} is not loaded"), remedy),
                (_, false) => self.report.skip("module", format!("{module} is not loaded; {remedy}")),
            }
        }
        let usage = socket.api("uuid_audio_stream")?;
        if usage.contains("USAGE") {
            self.build(socket)?;
        }
        self.default_password(socket)?;
        let temp = socket.api("global_getvar temp_dir")?;
        self.temp_dir(&temp);
        self.rtp(socket)?;
        let url = socket.api("global_getvar audio_stream_url")?;
        if url.is_empty() || url.starts_with("-ERR") {
            self.report.bad(
                "audio_stream_url",
                "the switch has no such variable",
                "add it to vars.xml (tandem freeswitch install does), then fs_cli -x reloadxml",
            );
            return Ok(None);
        }
        Ok(Some(url))
    }

    /// What is played against what the build can play. Commands and answers of the builds are the same; where the module's file
    /// can be read, its texts tell them apart.
    fn build(&mut self, socket: &mut EventSocket) -> Result<(), EventSocketProblem> {
        let check = "build";
        let playback = socket.api("global_getvar tandem_playback")?;
        let playback = if playback.starts_with("-ERR") { String::new() } else { playback };
        let directory = socket.api("global_getvar mod_dir")?;
        let plays = plays_by_itself(&Path::new(&directory).join("mod_audio_stream.so"));
        match (playback.as_str(), plays) {
            ("file", _) => {
                if socket.api("module_exists mod_sndfile")? == "false" {
                    self.report.bad(
                        "module",
                        "mod_sndfile is not loaded, which plays the files of tandem_playback=file: callers hear nothing",
                        "fs_cli -x 'load mod_sndfile', and add it to modules.conf.xml",
                    );
                }
                self.report.good(check, "playback by files (tandem_playback=file): right for the open build");
            }
            ("binary" | "json", Some(false)) => self.report.bad(
                check,
                format!("tandem_playback={playback}, and the module in {directory} is an open build, which plays nothing itself: callers hear nothing"),
                "set tandem_playback=file in vars_tandem.xml (vars.xml includes it), then fs_cli -x reloadxml",
            ),
            ("binary" | "json", _) => self.report.good(
                check,
                format!("tandem_playback={playback}: right only for a build that plays by itself (cloudfieldcz: binary, 1.0.3 release: json)"),
            ),
            ("", _) => self.report.warn(
                check,
                "tandem_playback is not set, and the wire does not tell builds apart",
                "set tandem_playback in vars.xml: file for the open build, json for the 1.0.3 release, binary for cloudfieldcz",
            ),
            (other, _) => self.report.bad(
                check,
                format!("tandem_playback={other:?} is not one of file, json, binary"),
                "put it right in vars_tandem.xml (vars.xml includes it), then fs_cli -x reloadxml",
            ),
        }
        Ok(())
    }

    /// FreeSWITCH's example configuration punishes whoever has left its password as it is.
    fn default_password(&mut self, socket: &mut EventSocket) -> Result<(), EventSocketProblem> {
        if socket.api("global_getvar default_password")? == "1234" {
            self.report.warn(
                "default password",
                "default_password is 1234: the example dialplan has each call into the context default wait 10 s for it, and \
                 whoever reaches the switch can register with it",
                "another one in vars.xml, in the line default_password=1234, then fs_cli -x reloadxml; telephones have to be told",
            );
        }
        Ok(())
    }

    fn temp_dir(&mut self, temp: &str) {
        let check = "temp_dir";
        let path = Path::new(temp);
        if temp.is_empty() || temp.starts_with("-ERR") {
            self.report.skip(check, "the switch does not say");
        } else if !path.is_dir() {
            self.report.skip(check, format!("{temp} is not visible from here (a container)"));
        } else {
            match memory_file_system(path) {
                Some(true) => self.report.good(check, format!("{temp} is in memory")),
                _ => self.report.warn(
                    check,
                    format!(
                        "{temp} is on a disk; playback by files writes 58 MB an hour for each call there"
                    ),
                    format!(
                        "mount a tmpfs on {temp}, or start FreeSWITCH with another directory: freeswitch -temp /dev/shm \
                         (no file of its configuration sets temp_dir)"
                    ),
                ),
            }
        }
    }

    fn rtp(&mut self, socket: &mut EventSocket) -> Result<(), EventSocketProblem> {
        let address = socket.api("global_getvar external_rtp_ip")?;
        let local = socket.api("global_getvar local_ip_v4")?;
        let unset = |text: &str| text.is_empty() || text.starts_with("-ERR");
        if unset(&local) {
            self.report.skip("RTP", "the switch does not say its address");
        } else if local.starts_with("127.") {
            self.report.warn(
                "RTP",
                format!("the switch takes {local} for its address: callers from outside hear nothing"),
                "set local_ip_v4 (and external_rtp_ip behind NAT) in vars.xml, then fs_cli -x reloadxml and fs_cli -x 'sofia \
                 profile internal restart'; UDP 16384-32768 has to be open",
            );
        } else {
            let outside = if unset(&address) { local.clone() } else { address };
            self.report.good(
                "RTP",
                format!("local address {local}, told to callers: {outside}; UDP 16384-32768 has to be open"),
            );
        }
        Ok(())
    }
}

/// Whether the module in this file plays what it is sent; `None` where it cannot be read, as in a container. A build that
/// plays has a text by which it is told to, or to stop.
fn plays_by_itself(module: &Path) -> Option<bool> {
    let bytes = std::fs::read(module).ok()?;
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    holds("uuid_audio_stream").then(|| PLAYING_BUILDS.iter().any(|text| holds(text)))
}

/// Whether the file system that holds `path` is in memory, by the longest mount point above it in /proc/mounts.
fn memory_file_system(path: &Path) -> Option<bool> {
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let path = path.canonicalize().ok()?;
    let kinds = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        path.starts_with(point).then(|| (point.len(), kind.to_owned()))
    });
    let (_, kind) = kinds.max_by_key(|(length, _)| *length)?;
    Some(kind == "tmpfs" || kind == "ramfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_plays_is_told_by_its_texts() {
        let file = std::env::temp_dir().join(format!("tandem-doctor-module-{}", std::process::id()));
        for (texts, plays) in [
            ("\0uuid_audio_stream\0streamAudio\0", Some(false)),
            ("\0uuid_audio_stream\0streamAudio\0clearAudio\0", Some(true)),
            ("\0uuid_audio_stream\0STREAM_PLAYBACK\0", Some(true)),
            ("something else", None),
        ] {
            std::fs::write(&file, texts).expect("writable");
            assert_eq!(plays_by_itself(&file), plays, "{texts:?}");
        }
        std::fs::remove_file(&file).expect("just written");
        assert_eq!(plays_by_itself(&file), None);
    }
}
