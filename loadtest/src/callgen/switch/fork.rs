//! jambonz' mod_audio_fork, bidirectional and binary: the pre-buffer, `killAudio`, marks.
//!
//! Runs in: a callgen worker, one per call; pure. Owns the threshold of the pre-buffer. Never plays a tail that is
//! shorter than the threshold before more comes: the module does not either.
//! Invariant: as jambonz/freeswitch-modules 30f2189, lws_glue.cpp: 160 ms before the first audio of a call, 80 ms
//! afterwards, and then everything that has gathered.

use super::Said;
use crate::callgen::ear::Ear;
use crate::callgen::message::{ServerText, read_text};
use tandem::base::SampleRate;

/// Gathered before the first audio of a call plays.
const FIRST_MS: u32 = 160;
/// Gathered each time later.
const LATER_MS: u32 = 80;

/// The module of one call.
pub struct Fork {
    rate: SampleRate,
    threshold: u64,
}

impl Fork {
    pub(super) fn new(rate: SampleRate) -> Self {
        Self { rate, threshold: rate.samples_in_ms(FIRST_MS) as u64 }
    }

    pub(super) fn binary(&mut self, now_ns: u64, bytes: &[u8], ear: &mut Ear, said: &mut Said) {
        if !said.samples(bytes) {
            return;
        }
        ear.push(now_ns, &said.audio);
        if ear.unreleased() >= self.threshold {
            ear.release_to(ear.pushed());
            self.threshold = self.rate.samples_in_ms(LATER_MS) as u64;
        }
    }

    pub(super) fn text(&mut self, text: &[u8], ear: &mut Ear, said: &mut Said) {
        let mut decoded = std::mem::take(&mut said.decoded);
        let report = |name: &str, event: &str| {
            // The spaces are the module's.
            format!(r#"{{"type": "mark", "data": {{"name":"{name}", "event": "{event}"}}}}"#)
        };
        match read_text(text, &mut decoded) {
            ServerText::Kill => {
                said.is_cleared = true;
                ear.clear();
                // A mark waits in the queue as the report of its playing.
                let cleared = ear.drop_marks().map(|text| text.replace("\"playout\"", "\"cleared\""));
                said.replies.extend(cleared);
            }
            ServerText::Mark(name) => {
                if name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c)) {
                    ear.mark(report(&name, "playout"));
                }
            }
            ServerText::StreamAudio { .. } | ServerText::Unplayable(_) => {
                said.fail("streamAudio on a leg of mod_audio_fork, which does not know it");
            }
            ServerText::Clear { .. } => {
                said.fail("clearAudio on a leg of mod_audio_fork, which knows killAudio only");
            }
            ServerText::Order { .. } | ServerText::Other => {}
        }
        said.decoded = decoded;
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::Bench;
    use crate::callgen::leg::Leg;

    #[test]
    fn the_first_160_ms_are_gathered_and_then_80_each_time() {
        let mut bench = Bench::new(Leg::AudioFork);
        for k in 0..7 {
            assert_eq!(bench.binary(5 + 20 * k, 160, 1), []);
        }
        assert_eq!(bench.play(144), []);
        bench.binary(145, 160, 1);
        // Eight frames from 160 on; the ninth to eleventh wait for the twelfth.
        for k in 0..3 {
            bench.binary(165 + 20 * k, 160, 2);
        }
        assert_eq!(bench.play(400).iter().filter(|(at, _)| *at > 205).count(), 5);
        assert_eq!(bench.ear.unreleased(), 3 * 160);
        bench.binary(405, 160, 3);
        assert_eq!(bench.play(600), [(420, 2), (440, 2), (460, 2), (480, 3)]);
        assert_eq!((bench.ear.underruns, bench.ear.underrun_ns), (1, 100_000_000));
    }

    #[test]
    fn kill_audio_empties_both_buffers_and_reports_the_marks() {
        let mut bench = Bench::new(Leg::AudioFork);
        bench.text(1, r#"{"type":"mark","data":{"name":"m0"}}"#);
        bench.binary(5, 1280, 1);
        bench.text(6, r#"{"type":"mark","data":{"name":"m1"}}"#);
        bench.binary(7, 160, 2);
        assert_eq!(bench.play(25).len(), 1);
        assert_eq!(bench.replies(), [r#"{"type": "mark", "data": {"name":"m0", "event": "playout"}}"#]);
        bench.text(30, r#"{"type":"killAudio"}"#);
        assert_eq!((bench.ear.waiting(), bench.said.is_cleared), (0, true));
        // Byte for byte as captured.
        assert_eq!(bench.replies(), [r#"{"type": "mark", "data": {"name":"m1", "event": "cleared"}}"#]);
        bench.text(31, r#"{"type":"clearAudio"}"#);
        assert!(bench.said.error.take().is_some_and(|why| why.contains("killAudio")));
    }
}
