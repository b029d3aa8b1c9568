//! Tokens of Gemini: what `usageMetadata` counts, and what of it is new.
//!
//! Runs in: the gemini thread: pure. Owns, for each link, what was counted last.
//! Never knows a price. Invariant: a token that the server reports several times is counted once.

use super::server::ServerMessage;
use crate::call::model::Tokens;

/// Token counts of `usageMetadata`. The API counts text that goes in because of a tool, and thoughts, beside the prompt and
/// the response, not in them; all are billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens that went in.
    pub prompt_tokens: Option<u64>,
    /// Those of them that are text, where the server says so.
    pub prompt_text_tokens: Option<u64>,
    /// Tokens that came out (`responseTokenCount`, on Vertex `candidatesTokenCount`).
    pub response_tokens: Option<u64>,
    /// Those of them that are text, where the server says so.
    pub response_text_tokens: Option<u64>,
    /// Tokens that were thought and not said.
    pub thoughts_tokens: Option<u64>,
    /// Tokens that went in with the results of tools which the server carries out itself.
    pub tool_use_tokens: Option<u64>,
    /// Those of them that are no text, where the server says so.
    pub tool_use_other_tokens: Option<u64>,
    /// All of them together.
    pub total_tokens: Option<u64>,
}

impl Usage {
    /// The tokens that it counts, each once.
    pub fn tokens(&self) -> Tokens {
        let count = Option::unwrap_or_default;
        let (prompt, response) = (count(self.prompt_tokens), count(self.response_tokens));
        let (thoughts, tool_use) = (count(self.thoughts_tokens), count(self.tool_use_tokens));
        let named = [prompt, response, thoughts, tool_use].into_iter().fold(0, u64::saturating_add);
        // What a later API counts beside these is in the sum alone, and billed.
        let unnamed = count(self.total_tokens).saturating_sub(named);
        let prompt_text = count(self.prompt_text_tokens).min(prompt);
        let response_text = count(self.response_text_tokens).min(response);
        let tool_use_other = count(self.tool_use_other_tokens).min(tool_use);
        Tokens {
            input_text: prompt_text.saturating_add(tool_use - tool_use_other),
            input_audio: (prompt - prompt_text).saturating_add(tool_use_other),
            output_text: response_text,
            output_audio: (response - response_text).saturating_add(unnamed),
            thoughts,
        }
    }
}

/// Counts the tokens of one link. The server reports those of a turn with its end, and may do so before and again: a report
/// replaces the last one of the same turn.
#[derive(Debug, Default)]
pub(crate) struct UsageMeter {
    counted: Tokens,
    /// What the model generates from here on is billed beside what was counted: its turn is over, was interrupted, or waits
    /// for a tool.
    over: bool,
    /// Its turn is over.
    complete: bool,
}

impl UsageMeter {
    /// Takes a message. Returns the tokens that it counts and none before it did.
    pub(crate) fn take(&mut self, message: &ServerMessage<'_>) -> Option<Tokens> {
        let generates = message.audio_samples > 0
            || message.has_text
            || message.output_transcription.is_some()
            || !message.tool_calls.is_empty();
        if self.over && generates {
            *self = Self::default();
        }
        let tokens = message.usage.map(|usage| usage.tokens());
        let new = tokens.and_then(|tokens| {
            // The end of another turn, in which the model said nothing.
            if self.complete && message.turn_complete && tokens != self.counted {
                self.counted = Tokens::default();
            }
            let new = tokens.each(self.counted, u64::saturating_sub);
            self.counted = self.counted.each(tokens, u64::max);
            (new != Tokens::default()).then_some(new)
        });
        self.complete |= message.turn_complete;
        self.over |= message.turn_complete || message.interrupted || !message.tool_calls.is_empty();
        new
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::FunctionCall;
    use super::*;

    fn usage(prompt: u64, response: u64) -> Option<Usage> {
        Some(Usage { prompt_tokens: Some(prompt), response_tokens: Some(response), ..Usage::default() })
    }

    fn spoken(usage: Option<Usage>) -> ServerMessage<'static> {
        ServerMessage { audio_samples: 480, usage, ..ServerMessage::default() }
    }

