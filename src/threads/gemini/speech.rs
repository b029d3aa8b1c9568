//! Speech that waits: a queue of decoded audio per call and direction, in blocks from the shard's pool.
//!
//! Runs in: the gemini thread. Owns the blocks, of which those that will wait for a while are packed into pages. Never drops,
//! speeds up or garbles audio: full is said.
//! Invariant: blocks in use never exceed the pool's limit, nor those of one queue what its limit of time can fill, so that
//! one call cannot take the others' share; and a queue knows exactly how much audio it holds.

use std::collections::VecDeque;

use crate::base::{Frame, FrameKind, Instant, SampleRate, Turn};
use crate::codec::packing;

/// Samples in a block: 80 ms at 24 kHz, about what one message of Gemini brings.
const BLOCK_SAMPLES: usize = SampleRate::Hz24000.samples_in_ms(80);
/// The shortest time that fills a block: at 48 kHz.
const BLOCK_MS_MIN: usize = BLOCK_SAMPLES / SampleRate::Hz48000.samples_in_ms(1);
/// Blocks of a queue beyond those that its limit of time fills: each turn's end and each change of the rate leaves one
/// partly empty. The model speaks at 24 kHz, where a queue uses half of its blocks for audio; the others are for this too.
const PARTLY_EMPTY_MAX: usize = 64;
/// Blocks at the front of a queue that are not packed: what is taken within moments.
const UNPACKED_BLOCKS: usize = 2;
/// Bytes of a page. What is packed fills as many as it needs, so that the pool can keep them for whatever is packed next:
/// a piece of memory for each block would be asked for and given back all the time.
const PAGE_BYTES: usize = 320;
/// Pages of a block at most; what needs more is not worth packing.
const PAGES_MAX: usize = size_of::<Samples>() * 7 / 8 / PAGE_BYTES;
/// Free room for samples that is kept for later; a quarter of a MiB.
const FREE_BLOCKS_MAX: usize = 64;
/// Free pages that are kept for later; a third of a MiB.
const FREE_PAGES_MAX: usize = 1024;
/// How often half of what is free and nobody needed meanwhile is given back: none of it is left after a minute.
const REST_MS: u64 = 5_000;

type Samples = [i16; BLOCK_SAMPLES];
type Page = [u8; PAGE_BYTES];

/// The samples of a block.
enum Body {
    /// As they are.
    Plain(Box<Samples>),
    /// As [`packing::pack`] makes them, since others wait before them; in the first of these pages.
    Packed([Option<Box<Page>>; PAGES_MAX]),
}

struct Block {
    body: Body,
    len: usize,
    taken: usize,
    rate: SampleRate,
    /// What stands behind this block's samples: a turn or the caller's stream ends, a talkspurt begins or ends.
    mark: Option<FrameKind>,
}

impl Block {
    /// The samples, unpacked if need be.
    fn plain(&mut self, pool: &mut SpeechPool) -> &mut Samples {
        if let Body::Packed(pages) = &mut self.body {
            let mut packed = std::mem::take(&mut pool.packed);
            for page in pages.iter_mut().map_while(Option::take) {
                packed.extend_from_slice(page.as_slice());
                pool.pages.put(page);
            }
            let mut samples = pool.samples();
            if let Some(samples) = samples.get_mut(..self.len) {
                packing::unpack(&packed, samples);
            }
            packed.clear();
            pool.packed = packed;
            self.body = Body::Plain(samples);
        }
        match &mut self.body {
            Body::Plain(samples) => samples,
            Body::Packed(_) => unreachable!("it was unpacked above"),
        }
    }

    /// Packs the samples where that saves anything.
    fn pack(&mut self, pool: &mut SpeechPool) {
        let Body::Plain(samples) = &self.body else { return };
        let mut packed = std::mem::take(&mut pool.packed);
        packing::pack(samples.get(..self.len).unwrap_or_default(), &mut packed);
        if packed.len() <= PAGES_MAX * PAGE_BYTES {
            let mut pages = [const { None }; PAGES_MAX];
            for (place, piece) in pages.iter_mut().zip(packed.chunks(PAGE_BYTES)) {
                let page = place.insert(pool.pages.get().unwrap_or_else(|| Box::new([0; PAGE_BYTES])));
                page[..piece.len()].copy_from_slice(piece);
            }
            let plain = std::mem::replace(&mut self.body, Body::Packed(pages));
            pool.keep(plain);
        }
        packed.clear();
        pool.packed = packed;
    }
}

