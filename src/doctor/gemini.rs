//! The way to Gemini: name, connection, TLS and clock, key, model and settings, by a real link that is set up and left.
//!
//! Runs in: the main thread. Owns one connection at a time. Never says anything to the model beyond the setup.
//! Invariant: the same dialler, headers and setup message as the relay's, so that what works here works there.

use std::net::ToSocketAddrs;

use super::{Examination, PATIENCE};
use crate::admission::credentials::CredentialTerms;
use crate::agents::Agents;
use crate::call::leg::CallFields;
use crate::call::model::{LinkEnd, LinkEndKind};
use crate::codec::Provider;
use crate::net::dial::{DialError, Dialer, Target};
use crate::net::{probe, tls};
use crate::server::credentials;

/// Seconds of 2026-01-01: a clock before it is wrong whatever the truth is.
const BUILT_AFTER_S: u64 = 1_767_225_600;
/// Where distributions keep the roots of trust.
const ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

impl Examination<'_> {
    /// Name, TLS, key or token, model, of each credential.
    pub(super) fn gemini(&mut self) {
        self.clock_is_plausible();
        let list = match credentials(&self.config) {
            Ok(list) => list,
            Err(why) => {
                return self.report.bad("Gemini key", why, "GEMINI_API_KEY in the environment of tandem");
            }
        };
        let gemini = self.config.gemini.clone();
        let connector = match tls::connector(gemini.ca_file.as_deref()) {
            Ok(connector) => connector,
            Err(why) => return self.report.bad("TLS roots", why, "put gemini.ca_file right or leave it out"),
        };
        let dialer = Dialer::new(self.clock, connector);
        let mut hosts = Vec::new();
        for (terms, access) in list {
            if let Err(why) = access.fetch_token(self.clock) {
                let found = format!("credential {:?}: {why}", terms.name);
                self.report.bad("Gemini token", found, "see docs/credentials.md, \"Vertex AI\"");
                continue;
            }
            let Some(target) = access.target() else { continue };
            if !hosts.contains(&(target.host.clone(), target.port)) {
                hosts.push((target.host.clone(), target.port));
                if !self.has_address(&target.host, target.port) {
                    self.report.skip("Gemini", "needs the address of its host");
                    continue;
                }
                if target.tls && gemini.ca_file.is_none() {
                    self.roots();
                }
            }
            self.link(&dialer, &target, &terms);
        }
    }

    fn has_address(&mut self, host: &str, port: u16) -> bool {
        match (host, port).to_socket_addrs() {
            Ok(addresses) => {
                let found = addresses.count();
                let plural = if found == 1 { "" } else { "es" };
                self.report.good("DNS", format!("{host} has {found} address{plural}"));
                true
            }
            Err(error) => {
                self.report.bad(
                    "DNS",
                    format!("{host} has no address: {error}"),
                    format!("try `getent hosts {host}`; check /etc/resolv.conf, or gemini.base_url"),
                );
                false
            }
        }
    }

    /// Sets a link up with one credential.
    fn link(&mut self, dialer: &Dialer, target: &Target, terms: &CredentialTerms) {
        let place = match self.config.credentials.is_empty() {
            true => format!("{}:{}", target.host, target.port),
            false => format!("{}:{} (credential {:?})", target.host, target.port, terms.name),
        };
        let agents = match Agents::new(&self.config) {
            Ok(agents) => agents,
            Err(why) => return self.report.bad("agent", why, "put the key right that it names"),
        };
        let setup = agents.default_agent().setup_for(&CallFields::default(), 0);
        let setup = setup.for_credential(terms.model_prefix.as_deref());
        let within = self.config.gemini.connect_timeout + self.config.gemini.setup_timeout;
        let begun = self.clock.now();
        match probe::link(dialer, target, (Provider::Gemini, &setup), within.max(PATIENCE), self.clock) {
            Ok(took) => {
                let model = &self.config.agent.model;
                let took_ms = took.as_millis();
                self.report.good("Gemini", format!("{place} took the key and {model} after {took_ms} ms"));
            }
            Err(problem) => {
                let took_ms = self.clock.now().since_ms(begun);
                self.gemini_problem(&place, problem, took_ms);
            }
        }
    }

    fn gemini_problem(&mut self, place: &str, problem: probe::LinkProblem, took_ms: u64) {
        let (check, found, remedy) = match problem {
            probe::LinkProblem::Dial(DialError::Refused(status, body)) => {
                return self.link_end(&Provider::Gemini.end_of_status(status, &body));
            }
            probe::LinkProblem::Ended(end) => return self.link_end(&end),
            probe::LinkProblem::Silent => (
                "Gemini",
                format!("{place} took the setup and has not accepted it after {took_ms} ms"),
                "try again; if it lasts, see Google's status page".to_owned(),
            ),
            probe::LinkProblem::Dial(DialError::Tls(what)) => (
                "TLS",
                format!("{place}: {what}"),
                "install ca-certificates; behind a proxy that opens TLS name its root in gemini.ca_file; check the clock"
                    .to_owned(),
            ),
            probe::LinkProblem::Dial(error) => (
                "Gemini",
                format!("{place}: {error}"),
                format!("`curl -v https://{place}/` from this machine; open outgoing TCP in the firewall; check GEMINI_BASE_URL"),
            ),
        };
        self.report.bad(check, found, remedy);
    }

    fn link_end(&mut self, end: &LinkEnd) {
        let check = match end.kind {
            LinkEndKind::BadKey | LinkEndKind::KeyExpired | LinkEndKind::PermissionDenied => "Gemini key",
            LinkEndKind::ModelNotFound | LinkEndKind::Unsupported | LinkEndKind::InvalidArgument => {
                "Gemini model"
            }
            LinkEndKind::Quota => "Gemini quota",
            _ => "Gemini",
        };
        let said = if end.reason.is_empty() {
            "ended the link".to_owned()
        } else {
            format!("said {:?}", end.reason)
        };
        self.report.bad(check, format!("Gemini {said} ({})", end.kind.label()), end.kind.remedy());
    }

    fn clock_is_plausible(&mut self) {
        let now_s = self.clock.unix_seconds();
        if now_s >= BUILT_AFTER_S {
            self.report.good("clock", "after this program was written; TLS tells the rest");
        } else {
            self.report.bad(
                "clock",
                "it shows a time before this program was written, so that no certificate is valid yet",
                "set it: timedatectl set-ntp true",
            );
        }
    }

    fn roots(&mut self) {
        let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
        match named {
            Some(path) if !path.exists() => self.report.bad(
                "TLS roots",
                format!("SSL_CERT_FILE names {}, which does not exist", path.display()),
                "unset SSL_CERT_FILE or put it right",
            ),
            Some(path) => self.report.good("TLS roots", path.display().to_string()),
            None => match ROOTS.iter().find(|path| std::path::Path::new(path).exists()) {
                Some(path) => self.report.good("TLS roots", *path),
                None => self.report.bad(
                    "TLS roots",
                    "no roots of trust where distributions keep them",
                    "apt-get install ca-certificates (in the image of a container too)",
                ),
            },
        }
    }
}
