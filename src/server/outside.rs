//! What faces others than switch and model beside the calls: the event socket, the admin server, HTTP tools.
//!
//! Runs in: the main thread, at start. Owns nothing once the threads run.
//! Invariant: event socket and admin server are started only where the configuration asks for them.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use mio::Poll;

use super::Builder;
use super::begin::start;
use crate::net::http_client::HttpClient;
use crate::net::tls;
use crate::sync::{Outbox, mailbox};
use crate::threads::admin::connect::MediaServer;
use crate::threads::admin::{Admin, AdminParts, AdminShared, MediaPort};
use crate::threads::dial::DialPool;
use crate::threads::esl::{self, Esl, EslParts};
use crate::threads::messages::{AcceptOrder, ControlInput, EslOrder};
use crate::threads::recorder::shelf::recordings_directory;
use crate::threads::store::{Reader, StorePlace, StoreStatus};
use crate::threads::tls::{JOBS_MAX, Tls, TlsJob};
use crate::threads::tools::{ToolPool, tool_pool};

impl Builder<'_> {
    /// The thread of the event socket, if there is one.
    pub(super) fn esl(
        &self,
        control: &Outbox<ControlInput>,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> io::Result<Option<Outbox<EslOrder>>> {
        if self.config.esl.host.is_none() {
            return Ok(None);
        }
        let poll = Poll::new()?;
        let own = esl::doorbell(&poll)?;
        let (outbox, inbox) = mailbox(own.clone());
        let config = self.config.esl.clone();
        let esl =
            Esl::new(EslParts { poll, inbox, own, control: control.clone(), config, clock: self.clock });
        threads.push(start("esl", move || esl.run())?);
        Ok(Some(outbox))
    }

    /// The thread of TLS handshakes with switches. Returns the way to it.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(super) fn tls(
        &self,
        acceptor: openssl::ssl::SslAcceptor,
        accept: &Outbox<AcceptOrder>,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> io::Result<Sender<TlsJob>> {
        let (to_tls, jobs) = crossbeam_channel::bounded(JOBS_MAX);
        let tls = Tls { jobs, accept: accept.clone(), acceptor, clock: self.clock };
        threads.push(start("tls", move || tls.run())?);
        Ok(to_tls)
    }

    /// The admin server, which listens and does not serve yet.
    ///
    /// # Errors
    /// Why it cannot listen, with the remedy.
    pub(super) fn admin_shared(
        &self,
        store: &Arc<StoreStatus>,
        media_port: u16,
    ) -> Result<Option<Arc<AdminShared>>, String> {
        let config = self.config;
        let Some(wanted) = config.admin.listen else { return Ok(None) };
        let can_place = config.esl.host.is_some() && config.esl.dial_string.is_some();
        let parts = AdminParts {
            token: config.admin.token.clone(),
            tls: match (&config.admin.tls_certificate, &config.admin.tls_key) {
                (Some(certificate), Some(key)) => Some(tls::acceptor("admin", certificate, key)?),
                _ => None,
            },
            registry: Arc::clone(self.registry),
            agents: Arc::clone(self.agents),
            expected: Arc::clone(self.expected),
            expect: config.listen.expect,
            drain: config.drain.timeout,
            recordings: recordings_directory(&config.recording),
            outbound: can_place.then_some(config.esl.answer_timeout),
            media_server: config
                .asterisk
                .media_url
                .clone()
                .map(|url| MediaServer { url, connect_within: config.gemini.connect_timeout }),
            reader: Arc::new(Reader::new(StorePlace::configured(&config.store))),
            store: Arc::clone(store),
            telephone: MediaPort { port: media_port, tls: config.listen.has_tls() },
            counters: Arc::clone(self.counters),
            limiter: Arc::clone(&self.limiter),
            clock: self.clock,
        };
        match AdminShared::listen(wanted, parts) {
            Ok(shared) => Ok(Some(Arc::new(shared))),
            Err(problem) => Err(format!(
                "the admin server cannot listen on {wanted}: {problem}; set admin.listen to a free address and port, or \
                 to nothing to do without it"
            )),
        }
    }
}

/// The pool of HTTP tools with its threads. There are always some: tools may be configured while the relay runs.
///
/// # Errors
/// Those of starting a thread.
pub(super) fn tools(
    builder: &Builder<'_>,
    tls: native_tls::TlsConnector,
    control: &Outbox<ControlInput>,
    threads: &mut Vec<JoinHandle<()>>,
) -> io::Result<ToolPool> {
    let (pool, thread) = tool_pool(HttpClient::new(tls), control.clone(), builder.clock);
    for n in 0..builder.config.threads.tools {
        let thread = thread.clone();
        threads.push(start(&format!("tools-{n}"), move || {
            thread.run();
            Ok(())
        })?);
    }
    Ok(pool)
}

/// Starts the admin thread.
///
/// # Errors
/// Those of starting a thread.
pub(super) fn start_admin(
    shared: &Arc<AdminShared>,
    control: &Outbox<ControlInput>,
    esl: Option<&Outbox<EslOrder>>,
    dial: &DialPool,
    threads: &mut Vec<JoinHandle<()>>,
) -> io::Result<()> {
    let admin = Admin::new(Arc::clone(shared), control.clone(), esl.cloned(), dial.clone());
    threads.push(start("admin", move || admin.run())?);
    Ok(())
}
