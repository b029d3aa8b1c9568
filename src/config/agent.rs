//! An agent as the configuration has it: the section `[agent]`, the default agent, or a table `[agents.NAME]`.
//!
//! Runs in: anywhere: pure. Owns the settings. Never reads anything.
//! Invariant: a key that an agent does not set is as `[agent]` has it; a field that is `None` or false is left out of
//! `setup`, because models refuse fields they do not know.

use std::path::PathBuf;
use std::time::Duration;

use super::setters::{call_variables, fitting, key_of_a_telephone, name, names, vocabulary};
use super::settings::{from_checked, settings};
use crate::base::Words;
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

from_checked! {
    Fallback: Text(to) => Self::read(&to), nothing => Ok(Self::Switch);
}

impl Fallback {
    fn read(to: &str) -> Result<Self, String> {
        match to {
            "switch" => Ok(Self::Switch),
            "hangup" => Ok(Self::HangUp),
            to => {
                Destination::new(to).map(Self::Transfer).map_err(|unfit| format!("cannot be used: {unfit}"))
            }
        }
    }
}

/// A variable of an agent's texts whose value the switch says for each call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallVariable {
    /// Its name, small letters and `_`.
    pub name: String,
    /// What stands in its place where the switch does not say it; `None`: nothing.
    pub default: Option<String>,
}

/// What may be written for a sound.
const SOUND: &str = "the path of a WAV file: 16 bits, mono, 8000, 16000, 24000, 32000 or 48000 Hz";

