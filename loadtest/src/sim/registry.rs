//! What outlives a connection: conversations that can be resumed, and how many sessions each key has open.
//!
//! Runs in: the simulator's thread: pure, save that tests may mark keys as failing from their own. Owns the list of
//! conversations and the counts.
//! Invariant: a conversation is held by at most one connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{event::Fnv1a, fault::Fault, model::Refusal};

/// A handle stays valid this long after its connection ended.
const HANDLE_LIFE: Duration = Duration::from_secs(2 * 3600);

/// Keys that fail, and how: `Fault::Http` at the upgrade, `Fault::Close` at the setup.
pub(super) type FailingKeys = Arc<Mutex<HashMap<String, Fault>>>;

/// What the service remembers of a conversation between two connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    /// Setups that came with one of its handles and were not refused.
    pub resumes: u64,
    /// Tokens of text heard.
    pub prompt_tokens: u64,
    /// Samples of audio heard, at 16 kHz.
    pub heard_samples: u64,
    /// `serverContent` with the transcriptions of its last turn, both sides, as they were sent.
    pub transcripts: Vec<Value>,
    /// What of a turn was not sent when the connection ended: samples at 24 kHz and the words.
    pub unfinished: Option<(Arc<[i16]>, String)>,
}

#[derive(Debug)]
struct Conversation {
    /// `None` while a connection holds it, else when it was let go.
    free_since: Option<Instant>,
    memory: Memory,
}

/// Every conversation for which handles were given out, by the connection that began it.
#[derive(Debug, Default)]
pub(super) struct Registry {
    conversations: HashMap<u64, Conversation>,
    sessions: HashMap<String, usize>,
    /// Keys that fail.
    pub failing: FailingKeys,
}

impl Registry {
    /// A new conversation, held by the connection of the same number.
    pub(super) fn begin(&mut self, conversation: u64) {
        let begun = Conversation { free_since: None, memory: Memory::default() };
        self.conversations.insert(conversation, begun);
    }

    /// The handle of this serial number.
    pub(super) fn handle(conversation: u64, serial: u64) -> String {
        format!("sim.{conversation}.{serial}.{:016x}", check(conversation, serial))
    }

    /// Resumes by a handle and gives the conversation back, held again, with what is remembered of it.
    ///
    /// # Errors
    /// 1011 while the old connection is open, 1007 for a handle that is none or has expired.
    pub(super) fn resume(&mut self, handle: &str, now: Instant) -> Result<(u64, Memory), Refusal> {
        let unknown = || Refusal::invalid("Invalid session resumption handle.");
        let number = read_handle(handle).ok_or_else(unknown)?;
        let conversation = self.conversations.get_mut(&number).ok_or_else(unknown)?;
        match conversation.free_since {
            None => {
                Err(Refusal { code: 1011, reason: "Internal error: the session is still in use.".to_owned() })
            }
            Some(since) if now.saturating_duration_since(since) > HANDLE_LIFE => Err(unknown()),
            Some(_) => {
                conversation.free_since = None;
                conversation.memory.resumes += 1;
                Ok((number, conversation.memory.clone()))
            }
        }
    }

    /// The connection that held a conversation is over; `None` leaves what is remembered as it was.
    pub(super) fn let_go(&mut self, conversation: u64, memory: Option<Memory>, now: Instant) {
        if let Some(held) = self.conversations.get_mut(&conversation) {
            held.free_since = Some(now);
            if let Some(memory) = memory {
                held.memory = memory;
            }
        }
        if self.conversations.len() > 10_000 {
            self.conversations.retain(|_, conversation| {
                conversation
                    .free_since
                    .is_none_or(|since| now.saturating_duration_since(since) <= HANDLE_LIFE)
            });
        }
    }

    /// Sessions that a key has open.
    pub(super) fn sessions(&self, key: &str) -> usize {
        self.sessions.get(key).copied().unwrap_or(0)
    }

    /// One more session of a key.
    pub(super) fn enter(&mut self, key: &str) {
        *self.sessions.entry(key.to_owned()).or_default() += 1;
    }

    /// One less.
    pub(super) fn leave(&mut self, key: &str) {
        if let Some(count) = self.sessions.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.sessions.remove(key);
            }
        }
    }

    /// How a key fails now, if it does.
    pub(super) fn failure(&self, key: &str) -> Option<Fault> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

fn check(conversation: u64, serial: u64) -> u64 {
    let mut fnv = Fnv1a::default();
    fnv.update(b"handle");
    fnv.update(&conversation.to_le_bytes());
    fnv.update(&serial.to_le_bytes());
    fnv.digest()
}

fn read_handle(handle: &str) -> Option<u64> {
    let mut parts = handle.strip_prefix("sim.")?.split('.');
    let conversation = parts.next()?.parse().ok()?;
    let serial = parts.next()?.parse().ok()?;
    let sum = u64::from_str_radix(parts.next()?, 16).ok()?;
    (parts.next().is_none() && sum == check(conversation, serial)).then_some(conversation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_resumed_only_after_it_was_let_go_and_not_for_ever() {
        let now = Instant::now();
        let mut registry = Registry::default();
        registry.begin(3);
        let handle = Registry::handle(3, 1);
        assert_eq!(registry.resume(&handle, now).map_err(|refusal| refusal.code).err(), Some(1011));
        let memory = Memory { heard_samples: 7, ..Memory::default() };
        registry.let_go(3, Some(memory), now);
        let (conversation, memory) = registry.resume(&handle, now).unwrap();
        assert_eq!((conversation, memory.heard_samples, memory.resumes), (3, 7, 1));
        registry.let_go(3, None, now);
        let late = now + HANDLE_LIFE + Duration::from_secs(1);
        assert_eq!(registry.resume(&handle, late).map_err(|refusal| refusal.code).err(), Some(1007));
        for wrong in ["", "sim.3.1", "sim.3.2.0000000000000000", "sim.4.1.00", &format!("{handle}.5")] {
            assert_eq!(
                registry.resume(wrong, now).map_err(|refusal| refusal.code).err(),
                Some(1007),
                "{wrong}"
            );
        }
    }

    #[test]
    fn sessions_are_counted_by_key() {
        let mut registry = Registry::default();
        registry.enter("a");
        registry.enter("a");
        registry.enter("b");
        registry.leave("a");
        registry.leave("c");
        assert_eq!(["a", "b", "c"].map(|key| registry.sessions(key)), [1, 1, 0]);
    }
}
