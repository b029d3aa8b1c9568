//! The caller's ear: what the switch has been given and has not played yet, the clock that plays it, and what is heard
//! when.
//!
//! Runs in: a callgen worker, one per call; pure (times are given). Owns the waiting audio. Never ticks by itself:
//! ticks that have passed are made up when it is asked to advance. Invariant: what was put in was played, was
//! dropped, or still waits.
//!
//! Most switches read from a queue every 20 ms of their own clock. With mod_audio_stream it ticks with the call's
//! sender: one media clock reads a frame from the caller and writes one to him in the same pass. Audio that a switch
//! holds back (a pre-buffer, a file not yet given to the channel) waits in the same queue, unreleased. AudioSocket has
//! no queue: a frame leaves as one RTP packet when it comes, and only the caller's telephone evens that out.

use std::collections::VecDeque;

/// One tick of the player, in ns.
pub const TICK_NS: u64 = 20_000_000;
/// A telephone waits so long for a late packet before the caller hears a hole: one packet.
pub const PHONE_HOLD_NS: u64 = 20_000_000;
/// A telephone keeps so much that came early; what is more is thrown away, as jitter buffers do.
pub const PHONE_KEEPS_NS: u64 = 200_000_000;

/// The beginning of a stretch, in which the relay hands over its lead (60 ms, and file playback its first pieces).
const LEAD_NS: u64 = 100_000_000;

/// When a stretch began to arrive, and its last message.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from_ns: u64,
    at_ns: u64,
    length_ns: u64,
}

/// A piece of audio as it is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard<'a> {
    /// When its first sample is played.
    pub at_ns: u64,
    /// When the message that held it arrived.
    pub arrived_ns: u64,
    /// How many samples of that message come before it.
    pub offset: u64,
    /// The samples.
    pub samples: &'a [i16],
}

/// Who decides when something is played.
#[derive(Debug, Clone, Copy)]
enum Player {
    /// A queue, read at this time and every 20 ms after.
    Ticks { next_ns: u64 },
    /// None: packets leave as they come; the telephone has audio until this time.
    Phone { next_ns: u64 },
}

/// One message's audio in the queue.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Position of its first sample.
    from: u64,
    arrived_ns: u64,
    /// With a telephone: when it is played.
    at_ns: u64,
}

/// The player of one call. Positions count every sample ever put in.
#[derive(Debug)]
pub struct Ear {
    rate_hz: u64,
    player: Player,
    audio: Vec<i16>,
    /// Position of the first sample of `audio`.
    audio_at: u64,
    /// Everything before has been played or dropped.
    played: u64,
    /// Everything before may be played.
    released: u64,
    pieces: VecDeque<Piece>,
    marks: VecDeque<(u64, String)>,
    /// The switch was told to wait.
    pub is_held: bool,
    /// Playing has begun: from now on an empty queue is heard.
    playing: bool,
    /// The last tick found too little.
    dry: bool,
    /// Silence since the queue ran dry; it is an underrun only if audio follows.
    dry_ns: u64,
    /// The stretch of audio that is arriving.
    stretch: Option<Stretch>,
    /// Marks that playing has come to, since they were last taken away.
    pub marks_passed: Vec<String>,
    /// Times the queue ran dry while audio was still to come.
    pub underruns: u64,
    /// Silence heard in those times, in ns.
    pub underrun_ns: u64,
    /// The longest of those times, in ns.
    pub underrun_longest_ns: u64,
    /// Samples thrown away: by clear messages, and by queues that were full.
    pub dropped: u64,
}

impl Ear {
    /// The ear at a switch with a queue, one of whose ticks is at `tick_ns`.
    pub fn ticking(rate_hz: u64, tick_ns: u64) -> Self {
        Self::new(rate_hz, Player::Ticks { next_ns: tick_ns })
    }

    /// The ear at a telephone that gets what comes as it comes.
    pub fn at_phone(rate_hz: u64) -> Self {
        Self::new(rate_hz, Player::Phone { next_ns: 0 })
    }

