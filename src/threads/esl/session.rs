//! One event socket client without its socket: bytes and jobs in, bytes, answers and events out.
//!
//! Runs in: the esl thread, and tests in virtual time: pure. Owns the jobs that wait to be sent or answered.
//! Never sends a job twice: one that was handed to the socket when the connection was lost is reported as unconfirmed.
//! Invariant: each job is answered exactly once, and what waits is bounded in number and in time.

use std::collections::{HashMap, VecDeque};

use tokio::sync::mpsc::Sender;

use crate::base::{CallId, Instant};
use crate::call::leg::OrderNumber;
use crate::call::{CommandError, CommandResult};
use crate::codec::channel_word::{self, ChannelWord};
use crate::codec::esl::{self, Decoder, Event, Message};

/// Jobs that wait for the connection, or for others to be answered.
const QUEUE_MAX: usize = 1024;
/// Jobs that the switch has and has not answered: each is a thread of FreeSWITCH meanwhile.
const UNANSWERED_MAX: usize = 64;
/// How long a job may stay unanswered until it is forgotten: longer than its requester waits.
const FORGOTTEN_MS: u64 = 15_000;
/// How long login may take.
const LOGIN_MS: u64 = 5_000;
/// What is asked to be told.
const EVENTS: &[&str] = &["BACKGROUND_JOB", "CHANNEL_HANGUP", "DTMF"];
/// The same of CUSTOM: answering machines (mod_avmd, mod_vmd), and trouble of the module.
const CUSTOM_EVENTS: &[&str] = &["avmd::beep", "vmd::beep", "mod_audio_stream::error", TEXT, TEXT_OF_FORK];
/// A text came over a leg, as mod_audio_stream says it.
pub(crate) const TEXT: &str = "mod_audio_stream::json";
/// The same as mod_audio_fork says it.
pub(crate) const TEXT_OF_FORK: &str = "mod_audio_fork::json";
/// Words that are remembered, because the job that awaits one may come behind it.
const WORDS_MAX: usize = 256;

/// Who waits for a job.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// A command of a call.
    Command(CallId, OrderNumber),
    /// Whoever wants an outbound call: told once the switch has begun with it.
    Outbound(String, Sender<CommandResult>),
}

/// A job for the switch.
#[derive(Debug)]
pub(crate) struct Job {
    /// Who waits for it.
    pub ticket: Ticket,
    /// The API command.
    pub line: String,
    /// Until when it may be sent.
    pub send_by: Instant,
    /// What the switch has to say before.
    pub awaits: Option<Awaited>,
}

/// A word that the switch has to say on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Awaited {
    /// The channel's UUID.
    pub channel: String,
    /// The word.
    pub word: ChannelWord,
}

impl Awaited {
    fn is(&self, said: &Self) -> bool {
        self.word == said.word && self.channel.eq_ignore_ascii_case(&said.channel)
    }
}

/// What the session has to tell.
#[derive(Debug)]
pub(crate) enum News {
    /// A job's answer.
    Answered(Ticket, CommandResult),
    /// Logged in, and events are coming.
    Ready,
    /// Something happened at the switch.
    Event(Event),
    /// What became of an outbound call that the switch had begun with: its channel, and what the switch said.
    Placed(String, CommandResult),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Disconnected,
    /// Connected; the switch has not asked for the password yet.
    Greeted,
    LoggingIn,
    Subscribing,
    Ready,
}

/// What a reply answers; replies come in the order of the commands.
#[derive(Debug)]
enum Expected {
    Login,
    Subscription,
    Job(String),
}

#[derive(Debug)]
struct Unanswered {
    ticket: Option<Ticket>,
    /// The channel, for an outbound call of which only the end is still to come.
    placing: Option<String>,
    forgotten_at: Instant,
}

/// See the head of this file.
pub(crate) struct Session {
    password: String,
    job_prefix: String,
    answer_ms: u64,
    state: State,
    login_by: Instant,
    decoder: Decoder,
    unsent: Vec<u8>,
    expected: VecDeque<Expected>,
    queue: VecDeque<Job>,
    unanswered: HashMap<String, Unanswered>,
    jobs: u64,
    news: VecDeque<News>,
    /// What the switch has said last.
    said: VecDeque<Awaited>,
}

impl Session {
    /// A session that is not connected. Names of jobs begin with `job_prefix`, which no other client may use;
    /// an outbound call may ring for `answer_ms`.
    pub(crate) fn new(password: &str, job_prefix: String, answer_ms: u64) -> Self {
        Self {
            password: password.to_owned(),
            job_prefix,
            answer_ms,
            state: State::Disconnected,
            login_by: Instant::default(),
            decoder: Decoder::default(),
            unsent: Vec::new(),
            expected: VecDeque::new(),
            queue: VecDeque::new(),
            unanswered: HashMap::new(),
            jobs: 0,
            news: VecDeque::new(),
            said: VecDeque::new(),
        }
    }

