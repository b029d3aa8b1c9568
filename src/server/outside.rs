//! What faces others than switch and model beside the calls: the event socket, the admin server, HTTP tools.
//!
//! Runs in: the main thread, at start. Owns nothing once the threads run.
//! Invariant: event socket and admin server are started only where the configuration asks for them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_channel::Sender;
use mio::Poll;

use super::{Builder, Door};
use crate::config::Config;
use crate::net::http_client::HttpClient;
use crate::net::passed::Passed;
use crate::net::tls::{self, Identity};
use crate::sync::{Outbox, mailbox};
use crate::threads::admin::connect::MediaServer;
use crate::threads::admin::haproxy::listen as listen_for_agent_checks;
use crate::threads::admin::{AdminParts, AdminShared, MediaPort};
use crate::threads::esl::{self, Esl, EslParts};
use crate::threads::messages::{AcceptOrder, EslOrder};
use crate::threads::recorder::shelf::recordings_directory;
use crate::threads::relay::Relay;
use crate::threads::store::{Reader, StorePlace};
use crate::threads::tls::{JOBS_MAX, Tls, TlsJob};
use crate::threads::tools::{ToolPool, tool_pool};

impl Builder<'_> {
    /// The thread of the event socket, if there is one.
    pub(super) fn esl(&mut self) -> io::Result<Option<Outbox<EslOrder>>> {
        if self.config.esl.host.is_none() {
            return Ok(None);
        }
        let poll = Poll::new()?;
        let own = esl::doorbell(&poll)?;
        let (outbox, inbox) = mailbox(own.clone());
        let (control, config) = (self.control.clone(), self.config.esl.clone());
        let esl = Esl::new(EslParts { poll, inbox, own, control, config, clock: self.relay.clock });
        self.start("esl", move || esl.run())?;
        Ok(Some(outbox))
    }

    /// The thread of TLS handshakes with switches. Returns the way to it.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(super) fn tls(
        &mut self,
        identity: Arc<Identity>,
        accept: Outbox<AcceptOrder>,
    ) -> io::Result<Sender<TlsJob>> {
        let (to_tls, jobs) = crossbeam_channel::bounded(JOBS_MAX);
        let tls = Tls { jobs, accept, identity, clock: self.relay.clock };
        self.start("tls", move || tls.run())?;
        Ok(to_tls)
    }

    /// The pool of HTTP tools with its threads. There are always some: tools may be configured while the relay runs.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(super) fn tools(&mut self, connector: native_tls::TlsConnector) -> io::Result<ToolPool> {
        let (pool, thread) = tool_pool(
            HttpClient::new(Some(tls::Client::verifying(connector))),
            self.control.clone(),
            self.relay.clock,
        );
        for n in 0..self.config.threads.tools {
            let thread = thread.clone();
            self.start(&format!("tools-{n}"), move || {
                thread.run();
                Ok(())
            })?;
        }
        Ok(pool)
    }
}

/// The admin server, which listens and does not serve yet.
///
/// # Errors
/// Why it cannot listen, with the remedy.
pub(super) fn admin_shared(
    config: &Config,
    relay: &Relay,
    door: &Door,
    media_port: u16,
    tls: Option<Arc<Identity>>,
    passed: &mut Passed,
) -> Result<Option<Arc<AdminShared>>, String> {
    let passed = passed.admin.take();
    let Some(wanted) = config.admin.listen else {
        return passed.map_or(Ok(None), |_| {
            Err("a socket for the admin server was passed, and admin.listen is set to nothing: set it to the \
                 socket's address, or pass none"
                .to_owned())
        });
    };
    check_passed(config, passed.as_ref().and_then(|socket| socket.local_addr().ok()))?;
    let can_place = config.esl.host.is_some() && config.esl.dial_string.is_some();
    let parts = AdminParts {
        token: config.admin.token.clone(),
        tls,
        expect: config.listen.expect,
        drain: config.drain.timeout,
        leaves_sockets: door.inherited,
        haproxy_agent: listen_for_agent_checks(config.admin.haproxy_agent_listen)?,
        recordings: recordings_directory(&config.recording),
        outbound: can_place.then_some(config.esl.answer_timeout),
        media_server: config
            .asterisk
            .media_url
            .clone()
            .map(|url| MediaServer { url, connect_within: config.gemini.connect_timeout }),
        reader: Arc::new(Reader::new(StorePlace::configured(&config.store))),
        telephone: MediaPort { port: media_port, tls: config.listen.has_tls() },
    };
    match AdminShared::listen(wanted, passed, relay.clone(), parts) {
        Ok(shared) => Ok(Some(Arc::new(shared))),
        Err(problem) => Err(format!(
            "the admin server cannot listen on {wanted}: {problem}; set admin.listen to a free address and port, or \
             to nothing to do without it"
        )),
    }
}

/// What `admin.listen` demands of an address holds for that of a socket that was passed, too.
fn check_passed(config: &Config, address: Option<SocketAddr>) -> Result<(), String> {
    match address.filter(|address| !address.ip().is_loopback() && config.admin.token.is_none()) {
        Some(address) => Err(format!(
            "the socket that was passed for the admin server, {address}, is reachable from other machines and \
             admin.token is not set: set it, or have the socket listen on 127.0.0.1"
        )),
        None => Ok(()),
    }
}
