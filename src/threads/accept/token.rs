//! The token of a leg: looked at, unless its address guesses.
//!
//! Runs in: the accept thread. Owns nothing.
//! Never says which of a wrong and a missing token it was; never logs either.

use log::warn;

use super::Acceptor;
use super::request::Upgrade;
use crate::base::Instant;
use crate::call::LegKind;
use crate::telemetry::{RefusalReason, Refused};

impl Acceptor {
    /// Whether the token is the right one, if one is asked for. If not: why not, and for how many milliseconds the answer is held
    /// back, which grows with the wrong tokens of the address; where too many come, none is looked at.
    pub(super) fn judge_token(
        &mut self,
        now: Instant,
        upgrade: &Upgrade,
    ) -> Result<(), (Refused<'static>, u64)> {
        let Some(expected) = &self.parts.listen.token else { return Ok(()) };
        let Some(token) = &upgrade.facts.token else {
            return Err((RefusalReason::Token.explained(), 0));
        };
        let address = upgrade.peer.ip();
        if self.guesses.may_try(now, address).is_err() {
            // Not for its token, which nobody has looked at: a switch there may try again.
            let why = "too many wrong tokens from this address: try again in some seconds";
            return Err(((RefusalReason::RateLimited, why), 0));
        }
        if token.matches(expected.expose().as_bytes()) {
            return Ok(());
        }
        let penance = self.guesses.wrong(now, address);
        if let Some(count) = penance.told {
            warn!(
                "{count} wrong token(s) from {address} at the port of the legs: told again in a minute; a switch with an old \
                 token, or somebody who guesses (listen.token, listen.allow)"
            );
        }
        Err((RefusalReason::Token.explained(), penance.delay_ms))
    }

    /// Where a token is asked for that a leg has no place for, an announcement stands for it.
    pub(super) fn must_be_expected(&self, kind: LegKind) -> bool {
        let listen = &self.parts.listen;
        !kind.traits().has_token && (listen.require_expected || listen.token.is_some())
    }
}
