//! mod_audio_stream as the builds that play by themselves: cloudfieldcz (binary) and 1.0.3 (json).
//!
//! Runs in: a callgen worker, one per call; pure. Owns the rate. Never plays what the build named by the URL would not.
//! Invariant: cloudfieldcz' queue holds 640,000 bytes; a message that does not fit is dropped as a whole, silently, as
//! measured. That of 1.0.3 is not known and has no limit here.

use super::Said;
use crate::callgen::ear::Ear;
use crate::callgen::message::{ServerText, read_text};
use crate::callgen::options::Playback;
use tandem::base::SampleRate;

/// What cloudfieldcz' queue holds, in samples.
const QUEUE_SAMPLES_MAX: u64 = 640_000 / 2;

/// The module of one call.
pub struct Stream {
    rate: SampleRate,
    playback: Playback,
}

impl Stream {
    pub(super) fn new(rate: SampleRate, playback: Playback) -> Self {
        Self { rate, playback }
    }

    pub(super) fn binary(&mut self, now_ns: u64, bytes: &[u8], ear: &mut Ear, said: &mut Said) {
        if self.playback != Playback::Binary {
            said.fail("binary audio on a call with json playback");
            return;
        }
        if said.samples(bytes) {
            if ear.waiting() + said.audio.len() as u64 > QUEUE_SAMPLES_MAX {
                ear.dropped += said.audio.len() as u64;
                return;
            }
            ear.push(now_ns, &said.audio);
            ear.release_to(ear.pushed());
        }
    }

    pub(super) fn text(&mut self, now_ns: u64, text: &[u8], ear: &mut Ear, said: &mut Said) {
        let mut decoded = std::mem::take(&mut said.decoded);
        match (read_text(text, &mut decoded), self.playback) {
            (ServerText::StreamAudio { .. }, Playback::Binary) => {
                said.fail("streamAudio on a call with binary playback");
            }
            (ServerText::StreamAudio { rate_hz, .. }, _) if rate_hz != self.rate.hz() => {
                said.fail("streamAudio at another rate than the leg's");
            }
            (ServerText::StreamAudio { .. }, _) => {
                if said.samples(&decoded) {
                    ear.push(now_ns, &said.audio);
                    ear.release_to(ear.pushed());
                }
            }
            (ServerText::Clear { .. }, _) => {
                said.is_cleared = true;
                ear.clear();
            }
            (ServerText::Unplayable(why), _) => said.fail(why),
            (ServerText::Kill | ServerText::Mark(_) | ServerText::Order { .. } | ServerText::Other, _) => {}
        }
        said.decoded = decoded;
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::Bench;
    use super::*;
    use crate::callgen::leg::Leg;

    #[test]
    fn binary_audio_plays_from_the_next_tick_until_it_is_cleared() {
        let mut bench = Bench::new(Leg::ModAudioStream(Playback::Binary));
        bench.binary(5, 480, 7);
        assert_eq!(bench.play(30), [(20, 7)]);
        assert_eq!(bench.text(45, r#"{"type":"clearAudio"}"#), [(40, 7)]);
        assert!(bench.said.is_cleared);
        assert_eq!(bench.play(200), []);
        // killAudio is another module's word.
        bench.binary(205, 160, 8);
        bench.text(206, r#"{"type":"killAudio"}"#);
        assert_eq!(bench.play(230), [(220, 8)]);
        assert_eq!(bench.said.error, None);
    }

    #[test]
    fn a_message_that_does_not_fit_is_dropped_whole() {
        let mut bench = Bench::new(Leg::ModAudioStream(Playback::Binary));
        bench.binary(5, 319_990, 1);
        bench.binary(6, 20, 2);
        assert_eq!((bench.ear.waiting(), bench.ear.dropped), (319_990, 20));
    }

    #[test]
    fn what_the_build_cannot_play_fails_the_call() {
        let mut bench = Bench::new(Leg::ModAudioStream(Playback::Json));
        bench.binary(5, 160, 1);
        assert!(bench.said.error.take().is_some_and(|why| why.contains("binary audio")));
        let audio = |rate: u32| {
            format!(
                r#"{{"type":"streamAudio","data":{{"audioDataType":"raw","sampleRate":{rate},"audioData":"AAEAAQ=="}}}}"#
            )
        };
        bench.text(6, &audio(8000));
        assert_eq!((bench.ear.waiting(), bench.said.error.take()), (2, None));
        bench.text(7, &audio(16_000));
        assert!(bench.said.error.take().is_some_and(|why| why.contains("another rate")));
        let mut bench = Bench::new(Leg::ModAudioStream(Playback::Binary));
        bench.text(6, &audio(8000));
        assert!(bench.said.error.take().is_some_and(|why| why.contains("binary playback")));
    }
}
