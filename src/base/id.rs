//! Ids: a call's slot and generation, the name of its record, and the number of a link within its session.
//!
//! Runs in: anywhere: pure. Owns nothing.
//! Invariant: two calls never have equal ids while anything still names the older one: a slot that is used again has
//! a higher generation.

use std::fmt;

use uuid::fmt::Hyphenated;
use uuid::{Builder, Uuid};

/// A call, named by the slot it occupies in every per-thread table and the generation of that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    /// The index into per-thread tables; below the configured limit of calls.
    pub slot: u32,
    /// How often the slot has been given away, counted from 1.
    pub generation: u32,
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// The name of a call for ever: in its record, its recording, the API and the page. A UUID of version 7 (RFC 9562 section
/// 5.7), so that ids of later calls sort behind those of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(Uuid);

impl RecordId {
    /// Of a call that was offered at this millisecond since 1970, made unique by `chance`.
    pub const fn new(unix_ms: u64, chance: u128) -> Self {
        let [_, _, _, _, _, _, chance @ ..] = chance.to_be_bytes();
        Self(Builder::from_unix_timestamp_millis(unix_ms, &chance).into_uuid())
    }

    /// The id that is written so: 36 characters, as [`fmt::Display`] writes it, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().filter(|_| text.len() == Hyphenated::LENGTH).map(Self)
    }

    /// The millisecond since 1970 at which its call was offered.
    pub const fn unix_ms(self) -> u64 {
        (self.0.as_u128() >> 80) as u64
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a link within its session, counted from 1. What arrives from an older link than the current one is
/// stale.
pub type LinkNumber = u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_id_is_a_uuid_of_version_7_that_sorts_by_time_and_is_read_back() {
        let id = RecordId::new(0x0123_4567_89ab, u128::MAX);
        assert_eq!(id.to_string(), "01234567-89ab-7fff-bfff-ffffffffffff");
        assert_eq!(RecordId::new(0x0123_4567_89ab, 0).to_string(), "01234567-89ab-7000-8000-000000000000");
        assert_eq!(RecordId::parse(&id.to_string().to_uppercase()), Some(id));
        assert_eq!(id.unix_ms(), 0x0123_4567_89ab);
        assert!(id < RecordId::new(0x0123_4567_89ac, 0));
        for wrong in ["", "01234567-89ab-7fff-bfff-fffffffffff", "0123456789ab-7fff-bfff-ffffffffffff-", "é"]
        {
            assert_eq!(RecordId::parse(wrong), None, "{wrong}");
        }
    }
}
