//! Asterisk's AudioSocket: TCP frames of kind, length and payload; no queue, no handshake but the UUID.
//!
//! Runs in: a callgen worker, one per call; pure (times are given). Owns the bytes of an unfinished frame. Never asks
//! for more than a frame's 65,535 bytes. Invariant: refuses what res_audiosocket of Asterisk 22.10.1 refuses: unknown
//! kinds, audio without a sample, a payload that comes more than 5 ms after its header, 2 s without any traffic.

use super::Said;
use crate::callgen::ear::Ear;
use tandem::base::SampleRate;

/// What is said of a call that the relay ends.
pub const HUNG_UP: &str = "hung up by the relay";

/// A payload must follow its header within this time (res_audiosocket.c:391).
const PAYLOAD_NS: u64 = 5_000_000;
/// Without traffic in either direction for so long the application gives the call up.
const SILENCE_NS: u64 = 2_000_000_000;
/// Bytes of kind and length.
const HEADER_BYTES: usize = 3;

/// The kind of audio at `rate`: one number for each.
pub fn audio_kind(rate: SampleRate) -> u8 {
    match rate {
        SampleRate::Hz8000 => 0x10,
        SampleRate::Hz16000 => 0x12,
        SampleRate::Hz24000 => 0x13,
        SampleRate::Hz32000 => 0x14,
        SampleRate::Hz48000 => 0x16,
    }
}

/// Appends the first frame of a call to `wire`: kind 1, the 16 bytes of its UUID.
pub fn append_uuid(wire: &mut Vec<u8>, uuid: &[u8; 16]) {
    wire.extend_from_slice(&[0x01, 0, 16]);
    wire.extend_from_slice(uuid);
}

/// Appends a frame of `samples` at `rate` to `wire`: the length big-endian, the samples little-endian. More than a
/// frame can hold is cut off; 20 ms are at most 1920 bytes.
pub fn append_audio(wire: &mut Vec<u8>, rate: SampleRate, samples: &[i16]) {
    let samples = samples.get(..samples.len().min(32_000)).unwrap_or(&[]);
    wire.push(audio_kind(rate));
    wire.extend_from_slice(&((samples.len() * 2) as u16).to_be_bytes());
    wire.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
}

/// The channel of one call.
pub struct AsteriskSocket {
    rate: SampleRate,
    partial: Vec<u8>,
    /// When the header of the unfinished frame came.
    header_ns: u64,
    traffic_ns: u64,
}

impl AsteriskSocket {
    pub(super) fn new(rate: SampleRate, up_ns: u64) -> Self {
        Self { rate, partial: Vec::new(), header_ns: 0, traffic_ns: up_ns }
    }

    /// The caller's audio was sent.
    pub fn sent(&mut self, now_ns: u64) {
        self.traffic_ns = self.traffic_ns.max(now_ns);
    }

    pub(super) fn event_ns(&self) -> u64 {
        self.traffic_ns.saturating_add(SILENCE_NS)
    }

    pub(super) fn event(&mut self, said: &mut Said) {
        self.traffic_ns = u64::MAX;
        said.fail("Asterisk: Reached timeout after 2000 ms of no activity in either direction");
    }

    /// Bytes as they were read. What they hold of audio is in `said` and in the ear.
    pub fn bytes(&mut self, now_ns: u64, bytes: &[u8], ear: &mut Ear, said: &mut Said) {
        if self.traffic_ns != u64::MAX {
            self.traffic_ns = now_ns;
        }
        let mut partial = std::mem::take(&mut self.partial);
        let was_headed = partial.len() >= HEADER_BYTES;
        partial.extend_from_slice(bytes);
        let mut rest = partial.as_slice();
        let mut is_first = true;
        while let [kind, high, low, behind @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some((payload, next)) = behind.split_at_checked(length) else {
                if !(is_first && was_headed) {
                    self.header_ns = now_ns;
                }
                break;
            };
            if is_first && was_headed && now_ns - self.header_ns > PAYLOAD_NS {
                said.fail("Asterisk: Poll timed out while waiting for data: a payload more than 5 ms late");
            }
            is_first = false;
            self.frame(now_ns, *kind, payload, ear, said);
            rest = next;
        }
        let left = rest.len();
        partial.drain(..partial.len() - left);
        self.partial = partial;
    }

