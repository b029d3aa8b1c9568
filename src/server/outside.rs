//! What faces the operator and the switch beside the calls: the event socket and the admin server.
//!
//! Runs in: the main thread, at start. Owns nothing once the threads run.
//! Invariant: either is started only where the configuration asks for it.

use std::io;
use std::thread::JoinHandle;

use mio::Poll;

use super::Builder;
use super::begin::start;
use crate::sync::{Outbox, mailbox};
use crate::threads::esl::{self, Esl, EslParts};
use crate::threads::messages::{ControlInput, EslOrder};

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
}