settings! {
    /// Who answers the telephone. What is not set is not sent: models refuse fields they do not know.
    pub struct AgentConfig in "agent" {
        /// The model that answers.
        pub model: String = "gemini-3.8-live",
            text("a model name such as \"gemini-3.8-live\"", |v| name(v, "-._/"));
        /// Prebuilt voice; upper and lower case matter. The model's own by default.
        pub voice: Option<String>, text("a voice such as \"Puck\"", |v| name(v, "-_")), like "Puck";
        /// Language code (BCP 47). The model listens and decides by default.
        pub language: Option<String>,
            text("a language code such as \"en-US\"", |v| name(v, "-")), like "en-US";
        /// System instructions: who the model is on the telephone and how it should speak. {caller}, {did}, {uuid},
        /// {agent}, {date}, {time} and {weekday} stand for what is known of the call; {{caller}} is the word in
        /// braces.
        pub instructions: Option<String>,
            text("text"), like "You answer the telephone of a bicycle shop. Be brief and friendly.";
        /// A UTF-8 text file with the system instructions, instead of agent.instructions.
        pub instructions_file: Option<PathBuf>,
            text("the path of a text file"), like "/etc/tandem/instructions.txt";
        /// What the model is told when the call begins, so that it speaks first. The caller speaks first by default.
        /// Variables as in the instructions.
        pub greeting: Option<String>, text("text"), like "Greet the caller and ask how you can help.";
        /// More variables of instructions and greeting, which the switch says for each call (docs/agents.md).
        pub variables: Vec<CallVariable> = [],
            list("names such as \"customer\", or \"tier=standard\" with what stands there if nothing is said", call_variables);
        /// Sampling temperature. The model's own by default.
        pub temperature: Option<f64>, number(0.0, 2.0), like 0.7;
        /// A greeting that is played at once, while the model gets ready; the greeting above, if set, follows it.
        pub greeting_sound: Option<PathBuf>, text(SOUND), like "/etc/tandem/welcome.wav";
        /// Nucleus sampling mass. The model's own by default.
        pub top_p: Option<f64>, number(0.0, 1.0), like 0.95;
        /// The most tokens of one answer.
        pub max_output_tokens: Option<u32> = 0, integer_or_zero(1, 65_536, "the model's own");
        /// How much the model thinks before it speaks, where it can be told. Thinking makes it slower to answer.
        pub(crate) thinking_level: Option<ThinkingLevel> = "default", choice_or_default(ThinkingLevel::WORDS);
        /// The same as a number of tokens, for models that want it so.
        pub thinking_budget: Option<u32> = 0, integer_or_zero(1, 65_536, "not said");
        /// Answer in the mood of the caller, where the model can be told to.
        pub affective_dialog: bool = false, switch();
        /// Speak of its own accord, and not where nothing was said to it, where the model can be told to.
        pub proactive_audio: bool = false, switch();
        /// How readily the server takes a sound for the beginning of speech. Its default is high, on Vertex AI low.
        pub(crate) start_sensitivity: Option<Sensitivity> = "default", choice_or_default(Sensitivity::WORDS);
        /// How readily the server takes silence for the end of speech. Its default is high, on Vertex AI low.
        pub(crate) end_sensitivity: Option<Sensitivity> = "default", choice_or_default(Sensitivity::WORDS);
        /// Speech of this length before the server counts it as begun. Lower it where short words are not heard.
        pub prefix_padding_ms: Option<u32> = 0, integer_or_zero(1, 5_000, "the server's own");
        /// Silence of this length before the server counts speech as ended. Raise it where callers are cut off in a
        /// pause; the answer comes later by as much.
        pub silence_duration_ms: Option<u32> = 0, integer_or_zero(1, 10_000, "the server's own");
        /// Whether a caller who speaks interrupts the model. The server's default is interrupt.
        pub interruptions "activity_handling": Option<bool> = "default",
            choice_of(&["default", "interrupt", "no_interruption"], [None, Some(true), Some(false)]);
        /// What belongs to the caller's turn: what was found to be speech, or all that was heard.
        pub(crate) turn_coverage: Option<TurnCoverage> = "default", choice_or_default(TurnCoverage::WORDS);
        /// Let the server leave out older parts of a conversation that fills the model's context. Without it a
        /// conversation ends after about 15 minutes.
        pub compression: bool = true, switch();
        /// Tokens in the context at which that happens. Fewer keep the answers of a long call quick.
        pub compression_trigger_tokens: Option<u32> = 0,
            integer_or_zero(1_000, 1_000_000, "the server's own");
        /// Tokens that are left then.
        pub compression_target_tokens: Option<u32> = 0, integer_or_zero(500, 1_000_000, "the server's own");
        /// The longest call of this agent. leg.max_call_seconds holds beside it.
        pub max_call "max_call_seconds": Option<Duration> = 0,
            integer_or_zero(1, 86_400, "leg.max_call_seconds") in SECONDS;
        /// Tokens of a call at which it is ended: all that are billed of each turn, thoughts too, added up.
        pub max_tokens: Option<u64> = 0, integer_or_zero(1, 1_000_000_000, "no limit");
        /// A call in which neither the caller nor the model has said anything for so long is ended.
        pub max_silence "silence_seconds": Option<Duration> = 0,
            integer_or_zero(5, 3_600, "never") in SECONDS;
        /// What becomes of a call that cannot go on, because the model is not to be had. With switch the switch
        /// decides: our script sends the caller to its fallback extension, Asterisk's dialplan goes on.
        pub fallback: Fallback = "switch", text("switch, hangup, or the extension or number to transfer to");
        /// What the caller hears before that.
        pub fallback_sound: Option<PathBuf>, text(SOUND), like "/etc/tandem/sorry.wav";
        /// Ask for the transcripts of both sides.
        pub transcript: bool = false, switch();
        /// Ask for a transcript of what the caller says.
        pub input_transcription: bool = false, switch();
        /// Ask for a transcript of what the model says.
        pub output_transcription: bool = false, switch();
        /// Languages that callers speak, as hints for their transcript. Any by default. The model understands them
        /// without.
        pub transcription_languages: Vec<String> = [],
            list("language codes such as \"de-DE\"", |v| names(v, "-"));
        /// Words and names that callers say and a transcript would not know.
        pub transcription_vocabulary: Vec<String> = [], list("words or names such as \"Tandem\"", vocabulary);
        /// Who finds out when the caller begins and ends to speak: Gemini, or this relay, which then tells Gemini
        /// (docs/turn-taking.md).
        pub relay_turns "turn_taking": bool = "server", choice_of(&["server", "relay"], [false, true]);
        /// Without speech for so long the caller has finished, as the relay sees it. With turn_taking = "relay" a
        /// longer pause for thought ends the turn.
        pub hangover "hangover_ms": Duration = 600, integer(100, 3_000);
        /// Pause the model's speech as soon as the caller speaks, and go on with it if the model does not stop. Echo
        /// on the line pauses it too.
        pub local_barge_in: bool = false, switch();
        /// Let the greeting be spoken to its end: what the caller says meanwhile is sent to the model afterwards, or
        /// after so long. 0 lets the caller interrupt it.
        pub protect_greeting "protect_greeting_ms": Option<Duration> = 0,
            integer_or_zero(1_000, 30_000, "never");
        /// Without an answer to what the caller said for so long, the relay heals step by step, so long for each
        /// (docs/turn-taking.md). 0 never does.
        pub answer_within "answer_within_ms": Option<Duration> = 4000,
            integer_or_zero(1_000, 60_000, "never");
        /// A model that says that it is at work on an answer is waited for so long from when it last said so, instead
        /// of answer_within_ms, if that is not longer.
        pub progress_within "progress_within_ms": Duration = 60000, integer(1_000, 600_000);
        /// Tell the model which keys the caller presses, as text, once no other has followed for digits_timeout_ms.
        pub tell_keys: bool = true, switch();
        /// A key that the caller presses stops what the agent is saying, as speech does. A protected greeting and a
        /// consent announcement are heard to their end.
        pub keys_interrupt: bool = false, switch();
        /// Where the model may transfer a call to, and nowhere else: a caller can talk a model round. With none it
        /// gets no transfer_call tool.
        pub transfer_destinations: Vec<Destination> = [],
            list("extensions or numbers such as \"2000\"", |v| fitting(v, Destination::new));
        /// Give the model the end_call tool, with which it hangs up once what it said was played.
        pub end_call: bool = false, switch();
        /// Without another key for this long, what the caller typed is complete.
        pub digits_timeout "digits_timeout_ms": Duration = 1500, integer(100, 30_000);
        /// A key that ends what the caller types at once, and is not told with it. None by default.
        pub digits_terminator: Option<char>, text("one of 0-9 A-D * #", key_of_a_telephone), like "#";
        /// Give the model the send_dtmf tool, with which it sends telephone tones to the other side.
        pub send_dtmf: bool = false, switch();
        /// Give the model the get_call_info tool: the numbers, how long the call has lasted, the local date and time.
        pub call_info: bool = false, switch();
        /// Record the calls (docs/recordings.md). The model gets the pause_recording tool, for card numbers.
        pub record: bool = false, switch();
        /// What a caller whose call is recorded hears first, and nothing interrupts: that it is recorded.
        pub consent_sound: Option<PathBuf>, text(SOUND), like "/etc/tandem/recorded.wav";
        /// A short sound, of up to 3 s, that the caller hears while a tool is at work for which the model waits, instead of
        /// nothing: after 0.7 s of silence, and again 3 s after its end.
        pub earcon: Option<PathBuf>, text(SOUND), like "/etc/tandem/working.wav";
        /// The HTTP tools that the model may use.
        pub tools: Vec<String> = [], list("names of tools: NAME of [tools.NAME]", |v| names(v, "-_"));
    }
}
