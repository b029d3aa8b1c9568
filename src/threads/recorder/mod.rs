//! The recorder: takes what the taps of calls bring, for recordings and for those who listen in.
//!
//! Runs in: one thread, and a second that writes the files ([`disk`]), so that a slow disk keeps nothing else waiting.
//! Owns the reading ends of the taps, a timeline for each, and the listeners. Never waits for a disk or a listener.
//! Invariant: a tap is emptied ten times a second; what is lost on the way is counted and becomes silence of the same length.

pub mod disk;
pub(crate) mod left;
pub(crate) mod listeners;
pub(crate) mod opus;
pub(crate) mod shelf;
pub(crate) mod timeline;
pub(crate) mod wav;
pub(crate) mod waveform;

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use crate::base::tap::tick_at;
use crate::base::{CallId, Instant, RecordId};
use crate::sync::rings::TapConsumer;
use crate::sync::{CallShared, Clock, Doorbell, Mailbox, Outbox};
use crate::telemetry::Counters;
use crate::threads::messages::ControlInput;
use crate::threads::private_file;
use disk::DiskOrder;
use listeners::{Heard, LISTENERS_MAX, Listeners};
use timeline::{Pair, RATE, Timeline, sample_at};

/// How often the taps are emptied.
const PASS: Duration = Duration::from_millis(100);
/// How long after its time audio may still come or change, beyond the longest message of the leg.
const SETTLED_MS: u64 = 500;
/// Orders that wait for the disk: that many seconds of one recording, 32 MiB.
pub const DISK_ORDERS: usize = 512;
/// Samples that go to the disk together: a second.
const PIECE: usize = RATE.hz() as usize;
/// Samples of a frame that was lost, for counting.
const FRAME: u64 = RATE.samples_per_frame() as u64;

/// A tap whose other end a dsp worker gets.
pub struct NewTap {
    /// Which call.
    pub id: CallId,
    /// Its record's id.
    pub record_id: RecordId,
    /// From when on its places are counted.
    pub began_at: Instant,
    /// Since when it is tapped.
    pub tapped_at: Instant,
    /// Its numbers.
    pub shared: Arc<CallShared>,
    /// The tap.
    pub ring: TapConsumer,
}

/// Why somebody cannot listen in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenRefused {
    /// There is no such call.
    NoCall,
    /// So many listen already.
    TooMany,
}

/// Where somebody who wants to listen in is answered.
pub type ListenReply = oneshot::Sender<Result<Heard, ListenRefused>>;

/// What the recorder is told.
pub enum RecorderOrder {
    /// Empty this tap from now on.
    Tapped(Box<NewTap>),
    /// Record this call, from its beginning on.
    Record(CallId),
    /// From this moment on the call is silent (true), or not any more: in its recording and for those who listen.
    Pause(CallId, Instant, bool),
    /// Somebody listens in.
    Listen(CallId, ListenReply),
    /// End, once all recordings are given to the disk.
    Stop,
}

/// What the recorder is built from.
pub struct RecorderParts {
    /// What it is told.
    pub inbox: Mailbox<RecorderOrder>,
    /// Its own bell.
    pub own: Doorbell,
    /// The thread that writes.
    pub disk: Sender<DiskOrder>,
    /// Who is told that nobody listens any more.
    pub control: Outbox<ControlInput>,
    /// The process's counters.
    pub counters: Arc<Counters>,
}

/// See the head of this file.
pub struct Recorder {
    parts: RecorderParts,
    calls: Vec<Tapped>,
    /// What the disk has to be told and did not take yet.
    held: VecDeque<DiskOrder>,
    stopping: bool,
}

struct Tapped {
    tap: NewTap,
    timeline: Timeline,
    recording: bool,
    /// Samples for the disk that are no whole piece yet, and the number of the first.
    piece: Vec<Pair>,
    piece_from: u64,
    listeners: Listeners,
    /// How often somebody wanted to listen in.
    asked: u64,
    /// Changes of the pause that are ahead of the timeline, and whether it is on behind them.
    pauses: VecDeque<(u64, bool)>,
    paused: bool,
    taken: Vec<Pair>,
}

impl Recorder {
    /// A recorder that has not begun.
    pub fn new(parts: RecorderParts) -> Self {
        Self { parts, calls: Vec::new(), held: VecDeque::new(), stopping: false }
    }

    /// Serves until told to stop.
    pub(crate) fn run(mut self, clock: Clock) {
        while self.pass(clock.now()) {
            if !self.parts.own.is_rung() {
                thread::park_timeout(if self.is_idle() { Duration::from_secs(1) } else { PASS });
            }
            self.parts.own.answer();
        }
    }