    /// A connection was made.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.state = State::Greeted;
        self.login_by = now.plus_ms(LOGIN_MS);
    }

    /// The connection was lost. What the switch may have got is not known to have been carried out; what it has not
    /// got waits for the next connection.
    pub(crate) fn lost(&mut self) {
        self.state = State::Disconnected;
        self.decoder = Decoder::default();
        self.unsent.clear();
        self.expected.clear();
        for (_, job) in self.unanswered.drain() {
            let error = || Err(CommandError::Unconfirmed("the connection to the event socket was lost"));
            if let Some(ticket) = job.ticket {
                self.news.push_back(News::Answered(ticket, error()));
            } else if let Some(channel) = job.placing {
                self.news.push_back(News::Placed(channel, error()));
            }
        }
    }

    /// Takes a job.
    pub(crate) fn request(&mut self, now: Instant, mut job: Job) {
        job.awaits.take_if(|awaited| self.said.iter().any(|said| awaited.is(said)));
        if self.queue.len() >= QUEUE_MAX {
            let error = CommandError::NotSent("too many commands wait for the event socket");
            self.news.push_back(News::Answered(job.ticket, Err(error)));
        } else {
            self.queue.push_back(job);
            self.tick(now);
        }
    }

    /// Takes bytes of the switch.
    ///
    /// # Errors
    /// Why the connection is to be closed, in an operator's words.
    pub(crate) fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<(), String> {
        self.decoder.push(bytes);
        loop {
            match self.decoder.next_message() {
                Ok(Some(message)) => self.message(now, message)?,
                Ok(None) => break,
                Err(problem) => return Err(format!("the event socket sent {problem}")),
            }
        }
        self.tick(now);
        Ok(())
    }

    /// Gives up what has waited too long, and sends what may be sent.
    pub(crate) fn tick(&mut self, now: Instant) {
        for _ in 0..self.queue.len() {
            let Some(job) = self.queue.pop_front() else { break };
            if now < job.send_by {
                self.queue.push_back(job);
            } else {
                let error = match job.awaits.filter(|_| self.state == State::Ready) {
                    None => CommandError::NotSent("there was no connection to the event socket in time"),
                    Some(_) => CommandError::ForeignChannel,
                };
                self.news.push_back(News::Answered(job.ticket, Err(error)));
            }
        }
        let forgotten: Vec<String> = self
            .unanswered
            .iter()
            .filter(|(_, job)| now >= job.forgotten_at)
            .map(|(name, _)| name.clone())
            .collect();
        for job in forgotten.into_iter().filter_map(|name| self.unanswered.remove(&name)) {
            let error = Err(CommandError::Unconfirmed("the event socket did not answer"));
            if let Some(ticket) = job.ticket {
                self.news.push_back(News::Answered(ticket, error));
            } else if let Some(channel) = job.placing {
                self.news.push_back(News::Placed(channel, error));
            }
        }
        // Only into an empty output, so that a stalled switch leaves the rest where it can still be given up.
        while self.state == State::Ready
            && self.unsent.is_empty()
            && self.unanswered.values().filter(|job| job.ticket.is_some()).count() < UNANSWERED_MAX
            && self.unanswered.len() < QUEUE_MAX
            && let Some(next) = self.queue.iter().position(|job| job.awaits.is_none())
            && let Some(job) = self.queue.remove(next)
        {
            self.jobs += 1;
            let name = format!("{}-{}", self.job_prefix, self.jobs);
            self.unsent.extend_from_slice(esl::bgapi(&name, &job.line).as_bytes());
            self.expected.push_back(Expected::Job(name.clone()));
            let forgotten_at = now.plus_ms(FORGOTTEN_MS);
            self.unanswered
                .insert(name, Unanswered { ticket: Some(job.ticket), placing: None, forgotten_at });
        }
    }

    /// When [`Session::tick`] wants to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let logging_in = !matches!(self.state, State::Disconnected | State::Ready);
        let login = logging_in.then_some(self.login_by);
        let queued = self.queue.iter().map(|job| job.send_by);
        let sent = self.unanswered.values().map(|job| job.forgotten_at);
        queued.chain(sent).chain(login).min()
    }

    /// Whether login takes too long.
    pub(crate) fn is_login_overdue(&self, now: Instant) -> bool {
        !matches!(self.state, State::Disconnected | State::Ready) && now >= self.login_by
    }

    /// The bytes for the socket; what was written is to be taken out of them.
    pub(crate) fn unsent(&mut self) -> &mut Vec<u8> {
        &mut self.unsent
    }

    /// What there is to tell, the oldest first.
    pub(crate) fn next_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    fn message(&mut self, now: Instant, message: Message) -> Result<(), String> {
        match message {
            Message::AuthRequest if self.state == State::Greeted => {
                let login =
                    esl::authenticate(&self.password).ok_or("esl.password holds a control character")?;
                self.unsent.extend_from_slice(login.as_bytes());
                self.expected.push_back(Expected::Login);
                self.state = State::LoggingIn;
            }
            Message::Reply(text) => self.reply(now, &text)?,
            Message::Event(event) => self.event(event),
            Message::Rejected => {
                return Err("FreeSWITCH refuses this address: allow it with apply-inbound-acl in \
                            event_socket.conf.xml"
                    .into());
            }
            Message::Disconnect => return Err("FreeSWITCH closed the event socket".into()),
            Message::AuthRequest | Message::ApiResponse(_) | Message::Other => {}
        }
        Ok(())
    }

    fn reply(&mut self, now: Instant, text: &str) -> Result<(), String> {
        let is_ok = text.starts_with("+OK");
        match self.expected.pop_front() {
            Some(Expected::Login) if is_ok => {
                self.unsent.extend_from_slice(esl::subscribe(EVENTS, CUSTOM_EVENTS).as_bytes());
                self.expected.push_back(Expected::Subscription);
                self.state = State::Subscribing;
            }
            Some(Expected::Login) => {
                return Err("FreeSWITCH does not accept what esl.password says; compare it with event_socket.conf.xml"
                    .into());
            }
            Some(Expected::Subscription) if is_ok => {
                self.state = State::Ready;
                self.news.push_back(News::Ready);
            }
            Some(Expected::Subscription) => {
                return Err("FreeSWITCH refuses the subscription to events".into());
            }
            Some(Expected::Job(name)) if is_ok => self.begun(now, &name),
            Some(Expected::Job(name)) => {
                if let Some(ticket) = self.unanswered.remove(&name).and_then(|job| job.ticket) {
                    let refused = Err(CommandError::Refused(said(text)));
                    self.news.push_back(News::Answered(ticket, refused));
                }
            }
            None => return Err("the event socket answered what was not asked".into()),
        }
        Ok(())
    }

    /// The switch has begun with a job. For an outbound call that is the answer; how it ends comes much later.
    fn begun(&mut self, now: Instant, name: &str) {
        let Some(job) = self.unanswered.get_mut(name) else { return };
        if let Some(Ticket::Outbound(..)) = &job.ticket
            && let Some(Ticket::Outbound(channel, reply)) = job.ticket.take()
        {
            job.placing = Some(channel.clone());
            job.forgotten_at = now.plus_ms(self.answer_ms + FORGOTTEN_MS);
            self.news.push_back(News::Answered(Ticket::Outbound(channel, reply), Ok(())));
        }
    }

    /// Lets the jobs go that waited for this.
    fn hear(&mut self, event: &Event) {
        let is_text =
            event.header("Event-Subclass").is_some_and(|name| [TEXT, TEXT_OF_FORK].contains(&name.as_ref()));
        let channel = event.header("Unique-ID").filter(|_| is_text);
        let word = channel.as_ref().and_then(|_| channel_word::read(event.body().trim()));
        let Some((channel, word)) = channel.zip(word) else { return };
        let said = Awaited { channel: channel.into_owned(), word };
        for job in &mut self.queue {
            job.awaits.take_if(|awaited| awaited.is(&said));
        }
        if self.said.len() >= WORDS_MAX {
            self.said.pop_front();
        }
        self.said.push_back(said);
    }

    fn event(&mut self, event: Event) {
        if event.header("Event-Name").as_deref() != Some("BACKGROUND_JOB") {
            self.hear(&event);
            self.news.push_back(News::Event(event));
            return;
        }
        // Jobs of other clients come too.
        let Some(job) = event.header("Job-UUID").and_then(|name| self.unanswered.remove(name.as_ref()))
        else {
            return;
        };
        // Some commands say nothing when they succeed; those that fail say so.
        let output = event.body().trim();
        let failed = output.starts_with('-') || output.ends_with("Command not found!");
        let result = if failed { Err(CommandError::Refused(said(output))) } else { Ok(()) };
        if let Some(ticket) = job.ticket {
            self.news.push_back(News::Answered(ticket, result));
        } else if let Some(channel) = job.placing {
            self.news.push_back(News::Placed(channel, result));
        }
    }
}

/// The reason in `-ERR reason`, fit for a log.
fn said(output: &str) -> String {
    let reason = ["-ERR", "-USAGE:"].iter().find_map(|mark| output.strip_prefix(mark)).unwrap_or(output);
    crate::base::excerpt::excerpt(reason.trim().as_bytes(), 120)
}

#[cfg(test)]
mod tests;
