//! Follows the marks through received audio: which uplink frame each received frame was, when it arrived, and what
//! was lost, came twice, or came in the wrong order.
//!
//! Runs in: a callgen worker, one per call; pure (times are given). Owns the counts of one call.
//! Never allocates once it has run for a few frames. Invariant: every frame sent is counted received or lost,
//! never both.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ear::{Heard, TICK_NS};
use super::mark::{MARK_NUMBERS, MarkReader};
use super::scan::Scanner;

/// Send times kept: 1024 frames are 20 s, twice the range of the marks.
const SEND_TIMES: usize = 1024;

/// What [`Tracker::push`] found out about one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The frame's index in the order of sending, from 0.
    pub frame: u64,
    /// From the sending of the frame to the arrival of the message that holds its first millisecond, in ns.
    pub latency_ns: u64,
    /// From the sending of the frame to the playing of its first sample, in ns.
    pub ear_latency_ns: u64,
    /// Where in that message the frame begins, in samples: the delay of filters, and of messages that do not begin
    /// where frames do; negative if the frame begins up to a millisecond before the message.
    pub offset_samples: i64,
}

/// Counts of one call's marked audio, all in frames of 20 ms unless they say otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrackCounts {
    /// Different frames that came back.
    pub unique: u64,
    /// Frames that came back again.
    pub repeated: u64,
    /// Frames that came back after a later one.
    pub reordered: u64,
    /// Marks which this call cannot have sent: another call's audio.
    pub foreign: u64,
    /// Places between two marks where the audio was silent for more than 2 ms.
    pub gaps: u64,
    /// The length of those places, in samples.
    pub gap_samples: u64,
}

/// Which frames came back, one bit each.
#[derive(Debug, Default)]
pub struct Received {
    seen: Vec<u64>,
    highest: Option<u64>,
    /// What was counted.
    pub counts: TrackCounts,
}

impl Received {
    /// Room for `frames` frames.
    pub fn new(frames: usize) -> Self {
        Self { seen: vec![0; frames.div_ceil(64)], ..Self::default() }
    }

    /// Frame `frame` came back. `true` if it had not before; a frame beyond the room counts as foreign.
    pub fn note(&mut self, frame: u64) -> bool {
        let (word, bit) = ((frame / 64) as usize, 1u64 << (frame % 64));
        let Some(seen) = self.seen.get_mut(word) else {
            self.counts.foreign += 1;
            return false;
        };
        if *seen & bit != 0 {
            self.counts.repeated += 1;
            return false;
        }
        *seen |= bit;
        self.counts.unique += 1;
        if self.highest.is_some_and(|highest| frame < highest) {
            self.counts.reordered += 1;
        } else {
            self.highest = Some(frame);
        }
        true
    }
}

/// Where and when a piece of audio was heard.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Index of its first sample in everything heard.
    first: u64,
    /// Index at which its message would have begun.
    message: i64,
    arrived_ns: u64,
    at_ns: u64,
}

/// Follows one call.
pub struct Tracker {
    scanner: Scanner,
    /// Marks found in the piece at hand, kept for its memory.
    marks: Vec<(u64, u16)>,
    /// Pieces of audio as they were heard.
    pieces: VecDeque<Piece>,
    /// Where the last frame found ends.
    last_end: Option<u64>,
    /// Number of the mark that frame 0 carries: different in each call, so that foreign audio shows.
    first_number: u64,
    sent: u64,
    sent_at: Vec<u64>,
    /// The frame that should come next.
    expected: Option<u64>,
    received: Received,
}

impl Tracker {
    /// A tracker for a call that will send up to `frames` frames; frame `k` carries the mark number
    /// `first_number + k`.
    pub fn new(reader: Arc<MarkReader>, first_number: u64, frames: usize) -> Self {
        Self {
            scanner: Scanner::new(reader),
            marks: Vec::with_capacity(16),
            pieces: VecDeque::with_capacity(16),
            last_end: None,
            first_number,
            sent: 0,
            sent_at: vec![0; SEND_TIMES],
            expected: None,
            received: Received::new(frames),
        }
    }

    /// The number of the mark to send next.
    pub fn next_number(&self) -> u64 {
        self.first_number + self.sent
    }

    /// The frame with [`Self::next_number`] was sent at `now_ns`.
    pub fn sent(&mut self, now_ns: u64) {
        if let Some(place) = self.sent_at.get_mut(self.sent as usize % SEND_TIMES) {
            *place = now_ns;
        }
        self.sent += 1;
    }