    fn new(rate_hz: u64, player: Player) -> Self {
        Self {
            rate_hz,
            player,
            audio: Vec::new(),
            audio_at: 0,
            played: 0,
            released: 0,
            pieces: VecDeque::new(),
            marks: VecDeque::new(),
            is_held: false,
            playing: false,
            dry: true,
            dry_ns: 0,
            stretch: None,
            marks_passed: Vec::new(),
            underruns: 0,
            underrun_ns: 0,
            underrun_longest_ns: 0,
            dropped: 0,
        }
    }

    fn ns(&self, samples: u64) -> u64 {
        samples * 1_000_000_000 / self.rate_hz
    }

    /// Notes the arrival of a message with `length_ns` of audio, whatever becomes of it. Gives its jitter: how far
    /// its distance from the one before is from that one's length, in ns; `None` at the beginning of a stretch, whose first
    /// messages come as fast as they can: they are the lead.
    pub fn arrived(&mut self, now_ns: u64, length_ns: u64) -> Option<u64> {
        let Some(stretch) = &mut self.stretch else {
            self.stretch = Some(Stretch { from_ns: now_ns, at_ns: now_ns, length_ns });
            return None;
        };
        let before = std::mem::replace(stretch, Stretch { at_ns: now_ns, length_ns, ..*stretch });
        (now_ns >= before.from_ns + LEAD_NS).then(|| (now_ns - before.at_ns).abs_diff(before.length_ns))
    }

    /// Puts `samples` of a message that arrived at `now_ns` into the queue, to be released later; at a telephone they
    /// are played as soon as it can.
    pub fn push(&mut self, now_ns: u64, samples: &[i16]) {
        let mut at_ns = now_ns;
        if let Player::Phone { next_ns } = self.player {
            let late_ns = now_ns.saturating_sub(next_ns);
            if self.playing && late_ns > PHONE_HOLD_NS {
                self.dry_ns = late_ns;
                self.end_underrun();
            }
            if next_ns.saturating_sub(now_ns) > PHONE_KEEPS_NS {
                self.dropped += samples.len() as u64;
                return;
            }
            // Late within what the telephone holds back: the next ones are expected where they were.
            let is_anew = !self.playing || late_ns > PHONE_HOLD_NS;
            let from_ns = if is_anew { next_ns.max(now_ns) } else { next_ns };
            at_ns = next_ns.max(now_ns);
            self.playing = true;
            self.player = Player::Phone { next_ns: from_ns + self.ns(samples.len() as u64) };
            self.released = self.pushed() + samples.len() as u64;
        }
        self.pieces.push_back(Piece { from: self.pushed(), arrived_ns: now_ns, at_ns });
        self.audio.extend_from_slice(samples);
    }

    /// Lets everything before `position` be played.
    pub fn release_to(&mut self, position: u64) {
        self.released = self.released.max(position.min(self.pushed()));
    }

    /// Position behind the last sample put in.
    pub fn pushed(&self) -> u64 {
        self.audio_at + self.audio.len() as u64
    }

    /// Samples put in that wait for their release.
    pub fn unreleased(&self) -> u64 {
        self.pushed() - self.released
    }

    /// Samples put in and neither played nor dropped.
    pub fn waiting(&self) -> u64 {
        self.pushed() - self.played
    }

    /// The player found too little at its last tick, or has not begun.
    pub fn is_dry(&self) -> bool {
        self.dry && self.released == self.played
    }

    /// Tells `text` to the relay when everything put in until now has been played.
    pub fn mark(&mut self, text: String) {
        self.marks.push_back((self.pushed(), text));
    }

    /// Forgets the marks that have not been reached, and gives them.
    pub fn drop_marks(&mut self) -> impl Iterator<Item = String> {
        std::mem::take(&mut self.marks).into_iter().map(|(_, text)| text)
    }

