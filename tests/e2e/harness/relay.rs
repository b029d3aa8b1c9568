//! A relay that listens: the process and where it can be called.
//!
//! Runs in: the tests' threads. Owns the process. Never guesses the port: the log says it.
//! Invariant: when [`Relay::start`] returns, a call is answered.

use std::net::{SocketAddr, TcpListener};
use std::ops::{Deref, DerefMut};
use std::process::Command;

use super::process::{Process, command, command_with_socket};
use super::{KEY, Model};

/// The words by which today's operators find the listener in the log.
const LISTENING: &str = "FreeSWITCH mod_audio_stream WebSocket server: ";

/// A relay that takes calls.
pub(crate) struct Relay {
    process: Process,
    address: SocketAddr,
}

impl Relay {
    /// Starts one in front of `model`; `sets` are `--set` arguments.
    pub(crate) fn start(model: &Model, sets: &[&str]) -> Self {
        Self::start_at(&model.url(), sets, &[])
    }

    /// Starts one in front of a model at `model_url`, with more environment.
    pub(crate) fn start_at(model_url: &str, sets: &[&str], more: &[(&str, &str)]) -> Self {
        Self::start_as(command, model_url, sets, more)
    }

    /// Starts one that is passed a socket under this name.
    pub(crate) fn start_passed(model: &Model, sets: &[&str], name: &str, socket: &TcpListener) -> Self {
        let passed = |arguments: &[&str], environment: &[(&str, &str)]| {
            command_with_socket(arguments, environment, name, socket)
        };
        Self::start_as(passed, &model.url(), sets, &[])
    }

    fn start_as(
        command: impl Fn(&[&str], &[(&str, &str)]) -> Command,
        model_url: &str,
        sets: &[&str],
        more: &[(&str, &str)],
    ) -> Self {
        let mut arguments = vec![
            "--set",
            "listen.max_calls_burst_per_address=1000",
            "--set",
            "listen.max_calls_per_second_per_address=1000",
            "--set",
            "log.stats_seconds=0",
        ];
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        let mut environment = vec![
            ("AUDIO_SOCKET_HOST", "127.0.0.1"),
            ("FREESWITCH_AUDIO_SOCKET_PORT", "0"),
            ("TANDEM_ADMIN_LISTEN", "127.0.0.1:0"),
            ("GEMINI_BASE_URL", model_url),
            ("GEMINI_API_KEY", KEY),
            ("RUST_LOG", "tandem=debug"),
        ];
        environment.extend_from_slice(more);
        let process = Process::start(command(&arguments, &environment));
        let line = process.line(&[LISTENING]);
        let address = line.rsplit("://").next().and_then(|address| address.trim().parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { process, address }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL for calls to it.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("ws://{}{target}", self.address)
    }

    /// Waits for the line with which the call ended whose identity contains `call`, such as its UUID.
    pub(crate) fn end_of(&self, call: &str) -> String {
        self.line(&[": ended by ", call])
    }
}

impl Deref for Relay {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Relay {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
