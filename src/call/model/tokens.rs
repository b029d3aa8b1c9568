//! Tokens, as a call counts them.
//!
//! Runs in: anywhere: pure. Owns nothing. Never knows a price.
//! Invariant: sums never overflow.

/// Tokens as they are billed. Thoughts are text, though nobody hears them, and cost what text does unless told otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Text that went in.
    pub input_text: u64,
    /// Audio that went in, and what the server does not say of what it is.
    pub input_audio: u64,
    /// Text that came out.
    pub output_text: u64,
    /// Audio that came out, and what the server does not say of what it is.
    pub output_audio: u64,
    /// What was thought.
    pub thoughts: u64,
}

impl Tokens {
    /// All that went in.
    pub fn input(&self) -> u64 {
        self.input_text.saturating_add(self.input_audio)
    }

    /// All that came out, thoughts among it.
    pub fn output(&self) -> u64 {
        self.output_text.saturating_add(self.output_audio).saturating_add(self.thoughts)
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.input().saturating_add(self.output())
    }

    /// Adds others to these.
    pub fn add(&mut self, other: Self) {
        *self = self.each(other, u64::saturating_add);
    }

    /// Each number of both, put together.
    pub(crate) fn each(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            input_text: of(self.input_text, other.input_text),
            input_audio: of(self.input_audio, other.input_audio),
            output_text: of(self.output_text, other.output_text),
            output_audio: of(self.output_audio, other.output_audio),
            thoughts: of(self.thoughts, other.thoughts),
        }
    }
}
