//! What else the relay waits for: tool servers, the recorder and its disk, and whoever asks something by the API.
//!
//! Runs in: the simulation. Owns the real recorder, and what those peers have not answered yet.
//! Invariant: a recording is begun and ended once, in this order, and no sample of it is missing or written twice; a tool is
//! answered once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, bounded};
use serde_json::Value;
use tandem::base::{CallId, Instant};
use tandem::call::record::RecordingFile;
use tandem::call::tool::{ToolFailure, ToolNumber};
use tandem::call::{Ask, CommandError, Fact};
use tandem::sync::Mailbox;
use tandem::threads::messages::{CommandReply, ControlInput};
use tandem::threads::recorder::disk::DiskOrder;
use tandem::threads::recorder::{DISK_ORDERS, ListenRefused, Recorder, RecorderOrder, RecorderParts};
use tandem::threads::tools::ToolJob;
use tokio::sync::{mpsc, oneshot};

use super::world::{Asked, Event, UUID, World};
use crate::relay::Ends;

/// How often the taps are emptied; the recorder does it more often, and a tap holds two seconds.
const PASS_MS: u64 = 500;

/// See the head of this file.
pub(super) struct Outside {
    recorder: Recorder,
    /// When it empties the taps again.
    pub recorder_at: Option<Instant>,
    disk: Receiver<DiskOrder>,
    pub recording: Option<Recording>,
    pub tools: BTreeMap<ToolNumber, ToolJob>,
    replies: Vec<mpsc::Receiver<CommandReply>>,
    listening: Vec<oneshot::Receiver<Result<Heard, ListenRefused>>>,
    pub listeners: Vec<Heard>,
}

type Heard = mpsc::Receiver<Bytes>;

/// What the disk has of a recording.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// Samples written.
    pub pairs: u64,
    /// The disk was full when it began, or since.
    pub failed: bool,
    /// How long it is, once it has ended.
    pub ended: Option<u64>,
    /// When it was reported to control.
    pub reported_at: Option<Instant>,
}

impl Outside {
    pub(super) fn new(ends: &Ends, inbox: Mailbox<RecorderOrder>) -> Self {
        let (to_disk, disk) = bounded(DISK_ORDERS);
        let recorder = Recorder::new(RecorderParts {
            inbox,
            own: ends.bells.recorder.clone(),
            disk: to_disk,
            control: ends.inbox.clone(),
            counters: Arc::clone(&ends.relay.counters),
        });
        Self {
            recorder,
            recorder_at: None,
            disk,
            recording: None,
            tools: BTreeMap::new(),
            replies: Vec::new(),
            listening: Vec::new(),
            listeners: Vec::new(),
        }
    }

    /// Nothing waits any more, and everybody was answered.
    pub(super) fn assert_empty(&self) {
        assert!(self.recorder.is_idle(), "the recorder has a tap");
        assert!(self.tools.is_empty(), "tools are being carried out for nobody");
        assert!(self.replies.is_empty() && self.listening.is_empty(), "a request is not answered");
        if let Some(recording) = &self.recording {
            assert!(recording.ended.is_some() && recording.reported_at.is_some(), "{recording:?}");
        }
    }
}

impl World {
    /// Lets all of them go on. Returns whether they had anything to do.
    pub(super) fn serve_outside(&mut self) -> bool {
        let mut again = false;
        while let Ok(job) = self.ends.tools.try_recv() {
            self.count("tools asked");
            let number = job.number;
            self.outside.tools.insert(number, job);
            // Threads may be busy with others.
            let us = self.rng.u64(0..200_000);
            self.later(us, Event::ToolAsked(number));
            again = true;
        }
        let due = self.outside.recorder_at.is_some_and(|at| at <= self.now);
        if due || self.ends.bells.recorder.answer() {
            self.outside.recorder.pass(self.now);
            self.outside.recorder_at = (!self.outside.recorder.is_idle()).then(|| self.now.plus_ms(PASS_MS));
            while let Ok(order) = self.outside.disk.try_recv() {
                self.write(order);
            }
            again = true;
        }
        self.outside.listening.retain_mut(|answer| match answer.try_recv() {
            Ok(Ok(heard)) => {
                self.outside.listeners.push(heard);
                false
            }
            Ok(Err(why)) => {
                assert_eq!(why, ListenRefused::NoCall, "there is room for a listener");
                false
            }
            Err(error) => error == oneshot::error::TryRecvError::Empty,
        });
        self.outside.replies.retain_mut(|reply| match reply.try_recv() {
            Ok(Some(
                Ok(()) | Err(CommandError::Ended | CommandError::NotSent(_) | CommandError::NotRecorded),
            ))
            | Ok(None) => false,
            Ok(other) => panic!("a request of the API: {other:?}"),
            Err(error) => error == mpsc::error::TryRecvError::Empty,
        });
        again
    }