    fn frame(&mut self, now_ns: u64, kind: u8, payload: &[u8], ear: &mut Ear, said: &mut Said) {
        match kind {
            0x00 => said.fail(HUNG_UP),
            0x10..=0x18 if payload.is_empty() => said.fail("Asterisk: audio of length 0"),
            kind if kind == audio_kind(self.rate) => {
                let begin = said.audio.len();
                if said.samples(payload) {
                    ear.push(now_ns, said.audio.get(begin..).unwrap_or(&[]));
                }
            }
            // Asterisk converts it; silence before the caller's first frame, which tells the rate, has no other cost.
            0x10..=0x18 if payload.iter().all(|byte| *byte == 0) => {}
            0x10..=0x18 => said.fail("audio of another kind than the call's"),
            kind => said.fail(format!("Asterisk: received a frame of kind 0x{kind:02x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Switch;
    use super::super::support::{Bench, MS};
    use super::*;
    use crate::callgen::leg::Leg;

    /// Gives what was heard before.
    fn give(bench: &mut Bench, ms: u64, bytes: &[u8]) -> Vec<(u64, i16)> {
        let heard = bench.play(ms);
        let Switch::AsteriskSocket(socket) = &mut bench.switch else { panic!("another leg") };
        socket.bytes(ms * MS, bytes, &mut bench.ear, &mut bench.said);
        heard
    }

    fn frame(value: i16) -> Vec<u8> {
        let mut wire = Vec::new();
        append_audio(&mut wire, SampleRate::Hz8000, &[value; 160]);
        wire
    }

    #[test]
    fn frames_are_those_of_a_real_asterisk() {
        // The first bytes of a captured call: the UUID, then 640 bytes of slin16.
        let mut wire = Vec::new();
        append_uuid(&mut wire, &[0xab; 16]);
        append_audio(&mut wire, SampleRate::Hz16000, &[258; 320]);
        assert_eq!(wire[..3], [0x01, 0x00, 0x10]);
        assert_eq!(wire[19..24], [0x12, 0x02, 0x80, 2, 1]);
        assert_eq!(wire.len(), 19 + 643);
    }

    #[test]
    fn what_comes_early_is_played_early_whatever_the_chunking() {
        let stream = [frame(1), frame(2), frame(3)].concat();
        for chunk in [1, 2, 3, 322, 323, 324, 2000] {
            let mut bench = Bench::new(Leg::AudioSocket);
            let mut heard: Vec<_> =
                stream.chunks(chunk).flat_map(|bytes| give(&mut bench, 5, bytes)).collect();
            heard.extend(bench.play(6));
            assert_eq!(heard, [(5, 1), (25, 2), (45, 3)], "chunks of {chunk}");
            assert_eq!((bench.said.error.take(), bench.said.audio.len()), (None, 480));
        }
    }

    #[test]
    fn what_asterisk_gives_a_call_up_for_fails_it() {
        let cases: [(&[u8], &str); 6] = [
            (&[0x00, 0, 0], "hung up by the relay"),
            (&[0x10, 0, 0], "length 0"),
            (&[0x12, 0, 2, 0, 1], "another kind"),
            (&[0x01, 0, 1, 0], "kind 0x01"),
            (&[0xff, 0, 0], "kind 0xff"),
            (&[0x10, 0, 3, 0, 0, 0], "half a sample"),
        ];
        for (bytes, part) in cases {
            let mut bench = Bench::new(Leg::AudioSocket);
            give(&mut bench, 5, bytes);
            assert!(
                bench.said.error.as_ref().is_some_and(|why| why.contains(part)),
                "{:?}",
                bench.said.error
            );
        }
    }

    #[test]
    fn a_payload_that_comes_after_its_header_ends_the_call() {
        for (late_ms, is_fatal) in [(4, false), (6, true)] {
            let mut bench = Bench::new(Leg::AudioSocket);
            let (one, two) = (frame(1), frame(2));
            give(&mut bench, 5, &[&one[..], &two[..3]].concat());
            give(&mut bench, 7, &two[3..10]);
            give(&mut bench, 5 + late_ms, &two[10..]);
            assert_eq!(bench.said.error.is_some(), is_fatal, "{late_ms} ms");
        }
    }

    #[test]
    fn two_seconds_without_traffic_end_the_call() {
        let mut bench = Bench::new(Leg::AudioSocket);
        give(&mut bench, 1900, &frame(0));
        let Switch::AsteriskSocket(socket) = &mut bench.switch else { panic!("another leg") };
        socket.sent(2000 * MS);
        bench.play(3999);
        assert_eq!(bench.said.error, None);
        bench.play(4000);
        assert!(bench.said.error.is_some_and(|why| why.contains("2000 ms")));
    }
}
