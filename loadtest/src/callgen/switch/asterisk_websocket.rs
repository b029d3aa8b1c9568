//! Asterisk's chan_websocket as the client, with JSON control: the queue of 20 ms frames, bulk mode, flow control.
//!
//! Runs in: a callgen worker, one per call; pure. Owns the modes; the queue is the call's ear. Never sends silence: with
//! an empty queue nothing goes to the caller (since 22.9). Invariant: as measured with Asterisk 22.10.1: outside
//! START/STOP_MEDIA_BUFFERING what is left of a message behind its last whole frame is discarded; XOFF at 900 frames,
//! XON below 800, from 1000 on messages are dropped silently; FLUSH_MEDIA loses marks and ends bulk mode.

use super::Said;
use crate::callgen::ear::Ear;
use serde::Deserialize;
use tandem::base::SampleRate;

/// The queue tells the application to wait from here on.
const XOFF_FRAMES: u64 = 900;
/// The queue takes audio again below this.
const XON_FRAMES: u64 = 800;
/// A message that finds so many frames is dropped.
const QUEUE_FRAMES_MAX: u64 = 1000;
/// A frame, header included, may have 65,535 bytes; 65,536 of payload were answered with 1009.
const MESSAGE_BYTES_MAX: usize = 65_535 - 4;
/// Longest command.
const COMMAND_BYTES_MAX: usize = 128;

#[derive(Deserialize)]
struct Command {
    command: String,
    #[serde(default)]
    correlation_id: Option<String>,
}

/// The channel of one call.
pub struct AsteriskWebSocket {
    rate: SampleRate,
    channel_id: String,
    /// Between START and STOP_MEDIA_BUFFERING.
    bulk: bool,
    is_full: bool,
    reports_drained: bool,
}

impl AsteriskWebSocket {
    pub(super) fn new(rate: SampleRate, number: u64) -> Self {
        let channel_id = format!("1795335127.{number}");
        Self { rate, channel_id, bulk: false, is_full: false, reports_drained: false }
    }

    /// The first text of a call.
    pub(super) fn media_start(&self) -> String {
        let rate_khz = self.rate.hz() / 1000;
        let format = if rate_khz == 8 { "slin".to_owned() } else { format!("slin{rate_khz}") };
        let (id, bytes) = (&self.channel_id, self.rate.samples_per_frame() * 2);
        format!(
            r#"{{"event":"MEDIA_START","connection_id":"tandem","channel":"WebSocket/tandem/0x7efcdc002390","channel_id":"{id}","format":"{format}","optimal_frame_size":{bytes},"ptime":20,"channel_variables":{{"DIALEDPEERNUMBER":"tandem/c({format})f(json)","MEDIA_WEBSOCKET_CONNECTION_ID":"tandem","MEDIA_WEBSOCKET_OPTIMAL_FRAME_SIZE":"{bytes}"}}}}"#
        )
    }