/// What is free, kept for later.
struct Free<T> {
    kept: Vec<Box<T>>,
    max: usize,
    /// Fewest of them since some were given back.
    spare: usize,
}

impl<T> Free<T> {
    fn new(max: usize) -> Self {
        Self { kept: Vec::with_capacity(max), max, spare: 0 }
    }

    fn get(&mut self) -> Option<Box<T>> {
        let got = self.kept.pop();
        self.spare = self.spare.min(self.kept.len());
        got
    }

    fn put(&mut self, free: Box<T>) {
        if self.kept.len() < self.max {
            self.kept.push(free);
        }
    }

    fn rest(&mut self) {
        self.kept.truncate(self.kept.len() - self.spare.div_ceil(2).min(self.kept.len()));
        self.spare = self.kept.len();
    }
}

/// The shard's blocks.
pub struct SpeechPool {
    /// Room for samples, whatever is in it.
    free: Free<Samples>,
    /// Room for what is packed.
    pages: Free<Page>,
    /// What packing works with.
    packed: Vec<u8>,
    in_use: usize,
    in_use_max: usize,
    rest_at: Instant,
}

impl SpeechPool {
    /// A pool of at most `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            free: Free::new(FREE_BLOCKS_MAX),
            pages: Free::new(FREE_PAGES_MAX),
            packed: Vec::with_capacity(size_of::<Samples>() * 2),
            in_use: 0,
            in_use_max: bytes / (size_of::<Samples>() + size_of::<Block>()),
            rest_at: Instant::default(),
        }
    }

    /// Blocks that hold speech, of all calls together.
    pub fn blocks_in_use(&self) -> usize {
        self.in_use
    }

    /// Gives the allocator back what was too much for a while; called in every pass.
    pub fn rest(&mut self, now: Instant) {
        if now < self.rest_at {
            return;
        }
        self.free.rest();
        self.pages.rest();
        self.rest_at = now.plus_ms(REST_MS);
    }

    fn get(&mut self, rate: SampleRate) -> Option<Block> {
        if self.in_use >= self.in_use_max {
            return None;
        }
        self.in_use += 1;
        Some(Block { body: Body::Plain(self.samples()), len: 0, taken: 0, rate, mark: None })
    }

    fn put(&mut self, block: Block) {
        self.in_use -= 1;
        self.keep(block.body);
    }

    fn samples(&mut self) -> Box<Samples> {
        self.free.get().unwrap_or_else(|| Box::new([0; BLOCK_SAMPLES]))
    }

    fn keep(&mut self, body: Body) {
        match body {
            Body::Plain(samples) => self.free.put(samples),
            Body::Packed(pages) => pages.into_iter().flatten().for_each(|page| self.pages.put(page)),
        }
    }
}

/// There is no room: the queue's own limit or the shard's is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// What [`SpeechQueue::take`] brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// So many samples.
    Samples(usize, SampleRate),
    /// A mark: [`FrameKind::End`], [`FrameKind::SpurtStart`] or [`FrameKind::SpurtEnd`].
    Mark(FrameKind),
    /// Nothing waits.
    Nothing,
}

/// See the head of this file.
pub struct SpeechQueue {
    blocks: VecDeque<Block>,
    blocks_max: usize,
    queued_us: u64,
    queued_us_max: u64,
}

impl SpeechQueue {
    /// A queue for at most `ms` milliseconds of audio.
    pub fn new(ms: u64) -> Self {
        let blocks_max = (ms as usize).div_ceil(BLOCK_MS_MIN) + PARTLY_EMPTY_MAX;
        Self { blocks: VecDeque::new(), blocks_max, queued_us: 0, queued_us_max: ms * 1000 }
    }

    /// Milliseconds of audio that wait.
    pub fn queued_ms(&self) -> u64 {
        self.queued_us / 1000
    }

    /// Whether nothing waits, not even a mark.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Whether a mark waits among the audio.
    pub fn has_mark(&self) -> bool {
        self.blocks.iter().any(|block| block.mark.is_some())
    }

