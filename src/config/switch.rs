//! Everything that concerns the switch and those who ask for calls: the door, call control, the admin server.
//!
//! Runs in: anywhere: pure. Owns their settings. Never reads anything. Invariant: as in [`super::settings`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::base_url::BaseUrl;
use super::secret::Secret;
use super::setters::{
    address_and_port, application, dial_string, fitting, host_address, name, networks, networks_or_none,
};
use super::settings::settings;
use crate::base::command::{Context, VariableName};

settings! {
    /// The door: where the telephone switch connects, and who may.
    pub struct ListenConfig in "listen" {
        /// Address to listen on. :: takes IPv4 and IPv6.
        pub host: IpAddr = "0.0.0.0",
            text("an IP address such as \"0.0.0.0\", \"127.0.0.1\" or \"::\"", host_address),
            environment "AUDIO_SOCKET_HOST";
        /// TCP port for mod_audio_stream, AudioSocket and chan_websocket, plain and TLS alike.
        pub port: u16 = 9094,
            integer_or_zero(0, 65_535, "any free port"), environment "FREESWITCH_AUDIO_SOCKET_PORT";
        /// Another TCP port, where a firewall wants AudioSocket to have its own. Both ports take everything.
        pub audiosocket_port: Option<u16> = 0, integer_or_zero(1, 65_535, "none");
        /// Networks that may connect. The default is loopback, private and link-local addresses.
        pub allow: Vec<IpNet>,
            list("networks such as \"10.0.0.0/8\" or addresses", networks),
            default r#"["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"]"#;
        /// Networks of proxies whose connections begin with a PROXY header (version 1 or 2). Whom it names counts for
        /// listen.allow, for limits and in records; a connection of theirs without one is refused.
        pub proxy_from: Vec<IpNet> = [],
            list("networks such as \"10.0.0.0/8\" or addresses", networks_or_none);
        /// A secret that the switch must present in a header or in the URL.
        pub token: Option<Secret>,
            secret("16 or more letters, digits or marks without white space"),
            like "a-long-random-text", environment "TANDEM_TOKEN";
        /// Refuse AudioSocket calls whose UUID was not announced by POST /api/expect. AudioSocket has no place for a
        /// token, so with listen.token set they have to be announced in any case.
        pub require_expected: bool = false, switch();
        /// How long an announced call is waited for.
        pub expect "expect_seconds": Duration = 60, integer(1, 3_600) in SECONDS;
        /// Certificate chain for wss:// on the same port, together with listen.tls_key. Both are read again at a reload.
        pub tls_certificate: Option<PathBuf>,
            text("the path of a PEM file"), like "/etc/tandem/tls/fullchain.pem";
        /// Private key of listen.tls_certificate, without a passphrase.
        pub tls_key: Option<PathBuf>, text("the path of a PEM file"), like "/etc/tandem/tls/privkey.pem";
        /// Refuse every connection without TLS, from this machine too. AudioSocket has no TLS, so its calls are
        /// refused.
        pub tls_required: bool = false, switch();
        /// From accepting a connection to answering 101. mod_audio_stream itself gives up after 1000 ms.
        pub handshake_timeout "handshake_timeout_ms": Duration = 3000, integer(100, 60_000);
        /// Connections at one time that have not finished their handshake. One more closes the oldest of the address
        /// that has most.
        pub max_handshakes: usize = 256, integer(1, 65_536);
        /// Calls at one time; more are refused with 503.
        pub max_calls: usize = 1000, integer(1, 100_000);
        /// Refuse new calls with 503 while the relay's own threads use up their processors and are late for it
        /// (docs/operations.md, "Overload"). Running calls are left alone.
        pub refuse_when_overloaded: bool = true, switch();
        /// New calls a second from one address; more are refused with 429. A switch sends all its calls from one
        /// address, so this is the rate of the switch, not of a caller.
        pub max_calls_per_second_per_address: u32 = 50, integer(1, 100_000);
        /// New calls at once from one address after a quiet time, before the rate above holds.
        pub max_calls_burst_per_address: u32 = 100, integer(1, 100_000);
    }
}

impl ListenConfig {
    /// Whether `peer` is in one of the allowed networks. An IPv4 address that arrives as IPv6 (`::ffff:a.b.c.d`, as on
    /// a dual-stack listener) is judged as IPv4.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.allow.iter().any(|network| network.contains(&peer))
    }

    /// Whether `peer` is a proxy, whose connections say whose they are.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxy_from.iter().any(|network| network.contains(&peer))
    }

    /// Whether TLS is offered beside plain WebSocket.
    pub fn has_tls(&self) -> bool {
        self.tls_certificate.is_some() && self.tls_key.is_some()
    }
}