    fn event(&self, name: &str, more: &str) -> String {
        format!(r#"{{"event":"{name}","channel_id":"{}"{more}}}"#, self.channel_id)
    }

    fn frames_queued(&self, ear: &Ear) -> u64 {
        (ear.waiting() - ear.unreleased()) / self.rate.samples_per_frame() as u64
    }

    pub(super) fn binary(&mut self, now_ns: u64, bytes: &[u8], ear: &mut Ear, said: &mut Said) {
        if bytes.len() > MESSAGE_BYTES_MAX {
            said.fail("Asterisk: 1009, a message of more than 65,531 bytes");
            return;
        }
        if !said.samples(bytes) {
            return;
        }
        let length = said.audio.len();
        if self.frames_queued(ear) >= QUEUE_FRAMES_MAX {
            ear.dropped += length as u64;
            return;
        }
        let frame = self.rate.samples_per_frame();
        let kept = if self.bulk { length } else { length / frame * frame };
        ear.dropped += (length - kept) as u64;
        ear.push(now_ns, said.audio.get(..kept).unwrap_or(&[]));
        ear.release_to(ear.pushed() - ear.unreleased() % frame as u64);
        if self.frames_queued(ear) >= XOFF_FRAMES && !self.is_full {
            self.is_full = true;
            said.replies.push(self.event("MEDIA_XOFF", ""));
        }
    }

    pub(super) fn text(&mut self, now_ns: u64, text: &[u8], ear: &mut Ear, said: &mut Said) {
        let text = String::from_utf8_lossy(text);
        let text = text.trim();
        if text.len() > COMMAND_BYTES_MAX {
            said.fail("Asterisk: a command of more than 128 bytes");
            return;
        }
        let (command, id) = if text.starts_with('{') {
            match serde_json::from_str::<Command>(text) {
                Ok(Command { command, correlation_id }) => (command, correlation_id),
                Err(_) => {
                    said.fail("Asterisk: a command that is no JSON");
                    return;
                }
            }
        } else {
            let (command, id) = text.split_once(' ').map_or((text, None), |(name, id)| (name, Some(id)));
            (command.to_owned(), id.map(str::to_owned))
        };
        let id = id
            .map_or_else(String::new, |id| format!(r#","correlation_id":{}"#, serde_json::Value::String(id)));
        match command.as_str() {
            "START_MEDIA_BUFFERING" => self.bulk = true,
            "STOP_MEDIA_BUFFERING" => {
                self.bulk = false;
                // The tail is a short frame; it takes a whole tick.
                let tail = ear.unreleased() as usize;
                if tail > 0 {
                    let padding = self.rate.samples_per_frame().saturating_sub(tail);
                    ear.push(now_ns, &[0; 960][..padding.min(960)]);
                    ear.release_to(ear.pushed());
                }
                ear.mark(self.event("MEDIA_BUFFERING_COMPLETED", &id));
            }
            "MARK_MEDIA" => ear.mark(self.event("MEDIA_MARK_PROCESSED", &id)),
            "FLUSH_MEDIA" => {
                self.bulk = false;
                said.is_cleared = true;
                ear.clear();
                drop(ear.drop_marks());
            }
            "REPORT_QUEUE_DRAINED" => self.reports_drained = true,
            "GET_STATUS" => {
                let (queued, is_full) = (self.frames_queued(ear), self.is_full);
                let (bulk, is_held) = (self.bulk, ear.is_held);
                said.replies.push(self.event("STATUS", &format!(
                    r#","queue_length":{queued},"xon_level":{XON_FRAMES},"xoff_level":{XOFF_FRAMES},"queue_full":{is_full},"bulk_media":{bulk},"media_paused":{is_held}"#
                )));
            }
            "PAUSE_MEDIA" => ear.is_held = true,
            "CONTINUE_MEDIA" => ear.is_held = false,
            "ANSWER" | "SET_MEDIA_DIRECTION" => {}
            "HANGUP" => said.fail("hung up by the relay"),
            // Asterisk only logs it; from our relay it is a mistake.
            _ => said.fail(format!("Asterisk: unknown command {command:.40}")),
        }
    }

    /// The timer has played.
    pub(super) fn played(&mut self, ear: &Ear, said: &mut Said) {
        if self.is_full && self.frames_queued(ear) < XON_FRAMES {
            self.is_full = false;
            said.replies.push(self.event("MEDIA_XON", ""));
        }
        if self.reports_drained && ear.waiting() == 0 {
            self.reports_drained = false;
            said.replies.push(self.event("QUEUE_DRAINED", ""));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::Bench;
    use crate::callgen::leg::Leg;

    fn bench() -> Bench {
        Bench::new(Leg::ChanWebSocket)
    }

    #[test]
    fn outside_buffering_the_remainder_of_each_message_is_discarded() {
        let mut bench = bench();
        // Half a frame each: nothing is ever heard.
        for k in 0..10 {
            bench.binary(5 + k, 80, 1);
        }
        assert_eq!((bench.play(100), bench.ear.dropped), (vec![], 800));
        bench.binary(105, 350, 2);
        assert_eq!((bench.play(200), bench.ear.dropped), (vec![(120, 2), (140, 2)], 830));
    }

    #[test]
    fn between_start_and_stop_leftovers_carry_over_and_the_tail_is_a_frame() {
        let mut bench = bench();
        bench.text(1, r#"{"command":"START_MEDIA_BUFFERING"}"#);
        bench.binary(5, 100, 1);
        bench.binary(6, 100, 2);
        assert_eq!(bench.play(30), [(20, 1), (32, 2)]);
        bench.text(35, r#"{"command":"STOP_MEDIA_BUFFERING","correlation_id":"s"}"#);
        bench.binary(36, 160, 3);
        assert_eq!(bench.play(100), [(40, 2), (45, 0), (60, 3)]);
        let completed =
            r#"{"event":"MEDIA_BUFFERING_COMPLETED","channel_id":"1795335127.0","correlation_id":"s"}"#;
        assert_eq!(bench.replies(), [completed]);
    }

    #[test]
    fn a_mark_is_processed_when_the_audio_before_it_is_played() {
        let mut bench = bench();
        bench.binary(5, 320, 1);
        bench.text(6, "MARK_MEDIA here");
        bench.play(40);
        assert!(bench.replies().is_empty());
        bench.play(60);
        let mark = r#"{"event":"MEDIA_MARK_PROCESSED","channel_id":"1795335127.0","correlation_id":"here"}"#;
        assert_eq!(bench.replies(), [mark]);
    }

    #[test]
    fn a_flush_empties_the_queue_loses_marks_and_ends_bulk_mode() {
        let mut bench = bench();
        bench.text(1, r#"{"command":"START_MEDIA_BUFFERING"}"#);
        bench.binary(5, 1700, 1);
        bench.text(6, r#"{"command":"MARK_MEDIA","correlation_id":"lost"}"#);
        assert_eq!(bench.text(45, r#"{"command":"FLUSH_MEDIA"}"#), [(20, 1), (40, 1)]);
        assert!(bench.said.is_cleared);
        assert_eq!((bench.play(200), bench.replies()), (vec![], vec![]));
        bench.binary(205, 80, 2);
        assert_eq!(bench.play(300), [], "bulk mode has ended");
        bench.binary(305, 160, 3);
        assert_eq!(bench.play(330), [(320, 3)]);
    }

    #[test]
    fn the_queue_says_when_it_is_full_and_drops_from_1000_frames_on() {
        let mut bench = bench();
        // Nothing is played at once: 45 messages of 20 frames.
        for _ in 0..45 {
            bench.binary(1, 3200, 1);
        }
        let event = |name: &str| format!(r#"{{"event":"{name}","channel_id":"1795335127.0"}}"#);
        assert_eq!(bench.replies(), [event("MEDIA_XOFF")]);
        for _ in 0..10 {
            bench.binary(1, 3200, 2);
        }
        assert_eq!((bench.ear.waiting(), bench.ear.dropped), (160_000, 5 * 3200));
        bench.play(201 * 20);
        assert_eq!(bench.replies(), [event("MEDIA_XON")]);
        bench.text(201 * 20, "REPORT_QUEUE_DRAINED");
        bench.play(1100 * 20);
        assert_eq!(bench.replies(), [event("QUEUE_DRAINED")]);
    }

    #[test]
    fn pauses_and_states_are_told_and_mistakes_fail_the_call() {
        let mut bench = bench();
        bench.binary(1, 320, 1);
        bench.text(2, "PAUSE_MEDIA");
        bench.text(2, "GET_STATUS");
        // As captured, with another channel and queue.
        let status = r#"{"event":"STATUS","channel_id":"1795335127.0","queue_length":2,"xon_level":800,"xoff_level":900,"queue_full":false,"bulk_media":false,"media_paused":true}"#;
        assert_eq!((bench.play(100), bench.replies()), (vec![], vec![status.to_owned()]));
        bench.text(101, "CONTINUE_MEDIA");
        assert_eq!(bench.play(130), [(120, 1)]);
        for (text, part) in [
            ("HANGUP", "hung up"),
            ("flush_media", "unknown command"),
            ("{\"command\"", "no JSON"),
            (&"x".repeat(129), "128"),
        ] {
            bench.text(131, text);
            assert!(bench.said.error.take().is_some_and(|why| why.contains(part)), "{text}");
        }
        bench.binary(131, 32_768, 1);
        assert!(bench.said.error.take().is_some_and(|why| why.contains("1009")));
    }
}