    /// The disk's part of a recording.
    fn write(&mut self, order: DiskOrder) {
        match order {
            DiskOrder::Begin(id, _) => {
                assert!(self.outside.recording.is_none(), "a recording is begun twice");
                self.count("recordings");
                self.outside.recording = Some(Recording::default());
                if self.rng.u32(0..10) == 0 {
                    self.disk_is_full(id);
                }
            }
            DiskOrder::Write(id, from, pairs) => {
                let fills_up = self.rng.u32(0..10_000) == 0;
                let recording = self.outside.recording.as_mut().expect("begun before");
                assert!(recording.ended.is_none(), "written behind its end");
                assert_eq!(recording.pairs, from, "samples are missing, or written twice");
                recording.pairs += pairs.len() as u64;
                if fills_up && !recording.failed {
                    self.disk_is_full(id);
                }
            }
            DiskOrder::End(id, pairs) => {
                let recording = self.outside.recording.as_mut().expect("begun before");
                assert_eq!((recording.ended.replace(pairs), recording.pairs), (None, pairs));
                let us = match self.rng.u32(0..10) {
                    0 => self.rng.u64(4_000_000..7_000_000),
                    _ => self.rng.u64(0..50_000),
                };
                self.later(us, Event::Recorded(id));
            }
        }
    }

    fn disk_is_full(&mut self, id: CallId) {
        self.count("recordings failed");
        let recording = self.outside.recording.as_mut().expect("begun before");
        recording.failed = true;
        self.ends.inbox.send(ControlInput::RecordingFailed(id, "No space left on device".into()));
    }

    pub(super) fn recording_closed(&mut self, id: CallId) {
        let recording = self.outside.recording.as_mut().expect("begun before");
        recording.reported_at = Some(self.now);
        let pairs = recording.ended.expect("ended before");
        let seconds = pairs as f64 / 16_000.0;
        let (file, format) = ("call.wav".to_owned(), "wav".to_owned());
        let kept = RecordingFile { file, format, seconds, bytes: 44 + 4 * pairs };
        self.ends.inbox.send(ControlInput::Recorded(id, (!recording.failed).then_some(kept)));
    }

    pub(super) fn tool_asked(&mut self, number: ToolNumber) {
        let job = &self.outside.tools[&number];
        let id = job.arguments["number"].as_u64().expect("a number");
        let unwanted = self.gemini.cancelled.contains(&id) || self.ends.machines().next().is_none();
        assert!(job.is_taken_back() || !unwanted, "a tool is asked although nobody waits for it");
        let left_us = job.deadline.since(self.now).as_micros() as u64;
        let us = match self.rng.u32(0..10) {
            _ if job.is_taken_back() => 0,
            0..2 => left_us,
            _ => self.rng.u64(0..left_us.max(1)),
        };
        self.later(us, Event::ToolDone(number));
    }

    pub(super) fn tool_done(&mut self, number: ToolNumber) {
        let job = self.outside.tools.remove(&number).expect("asked before");
        let result = match self.rng.u32(0..8) {
            _ if job.is_taken_back() => Err(ToolFailure::NotAsked("it was taken back".to_owned())),
            _ if self.now >= job.deadline => Err(ToolFailure::TimedOut),
            0 => Err(ToolFailure::Failed("HTTP status 500".to_owned())),
            _ => Ok(Value::from("done")),
        };
        self.ends.tell(job.id, Fact::ToolDone(number, result));
    }

    pub(super) fn asked(&mut self, asked: Asked) {
        let (reply, answer) = mpsc::channel(1);
        let name = UUID.to_owned();
        match asked {
            Asked::Pause(paused) => {
                self.ends.inbox.send(ControlInput::Asked(name, Ask::PauseRecording(paused), reply));
            }
            Asked::Say => {
                self.ends.inbox.send(ControlInput::Asked(name, Ask::Say("Hello.".to_owned()), reply));
            }
            Asked::Listen => {
                let (reply, answer) = oneshot::channel();
                self.outside.listening.push(answer);
                self.ends.inbox.send(ControlInput::Listen(name, reply));
                let us = self.rng.u64(0..120_000_000);
                return self.later(us, Event::ListenerLeaves);
            }
            Asked::Look => {
                let (reply, answer) = oneshot::channel();
                self.ends.inbox.send(ControlInput::Live(reply));
                drop(answer);
                return;
            }
        }
        self.outside.replies.push(answer);
    }
}
