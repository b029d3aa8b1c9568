//! mod_audio_stream that plays nothing itself, and our global script: each `streamAudio` becomes a file and an event,
//! the script writes it into the file that the channel reads, a clear message takes that file away.
//!
//! Runs in: a callgen worker, one per call; pure (times are given). Owns the events that are under way. Never writes a
//! file. Invariant: one thread handles the events of a call in their order, as tandem_events.lua does, and what was
//! written is heard from the channel's next packet on.
//!
//! Delays measured on FreeSWITCH 1.10.12: message to play event 2 to 20 ms, mostly the lower; clear message to the end of
//! the file 5 to 17 ms.

use std::collections::VecDeque;

use super::Said;
use crate::callgen::clock::Random;
use crate::callgen::ear::Ear;
use crate::callgen::message::{ServerText, read_text};
use tandem::base::SampleRate;

const MS: u64 = 1_000_000;
/// What the script says when the stream is connected.
pub const HELLO: &str = r#"{"type":"tandem","event":"hello","version":2}"#;

/// What the script does when an event has come to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Writes what ends at this position to where the channel reads.
    Play { end: u64, turn: u64 },
    /// Takes the file away, and drops all before this position.
    Break { position: u64 },
}

/// Module and script of one call.
pub struct Script {
    rate: SampleRate,
    random: Random,
    /// Events under way, in their order, with the time at which the script acts.
    acts: VecDeque<(u64, Act)>,
    /// What is older is not played.
    turn: u64,
    /// The turn whose playing was reported, and the chunk that came last.
    reported: Option<u64>,
    /// Times of silence that were reported, and their ns.
    told: (u64, u64),
    last_chunk: Option<(u64, u64)>,
}

impl Script {
    pub(super) fn new(rate: SampleRate, number: u64) -> Self {
        Self {
            rate,
            random: Random::seeded(number),
            acts: VecDeque::new(),
            turn: 0,
            reported: None,
            told: (0, 0),
            last_chunk: None,
        }
    }

    /// An event that takes `from_ms` to `to_ms`, mostly nearer to the first, and overtakes none.
    fn act(&mut self, now_ns: u64, (from_ms, to_ms): (u64, u64), act: Act) {
        let share = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let delay_ns = from_ms * MS + (share * share * ((to_ms - from_ms) * MS) as f64) as u64;
        let earliest_ns = self.acts.back().map_or(0, |(at_ns, _)| *at_ns);
        self.acts.push_back(((now_ns + delay_ns).max(earliest_ns), act));
    }

