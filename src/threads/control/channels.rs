//! Whether a call's leg is the channel of the switch whose UUID it names, so that the event socket acts on no other.
//!
//! Runs in: the control thread. Owns what is known of it for each call. Anybody who is let in can name any UUID; what counts is
//! that the relay placed the channel or was told of it beforehand, or that the switch says so: a word that nobody can guess is
//! sent over the leg, and comes back as an event of that channel, because mod_audio_stream raises one for each text.
//! Never sends the word anywhere else. Invariant: on a channel that is not known to be the call's nothing is ordered, and no key
//! that is pressed there is heard. (How it was hung up, or that a machine answered, is nobody's secret.)

use std::collections::HashMap;

use log::{debug, warn};

use super::Control;
use crate::base::{CallId, Instant};
use crate::call::{EventSocketOrder, LegKind};
use crate::codec::channel_word::ChannelWord;
use crate::threads::messages::{EslOrder, OnChannel, TelephonyOrder};

/// How long the switch has to say so: it does within milliseconds.
const CONFIRMED_WITHIN_MS: u64 = 2_000;

/// What a call is believed.
#[derive(Clone, Copy)]
enum Claim {
    /// The channel is its own.
    Own,
    /// It says so, and was sent this word then, if it was.
    Said(ChannelWord, Option<Instant>),
}

/// See the head of this file. Calls whose switch has no event socket are not here.
#[derive(Default)]
pub(super) struct Channels(HashMap<CallId, Claim>);

impl Channels {
    /// Whether nothing is known of any call.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The call is over.
    pub(super) fn forget(&mut self, id: CallId) {
        self.0.remove(&id);
    }
}

impl Control {
    /// A call was offered, of whose UUID the relay knew beforehand if `told`. Its leg is at telephony.
    pub(super) fn channel_begins(&mut self, now: Instant, id: CallId, kind: LegKind, told: bool) {
        if self.parts.esl.is_none() || !kind.traits().has_script {
            return;
        }
        let claim = if told { Claim::Own } else { Claim::Said((self.parts.random)(), None) };
        self.channels.0.insert(id, claim);
        let is_named = self.call(id).is_some_and(|call| call.machine.fields().uuid.is_some());
        if is_named && !told {
            self.ask_for_channel(now, id);
        }
    }

    /// Has the event socket carry a command out; on a channel that is not known to be the call's once the switch has said so,
    /// and never if it does not.
    pub(super) fn over_event_socket(&mut self, now: Instant, id: CallId, mut order: EventSocketOrder) {
        self.ask_for_channel(now, id);
        let word = match self.channels.0.get(&id) {
            Some(Claim::Own) => None,
            Some(Claim::Said(word, _)) => Some(*word),
            // The event socket came with a new configuration, or the leg is of another kind: nobody can confirm it.
            None => Some((self.parts.random)()),
        };
        if word.is_some() {
            order.send_by = order.send_by.min(now.plus_ms(CONFIRMED_WITHIN_MS));
        }
        // The machine orders this only where there is an event socket.
        if let Some(esl) = &mut self.parts.esl {
            esl.send(EslOrder::Command { id, order, word });
        }
    }

    /// Whether what the event socket says of a call's channel is to be believed. The word by which it is known is taken here.
    pub(super) fn is_heard_of(&mut self, now: Instant, id: CallId, what: &OnChannel) -> bool {
        match (self.channels.0.get(&id).copied(), what) {
            (Some(Claim::Own), OnChannel::Said(_)) => false,
            (Some(Claim::Own), _) => true,
            (Some(Claim::Said(word, _)), OnChannel::Said(said)) => {
                if word == *said {
                    debug!("call {id}: the switch says that its channel streams here");
                    self.channels.0.insert(id, Claim::Own);
                } else {
                    warn!("call {id}: a word came over its channel that was not sent over its leg");
                }
                false
            }
            (Some(Claim::Said(..)), OnChannel::Key(_)) => {
                self.ask_for_channel(now, id);
                false
            }
            (Some(Claim::Said(..)), _) => true,
            (None, OnChannel::Key(_) | OnChannel::Said(_)) => false,
            (None, _) => true,
        }
    }

    /// Sends the word over the leg, unless that was done just now.
    fn ask_for_channel(&mut self, now: Instant, id: CallId) {
        let Some(Claim::Said(word, asked)) = self.channels.0.get_mut(&id) else { return };
        if asked.is_some_and(|asked| now.since_ms(asked) < CONFIRMED_WITHIN_MS) {
            return;
        }
        *asked = Some(now);
        let word = *word;
        let Some(shard) = self.call(id).map(|call| call.place.shard) else { return };
        self.parts.telephony[shard].send(TelephonyOrder::Challenge(id, word));
    }
}