    fn complete(usage: Option<Usage>) -> ServerMessage<'static> {
        ServerMessage { turn_complete: true, usage, ..ServerMessage::default() }
    }

    fn total(messages: &[ServerMessage<'_>]) -> (u64, u64) {
        let mut meter = UsageMeter::default();
        let mut sum = Tokens::default();
        messages.iter().filter_map(|message| meter.take(message)).for_each(|new| sum.add(new));
        (sum.input(), sum.output())
    }

    #[test]
    fn every_token_that_is_billed_is_counted_by_what_it_is() {
        let usage = Usage {
            prompt_tokens: Some(1000),
            prompt_text_tokens: Some(700),
            response_tokens: Some(100),
            thoughts_tokens: Some(900),
            tool_use_tokens: Some(50),
            total_tokens: Some(2050),
            ..Usage::default()
        };
        let tokens = usage.tokens();
        let expected =
            Tokens { input_text: 750, input_audio: 300, output_text: 0, output_audio: 100, thoughts: 900 };
        assert_eq!((tokens, tokens.total()), (expected, 2050));
        let unnamed = Usage { total_tokens: Some(2060), ..usage };
        assert_eq!(unnamed.tokens().total(), 2060, "what has no name here is billed all the same");
        let absurd = Usage { prompt_tokens: Some(u64::MAX), thoughts_tokens: Some(u64::MAX), ..usage };
        assert_eq!(absurd.tokens().total(), u64::MAX);
        let contradictory = Usage { prompt_text_tokens: Some(2000), ..usage };
        assert_eq!(contradictory.tokens().total(), 2050);
    }

    #[test]
    fn a_report_that_comes_again_or_grows_within_its_turn_is_counted_once() {
        assert_eq!(total(&[spoken(None), complete(usage(100, 10))]), (100, 10));
        let again = ServerMessage { usage: usage(100, 10), ..ServerMessage::default() };
        let messages =
            [spoken(usage(100, 4)), spoken(usage(100, 7)), complete(usage(100, 10)), again.clone(), again];
        assert_eq!(total(&messages), (100, 10));
    }

    #[test]
    fn an_interruption_does_not_count_its_turn_twice() {
        let interrupted = ServerMessage { interrupted: true, ..ServerMessage::default() };
        let turns = [
            spoken(usage(100, 4)),
            interrupted,
            complete(usage(100, 7)),
            spoken(None),
            complete(usage(120, 9)),
        ];
        assert_eq!(total(&turns), (220, 16));
    }

    #[test]
    fn each_turn_is_counted_though_it_is_like_the_last() {
        let turns = [spoken(None), complete(usage(100, 10)), spoken(None), complete(usage(100, 10))];
        assert_eq!(total(&turns), (200, 20));
        // One in which nothing was said, as the context grows.
        let silent = [spoken(None), complete(usage(100, 10)), complete(usage(120, 0))];
        assert_eq!(total(&silent), (220, 10));
        let again = [spoken(None), complete(usage(100, 10)), complete(usage(100, 10))];
        assert_eq!(total(&again), (100, 10), "the same end told twice");
    }

    #[test]
    fn what_a_call_of_a_tool_costs_is_counted_beside_the_answer_that_follows_it() {
        let call = FunctionCall { name: "book".into(), ..FunctionCall::default() };
        let calls =
            ServerMessage { tool_calls: vec![call], usage: usage(100, 5), ..ServerMessage::default() };
        let late = ServerMessage { usage: usage(100, 5), ..ServerMessage::default() };
        assert_eq!(total(&[calls, late, spoken(None), complete(usage(130, 20))]), (230, 25));
    }
}
