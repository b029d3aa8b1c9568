//! What a run of the call generator is told: the options, checked once before anything starts.
//!
//! Runs in: anywhere: pure. Owns nothing. Never opens a file or a socket.
//! Invariant: options that [`Options::check`] accepts can be run; contradictions are told, not resolved silently.

use std::path::PathBuf;

use tandem::base::SampleRate;

use super::dialogue;
use super::leg::Leg;

/// What the callers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audio {
    /// Numbered marks ([`super::mark`]), without pause: for [`Expect::Echo`].
    Marks,
    /// The bundled question, again and again, each time waiting for the answer.
    Speech,
    /// Two seconds of a pulsing 440 Hz tone in place of speech.
    Tone,
    /// A WAV file in place of the bundled question: s16le, one talkspurt without long pauses.
    Wav(PathBuf),
    /// A line on which nobody speaks: faint noise all the time. Nothing of it is analysed.
    Noise,
    /// A second of that noise, and exact zeros from then on: what a muted telephone sends.
    Silence,
}

/// A number of calls that rises in steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// Calls of each step, rising.
    pub calls: Vec<u32>,
    /// How long each step is measured, from a second after its last call was begun.
    pub seconds: f64,
}

impl Steps {
    /// Reads `50,100,150`.
    ///
    /// # Errors
    /// A text that says what to write.
    pub fn parse(text: &str, seconds: f64) -> Result<Self, String> {
        let calls: Option<Vec<u32>> = text.split(',').map(|one| one.trim().parse().ok()).collect();
        let calls = calls.ok_or_else(|| format!("--steps {text:?}: write numbers of calls: 50,100,150"))?;
        Ok(Self { calls, seconds })
    }
}

/// What the model is expected to do, and therefore what is measured and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Returns each chunk at once: round trips, and every frame accounted for.
    Echo,
    /// Repeats each talkspurt when it has ended: response time, and the same audio.
    Parrot,
    /// Speaks the bundled answer when a talkspurt has ended: response time, and that audio.
    Answer,
}

/// How the relay is asked to hand audio over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playback {
    /// Binary messages of s16le at the call's rate.
    Binary,
    /// `streamAudio` texts with base64 s16le, played by the module.
    Json,
    /// `streamAudio` texts that become files, which our script plays.
    File,
}

impl Playback {
    /// As written in the URL's `playback=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Json => "json",
            Self::File => "file",
        }
    }

    /// Reads what [`Self::name`] gives.
    ///
    /// # Errors
    /// A text that names the playbacks there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let all = [Self::Binary, Self::Json, Self::File];
        let found = all.into_iter().find(|playback| playback.name() == text);
        found.ok_or_else(|| format!("{text:?} is no playback; write binary, json or file"))
    }
}

/// The channels that the switch sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// The caller alone.
    Mono,
    /// Interleaved: left the caller, right something else that must not reach the model.
    Stereo,
}

impl Mix {
    /// As written in the URL's `mix=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mono => "mono",
            Self::Stereo => "stereo",
        }
    }
}

/// A run.
#[derive(Debug, Clone)]
pub struct Options {
    /// `ws://HOST:PORT/PATH?QUERY`; with [`Self::floor`] and AudioSocket only host and port count. `{uuid}` and `{n}` stand for the
    /// call's UUID and number, here as in `headers` and `metadata`.
    pub url: String,
    /// How many calls; with [`Self::steps`] their last number counts, with [`Self::call_seconds`] so many at a time.
    pub calls: u32,
    /// How long each call talks, in seconds, from its first audio frame; with [`Self::call_seconds`] how long the run lasts.
    pub seconds: f64,
    /// Raise the number of calls in steps, and measure each of them; they decide how long the calls talk.
    pub steps: Option<Steps>,
    /// Churn: each call talks for a time between these two, in seconds, and is followed by another until the run is over.
    pub call_seconds: Option<(f64, f64)>,
    /// One call in so many is analysed; the others send prepared frames and count what comes back. 1 analyses all, 0 none.
    pub analyse: u32,
    /// The share of the time in which a call that is not analysed talks, between 0 and 1; `None` talks without pause.
    pub talk: Option<f64>,
    /// Of what is left to chance: lengths of calls, talkspurts and pauses.
    pub seed: u64,
    /// The rate of the leg, both ways.
    pub rate: SampleRate,
    /// What the callers say.
    pub audio: Audio,
    /// What they expect to hear.
    pub expect: Expect,
    /// How they are to hear it, where [`Self::legs`] names no leg.
    pub playback: Playback,
    /// The legs of the calls, in turns; none stands for mod_audio_stream with [`Self::playback`].
    pub legs: Vec<Leg>,
    /// Channels sent.
    pub mix: Mix,
    /// Say these utterances of marks, and write down which of them are heard, in place of what `audio` and `expect` say.
    pub dialogue: Option<dialogue::Plan>,
    /// Calls begun per second.
    pub ramp_per_s: f64,
    /// Speak over each answer, one second into it, and measure how long it goes on.
    pub barge_in: bool,
    /// Connect, say nothing, send no audio at all: for memory.
    pub idle: bool,
    /// No WebSocket: raw messages of the sizes in [`crate::floor`].
    pub floor: bool,
    /// Extra headers of the upgrade request.
    pub headers: Vec<(String, String)>,
    /// The metadata text; `None` sends the default JSON, an empty text sends no metadata frame.
    pub metadata: Option<String>,
    /// Silence before the first word or mark, in ms: the time in which the relay dials the model.
    pub warmup_ms: u32,
    /// Keep what the first call says and hears, in [`CallReport::tape`](super::CallReport::tape).
    pub keep_audio: bool,
    /// Worker threads; 0 takes one per 200 calls, and no more than there are processors.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: String::new(),
            calls: 1,
            seconds: 10.0,
            steps: None,
            call_seconds: None,
            analyse: 1,
            talk: None,
            seed: 1,
            rate: SampleRate::Hz16000,
            audio: Audio::Marks,
            expect: Expect::Echo,
            playback: Playback::Binary,
            legs: Vec::new(),
            mix: Mix::Mono,
            dialogue: None,
            ramp_per_s: 50.0,
            barge_in: false,
            idle: false,
            floor: false,
            headers: Vec::new(),
            metadata: None,
            warmup_ms: 500,
            keep_audio: false,
            threads: 0,
        }
    }
}