    /// Plays everything that is due until `now_ns`, and gives each piece to `heard`.
    pub fn advance(&mut self, now_ns: u64, mut heard: impl FnMut(Heard<'_>)) {
        match self.player {
            Player::Phone { .. } => self.deliver(self.released - self.played, None, &mut heard),
            Player::Ticks { mut next_ns } => {
                while next_ns <= now_ns {
                    if !self.is_held {
                        self.tick(next_ns, &mut heard);
                    }
                    next_ns += TICK_NS;
                }
                self.player = Player::Ticks { next_ns };
            }
        }
        // Once enough has gathered to be worth moving the rest.
        let done = (self.played - self.audio_at) as usize;
        if done >= self.audio.len() || done > 8 * self.rate_hz as usize / 50 {
            self.audio.drain(..done.min(self.audio.len()));
            self.audio_at = self.played;
        }
    }

    fn tick(&mut self, at_ns: u64, heard: &mut impl FnMut(Heard<'_>)) {
        while self.marks.front().is_some_and(|(position, _)| *position <= self.played) {
            self.marks_passed.extend(self.marks.pop_front().map(|(_, text)| text));
        }
        let frame = self.rate_hz / 50;
        let samples = frame.min(self.released - self.played);
        if samples > 0 {
            self.end_underrun();
            self.playing = true;
            self.deliver(samples, Some(at_ns), heard);
        }
        self.dry = samples < frame;
        if self.playing {
            self.dry_ns += self.ns(frame - samples);
        }
    }

    fn end_underrun(&mut self) {
        let dry_ns = std::mem::take(&mut self.dry_ns);
        if dry_ns > 0 {
            self.note_underrun(dry_ns);
        }
    }

    /// Counts an underrun of this length.
    pub(super) fn note_underrun(&mut self, dry_ns: u64) {
        self.underruns += 1;
        self.underrun_ns += dry_ns;
        self.underrun_longest_ns = self.underrun_longest_ns.max(dry_ns);
    }

    /// Plays the next `samples` samples: from `at_ns` on, or when each piece was to be played.
    fn deliver(&mut self, samples: u64, at_ns: Option<u64>, heard: &mut impl FnMut(Heard<'_>)) {
        let (begin, end) = (self.played, self.played + samples);
        while self.played < end {
            let Some(piece) = self.pieces.front().copied() else { break };
            let next_from = self.pieces.get(1).map_or(u64::MAX, |next| next.from);
            if next_from <= self.played {
                self.pieces.pop_front();
                continue;
            }
            let until = end.min(next_from);
            let place = |position: u64| (position - self.audio_at) as usize;
            let some = self.audio.get(place(self.played)..place(until)).unwrap_or(&[]);
            let at_ns = at_ns.map_or(piece.at_ns, |at_ns| at_ns + self.ns(self.played - begin));
            let offset = self.played.saturating_sub(piece.from);
            heard(Heard { at_ns, arrived_ns: piece.arrived_ns, offset, samples: some });
            self.played = until;
        }
        self.played = end;
    }

    /// Drops everything before `position` that has not been played.
    pub fn drop_to(&mut self, position: u64) {
        let position = position.clamp(self.played, self.pushed());
        self.dropped += position - self.played;
        self.played = position;
        self.released = self.released.max(position);
        self.pause();
        // A cleared stretch is followed by another.
        self.dry = true;
    }

    /// Drops everything: gives how much audio was still waiting, in ns.
    pub fn clear(&mut self) -> u64 {
        let waiting_ns = self.ns(self.waiting());
        self.drop_to(self.pushed());
        waiting_ns
    }

    /// The audio has ended for now: running dry is no underrun, and the next arrival begins a new stretch.
    pub fn pause(&mut self) {
        self.playing = false;
        self.dry_ns = 0;
        self.stretch = None;
    }

    /// Audio not yet played, in ns, as of the last `advance`; with a telephone, what it has kept at `now_ns`.
    pub fn queued_ns(&self, now_ns: u64) -> u64 {
        match self.player {
            Player::Ticks { .. } => self.ns(self.waiting()),
            Player::Phone { next_ns } => next_ns.saturating_sub(now_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const MS: u64 = 1_000_000;
    const FRAME: [i16; 160] = [1000; 160];

    /// Ticks at multiples of 20 ms, 8 kHz.
    fn ear() -> Ear {
        Ear::ticking(8000, 20 * MS)
    }

    fn play(ear: &mut Ear, now_ns: u64) -> Vec<(u64, u64, usize)> {
        let mut all = Vec::new();
        ear.advance(now_ns, |heard| all.push((heard.at_ns / MS, heard.arrived_ns / MS, heard.samples.len())));
        all
    }

    fn put(ear: &mut Ear, now_ns: u64, frames: usize) {
        play(ear, now_ns);
        for _ in 0..frames {
            ear.push(now_ns, &FRAME);
        }
        ear.release_to(ear.pushed());
    }

    #[test]
    fn audio_in_time_plays_at_the_ticks_without_underrun_and_without_jitter() {
        let mut ear = ear();
        for k in 0..100 {
            let now = k * TICK_NS + 5 * MS;
            let heard = play(&mut ear, now);
            assert_eq!(heard, if k > 0 { vec![(20 * k, 20 * k - 15, 160)] } else { vec![] });
            assert_eq!(ear.arrived(now, TICK_NS), (k >= 5).then_some(0), "the lead is no jitter");
            put(&mut ear, now, 1);
        }
        assert_eq!((ear.underruns, ear.queued_ns(0)), (0, TICK_NS));
    }

    #[test]
    fn late_audio_is_one_underrun_of_as_long_as_nothing_was_heard_and_then_has_a_cushion() {
        let mut ear = ear();
        put(&mut ear, 5 * MS, 1);
        // Played at 20; the ticks at 40 and 60 find nothing.
        put(&mut ear, 65 * MS, 1);
        put(&mut ear, 66 * MS, 2);
        put(&mut ear, 121 * MS, 1);
        play(&mut ear, 160 * MS);
        assert_eq!((ear.underruns, ear.underrun_ns, ear.underrun_longest_ns), (1, 40 * MS, 40 * MS));
    }

    #[test]
    fn an_end_is_no_underrun_and_a_clear_tells_what_it_threw_away() {
        let mut ear = ear();
        put(&mut ear, 5 * MS, 3);
        play(&mut ear, 1000 * MS);
        ear.pause();
        put(&mut ear, 2005 * MS, 5);
        play(&mut ear, 2041 * MS);
        assert_eq!(ear.underruns, 0);
        assert_eq!((ear.clear(), ear.dropped), (3 * TICK_NS, 480));
        put(&mut ear, 3000 * MS, 1);
        assert_eq!(play(&mut ear, 3020 * MS).len(), 1);
        assert_eq!(ear.underruns, 0, "after a clear a new stretch begins");
    }

    #[test]
    fn what_is_held_back_is_played_after_its_release_only() {
        let mut ear = ear();
        ear.push(5 * MS, &[1; 400]);
        assert_eq!(play(&mut ear, 60 * MS), []);
        assert_eq!((ear.unreleased(), ear.waiting()), (400, 400));
        ear.release_to(320);
        assert_eq!(play(&mut ear, 120 * MS), [(80, 5, 160), (100, 5, 160)]);
        assert!(ear.is_dry() && ear.unreleased() == 80);
    }

    #[test]
    fn a_mark_is_reached_in_the_tick_after_the_audio_before_it() {
        let mut ear = ear();
        put(&mut ear, MS, 2);
        ear.mark("m".to_owned());
        put(&mut ear, MS, 1);
        play(&mut ear, 40 * MS);
        assert!(ear.marks_passed.is_empty());
        play(&mut ear, 60 * MS);
        assert_eq!(ear.marks_passed, ["m"]);
        ear.mark("n".to_owned());
        assert_eq!(ear.drop_marks().collect::<Vec<_>>(), ["n"]);
    }

    #[test]
    fn a_telephone_hears_early_audio_early_and_late_audio_late() {
        let mut ear = Ear::at_phone(8000);
        let mut put = |now_ms: u64| {
            ear.push(now_ms * MS, &FRAME);
            let heard = play(&mut ear, now_ms * MS);
            (heard.first().map(|heard| heard.0), ear.underruns, ear.queued_ns(now_ms * MS) / MS)
        };
        assert_eq!(put(100), (Some(100), 0, 20));
        // 15 ms late: the telephone has held one packet back.
        assert_eq!(put(135), (Some(135), 0, 5));
        assert_eq!(put(141), (Some(141), 0, 19));
        // Due at 160.
        assert_eq!(put(190), (Some(190), 1, 20));
        // A burst: half a second at once.
        for k in 0..25 {
            let heard = put(210).0;
            assert_eq!(heard.is_some(), k <= 10, "{k}");
        }
        assert_eq!((ear.underrun_ns, ear.dropped), (30 * MS, 14 * 160));
    }
}