    /// Puts samples behind the others.
    ///
    /// # Errors
    /// [`Full`]; nothing was taken.
    pub fn push(&mut self, pool: &mut SpeechPool, rate: SampleRate, samples: &[i16]) -> Result<(), Full> {
        let us = samples.len() as u64 * 1_000_000 / u64::from(rate.hz());
        if self.queued_us + us > self.queued_us_max {
            return Err(Full);
        }
        let room = match self.blocks.back() {
            Some(block) if block.rate == rate && block.mark.is_none() => BLOCK_SAMPLES - block.len,
            _ => 0,
        };
        if samples.len().saturating_sub(room).div_ceil(BLOCK_SAMPLES) > pool.in_use_max - pool.in_use {
            return Err(Full);
        }
        let mut rest = samples;
        while !rest.is_empty() {
            if self.blocks.back().is_none_or(|b| b.len == BLOCK_SAMPLES || b.rate != rate || b.mark.is_some())
            {
                self.add_block(pool, rate)?;
            }
            let Some(block) = self.blocks.back_mut() else { return Err(Full) };
            let fit = rest.len().min(BLOCK_SAMPLES - block.len);
            let from = block.len;
            block.plain(pool)[from..from + fit].copy_from_slice(&rest[..fit]);
            block.len += fit;
            self.queued_us += fit as u64 * 1_000_000 / u64::from(rate.hz());
            rest = &rest[fit..];
        }
        Ok(())
    }

    /// Puts the mark of an end behind what waits.
    pub fn push_end(&mut self, pool: &mut SpeechPool, rate: SampleRate) {
        self.push_mark(pool, rate, FrameKind::End);
    }

    /// Puts a mark behind what waits. Without room for it it is left out: the queue is about to be given up.
    pub fn push_mark(&mut self, pool: &mut SpeechPool, rate: SampleRate, mark: FrameKind) {
        if self.blocks.back().is_none_or(|block| block.mark.is_some()) && self.add_block(pool, rate).is_err()
        {
            return;
        }
        if let Some(block) = self.blocks.back_mut() {
            block.mark = Some(mark);
        }
    }

    /// Takes samples of one rate, at most as many as `into` holds, or a mark.
    pub fn take(&mut self, pool: &mut SpeechPool, into: &mut [i16]) -> Taken {
        let mut filled = 0;
        let mut rate = None;
        while filled < into.len() {
            let Some(block) = self.blocks.front_mut() else { break };
            if block.taken == block.len {
                if let Some(mark) = block.mark {
                    if filled > 0 {
                        break;
                    }
                    self.drop_front(pool);
                    return Taken::Mark(mark);
                }
                self.drop_front(pool);
                continue;
            }
            if *rate.get_or_insert(block.rate) != block.rate {
                break;
            }
            let fit = (into.len() - filled).min(block.len - block.taken);
            let from = block.taken;
            into[filled..filled + fit].copy_from_slice(&block.plain(pool)[from..from + fit]);
            block.taken += fit;
            filled += fit;
            let us = fit as u64 * 1_000_000 / u64::from(block.rate.hz());
            self.queued_us = self.queued_us.saturating_sub(us);
        }
        if self.blocks.front().is_some_and(|block| block.taken == block.len && block.mark.is_none()) {
            self.drop_front(pool);
        }
        rate.map_or(Taken::Nothing, |rate| Taken::Samples(filled, rate))
    }

    /// Takes a frame of the turn, or an end as a frame.
    pub fn take_frame(&mut self, pool: &mut SpeechPool, turn: Turn) -> Option<Frame> {
        let mut taken = Taken::Nothing;
        let mut frame = Frame::end(turn, SampleRate::Hz24000);
        frame.fill(|samples| {
            taken = self.take(pool, samples);
            match taken {
                Taken::Samples(n, _) => n,
                Taken::Mark(_) | Taken::Nothing => 0,
            }
        });
        match taken {
            Taken::Samples(_, rate) => frame.rate = rate,
            Taken::Mark(_) => return Some(Frame::end(turn, SampleRate::Hz24000)),
            Taken::Nothing => return None,
        }
        Some(frame)
    }

    /// Puts all of `other` before what waits. Together they may be more than the limit until some of it was taken.
    pub fn prepend(&mut self, other: &mut Self) {
        self.queued_us += std::mem::take(&mut other.queued_us);
        while let Some(block) = other.blocks.pop_back() {
            self.blocks.push_front(block);
        }
    }

    /// Milliseconds of audio up to the next mark, which may be none, and that mark.
    pub fn next_mark(&self) -> (u64, Option<FrameKind>) {
        let mut us = 0;
        for block in &self.blocks {
            us += (block.len - block.taken) as u64 * 1_000_000 / u64::from(block.rate.hz());
            if block.mark.is_some() {
                return (us / 1000, block.mark);
            }
        }
        (us / 1000, None)
    }