impl Options {
    /// Checks what can be checked without doing anything.
    ///
    /// # Errors
    /// A text that names the option, its value and what to write instead.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=20_000).contains(&self.calls) {
            return Err(format!("--calls {} is not within 1 to 20000", self.calls));
        }
        if !(self.seconds > 0.0 && self.seconds <= 86_400.0) {
            return Err(format!("--seconds {} is not within 0 to 86400 (a day)", self.seconds));
        }
        if !(self.ramp_per_s > 0.0 && self.ramp_per_s <= 100_000.0) {
            return Err(format!("--ramp {} is not a number of calls per second above 0", self.ramp_per_s));
        }
        self.check_course()?;
        let echoes = self.expect == Expect::Echo;
        if let Some(plan) = &self.dialogue {
            plan.check()?;
            if self.idle || self.floor || self.barge_in {
                return Err(
                    "a dialogue is a call of its own kind: leave idle, floor and barge-in out".to_owned()
                );
            }
        }
        let is_line = matches!(self.audio, Audio::Noise | Audio::Silence);
        if is_line && self.analyse > 0 {
            return Err("--audio noise and silence have nothing to analyse: add --analyse none".to_owned());
        }
        if !self.idle && !self.floor && !is_line && echoes != (self.audio == Audio::Marks) {
            return Err("--expect echo is measured by marks, and marks by an echo: leave --audio out for \
                        --expect echo, or add --expect parrot or answer to --audio speech, tone or FILE.wav"
                .to_owned());
        }
        if self.barge_in && (echoes || self.idle || self.floor) {
            return Err("--barge-in needs an answer to speak over: add --expect answer or parrot".to_owned());
        }
        if self.floor && (self.rate != SampleRate::Hz16000 || self.idle) {
            return Err("--floor has the sizes of 20 ms at 16 kHz: leave --rate and --idle out".to_owned());
        }
        if self.floor && !self.legs.is_empty() {
            return Err("--floor is a leg of its own: leave --leg out".to_owned());
        }
        if self.mix == Mix::Stereo
            && let Some(leg) = self.legs.iter().find(|leg| !leg.has_stereo())
        {
            return Err(format!("--mix stereo: {} has one channel; write --mix mono", leg.name()));
        }
        for (name, value) in &self.headers {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
                return Err(format!("--header: {name:?} is no header name; write --header Name:Value"));
            }
            if value.bytes().any(|b| b < b' ' || b == 0x7f) {
                return Err(format!("--header {name}: the value holds a control character"));
            }
        }
        Ok(())
    }

    /// What decides how many calls there are, and when.
    fn check_course(&self) -> Result<(), String> {
        if let Some(Steps { calls, seconds }) = &self.steps {
            let are_rising = calls.windows(2).all(|pair| matches!(pair, [few, more] if few < more));
            let last = calls.last().copied().unwrap_or(0);
            if calls.len() > 100 || !are_rising || calls.first() == Some(&0) || !(1..=20_000).contains(&last)
            {
                return Err(format!(
                    "--steps {calls:?}: write at most 100 numbers that rise, from 1 to 20000"
                ));
            }
            if !(*seconds > 0.0 && *seconds <= 3600.0) {
                return Err(format!("--step-seconds {seconds} is not within 0 to 3600"));
            }
        }
        if let Some((least, most)) = self.call_seconds
            && !(least >= 0.1 && most >= least && most <= 86_400.0)
        {
            return Err(format!(
                "--call-seconds {least}..{most}: write two numbers from 0.1 on that do not fall"
            ));
        }
        if self.talk.is_some_and(|share| !(0.01..1.0).contains(&share)) {
            return Err("--talk is a share of the time from 1 % to 99 %".to_owned());
        }
        if self.analyse == 1 {
            return if self.talk.is_some() {
                Err("--talk is for calls that are not analysed: add --analyse 1/20 or none".to_owned())
            } else {
                Ok(())
            };
        }
        if self.idle || self.dialogue.is_some() || self.barge_in || self.mix == Mix::Stereo {
            return Err(
                "--analyse leaves no call out that is idle, interrupts or has two channels".to_owned()
            );
        }
        if (0..self.legs.len().max(1))
            .any(|place| self.leg_of(place) != Leg::ModAudioStream(Playback::Binary))
        {
            return Err(
                "--analyse is for mod_audio_stream with binary playback: leave it out with others".to_owned()
            );
        }
        if self.expect != Expect::Echo && self.talk.is_none() {
            return Err("nobody answers a caller who talks without pause: add --talk 40%".to_owned());
        }
        Ok(())
    }

    /// Whether call number `index` is analysed.
    pub(super) fn is_analysed(&self, index: usize) -> bool {
        index.checked_rem(self.analyse as usize) == Some(0)
    }

    /// The leg of call `index`.
    pub fn leg_of(&self, index: usize) -> Leg {
        let place = index.checked_rem(self.legs.len()).and_then(|place| self.legs.get(place));
        place.copied().unwrap_or(Leg::ModAudioStream(self.playback))
    }

    /// Worker threads to start.
    pub(super) fn worker_count(&self, places: usize) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = if self.threads > 0 { self.threads } else { places.div_ceil(200) };
        if self.threads > 0 { wanted } else { wanted.min(processors) }.clamp(1, places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_told() {
        let good = Options::default();
        assert_eq!(good.check(), Ok(()));
        let steps = |calls: &[u32]| Some(Steps { calls: calls.to_vec(), seconds: 5.0 });
        let cases: [(Options, &str); 16] = [
            (Options { steps: steps(&[50, 50]), ..good.clone() }, "--steps"),
            (Options { steps: steps(&[]), ..good.clone() }, "--steps"),
            (Options { call_seconds: Some((5.0, 2.0)), ..good.clone() }, "--call-seconds"),
            (Options { talk: Some(40.0), analyse: 0, ..good.clone() }, "--talk"),
            (Options { talk: Some(0.4), ..good.clone() }, "--analyse"),
            (Options { audio: Audio::Noise, ..good.clone() }, "--analyse none"),
            (Options { analyse: 20, legs: vec![Leg::AudioSocket], ..good.clone() }, "--analyse"),
            (Options { analyse: 0, expect: Expect::Parrot, audio: Audio::Speech, ..good.clone() }, "--talk"),
            (Options { calls: 0, ..good.clone() }, "--calls 0"),
            (Options { seconds: f64::NAN, ..good.clone() }, "--seconds NaN"),
            (Options { audio: Audio::Speech, ..good.clone() }, "--expect"),
            (Options { barge_in: true, ..good.clone() }, "--barge-in"),
            (Options { floor: true, rate: SampleRate::Hz8000, ..good.clone() }, "--floor"),
            (Options { floor: true, legs: vec![Leg::AudioSocket], ..good.clone() }, "--leg"),
            (Options { mix: Mix::Stereo, legs: vec![Leg::AudioSocket], ..good.clone() }, "--mix stereo"),
            (Options { headers: vec![("A:".into(), "b".into())], ..good.clone() }, "--header"),
        ];
        for (options, part) in cases {
            assert!(options.check().is_err_and(|text| text.contains(part)), "{part}");
        }
    }

    #[test]
    fn steps_are_read_and_one_call_in_so_many_is_analysed() {
        assert_eq!(Steps::parse("50, 100", 8.0), Ok(Steps { calls: vec![50, 100], seconds: 8.0 }));
        assert!(Steps::parse("50,many", 8.0).is_err_and(|text| text.contains("50,100,150")));
        let analysed = |analyse| {
            let options = Options { analyse, ..Options::default() };
            (0..40).filter(|index| options.is_analysed(*index)).count()
        };
        assert_eq!((analysed(1), analysed(20), analysed(0)), (40, 2, 0));
    }
}