    /// Frames sent so far.
    pub fn frames_sent(&self) -> u64 {
        self.sent
    }

    /// The counts so far; frames sent and not among `unique` are lost once nothing more can come.
    pub fn counts(&self) -> TrackCounts {
        self.received.counts
    }

    /// A piece of audio was heard; `found` is called for each frame that it completes.
    pub fn push(&mut self, heard: Heard<'_>, mut found: impl FnMut(Arrival)) {
        if heard.samples.is_empty() {
            return;
        }
        let first = self.scanner.end();
        let Heard { at_ns, arrived_ns, offset, samples } = heard;
        self.pieces.push_back(Piece { first, message: first as i64 - offset as i64, arrived_ns, at_ns });
        let mut marks = std::mem::take(&mut self.marks);
        self.scanner.push(samples, |start, number| marks.push((start, number)));
        for (start, number) in marks.drain(..) {
            self.frame_at(start, number, &mut found);
        }
        self.marks = marks;
        let kept_from = self.scanner.kept_from();
        while self.pieces.get(1).is_some_and(|piece| piece.first <= kept_from) {
            self.pieces.pop_front();
        }
    }

    /// A frame with the mark `number` begins at sample `start`.
    fn frame_at(&mut self, start: u64, number: u16, found: &mut impl FnMut(Arrival)) {
        let length = self.scanner.samples_per_frame() as u64;
        if let Some(last_end) = self.last_end {
            let gap = start.saturating_sub(last_end);
            if gap * 10 > length {
                self.received.counts.gaps += 1;
                self.received.counts.gap_samples += gap;
            }
        }
        self.last_end = Some(start + length);
        let Some(frame) = self.frame_index(u64::from(number)) else {
            self.received.counts.foreign += 1;
            return;
        };
        self.expected = Some(frame + 1);
        if !self.received.note(frame) {
            return;
        }
        // The message that holds the frame's first millisecond: with filters of no delay the very first sample may
        // fall on either side of the border between two messages.
        let landmark = start + length / 20;
        let piece = self.pieces.iter().take_while(|piece| piece.first <= landmark).last();
        let sent_at = self.sent_at.get(frame as usize % SEND_TIMES).copied();
        if let (Some(piece), Some(sent_at), true) = (piece, sent_at, frame + SEND_TIMES as u64 > self.sent) {
            let into = start as i64 - piece.first as i64;
            let into_ns = into * TICK_NS as i64 / length as i64;
            found(Arrival {
                frame,
                latency_ns: piece.arrived_ns.saturating_sub(sent_at),
                ear_latency_ns: piece.at_ns.saturating_add_signed(into_ns).saturating_sub(sent_at),
                offset_samples: start as i64 - piece.message,
            });
        }
    }