    /// Drops a block of the oldest audio that belongs to no talkspurt, where `in_spurt` says whether what waits first does.
    /// Returns how many milliseconds it had; `None` if there is none.
    pub fn drop_silence(&mut self, pool: &mut SpeechPool, mut in_spurt: bool) -> Option<u64> {
        let is_silence = |block: &Block| {
            let silent = !in_spurt && block.mark.is_none();
            match block.mark {
                Some(FrameKind::SpurtStart) => in_spurt = true,
                Some(FrameKind::SpurtEnd) => in_spurt = false,
                _ => {}
            }
            silent && block.len == BLOCK_SAMPLES
        };
        let at = self.blocks.iter().position(is_silence)?;
        let block = self.blocks.remove(at)?;
        let us = (block.len - block.taken) as u64 * 1_000_000 / u64::from(block.rate.hz());
        self.queued_us = self.queued_us.saturating_sub(us);
        pool.put(block);
        Some(us / 1000)
    }

    /// Forgets what waits before the last mark of this kind. Returns whether there is one.
    pub fn forget_before_last(&mut self, pool: &mut SpeechPool, mark: FrameKind) -> bool {
        let Some(last) = self.blocks.iter().rposition(|block| block.mark == Some(mark)) else { return false };
        for _ in 0..last {
            self.drop_front(pool);
        }
        if let Some(block) = self.blocks.front_mut() {
            block.taken = block.len;
        }
        let us = |block: &Block| (block.len - block.taken) as u64 * 1_000_000 / u64::from(block.rate.hz());
        self.queued_us = self.blocks.iter().map(us).sum();
        true
    }

    /// Gives everything up.
    pub fn clear(&mut self, pool: &mut SpeechPool) {
        while !self.blocks.is_empty() {
            self.drop_front(pool);
        }
        self.queued_us = 0;
    }

    fn add_block(&mut self, pool: &mut SpeechPool, rate: SampleRate) -> Result<(), Full> {
        if self.blocks.len() >= self.blocks_max {
            return Err(Full);
        }
        let block = pool.get(rate).ok_or(Full)?;
        if self.blocks.len() > UNPACKED_BLOCKS
            && let Some(full) = self.blocks.back_mut()
        {
            full.pack(pool);
        }
        self.blocks.push_back(block);
        Ok(())
    }

