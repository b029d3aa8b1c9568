//! Which credential a call's link is made with, and what becomes of links is told to the pool of credentials.
//!
//! Runs in: the control thread. Owns nothing of its own.
//! Never blocks: a credential is chosen from memory, and so is its token.
//! Invariant: a link that no credential could take, or that cannot be asked for, ends in one `LinkGone` at the machine.

use std::sync::Arc;

use log::{debug, info};

use super::Control;
use crate::admission::credentials::is_worth_another_credential;
use crate::base::{CallId, Instant, LinkNumber};
use crate::call::model::LinkEnd;
use crate::call::{CredentialView, Fact};
use crate::threads::messages::{DialRequest, LinkRequest};

/// The link that a call's machine ordered last and did not close.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) link: LinkNumber,
    /// The number of its credential.
    credential: usize,
    /// Its setup is complete.
    ready: bool,
    /// Credentials that refused it.
    refused_by: Vec<usize>,
    /// When it was ordered, with this credential.
    since: Instant,
    /// When it should have been ready, or on the way to it.
    due: Instant,
}

impl Control {
    /// Has a link connected, as the call's machine orders.
    pub(super) fn dial(&mut self, now: Instant, id: CallId, link: LinkNumber) {
        if !self.dial_with_another(now, id, link, Vec::new())
            && let Some(call) = self.call(id)
        {
            let last = call.refusal.take().unwrap_or_default();
            call.machine.tell(now, Fact::LinkGone(link, LinkEnd::no_credential(&last)));
        }
    }

    /// Has a link connected with none of the credentials that refused it; false where no other can take it.
    fn dial_with_another(
        &mut self,
        now: Instant,
        id: CallId,
        link: LinkNumber,
        refused_by: Vec<usize>,
    ) -> bool {
        let Some((chosen, target)) = self.relay.credentials.choose(now, id, &refused_by) else {
            debug!("call {id}: link {link}: no credential has room for it");
            return false;
        };
        let Some(call) = self.call(id) else { return true };
        let name = &chosen.terms.name;
        if chosen.moved {
            info!("call {id}: goes on with credential {name:?}");
        } else {
            debug!("call {id}: link {link} with credential {name:?}");
        }
        call.credential = Some(Arc::clone(name));
        let view =
            CredentialView { number: chosen.number, model_prefix: chosen.terms.model_prefix.as_deref() };
        let setup = Box::new(call.machine.setup(&view));
        let deadline = now.plus(call.machine.agent().terms.dial_timeout);
        let credential = chosen.number;
        call.dialled =
            Some(Dialled { link, credential, ready: false, refused_by, since: now, due: deadline });
        let shard = call.place.shard;
        let request = LinkRequest { id, link, credential: chosen.number, target, setup, deadline, shard };
        if let Err(why) = (self.parts.dial)(DialRequest::Link(request))
            && let Some(call) = self.call(id)
        {
            call.dialled = None;
            call.machine.tell(now, Fact::LinkGone(link, LinkEnd::dropped(&why)));
        }
        true
    }

    /// Notes that the machine closes a link. One that had its time and is not ready speaks against its credential.
    pub(super) fn link_closed(&mut self, now: Instant, id: CallId, link: LinkNumber) {
        let credentials = Arc::clone(&self.relay.credentials);
        let Some(call) = self.call(id) else { return };
        if let Some(dialled) = call.dialled.take_if(|dialled| dialled.link == link)
            && !dialled.ready
            && now >= dialled.due
        {
            let end = LinkEnd::dropped("not ready in time");
            let pool = credentials.pool();
            credentials.note(pool.link_ended(now, Some(id), dialled.credential, &end, true));
        }
    }

    /// Tells the pool what a fact says of a credential. Returns whether the fact is dealt with: a link that its credential
    /// refused is made with another one, and the machine waits on.
    pub(super) fn tell_pool(&mut self, now: Instant, id: CallId, fact: &Fact) -> bool {
        let credentials = Arc::clone(&self.relay.credentials);
        let counters = Arc::clone(&self.relay.counters);
        let Some(call) = self.call(id) else { return false };
        match fact {
            Fact::SetupComplete(link) => {
                if let Some(dialled) = call.dialled.as_mut().filter(|dialled| dialled.link == *link) {
                    let before = std::mem::replace(&mut dialled.ready, true);
                    if let Some(name) = call.credential.as_ref().filter(|_| !before) {
                        counters.credential_setup.observe(name, now.since(dialled.since));
                    }
                    call.refusal = None;
                    credentials.note(credentials.pool().ready(id, dialled.credential));
                }
                false
            }
            Fact::LinkGone(link, end) => {
                let Some(mut dialled) = call.dialled.take_if(|dialled| dialled.link == *link) else {
                    return false;
                };
                let during_setup = !dialled.ready;
                let pool = credentials.pool();
                credentials.note(pool.link_ended(now, Some(id), dialled.credential, end, during_setup));
                if !during_setup || !is_worth_another_credential(end.kind) {
                    return false;
                }
                call.refusal = Some(end.said());
                dialled.refused_by.push(dialled.credential);
                self.dial_with_another(now, id, *link, dialled.refused_by)
            }
            _ => false,
        }
    }
}
