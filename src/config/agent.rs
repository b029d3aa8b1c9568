//! An agent as the configuration has it: the section `[agent]`, the default agent, or a table `[agents.NAME]`.
//!
//! Runs in: anywhere: pure. Owns the settings. Never says which key fills which field: `agent_keys.rs` does.
//! Invariant: every field is within the range its key documents.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::command::Destination;
use crate::base::model_options::{Sensitivity, ThinkingLevel, TurnCoverage};

/// What becomes of a call that cannot go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The switch is told that the call is given up, and decides.
    #[default]
    Switch,
    /// The caller is hung up on.
    HangUp,
    /// The caller is transferred there.
    Transfer(Destination),
}

/// Section `[agent]`, or a table `[agents.NAME]`. A field that is `None` or false is left out of `setup`, because models refuse fields they do not
/// know.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Model name, with or without the `models/` in front.
    pub model: String,
    /// Prebuilt voice.
    pub voice: Option<String>,
    /// BCP 47 language code.
    pub language: Option<String>,
    /// System instruction; the content of `agent.instructions_file` if that is set.
    pub instructions: Option<String>,
    /// The file `instructions` came from.
    pub instructions_file: Option<PathBuf>,
    /// Text that makes the model speak first.
    pub greeting: Option<String>,
    /// WAV file that is played while the model gets ready.
    pub greeting_sound: Option<PathBuf>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling mass.
    pub top_p: Option<f64>,
    /// The most tokens of one answer.
    pub max_output_tokens: Option<u32>,
    /// How much the model thinks, in words.
    pub(crate) thinking_level: Option<ThinkingLevel>,
    /// How much the model thinks, in tokens.
    pub thinking_budget: Option<u32>,
    /// Answer in the mood of the caller.
    pub affective_dialog: bool,
    /// Speak of its own accord.
    pub proactive_audio: bool,
    /// How readily the server takes a sound for the beginning of speech.
    pub(crate) start_sensitivity: Option<Sensitivity>,
    /// How readily it takes silence for its end.
    pub(crate) end_sensitivity: Option<Sensitivity>,
    /// Milliseconds of speech before it counts as begun.
    pub prefix_padding_ms: Option<u32>,
    /// Milliseconds of silence before speech counts as ended.
    pub silence_duration_ms: Option<u32>,
    /// Whether the caller interrupts the model.
    pub interruptions: Option<bool>,
    /// What belongs to the caller's turn.
    pub(crate) turn_coverage: Option<TurnCoverage>,
    /// Leave out older parts of the conversation where the context is full.
    pub compression: bool,
    /// Tokens at which that happens.
    pub compression_trigger_tokens: Option<u32>,
    /// Tokens that are left then.
    pub compression_target_tokens: Option<u32>,
    /// The longest call of this agent, below `leg.max_call_seconds`.
    pub max_call: Option<Duration>,
    /// Tokens of a call at which it is ended.
    pub max_tokens: Option<u64>,
    /// A caller who is silent for so long is hung up on.
    pub max_silence: Option<Duration>,
    /// Ask for the transcripts of both sides.
    pub transcript: bool,
    /// WAV file that is played when the call cannot go on.
    pub fallback_sound: Option<PathBuf>,
    /// What becomes of it then.
    pub fallback: Fallback,
    /// Ask for a transcript of the caller.
    pub input_transcription: bool,
    /// Ask for a transcript of the model.
    pub output_transcription: bool,
    /// Languages that the caller may speak, as hints for the transcript.
    pub transcription_languages: Vec<String>,
    /// Words that the caller may say, as hints for the transcript.
    pub transcription_vocabulary: Vec<String>,
    /// Variables of its texts that the switch may say.
    pub variables: Vec<CallVariable>,
    /// A key that the caller presses stops the agent's speech.
    pub keys_interrupt: bool,
    /// The relay finds the caller's talkspurts, not the server.
    pub relay_turns: bool,
    /// A talkspurt has ended when nothing was said for so long.
    pub hangover: Duration,
    /// Playout pauses as soon as the caller speaks.
    pub local_barge_in: bool,
    /// The caller's speech is kept back during the greeting, for so long at most.
    pub protect_greeting: Option<Duration>,
    /// How long the caller waits for an answer before something is done about it.
    pub answer_within: Option<Duration>,
    /// How long a model that says that it is at work is waited for.
    pub progress_within: Duration,
    /// Tell the model which keys the caller presses.
    pub tell_keys: bool,
    /// Where the model may transfer a call to.
    pub transfer_destinations: Vec<Destination>,
    /// The model may hang up.
    pub end_call: bool,
    /// What the caller typed is complete without another key for this long.
    pub digits_timeout: Duration,
    /// Or when this key was pressed.
    pub digits_terminator: Option<char>,
    /// The model may send tones.
    pub send_dtmf: bool,
    /// The model may ask what is known of the call.
    pub call_info: bool,
    /// Calls are recorded.
    pub record: bool,
    /// What a caller whose call is recorded hears first.
    pub consent_sound: Option<PathBuf>,
    /// The names of the HTTP tools that the model may use; each is one of [`super::Config::tools`].
    pub tools: Vec<String>,
}

/// A variable of an agent's texts whose value the switch says for each call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallVariable {
    /// Its name, small letters and `_`.
    pub name: String,
    /// What stands in its place where the switch does not say it; `None`: nothing.
    pub default: Option<String>,
}

impl AgentConfig {
    /// The structure before any key was applied.
    pub(super) fn blank() -> Self {
        Self {
            model: String::new(),
            voice: None,
            language: None,
            instructions: None,
            instructions_file: None,
            greeting: None,
            greeting_sound: None,
            temperature: None,
            top_p: None,
            max_output_tokens: None,
            thinking_level: None,
            thinking_budget: None,
            affective_dialog: false,
            proactive_audio: false,
            start_sensitivity: None,
            end_sensitivity: None,
            prefix_padding_ms: None,
            silence_duration_ms: None,
            interruptions: None,
            turn_coverage: None,
            compression: false,
            compression_trigger_tokens: None,
            compression_target_tokens: None,
            max_call: None,
            max_tokens: None,
            max_silence: None,
            transcript: false,
            fallback_sound: None,
            fallback: Fallback::Switch,
            input_transcription: false,
            output_transcription: false,
            transcription_languages: Vec::new(),
            transcription_vocabulary: Vec::new(),
            variables: Vec::new(),
            keys_interrupt: false,
            tell_keys: false,
            transfer_destinations: Vec::new(),
            end_call: false,
            relay_turns: false,
            hangover: Duration::ZERO,
            local_barge_in: false,
            protect_greeting: None,
            answer_within: None,
            progress_within: Duration::ZERO,
            digits_timeout: Duration::ZERO,
            digits_terminator: None,
            send_dtmf: false,
            call_info: false,
            record: false,
            consent_sound: None,
            tools: Vec::new(),
        }
    }
}

impl AsMut<Self> for AgentConfig {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}