    fn drop_front(&mut self, pool: &mut SpeechPool) {
        if let Some(block) = self.blocks.pop_front() {
            pool.put(block);
        }
        if self.blocks.is_empty() {
            self.queued_us = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: SampleRate = SampleRate::Hz24000;

    #[test]
    fn a_minute_goes_through_unchanged_and_the_end_stands_behind_it() {
        let mut pool = SpeechPool::new(16 << 20);
        let mut queue = SpeechQueue::new(120_000);
        let spoken: Vec<i16> = (0..60 * 24_000).map(|n| (n % 30_000) as i16).collect();
        for piece in spoken.chunks(1111) {
            queue.push(&mut pool, RATE, piece).expect("room for two minutes");
        }
        queue.push_end(&mut pool, RATE);
        assert!((59_900..=60_000).contains(&queue.queued_ms()), "{}", queue.queued_ms());
        let mut heard = Vec::new();
        while let Some(frame) = queue.take_frame(&mut pool, 1) {
            heard.extend_from_slice(frame.samples());
        }
        assert_eq!(heard, spoken);
        assert!(queue.is_empty());
        assert_eq!((queue.queued_ms(), pool.in_use), (0, 0));
    }

    #[test]
    fn the_limits_of_the_call_and_of_the_shard_are_said_and_kept() {
        let mut pool = SpeechPool::new(10 * (size_of::<Samples>() + size_of::<Block>()));
        let mut queue = SpeechQueue::new(100);
        assert_eq!(queue.push(&mut pool, RATE, &[1; 2400]), Ok(()));
        assert_eq!(queue.push(&mut pool, RATE, &[1; 24]), Err(Full));
        let mut other = SpeechQueue::new(100_000);
        let left = 8 * BLOCK_SAMPLES - 10;
        assert_eq!(other.push(&mut pool, RATE, &vec![1; left]), Ok(()));
        assert_eq!(
            other.push(&mut pool, RATE, &[1; 11]),
            Err(Full),
            "a part would be heard twice if it is tried again"
        );
        assert_eq!(other.take(&mut pool, &mut vec![0; 2 * left]), Taken::Samples(left, RATE));
        assert_eq!(other.push(&mut pool, RATE, &[1; 10]), Ok(()));
        other.clear(&mut pool);
        queue.clear(&mut pool);
        assert_eq!(pool.in_use, 0);
    }

    #[test]
    fn crumbs_of_audio_cannot_take_the_blocks_of_other_calls() {
        let mut pool = SpeechPool::new(64 << 20);
        let mut queue = SpeechQueue::new(1_000);
        let blocks_max = 1_000 / 40 + PARTLY_EMPTY_MAX;
        let rates = [SampleRate::Hz16000, SampleRate::Hz24000].into_iter().cycle();
        let taken = rates.take_while(|&rate| queue.push(&mut pool, rate, &[1]).is_ok()).count();
        assert_eq!((taken, pool.in_use), (blocks_max, blocks_max), "a block each");
        queue.clear(&mut pool);
        for _ in 0..1_000 {
            queue.push_end(&mut pool, RATE);
        }
        assert_eq!(pool.in_use, blocks_max, "ends are bounded as well");
    }

    /// Samples that packing saves nothing of.
    fn noise(blocks: usize) -> Vec<i16> {
        [i16::MIN, i16::MAX].repeat(blocks * BLOCK_SAMPLES / 2)
    }

    #[test]
    fn what_waits_behind_others_is_packed_and_taken_as_it_was() {
        let mut pool = SpeechPool::new(16 << 20);
        let mut queue = SpeechQueue::new(120_000);
        let spoken: Vec<i16> =
            (0..10 * BLOCK_SAMPLES).map(|n| (8_000.0 * (n as f64 * 0.07).sin()) as i16).collect();
        queue.push(&mut pool, RATE, &spoken).expect("room");
        let held = |queue: &SpeechQueue| -> usize {
            let bytes = |block: &Block| match &block.body {
                Body::Plain(samples) => size_of_val(samples.as_slice()),
                Body::Packed(pages) => pages.iter().flatten().count() * PAGE_BYTES,
            };
            queue.blocks.iter().map(bytes).sum()
        };
        let plain = 10 * size_of::<Samples>();
        assert!(held(&queue) < plain * 2 / 3, "{} of {plain} bytes", held(&queue));
        let mut other = SpeechQueue::new(120_000);
        other.push(&mut pool, RATE, &noise(5)).expect("room");
        assert_eq!(held(&other), plain / 2, "what does not become smaller stays as it is");
        other.prepend(&mut queue);
        let mut heard = vec![0; 15 * BLOCK_SAMPLES];
        assert_eq!(other.take(&mut pool, &mut heard), Taken::Samples(15 * BLOCK_SAMPLES, RATE));
        assert_eq!(heard, [spoken, noise(5)].concat());
        assert_eq!(pool.in_use, 0);
    }

    #[test]
    fn blocks_that_nobody_needs_are_given_back_within_a_minute_and_others_are_kept() {
        let mut pool = SpeechPool::new(64 << 20);
        let mut queue = SpeechQueue::new(120_000);
        queue.push(&mut pool, RATE, &noise(FREE_BLOCKS_MAX)).expect("room");
        queue.clear(&mut pool);
        for second in 0..100 {
            // An answer every second that needs ten of them.
            queue.push(&mut pool, RATE, &noise(10)).expect("room");
            pool.rest(Instant::from_micros(second * 1_000_000));
            queue.clear(&mut pool);
        }
        assert_eq!(pool.free.kept.len(), 10, "what is needed stays");
        for second in 100..160 {
            pool.rest(Instant::from_micros(second * 1_000_000));
        }
        assert_eq!(pool.free.kept.len(), 0);
    }

    #[test]
    fn an_end_is_a_frame_of_its_own_between_the_turns() {
        let mut pool = SpeechPool::new(1 << 20);
        let mut queue = SpeechQueue::new(1000);
        queue.push(&mut pool, RATE, &[1; 100]).expect("room");
        queue.push_end(&mut pool, RATE);
        queue.push(&mut pool, RATE, &[2; 100]).expect("room");
        let lens: Vec<_> = std::iter::from_fn(|| queue.take_frame(&mut pool, 1))
            .map(|frame| (frame.kind, frame.samples().len()))
            .collect();
        use crate::base::FrameKind::{Audio, End};
        assert_eq!(lens, [(Audio, 100), (End, 0), (Audio, 100)]);
    }
}
