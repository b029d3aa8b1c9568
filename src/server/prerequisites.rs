//! What must be so before the relay starts: where Gemini is and with which key, enough descriptors, a free port; and
//! the words for an operator where it is not.
//!
//! Runs in: the main thread, once. Owns nothing.
//! Invariant: whatever is missing is named together with its remedy; the key is never part of a text.

use std::io;
use std::net::SocketAddr;

use http::{HeaderName, HeaderValue};
use log::warn;

use crate::config::GeminiConfig;
use crate::net::dial::Target;
use crate::net::options;
use crate::threads::gemini::link_limits;

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

/// Why `address` cannot be listened on, and what to do.
pub(super) fn cannot_listen(address: SocketAddr, problem: &io::Error) -> String {
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

/// Where links go and with which headers.
///
/// # Errors
/// A missing or unusable key, or a base URL of which none can be made.
pub(crate) fn gemini_target(gemini: &GeminiConfig) -> Result<Target, String> {
    let base = &gemini.base_url;
    if gemini.api_key.is_none() && !base.is_loopback() {
        return Err("no key for Gemini: set GEMINI_API_KEY (get one at https://aistudio.google.com/apikey), or try the \
                    relay without one on the bundled simulator: make demo"
            .into());
    }
    let scheme = if base.tls() { "wss" } else { "ws" };
    let url = format!(
        "{scheme}://{}{}/ws/google.ai.generativelanguage.{}.GenerativeService.BidiGenerateContent",
        base.authority(),
        base.path_prefix(),
        gemini.api_version
    );
    let mut headers = Vec::new();
    if let Some(key) = &gemini.api_key {
        let mut value = HeaderValue::from_str(key.expose()).map_err(|_| {
            "GEMINI_API_KEY holds characters that no HTTP header may have; copy it again".to_owned()
        })?;
        value.set_sensitive(true);
        headers.push((HeaderName::from_static("x-goog-api-key"), value));
    }
    Ok(Target {
        host: base.host().to_owned(),
        port: base.port(),
        tls: base.tls(),
        url: url
            .parse()
            .map_err(|problem| format!("gemini.base_url does not make a URL ({url}): {problem}"))?,
        headers,
        limits: link_limits(),
    })
}
