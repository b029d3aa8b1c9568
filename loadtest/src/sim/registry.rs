//! Conversations that can be resumed: which exist, and whether a connection still holds them.
//!
//! Runs in: the simulator's thread: pure. Owns the list of conversations.
//! Invariant: a conversation is held by at most one connection.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{event::Fnv1a, model::Refusal};

/// A handle stays valid this long after its connection ended.
const HANDLE_LIFE: Duration = Duration::from_secs(2 * 3600);

/// Every conversation for which handles were given out, by the connection that began it.
#[derive(Debug, Default)]
pub struct Registry {
    /// `None` while a connection holds it, else when it was let go.
    conversations: HashMap<u64, Option<Instant>>,
}

impl Registry {
    /// A new conversation, held by the connection of the same number.
    pub fn begin(&mut self, conversation: u64) {
        self.conversations.insert(conversation, None);
    }

    /// The handle of this serial number.
    pub fn handle(conversation: u64, serial: u64) -> String {
        format!("sim.{conversation}.{serial}.{:016x}", check(conversation, serial))
    }

    /// Resumes by a handle and gives the conversation back, held again.
    ///
    /// # Errors
    /// 1011 while the old connection is open, 1007 for a handle that is none or has expired.
    pub fn resume(&mut self, handle: &str, now: Instant) -> Result<u64, Refusal> {
        let unknown = || Refusal::invalid("Invalid session resumption handle.");
        let conversation = read_handle(handle).ok_or_else(unknown)?;
        let held = self.conversations.get_mut(&conversation).ok_or_else(unknown)?;
        match *held {
            None => {
                Err(Refusal { code: 1011, reason: "Internal error: the session is still in use.".to_owned() })
            }
            Some(since) if now.saturating_duration_since(since) > HANDLE_LIFE => Err(unknown()),
            Some(_) => {
                *held = None;
                Ok(conversation)
            }
        }
    }

    /// The connection that held a conversation is over.
    pub fn let_go(&mut self, conversation: u64, now: Instant) {
        if let Some(held) = self.conversations.get_mut(&conversation) {
            *held = Some(now);
        }
        if self.conversations.len() > 10_000 {
            self.conversations.retain(|_, held| {
                held.is_none_or(|since| now.saturating_duration_since(since) <= HANDLE_LIFE)
            });
        }
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
        assert_eq!(registry.resume(&handle, now).map_err(|refusal| refusal.code), Err(1011));
        registry.let_go(3, now);
        assert_eq!(registry.resume(&handle, now), Ok(3));
        registry.let_go(3, now);
        let late = now + HANDLE_LIFE + Duration::from_secs(1);
        assert_eq!(registry.resume(&handle, late).map_err(|refusal| refusal.code), Err(1007));
        for wrong in ["", "sim.3.1", "sim.3.2.0000000000000000", "sim.4.1.00", &format!("{handle}.5")] {
            assert_eq!(registry.resume(wrong, now).map_err(|refusal| refusal.code), Err(1007), "{wrong}");
        }
    }
}
