//! The URL of a Postgres: where it is, whether the way there is encrypted, and by whose certificate.
//!
//! Runs in: whichever thread waits for the database, and main at the start; pure. Owns the rule for databases. Never says
//! the URL, in which a password may stand.
//! Invariant: unless the URL itself says otherwise, a password leaves in clear to near hosts only: this machine, or a
//! private address that is written as a number.

use std::path::PathBuf;

use ::postgres::Config;
use ::postgres::config::{Host, SslMode};
use percent_encoding::percent_decode_str;

use crate::config::is_near;

/// How a server's certificate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Not at all: to a near host that need not encrypt.
    Nothing,
    /// Whether an authority that is trusted has signed it.
    Authority,
    /// That, and whether it is the host's.
    AuthorityAndName,
}

/// See the head of this file.
pub(super) struct PostgresUrl {
    /// What the client connects by; its `sslmode` is decided.
    pub(super) config: Config,
    /// How the certificate is looked at where TLS is spoken.
    pub(super) check: Check,
    /// A file of authorities that are trusted beside the system's (`sslrootcert`).
    pub(super) authorities: Option<PathBuf>,
    /// Whether the URL asks for what sends the password to a far host in clear.
    pub(super) is_clear_and_far: bool,
}

impl PostgresUrl {
    /// Takes the URL apart.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (rest, asked) = without_ours(url);
        let mut config: Config =
            rest.parse().map_err(|error: ::postgres::Error| super::postgres::described(&error))?;
        let is_near = is_near_to(&config);
        let (mode, check) = match asked.mode.as_deref() {
            // Nobody listens in between on this machine or in a network of one's own, and most databases there have a
            // certificate that no authority has signed.
            None if is_near => (SslMode::Prefer, Check::Nothing),
            None => (SslMode::Require, Check::AuthorityAndName),
            Some("disable") => (SslMode::Disable, Check::Nothing),
            Some("allow" | "prefer") => (SslMode::Prefer, Check::Nothing),
            Some("require" | "verify-full") => (SslMode::Require, Check::AuthorityAndName),
            Some("verify-ca") => (SslMode::Require, Check::Authority),
            Some(_) => {
                return Err("sslmode is none of disable, allow, prefer, require, verify-ca and verify-full"
                    .to_owned());
            }
        };
        config.ssl_mode(mode);
        let is_clear_and_far = !is_near && mode != SslMode::Require;
        Ok(Self { config, check, authorities: asked.authorities, is_clear_and_far })
    }
}

/// What the URL asks for in words that the client does not know, or not all of.
#[derive(Default)]
struct Asked {
    mode: Option<String>,
    authorities: Option<PathBuf>,
}

/// The URL without `sslmode` and `sslrootcert`, and what they said.
fn without_ours(url: &str) -> (String, Asked) {
    let Some((place, query)) = url.split_once('?') else { return (url.to_owned(), Asked::default()) };
    let mut asked = Asked::default();
    let mut others = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "sslmode" => asked.mode = Some(decoded(value)),
            // The system's authorities are trusted in any case.
            "sslrootcert" if value == "system" => {}
            "sslrootcert" => asked.authorities = Some(PathBuf::from(decoded(value))),
            _ => others.push(pair),
        }
    }
    (if others.is_empty() { place.to_owned() } else { format!("{place}?{}", others.join("&")) }, asked)
}

/// A value of the query, in which a plus is a plus.
fn decoded(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}

/// Whether every server that may be connected to is near: the address counts where one is written beside a name.
fn is_near_to(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(|address| is_near(&address.to_string()));
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => is_near(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(url: &str) -> (SslMode, Check, bool) {
        let url = PostgresUrl::parse(url).expect(url);
        (url.config.get_ssl_mode(), url.check, url.is_clear_and_far)
    }

    #[test]
    fn without_a_word_a_far_database_is_spoken_to_encrypted_and_known_by_its_certificate() {
        for far in [
            "db",
            "db.example:6432",
            "8.8.8.8",
            "[2001:db8::1]",
            "172.32.0.1",
            "127.0.0.1,db",
            "localhost.example",
        ] {
            let url = format!("postgres://tandem:geheim@{far}/calls?connect_timeout=3");
            assert_eq!(decided(&url), (SslMode::Require, Check::AuthorityAndName, false), "{url}");
        }
        let by_address = "postgresql://tandem@localhost/calls?hostaddr=8.8.8.8";
        assert_eq!(decided(by_address).0, SslMode::Require);
    }

    #[test]
    fn a_near_database_may_be_without_tls() {
        for near in ["127.0.0.1", "localhost:5433", "[::1]", "10.1.2.3", "192.168.7.7,127.0.0.1", "[fd00::5]"]
        {
            let url = format!("postgres://tandem:geheim@{near}/calls");
            assert_eq!(decided(&url), (SslMode::Prefer, Check::Nothing, false), "{url}");
        }
        for unix in
            ["postgres://tandem@/calls?host=/run/postgresql", "postgres://tandem@%2Frun%2Fpostgresql/calls"]
        {
            assert_eq!(decided(unix).0, SslMode::Prefer, "{unix}");
        }
        assert_eq!(decided("postgres://tandem@db/calls?hostaddr=10.0.0.1").0, SslMode::Prefer);
    }

    #[test]
    fn what_the_url_says_is_done() {
        let with = |mode: &str| decided(&format!("postgres://tandem@db.example/calls?sslmode={mode}"));
        assert_eq!(with("disable"), (SslMode::Disable, Check::Nothing, true));
        assert_eq!(with("prefer"), (SslMode::Prefer, Check::Nothing, true));
        assert_eq!(with("require"), (SslMode::Require, Check::AuthorityAndName, false));
        assert_eq!(with("verify-full"), (SslMode::Require, Check::AuthorityAndName, false));
        assert_eq!(with("verify-ca"), (SslMode::Require, Check::Authority, false));
        assert_eq!(decided("postgres://tandem@127.0.0.1/calls?sslmode=require").0, SslMode::Require);
        let file = PostgresUrl::parse("postgres://a@db/c?sslrootcert=%2Fetc%2Froots.pem&application_name=x")
            .expect("a URL");
        assert_eq!(file.authorities.as_deref(), Some("/etc/roots.pem".as_ref()));
        let wrong =
            PostgresUrl::parse("postgres://tandem:geheim@db/calls?sslmode=full").err().expect("refused");
        assert!(wrong.contains("verify-full") && !wrong.contains("geheim"), "{wrong}");
    }
}