    pub(super) fn text(&mut self, now_ns: u64, text: &[u8], ear: &mut Ear, said: &mut Said) {
        let mut decoded = std::mem::take(&mut said.decoded);
        match read_text(text, &mut decoded) {
            ServerText::StreamAudio { rate_hz, .. } if rate_hz != self.rate.hz() => {
                said.fail("streamAudio at another rate than the leg's");
            }
            ServerText::StreamAudio { turn, chunk, .. } => {
                let turn = turn.unwrap_or(0);
                // Counted from 1 in each turn.
                let last =
                    self.last_chunk.filter(|(of_turn, _)| *of_turn == turn).map_or(0, |(_, last)| last);
                if chunk.is_some_and(|chunk| chunk != last + 1) {
                    said.fail("a chunk was lost or came twice: its number is not the next");
                }
                self.last_chunk = chunk.map(|chunk| (turn, chunk));
                if said.samples(&decoded) && turn >= self.turn {
                    ear.push(now_ns, &said.audio);
                    self.act(now_ns, (2, 20), Act::Play { end: ear.pushed(), turn });
                }
            }
            ServerText::Clear { turn } => {
                said.is_cleared = true;
                self.turn = turn.unwrap_or(self.turn);
                self.act(now_ns, (5, 17), Act::Break { position: ear.pushed() });
            }
            ServerText::Order { id, order } => {
                said.replies.push(format!(r#"{{"type":"tandem","event":"done","id":{id}}}"#));
                match order.as_str() {
                    "hangup" | "transfer" => said.fail(format!("the relay ordered: {order}")),
                    "break" => self.act(now_ns, (5, 17), Act::Break { position: ear.pushed() }),
                    _ => {}
                }
            }
            ServerText::Unplayable(why) => said.fail(why),
            ServerText::Kill | ServerText::Mark(_) | ServerText::Other => {}
        }
        said.decoded = decoded;
    }

    pub(super) fn event_ns(&self) -> u64 {
        self.acts.front().map_or(u64::MAX, |(at_ns, _)| *at_ns)
    }

    /// The time of [`Self::event_ns`] has come.
    pub(super) fn event(&mut self, ear: &mut Ear, said: &mut Said) {
        match self.acts.pop_front() {
            Some((_, Act::Play { end, turn })) => {
                ear.release_to(end);
                if self.reported != Some(turn) {
                    self.reported = Some(turn);
                    said.replies.push(format!(r#"{{"type":"tandem","event":"playing","turn":{turn}}}"#));
                }
            }
            Some((_, Act::Break { position })) => {
                ear.drop_to(position);
            }
            None => {}
        }
        let heard = (ear.underruns, ear.underrun_ns);
        if heard.0 > self.told.0 {
            let (turn, late, ms) = (self.turn, heard.0 - self.told.0, (heard.1 - self.told.1) / MS);
            said.replies
                .push(format!(r#"{{"type":"tandem","event":"gaps","turn":{turn},"late":{late},"ms":{ms}}}"#));
            self.told = heard;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::Bench;
    use crate::callgen::leg::Leg;
    use crate::callgen::options::Playback;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn bench() -> Bench {
        Bench::new(Leg::ModAudioStream(Playback::File))
    }

    /// A chunk of 100 ms whose samples are all `value`.
    fn chunk(turn: u64, chunk: u64, value: i16) -> String {
        let audio = STANDARD.encode(value.to_le_bytes().repeat(800));
        format!(
            r#"{{"type":"streamAudio","data":{{"audioDataType":"raw","sampleRate":8000,"turn":{turn},"chunk":{chunk},"audioData":"{audio}"}}}}"#
        )
    }

    #[test]
    fn chunks_in_time_with_one_of_lead_play_without_a_gap_and_each_turn_is_reported_once() {
        let mut bench = bench();
        let mut heard = Vec::new();
        for k in 0..20u64 {
            // The first two at once, then one each 100 ms.
            heard.extend(bench.text(1000 + 100 * k.saturating_sub(1), &chunk(7, 1 + k, 1 + k as i16)));
        }
        heard.extend(bench.play(4000));
        assert_eq!((heard.len(), bench.ear.underruns, bench.said.error.take()), (100, 0, None));
        let first = heard[0].0;
        // 2 to 20 ms to the event, up to 20 to the tick.
        assert!((1002..=1040).contains(&first), "{first}");
        assert!(heard.iter().enumerate().all(|(k, at)| *at == (first + 20 * k as u64, 1 + k as i16 / 5)));
        assert_eq!(bench.replies(), [r#"{"type":"tandem","event":"playing","turn":7}"#]);
    }

    #[test]
    fn a_clear_breaks_what_plays_and_nothing_old_is_heard_after() {
        let mut bench = bench();
        for k in 1..4 {
            bench.text(1000, &chunk(1, k, 1));
        }
        let mut heard = bench.play(1100);
        heard.extend(bench.text(1101, r#"{"type":"clearAudio","turn":2}"#));
        assert!(bench.said.is_cleared);
        bench.text(1101, &chunk(1, 4, 1));
        bench.text(1102, &chunk(2, 1, 2));
        heard.extend(bench.play(2000));
        let last_old = heard.iter().filter(|(_, value)| *value == 1).map(|(at, _)| *at).max();
        assert!(last_old.is_some_and(|at| at <= 1101 + 17), "{heard:?}");
        assert_eq!(heard.iter().filter(|(_, value)| *value == 2).count(), 5);
        let playing = |turn| format!(r#"{{"type":"tandem","event":"playing","turn":{turn}}}"#);
        assert_eq!(bench.replies(), [playing(1), playing(2)]);
    }

    #[test]
    fn a_chunk_that_comes_too_late_is_heard_from_the_next_tick_on_and_the_silence_is_told() {
        let mut bench = bench();
        bench.text(1000, &chunk(1, 1, 1));
        bench.play(1200);
        bench.text(1205, &chunk(1, 2, 2));
        let mut heard = bench.play(1300);
        bench.text(1300, &chunk(1, 3, 3));
        heard.extend(bench.play(2000));
        assert!((1207..=1245).contains(&heard[0].0) && bench.ear.underruns == 1, "{heard:?}");
        let gaps = |reply: &&String| reply.contains(r#""event":"gaps","turn":0,"late":1,"ms":"#);
        assert_eq!(bench.replies().iter().filter(gaps).count(), 1);
    }

    #[test]
    fn a_lost_chunk_and_a_wrong_rate_fail_the_call() {
        let mut bench = bench();
        bench.text(1000, &chunk(1, 1, 1));
        bench.text(1100, &chunk(1, 2, 1));
        bench.text(1150, &chunk(2, 1, 1));
        assert_eq!(bench.said.error, None);
        bench.text(1200, &chunk(2, 3, 1));
        assert!(bench.said.error.take().is_some_and(|why| why.contains("chunk")));
        bench.text(1300, &chunk(3, 1, 1).replace("8000", "16000"));
        assert!(bench.said.error.take().is_some_and(|why| why.contains("rate")));
        bench.binary(1400, 160, 1);
        assert!(bench.said.error.take().is_some_and(|why| why.contains("file")));
    }

    #[test]
    fn orders_are_acknowledged_and_a_hang_up_ends_the_call() {
        let mut bench = bench();
        bench.text(1, r#"{"type":"tandem","order":"dtmf","id":5,"digits":"1#"}"#);
        assert_eq!(bench.replies(), [r#"{"type":"tandem","event":"done","id":5}"#]);
        assert_eq!(bench.said.error, None);
        bench.text(2, r#"{"type":"tandem","order":"hangup","id":6,"cause":"NORMAL_CLEARING"}"#);
        assert_eq!(bench.said.error.as_deref(), Some("the relay ordered: hangup"));
    }
}
