//! The relay that runs with this configuration, asked by its admin server.
//!
//! Runs in: the main thread. Owns nothing but where it is. Never waits longer than it is told to.
//! Invariant: the token leaves for the configured address alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Method, header};
use serde_json::Value;

use crate::config::{Config, Secret};
use crate::net::http_client::{HttpClient, HttpRequest};
use crate::net::tls::Client;

/// See the head of this file.
pub(super) struct RunningRelay {
    address: SocketAddr,
    certificate: Option<PathBuf>,
    token: Option<HeaderValue>,
}

impl RunningRelay {
    /// Where it is.
    ///
    /// # Errors
    /// That it takes no requests.
    pub(super) fn of(config: &Config) -> Result<Self, String> {
        let admin = &config.admin;
        let listen = admin.listen.ok_or("admin.listen is not set: the relay takes no requests")?;
        let bearer = |token: &Secret| HeaderValue::from_str(&format!("Bearer {}", token.expose()));
        let token = admin.token.as_ref().map(bearer).transpose();
        let token = token.map_err(|_| "admin.token holds characters that no header may have")?;
        Ok(Self { address: reachable(listen), certificate: admin.tls_certificate.clone(), token })
    }

    /// Asks it, and gives status and body of the answer.
    ///
    /// # Errors
    /// That there is none in time, and what to look for.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<(u16, Value), String> {
        let address = self.address;
        let failed = |problem: &dyn std::fmt::Display| {
            format!(
                "no answer of the relay's admin server at {address}: {problem}; is tandem running with this configuration?"
            )
        };
        // Where the certificate is, it speaks TLS.
        let tls = self.certificate.as_deref().map(Client::of_own_server).transpose();
        let tls = tls.map_err(|problem| failed(&problem))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let request = HttpRequest {
            method,
            url: format!("{scheme}://{address}{path}"),
            headers: self.token.iter().map(|token| (header::AUTHORIZATION, token.clone())).collect(),
            body: body.map(Value::to_string),
            timeout,
        };
        let answer = HttpClient::new(tls).ask(request).map_err(|problem| failed(&problem))?;
        Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
    }
}

/// An address to connect to, where it listens on all.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_every_address_is_reached_on_loopback() {
        for (listen, expected) in
            [("0.0.0.0:9095", "127.0.0.1:9095"), ("[::]:9095", "[::1]:9095"), ("192.0.2.1:1", "192.0.2.1:1")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        }
    }
}