    /// Whether no call is tapped, and the disk was told everything.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.held.is_empty()
    }

    /// Takes what it is told and what the taps have. Returns whether it goes on.
    pub fn pass(&mut self, now: Instant) -> bool {
        while let Some(order) = self.parts.inbox.take() {
            self.take(now, order);
        }
        let Self { parts, calls, held, .. } = self;
        calls.retain_mut(|call| {
            let (lost, ended) = call.pass(now, |order| told(&parts.disk, held, order));
            parts.counters.recording_frames_lost.add(lost);
            if call.listeners_left() && !call.recording && !ended {
                parts.control.send(ControlInput::Unheard(call.tap.id, call.asked));
            }
            !ended
        });
        while let Some(order) = self.held.pop_front() {
            if let Err(refused) = self.parts.disk.try_send(order) {
                // Told again unless the thread is gone.
                if refused.is_full() {
                    self.held.push_front(refused.into_inner());
                }
                break;
            }
        }
        self.parts.control.flush();
        // Control has waited for what the disk was told, as long as is right.
        !(self.stopping && self.calls.is_empty())
    }

    fn take(&mut self, now: Instant, order: RecorderOrder) {
        let listeners: usize = self.calls.iter().map(|call| call.listeners.len()).sum();
        let call = |calls: &mut Vec<Tapped>, id| calls.iter_mut().position(|call| call.tap.id == id);
        match order {
            RecorderOrder::Tapped(tap) => self.calls.push(Tapped::new(*tap)),
            RecorderOrder::Record(id) => {
                if let Some(at) = call(&mut self.calls, id) {
                    let (from, record_id) = self.calls[at].record();
                    told(&self.parts.disk, &mut self.held, DiskOrder::Begin(id, record_id));
                    self.calls[at].piece_from = from;
                }
            }
            RecorderOrder::Pause(id, at, paused) => {
                if let Some(place) = call(&mut self.calls, id) {
                    let tapped = &mut self.calls[place];
                    tapped.pauses.push_back((sample_at(tick_at(tapped.tap.began_at, at)), paused));
                }
            }
            RecorderOrder::Listen(id, reply) => {
                let place = call(&mut self.calls, id);
                if let Some(at) = place {
                    self.calls[at].asked += 1;
                }
                let heard = match place {
                    None => Err(ListenRefused::NoCall),
                    Some(_) if listeners >= LISTENERS_MAX => Err(ListenRefused::TooMany),
                    Some(at) => self.calls[at].listen(now).ok_or(ListenRefused::TooMany),
                };
                // Whoever asked may have given up.
                _ = reply.send(heard);
            }
            RecorderOrder::Stop => self.stopping = true,
        }
    }
}

/// Tells the disk, and keeps what must not be lost where it has no room now.
fn told(disk: &Sender<DiskOrder>, held: &mut VecDeque<DiskOrder>, order: DiskOrder) -> bool {
    let order = match held.is_empty() {
        true => match disk.try_send(order) {
            Ok(()) => return true,
            Err(refused) => refused.into_inner(),
        },
        false => order,
    };
    let must = !matches!(order, DiskOrder::Write(..));
    if must {
        held.push_back(order);
    }
    must
}

impl Tapped {
    fn new(tap: NewTap) -> Self {
        let from = sample_at(tick_at(tap.began_at, tap.tapped_at));
        Self {
            tap,
            timeline: Timeline::new(from),
            recording: false,
            piece: Vec::new(),
            piece_from: from,
            listeners: Listeners::default(),
            asked: 0,
            pauses: VecDeque::new(),
            paused: false,
            taken: Vec::new(),
        }
    }

    /// Records from the timeline's place on; what was before it is silence. Returns that place and the record's id.
    fn record(&mut self) -> (u64, RecordId) {
        self.recording = true;
        (self.timeline.from(), self.tap.record_id)
    }

    fn listen(&mut self, now: Instant) -> Option<Heard> {
        if !self.recording && self.listeners.is_empty() {
            // The tap may have rested.
            self.timeline = Timeline::new(sample_at(tick_at(self.tap.began_at, now)));
        }
        self.listeners.add()
    }

    /// Whether the last listener has just gone.
    fn listeners_left(&mut self) -> bool {
        let before = self.listeners.len();
        self.listeners.look();
        before > 0 && self.listeners.is_empty()
    }

    /// Returns how many frames were lost, and whether the call is over.
    fn pass(&mut self, now: Instant, mut disk: impl FnMut(DiskOrder) -> bool) -> (u64, bool) {
        // Asked before the ring is emptied: whatever it says, nothing comes behind what is there then.
        let ended = self.tap.ring.is_abandoned();
        while let Ok(tapped) = self.tap.ring.pop() {
            self.timeline.put(&tapped);
        }
        let mut lost = self.timeline.take_late();
        let settled_ms = SETTLED_MS + u64::from(self.tap.shared.format().chunk_ms);
        let until = if ended { now } else { now.minus_ms(settled_ms) };
        self.taken.clear();
        let mut taken = std::mem::take(&mut self.taken);
        let from = self.timeline.from();
        self.timeline.take_until(sample_at(tick_at(self.tap.began_at, until)), &mut taken);
        self.silence_pauses(from, &mut taken);
        for piece in taken.chunks(RATE.samples_in_ms(100)) {
            self.listeners.tell(piece);
        }
        if self.recording {
            self.piece.extend_from_slice(&taken);
            let whole = self.piece.len() / PIECE * PIECE;
            let whole = if ended { self.piece.len() } else { whole };
            if whole > 0 {
                let rest = self.piece.split_off(whole);
                let piece = std::mem::replace(&mut self.piece, rest);
                if !disk(DiskOrder::Write(self.tap.id, self.piece_from, piece)) {
                    lost += 2 * (whole as u64).div_ceil(FRAME);
                }
                self.piece_from += whole as u64;
            }
            if ended {
                disk(DiskOrder::End(self.tap.id, self.piece_from));
            }
        }
        self.taken = taken;
        (lost, ended)
    }

    /// Makes silence of what lies in a pause.
    fn silence_pauses(&mut self, from: u64, taken: &mut [Pair]) {
        let mut at = 0;
        while at < taken.len() {
            let next = self.pauses.front().map(|(change, _)| change.saturating_sub(from) as usize);
            let until = next.unwrap_or(taken.len()).clamp(at, taken.len());
            if self.paused {
                taken[at..until].fill([0, 0]);
            }
            at = until;
            if at < taken.len()
                && let Some((_, paused)) = self.pauses.pop_front()
            {
                self.paused = paused;
            }
        }
    }
}
