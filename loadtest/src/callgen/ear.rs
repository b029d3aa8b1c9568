//! The caller's ear: a model of the switch's player, a queue that plays 20 ms every 20 ms, and the jitter of what is
//! put into it.
//!
//! Runs in: a callgen worker, one per call; pure (times are given). Owns the queue's length, not its audio. Never
//! ticks by itself: ticks that have passed are made up when something arrives. Invariant: what was put in was
//! played, was cleared, or is still queued.
//!
//! The player ticks with the call's own sender: in a switch one media clock drives both, it reads a frame from the
//! caller and writes one to him in the same pass.

/// One tick of the player, in ns.
pub const TICK_NS: u64 = 20_000_000;

/// The player of one call.
#[derive(Debug, Default)]
pub struct Ear {
    next_tick_ns: u64,
    queued_ns: u64,
    /// Playing has begun: from now on an empty queue is heard.
    playing: bool,
    /// Silence since the queue ran dry; it is an underrun only if audio follows.
    dry_ns: u64,
    last_arrival: Option<(u64, u64)>,
    /// Times the queue ran dry while audio was still to come.
    pub underruns: u64,
    /// Silence heard in those times, in ns.
    pub underrun_ns: u64,
    /// Everything played, in ns.
    pub played_ns: u64,
    /// Everything thrown away by clear messages, in ns.
    pub cleared_ns: u64,
}

impl Ear {
    /// The clock of the switch: some tick is at `tick_ns`, the others 20 ms apart.
    pub fn set_clock(&mut self, tick_ns: u64) {
        self.next_tick_ns = tick_ns;
    }

    /// Makes up for the ticks until `now_ns`.
    pub fn advance(&mut self, now_ns: u64) {
        if now_ns < self.next_tick_ns {
            return;
        }
        let ticks = (now_ns - self.next_tick_ns) / TICK_NS + 1;
        self.next_tick_ns += ticks * TICK_NS;
        let wanted = ticks * TICK_NS;
        let played = wanted.min(self.queued_ns);
        self.queued_ns -= played;
        self.played_ns += played;
        if self.playing {
            self.dry_ns += wanted - played;
        }
    }

    /// Audio of `length_ns` arrived. Gives its jitter: how far its distance from the audio before it is from that
    /// audio's length, in ns; `None` for the first of a stretch.
    pub fn arrived(&mut self, now_ns: u64, length_ns: u64) -> Option<u64> {
        self.advance(now_ns);
        if self.playing && self.dry_ns > 0 {
            self.underruns += 1;
            self.underrun_ns += self.dry_ns;
        }
        self.dry_ns = 0;
        self.playing = true;
        self.queued_ns += length_ns;
        let before = self.last_arrival.replace((now_ns, length_ns));
        before.map(|(at, length)| (now_ns - at).abs_diff(length))
    }

    /// A clear message: gives how much audio was still queued, in ns.
    pub fn clear(&mut self, now_ns: u64) -> u64 {
        self.advance(now_ns);
        let cleared = std::mem::take(&mut self.queued_ns);
        self.cleared_ns += cleared;
        self.pause();
        cleared
    }

    /// The audio has ended for now: running dry is no underrun, and the next arrival begins a new stretch.
    pub fn pause(&mut self) {
        self.playing = false;
        self.dry_ns = 0;
        self.last_arrival = None;
    }

    /// Audio not yet played, in ns, as of the last `advance`.
    pub fn queued_ns(&self) -> u64 {
        self.queued_ns
    }

    /// When the last of what is queued will have been played, at the end of its tick.
    pub fn queue_end_ns(&self) -> u64 {
        self.next_tick_ns + self.queued_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const MS: u64 = 1_000_000;

    fn ear() -> Ear {
        let mut ear = Ear::default();
        ear.set_clock(20 * MS);
        ear
    }

    #[test]
    fn audio_in_time_plays_without_underrun_and_without_jitter() {
        let mut ear = ear();
        for k in 0..100 {
            let jitter = ear.arrived(k * TICK_NS + 5 * MS, TICK_NS);
            assert_eq!(jitter, (k > 0).then_some(0));
        }
        assert_eq!((ear.underruns, ear.played_ns, ear.queued_ns()), (0, 99 * TICK_NS, TICK_NS));
    }

    #[test]
    fn late_audio_is_one_underrun_of_as_long_as_nothing_was_heard_and_then_has_a_cushion() {
        let mut ear = ear();
        ear.arrived(5 * MS, TICK_NS);
        // Played at 20; the ticks at 40 and 60 find nothing.
        assert_eq!(ear.arrived(65 * MS, TICK_NS), Some(40 * MS));
        assert_eq!((ear.underruns, ear.underrun_ns), (1, 40 * MS));
        ear.arrived(66 * MS, 2 * TICK_NS);
        ear.arrived(121 * MS, TICK_NS);
        assert_eq!(ear.underruns, 1, "the queue held out");
    }

    #[test]
    fn an_end_is_no_underrun_and_a_clear_tells_what_it_threw_away() {
        let mut ear = ear();
        ear.arrived(5 * MS, 3 * TICK_NS);
        ear.advance(1000 * MS);
        ear.pause();
        ear.arrived(2005 * MS, 5 * TICK_NS);
        assert_eq!(ear.underruns, 0);
        assert_eq!(ear.clear(2041 * MS), 3 * TICK_NS);
        assert_eq!((ear.queued_ns(), ear.cleared_ns, ear.played_ns), (0, 3 * TICK_NS, 5 * TICK_NS));
        ear.arrived(3000 * MS, TICK_NS);
        assert_eq!(ear.underruns, 0, "after a clear a new stretch begins");
    }
}