settings! {
    /// What may be asked of the switch about a call.
    pub struct ControlConfig in "control" {
        /// Channel variables that may be set beside those whose names begin with tandem_.
        pub variables: Vec<VariableName> = [],
            list("names of channel variables such as \"hold_music\"", |v| fitting(v, VariableName::new));
        /// Contexts into which the API may transfer a call over the event socket; for our script vars_tandem.xml has
        /// the same list.
        pub transfer_contexts: Vec<Context> = ["default", "public"],
            list("names of contexts of the dialplan such as \"default\"", |v| fitting(v, Context::new));
    }
}

settings! {
    /// FreeSWITCH's event socket (mod_event_socket).
    pub struct EslConfig in "esl" {
        /// FreeSWITCH's event socket, for call control where our script is not on the line, and for outbound calls.
        /// Off when not set.
        pub host: Option<String>,
            text("a host name or IP address such as \"127.0.0.1\"", |v| name(v, "-.:_")),
            like "127.0.0.1", environment "FREESWITCH_ESL_HOST";
        /// Its TCP port.
        pub port: u16 = 8021, integer(1, 65_535), environment "FREESWITCH_ESL_PORT";
        /// Its password. FreeSWITCH's own default, ClueCon, when not set.
        pub password: Option<Secret>,
            secret("the password of event_socket.conf.xml, without white space"),
            like "your-password", environment "FREESWITCH_ESL_PASSWORD";
        /// How outbound calls are dialled; {to} is the number asked for. Outbound calls are off when not set.
        pub dial_string: Option<String>,
            text("a dial string with {to} once, such as \"sofia/gateway/provider/{to}\"", dial_string),
            like "sofia/gateway/provider/{to}";
        /// What FreeSWITCH runs on an outbound call that was answered: what connects it to this relay.
        pub answered_application: String = "lua(start_audio_stream.lua ws://127.0.0.1:9094 mono 16k)",
            text("an application with its arguments, as in \"lua(script.lua arguments)\"", application);
        /// How long an outbound call may ring.
        pub answer_timeout "answer_seconds": Duration = 60, integer(5, 600) in SECONDS;
    }
}

settings! {
    /// Asterisk, where the relay connects to it and not the other way round (docs/asterisk.md).
    pub(crate) struct AsteriskConfig in "asterisk" {
        /// Asterisk's HTTP server, for Dial(WebSocket/INCOMING): where the relay connects to when POST /api/connect
        /// asks for it. Off when not set.
        pub media_url: Option<BaseUrl>,
            text("a URL such as \"ws://127.0.0.1:8088/media/\"; beyond loopback and private addresses wss://", BaseUrl::parse_of_switch),
            like "ws://127.0.0.1:8088/media/";
    }
}

settings! {
    /// The admin server: HTTP for the operator, the dial plan and other programs.
    pub struct AdminConfig in "admin" {
        /// Address of the admin server: page, API, metrics, health, call control. On any address but loopback
        /// admin.token is required.
        pub listen: Option<SocketAddr> = "127.0.0.1:9095",
            text("an address and port such as \"127.0.0.1:9095\", or nothing to switch it off", address_and_port);
        /// A secret that requests to the admin server must present: Authorization: Bearer TOKEN, or X-Tandem-Token.
        pub token: Option<Secret>,
            secret("16 or more letters, digits or marks without white space"), like "a-long-random-text";
        /// A file that holds admin.token, which counts where that is not set itself: for other programs to read it
        /// too.
        pub token_file: Option<PathBuf>,
            text("the path of a file with the token alone"), like "/etc/tandem/admin-token";
        /// Certificate chain for https:// in place of http://, together with admin.tls_key. Both are read again at a
        /// reload. A browser gives its
        /// microphone to pages of https:// and of this machine only.
        pub tls_certificate: Option<PathBuf>,
            text("the path of a PEM file"), like "/etc/tandem/tls/fullchain.pem";
        /// Private key of admin.tls_certificate, without a passphrase.
        pub tls_key: Option<PathBuf>, text("the path of a PEM file"), like "/etc/tandem/tls/privkey.pem";
        /// Address that tells HAProxy's agent-check, and whoever else connects, what share of new calls this relay should get.
        /// It says no more than that, so it asks for no token.
        pub haproxy_agent_listen: Option<SocketAddr>,
            text("an address and port", address_and_port), like "127.0.0.1:9096";
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn the_default_door_is_open_to_loopback_and_private_networks_only() {
        let listen = Config::default().listen;
        for inside in
            ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.9", "169.254.3.3", "::1", "fd00::5", "fe80::1"]
        {
            assert!(listen.allows(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["172.32.0.1", "8.8.8.8", "11.0.0.1", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!listen.allows(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn an_ipv4_peer_on_a_dual_stack_listener_is_judged_as_ipv4() {
        assert!(Config::default().listen.allows("::ffff:10.0.0.7".parse().unwrap()));
    }
}
