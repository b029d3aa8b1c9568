//! The door that the switch knocks at: is the port bound, by us, and does it open within the module's one second?
//!
//! Runs in: the main thread. Owns one connection at a time, and makes no call by it.
//! Invariant: the request is mod_audio_stream's, so that what lets it in lets the module in.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use super::{Examination, PATIENCE};
use crate::config::ListenConfig;
use crate::net::probe::{self, Answer};

/// The module gives up when connecting, TLS and the 101 take longer (libwsc WebSocketClient.h).
const MODULE_PATIENCE: Duration = Duration::from_secs(1);

/// Where to knock: the listener's own address, loopback where it listens everywhere.
pub(super) fn knocking_address(listen: &ListenConfig) -> SocketAddr {
    let ip = if listen.host.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { listen.host };
    SocketAddr::new(ip, listen.port)
}

impl Examination<'_> {
    /// Whether the relay runs and opens in time. Returns its address if it does.
    pub(super) fn door(&mut self) -> Option<SocketAddr> {
        let address = knocking_address(&self.config.listen);
        let port = address.port();
        if port == 0 {
            self.report.skip("port", "listen.port is 0: any free one, which only the relay's log tells");
            return None;
        }
        // A request that can be told from a call: without a key the relay answers 426 and says who it is.
        let request = format!("GET / HTTP/1.1\r\nHost:{address}\r\nConnection:close\r\n\r\n");
        match probe::ask(address, self.own_certificate(), request.as_bytes(), PATIENCE, self.clock) {
            Ok(answer) => self.who_answers(address, &answer),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.report.bad(
                    "port",
                    format!("nobody listens on {address}"),
                    "start the relay: systemctl start tandem, docker compose up -d backend, or make run",
                );
                None
            }
            Err(error) => {
                self.report.bad(
                    "port",
                    format!("{address} does not answer: {error}"),
                    format!("see who has it: ss -ltnp 'sport = :{port}'"),
                );
                None
            }
        }
    }

    /// What the port is asked by, where it takes nothing in clear.
    pub(super) fn own_certificate(&self) -> Option<&Path> {
        let listen = &self.config.listen;
        listen.tls_certificate.as_deref().filter(|_| listen.tls_required)
    }

    fn who_answers(&mut self, address: SocketAddr, answer: &Answer) -> Option<SocketAddr> {
        let port = address.port();
        // The body of our refusals begins with their reason, as in `not_websocket: ...`.
        let ours = answer.text.contains("\r\n\r\nnot_websocket: ");
        match answer.status() {
            Some(_) if ours => {
                let found = format!("the relay answers on {address} after {} ms", answer.took.as_millis());
                if answer.took < MODULE_PATIENCE {
                    self.report.good("port", found);
                } else {
                    self.report.bad(
                        "port",
                        format!("{found}; the module gives up after {} ms", MODULE_PATIENCE.as_millis()),
                        "the machine is overloaded, or a proxy stands in between: see top, and the proxy's time-outs",
                    );
                }
                Some(address)
            }
            Some(403) if answer.text.contains("\r\n\r\naddress: ") => {
                self.report.bad(
                    "port",
                    format!("the relay on {address} does not let this address in"),
                    "add the switch's network to listen.allow",
                );
                None
            }
            _ => {
                self.report.bad(
                    "port",
                    format!("something else answers on {address}: {:?}", answer.first_line),
                    format!("find it with ss -ltnp 'sport = :{port}', or set FREESWITCH_AUDIO_SOCKET_PORT to a free port here, and the same port in audio_stream_url of vars_tandem.xml"),
                );
                None
            }
        }
    }

    /// Whether the URL that the switch uses leads here.
    pub(super) fn switch_side(&mut self, url: Option<&str>, running: Option<SocketAddr>) {
        let check = "switch's side";
        let Some(url) = url else {
            return self
                .report
                .skip(check, "audio_stream_url is not known: give --freeswitch DIR, or set esl.host");
        };
        // Of several relays in a list this is asked of the first.
        let url = url.split(',').next().unwrap_or_default();
        let listen = self.config.listen.clone();
        let (host, port) = match host_and_port(url) {
            Ok(parts) => parts,
            Err(why) => {
                return self.report.bad(
                    check,
                    format!("audio_stream_url = {url:?} {why}"),
                    format!("ws://ADDRESS:{}/ in vars_tandem.xml (vars.xml includes it), then fs_cli -x reloadxml", listen.port),
                );
            }
        };
        if url.starts_with("wss://") && !listen.has_tls() {
            return self.report.bad(
                check,
                format!("audio_stream_url = {url:?}, and the relay has no certificate"),
                "set listen.tls_certificate and listen.tls_key, or use ws://",
            );
        }
        let address = match (host.as_str(), port)
            .to_socket_addrs()
            .map(|all| all.into_iter().find(SocketAddr::is_ipv4))
        {
            Ok(Some(address)) => address,
            Ok(None) => {
                return self.report.bad(
                    check,
                    format!("{host} has no IPv4 address, and the module knows no other"),
                    "write an IPv4 address into audio_stream_url",
                );
            }
            Err(error) => {
                return self.report.warn(
                    check,
                    format!("{host} of audio_stream_url has no address here: {error}"),
                    "the name of a compose service is known inside its network only: docker compose exec freeswitch getent hosts backend",
                );
            }
        };
        if listen.host.is_loopback() && !address.ip().is_loopback() {
            return self.report.bad(
                check,
                format!("the switch calls {address}, and the relay listens on {} only", listen.host),
                "set AUDIO_SOCKET_HOST=0.0.0.0 (containers in a bridge network are not on loopback)",
            );
        }
        if running.is_none() {
            return self.report.skip(check, format!("{address}: the relay does not run"));
        }
        match probe::ask(address, None, format!("GET / HTTP/1.1\r\nHost:{address}\r\n\r\n").as_bytes(), PATIENCE, self.clock) {
            Ok(answer) if answer.status().is_some() => {
                self.report.good(check, format!("{url} leads here ({} ms)", answer.took.as_millis()));
            }
            Ok(answer) => self.report.bad(check, format!("{url} leads to something else: {:?}", answer.first_line), "put audio_stream_url in vars_tandem.xml right, then fs_cli -x reloadxml"),
            // Where a container's port is mapped, another number is right, and leads here.
            Err(_) if port != listen.port => self.report.bad(
                check,
                format!("audio_stream_url = {url:?} names port {port}, and the relay listens on {}", listen.port),
                "give both the same port (FREESWITCH_AUDIO_SOCKET_PORT here, audio_stream_url in vars_tandem.xml), then fs_cli -x reloadxml",
            ),
            Err(error) => self.report.bad(
                check,
                format!("{url} cannot be reached from here: {error}"),
                "host network: ws://127.0.0.1:9094/; bridge network: ws://backend:9094/ or the bridge's gateway; see the firewall",
            ),
        }
    }
}

/// Host and port of a `ws://` or `wss://` URL, as libwsc takes it apart.
pub(super) fn host_and_port(url: &str) -> Result<(String, u16), &'static str> {
    let (rest, usual) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
        (Some(rest), _) => (rest, 80),
        (_, Some(rest)) => (rest, 443),
        _ => return Err("does not begin with ws:// or wss://"),
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if rest[authority.len()..].starts_with('?') {
        return Err("has a query without a path before it; write /?...");
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| "has a port that is no number up to 65535")?),
        None => (authority, usual),
    };
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)) {
        return Err("has a host that the module does not take: letters, digits, dots and hyphens only");
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_as_the_module_does() {
        assert_eq!(host_and_port("ws://127.0.0.1:9094/x?y=1"), Ok(("127.0.0.1".into(), 9094)));
        assert_eq!(host_and_port("wss://tandem.example/"), Ok(("tandem.example".into(), 443)));
        for bad in ["http://a/", "ws://a?x", "ws://:9094/", "ws://my_host/", "ws://a:x/", "ws://[::1]:9/", ""]
        {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }
}
