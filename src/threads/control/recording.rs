//! Taps of calls at the control thread: for their recordings, and for those who listen in.
//!
//! Runs in: the control thread. Owns what it knows of a call's tap, and the records that wait for their recording's size.
//! Never waits for the recorder: a record whose recording is not closed in time is kept without it.
//! Invariant: a call has one tap at most, whoever wants it.

use log::{info, warn};

use super::Control;
use crate::base::{CallId, Instant, Problem, Words};
use crate::call::CallDetail;
use crate::call::record::{CallEvent, RECORDING_FAILED, RecordingFile};
use crate::call::verdict::judge;
use crate::dsp::Tap;
use crate::sync::rings::tap_ring;
use crate::threads::dsp::DspOrder;
use crate::threads::recorder::{ListenRefused, ListenReply, NewTap, RecorderOrder};

/// How long a record waits for its recording: a disk that takes longer is one that does not work.
const RECORDED_WITHIN_MS: u64 = 5_000;

/// What is known of a call's tap.
#[derive(Default)]
pub(super) struct CallTap {
    /// There is one.
    tapped: bool,
    /// It rests, because nobody listens any more.
    rests: bool,
    recorded: bool,
    /// How often somebody wanted to listen in.
    asked: u64,
    /// What became of the recording, once its file is closed.
    kept: Option<Option<RecordingFile>>,
}

impl CallTap {
    /// Whether a recording was begun.
    pub(super) fn is_recorded(&self) -> bool {
        self.recorded
    }
}

/// A record that waits for its recording.
pub(super) struct Unrecorded {
    id: CallId,
    until: Instant,
    detail: Box<CallDetail>,
}

impl Unrecorded {
    /// Notes that the recording failed when the call was over.
    fn note_failure(&mut self, why: &str) {
        let at_ms = (self.detail.record.duration_s * 1000.0) as u64;
        let (kind, detail) = (RECORDING_FAILED.to_owned(), Some(why.to_owned()));
        self.detail.events.push(CallEvent { at_ms, kind, detail });
    }
}

impl Control {
    /// Sees to it that the call is tapped.
    fn tap(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.call(id) else { return };
        let worker = call.place.worker;
        if !std::mem::replace(&mut call.tap.tapped, true) {
            let (ring, taken) = tap_ring();
            let began_at = call.machine.offered_at();
            let (record_id, shared) = (call.record_id, call.shared.clone());
            let tap = NewTap { id, record_id, began_at, tapped_at: now, shared, ring: taken };
            self.parts.recorder.send(RecorderOrder::Tapped(Box::new(tap)));
            self.parts.workers[worker].send(DspOrder::Tap(id, Box::new(Tap::new(began_at, ring))));
        } else if std::mem::take(&mut call.tap.rests) {
            self.parts.workers[worker].send(DspOrder::SetTapped(id, true));
        }
    }

    /// Records the call from now on.
    pub(super) fn record(&mut self, now: Instant, id: CallId) {
        self.tap(now, id);
        if let Some(call) = self.call(id) {
            call.tap.recorded = true;
            self.parts.recorder.send(RecorderOrder::Record(id));
        }
    }

    /// Somebody wants to listen in on the call with this record id or UUID.
    pub(super) fn listen(&mut self, now: Instant, name: &str, reply: ListenReply) {
        let Some(id) = self.call_on(name) else {
            _ = reply.send(Err(ListenRefused::NoCall));
            return;
        };
        info!("call {id}: somebody of the API listens in");
        self.tap(now, id);
        if let Some(call) = self.call(id) {
            call.tap.asked += 1;
        }
        self.parts.recorder.send(RecorderOrder::Listen(id, reply));
    }

    /// Nobody listens any more, unless somebody has asked since.
    pub(super) fn unheard(&mut self, id: CallId, asked: u64) {
        let idle = |tap: &CallTap| !tap.recorded && tap.asked == asked;
        let Some(call) = self.call(id).filter(|call| idle(&call.tap)) else { return };
        call.tap.rests = true;
        let worker = call.place.worker;
        self.parts.workers[worker].send(DspOrder::SetTapped(id, false));
    }

    /// A recording cannot be written, which its call's record says.
    pub(super) fn recording_failed(&mut self, now: Instant, id: CallId, why: &str) {
        if let Some(call) = self.call(id) {
            call.machine.recording_failed(now, why);
        } else if let Some(waiting) = self.unrecorded.iter_mut().find(|waiting| waiting.id == id) {
            waiting.note_failure(why);
        }
    }

    /// The file of a recording is closed, or was given up.
    pub(super) fn recorded(&mut self, id: CallId, kept: Option<RecordingFile>) {
        if let Some(call) = self.call(id) {
            call.tap.kept = Some(kept);
        } else if let Some(at) = self.unrecorded.iter().position(|waiting| waiting.id == id) {
            let mut waiting = self.unrecorded.swap_remove(at);
            waiting.detail.record.recording = kept;
            self.keep_record(waiting.detail);
        }
    }

    /// The record of a call that is over: kept at once, or when its recording is closed.
    pub(super) fn record_ended(
        &mut self,
        now: Instant,
        id: CallId,
        tap: CallTap,
        mut detail: Box<CallDetail>,
    ) {
        match tap.kept {
            None if tap.recorded => {
                self.unrecorded.push(Unrecorded { id, until: now.plus_ms(RECORDED_WITHIN_MS), detail });
            }
            kept => {
                detail.record.recording = kept.flatten();
                self.keep_record(detail);
            }
        }
    }

    /// Judges a record and gives it to the store, if there is one.
    pub(super) fn keep_record(&mut self, mut detail: Box<CallDetail>) {
        judge(&mut detail.record, &self.relay.verdict);
        for word in detail.record.problems.iter().flatten() {
            if let Some(problem) = Problem::from_name(word) {
                self.relay.counters.find_problem(problem);
            }
        }
        if let Some(records) = &mut self.parts.records {
            records.send(detail);
        }
    }

    /// Lets records go whose recording takes too long.
    pub(super) fn look_at_unrecorded(&mut self, now: Instant) {
        while let Some(at) = self.unrecorded.iter().position(|waiting| now >= waiting.until) {
            let mut waiting = self.unrecorded.swap_remove(at);
            waiting.note_failure("it was not closed within 5 seconds after the call");
            warn!(
                "call {}: its recording is not closed yet, and is not named in its record {}: is the disk of \
                 recording.directory too slow?",
                waiting.id, waiting.detail.record.id
            );
            self.keep_record(waiting.detail);
        }
    }

    /// When to look again.
    pub(super) fn unrecorded_deadline(&self) -> Option<Instant> {
        self.unrecorded.iter().map(|waiting| waiting.until).min()
    }
}