    /// Which frame carries `number`: the one nearest to the frame expected, among those sent.
    fn frame_index(&self, number: u64) -> Option<u64> {
        let newest = self.sent.checked_sub(1)?;
        // Unknown as yet: the newest frame with that number. Else the nearest to the one expected.
        let ceiling = self.expected.map_or(newest, |expected| newest.min(expected + MARK_NUMBERS / 2));
        let behind = (self.first_number + ceiling).wrapping_sub(number) % MARK_NUMBERS;
        ceiling.checked_sub(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callgen::mark::MarkWriter;
    use tandem::base::SampleRate;

    const FRAME_NS: u64 = 20_000_000;

    /// A message that arrives at `at_ns` and is heard 7 ms later.
    fn heard(samples: &[i16], at_ns: u64) -> Heard<'_> {
        Heard { at_ns: at_ns + 7_000_000, arrived_ns: at_ns, offset: 0, samples }
    }

    /// A call whose frames come back in the given order after `delay` samples, in messages of `message` samples.
    fn played(
        rate: SampleRate,
        sent: u64,
        order: &[u64],
        delay: usize,
        message: usize,
    ) -> (TrackCounts, Vec<Arrival>) {
        let writer = MarkWriter::new(rate);
        let mut tracker = Tracker::new(Arc::new(MarkReader::new(rate)), 500, sent as usize);
        let mut stream = vec![0i16; delay];
        order.iter().for_each(|k| stream.extend_from_slice(writer.frame(500 + k)));
        stream.extend(vec![0; 2 * rate.samples_per_frame()]);
        let mut arrivals = Vec::new();
        for (i, samples) in stream.chunks(message).enumerate() {
            // A message is there 5 ms after the frame with its last sample was due.
            let last_sample = (i * message + samples.len() - 1) as u64;
            let due = last_sample / rate.samples_per_frame() as u64 * FRAME_NS;
            let at = due + 5_000_000;
            while tracker.frames_sent() < sent
                && (sent < MARK_NUMBERS || tracker.frames_sent() * FRAME_NS <= due)
            {
                tracker.sent(tracker.frames_sent() * FRAME_NS);
            }
            tracker.push(heard(samples, at), |arrival| arrivals.push(arrival));
        }
        (tracker.counts(), arrivals)
    }

    #[test]
    fn a_clean_echo_is_followed_frame_by_frame_whatever_the_delay_and_the_message_length() {
        let order: Vec<u64> = (0..700).collect();
        for rate in [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz48000] {
            let frame = rate.samples_per_frame();
            for (delay, message) in
                [(0, frame), (frame / 9, frame), (frame - 1, frame), (frame / 2, frame / 2), (37, 3 * frame)]
            {
                let (counts, arrivals) = played(rate, 700, &order, delay, message);
                let expected = TrackCounts { unique: 700, ..TrackCounts::default() };
                assert_eq!(counts, expected, "{rate}, {delay} samples late, {message} each");
                assert!(arrivals.iter().map(|a| a.frame).eq(0..700));
            }
        }
        // In place: the message that holds a frame leaves when the frame is due, and takes 5 ms.
        let (_, arrivals) = played(SampleRate::Hz16000, 700, &order, 48, 320);
        assert!(arrivals.iter().all(|a| a.latency_ns == 5_000_000 && a.offset_samples == 48));
        // 7 ms later at the ear, and 48 samples are 3 ms.
        assert!(arrivals.iter().all(|a| a.ear_latency_ns == 15_000_000));
    }

    #[test]
    fn lost_repeated_and_reordered_frames_are_counted_exactly() {
        let order: Vec<u64> =
            (0..20).chain(25..40).chain(38..60).chain([61, 60]).chain(62..90).filter(|k| *k != 75).collect();
        let (counts, _) = played(SampleRate::Hz16000, 90, &order, 29, 320);
        assert_eq!(counts.unique, 90 - 6);
        assert_eq!((counts.repeated, counts.reordered, counts.foreign), (2, 1, 0));
        assert_eq!(counts.gaps, 0);
    }

    #[test]
    fn silence_put_between_is_measured_and_costs_no_frame() {
        let rate = SampleRate::Hz16000;
        let writer = MarkWriter::new(rate);
        let mut tracker = Tracker::new(Arc::new(MarkReader::new(rate)), 0, 100);
        (0..100).for_each(|k| tracker.sent(k));
        for k in 0..100 {
            if k == 50 {
                tracker.push(heard(&[0; 500], 0), |_| {});
            }
            tracker.push(heard(writer.frame(k), 0), |_| {});
        }
        let counts = tracker.counts();
        assert_eq!((counts.unique, counts.gaps), (100, 1));
        assert!(counts.gap_samples.abs_diff(500) <= 32, "{}", counts.gap_samples);
    }

    #[test]
    fn a_frame_cut_in_half_is_lost_and_its_neighbours_are_not() {
        let rate = SampleRate::Hz16000;
        let writer = MarkWriter::new(rate);
        for keep in [100usize, 130, 160, 190] {
            let mut tracker = Tracker::new(Arc::new(MarkReader::new(rate)), 0, 100);
            (0..100).for_each(|k| tracker.sent(k));
            let mut found = Vec::new();
            for k in 0..100 {
                let frame = writer.frame(k);
                let samples = if k == 50 { &frame[..keep] } else { frame };
                tracker.push(heard(samples, 0), |a| found.push(a.frame));
            }
            assert!(found.iter().copied().eq((0..100).filter(|k| *k != 50)), "{keep}: {found:?}");
        }
    }

    #[test]
    fn anothers_audio_is_foreign() {
        let rate = SampleRate::Hz16000;
        let writer = MarkWriter::new(rate);
        let mut tracker = Tracker::new(Arc::new(MarkReader::new(rate)), 100, 50);
        (0..20).for_each(|k| tracker.sent(k));
        (300..310).for_each(|number| tracker.push(heard(writer.frame(number), 0), |_| {}));
        assert_eq!(tracker.counts().foreign, 10);
        assert_eq!(tracker.counts().unique, 0);
    }
}
