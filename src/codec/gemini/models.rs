//! Which model takes what: the one table of the models that are known, and what each refuses.
//!
//! Runs in: the main thread, when configuration is read, and the control thread; pure. Owns the table. Never guesses: of a
//! model that is not in it nothing is known, and it is sent only what every model takes.
//! Invariant: a setup that [`SetupRequest::fit`] has passed holds no field that its model is known to refuse.
//!
//! Agrees with Google's pages of the models and the types of google-genai 3.4.0, as of November 2026. To add a model, add
//! an entry to [`MODELS`].

use serde_json::Value;

use super::setup::{SetupRequest, Thinking};
use super::tools;
use crate::base::model_options::ThinkingLevel;

/// Whether a model thinks before it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinks {
    /// `thinkingConfig` is refused.
    Never,
    /// It may be given.
    OnRequest,
    /// It must be given.
    Always,
}

/// Whether a model can be told to speak of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proactive {
    /// `proactivity` is refused.
    Never,
    /// It may be asked for.
    OnRequest,
    /// It does in any case; asking is allowed, asking otherwise is not.
    Always,
}

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Model {
    /// Its name, without what stands before and without the number of a version behind.
    pub name: &'static str,
    /// `thinkingConfig`.
    pub thinks: Thinks,
    /// `thinkingLevel`, of those that there are.
    pub thinking_levels: &'static [ThinkingLevel],
    /// `thinkingBudget`.
    pub thinking_budget: bool,
    /// `enableAffectiveDialog`.
    pub affective_dialog: bool,
    /// `proactivity.proactiveAudio`.
    pub proactive: Proactive,
    /// `silenceDurationMs` has an effect.
    pub silence_duration: bool,
    /// `clientContent` may be sent after the first other input; else it seeds the history only (later: close 1007).
    pub client_content: bool,
    /// Functions that it waits for (`BLOCKING`).
    pub blocking_functions: bool,
    /// Functions that it does not wait for (`NON_BLOCKING`).
    pub non_blocking_functions: bool,
    /// `scheduling` in the answer of a function that it did not wait for.
    pub scheduling: bool,
    /// Each function must say `behavior` and `parameters`, even where it has none ([`tools::in_full`]).
    pub functions_in_full: bool,
    /// `contextUpdate`.
    pub context_update: bool,
}

/// A model of which nothing is known: what every model takes.
pub(crate) static UNKNOWN: Model = Model {
    name: "",
    thinks: Thinks::Never,
    thinking_levels: &[],
    thinking_budget: false,
    affective_dialog: false,
    proactive: Proactive::Never,
    silence_duration: true,
    client_content: false,
    blocking_functions: true,
    non_blocking_functions: false,
    scheduling: false,
    functions_in_full: false,
    context_update: false,
};

/// The models that are known.
pub(crate) static MODELS: &[Model] = &[
    Model {
        name: "gemini-3.8-live",
        proactive: Proactive::Always,
        client_content: true,
        non_blocking_functions: true,
        scheduling: true,
        context_update: true,
        ..UNKNOWN
    },
    Model {
        name: "gemini-3.8-live-extended-thinking",
        thinks: Thinks::Always,
        thinking_levels: &[ThinkingLevel::Low, ThinkingLevel::Medium, ThinkingLevel::High],
        thinking_budget: true,
        proactive: Proactive::Always,
        client_content: true,
        blocking_functions: false,
        non_blocking_functions: true,
        functions_in_full: true,
        ..UNKNOWN
    },
    Model { name: "gemini-3.1-flash-live-preview", silence_duration: false, ..UNKNOWN },
    Model {
        name: "gemini-2.5-flash-native-audio-preview",
        thinks: Thinks::OnRequest,
        thinking_budget: true,
        affective_dialog: true,
        proactive: Proactive::OnRequest,
        client_content: true,
        non_blocking_functions: true,
        scheduling: true,
        ..UNKNOWN
    },
    Model {
        name: "gemini-live-2.5-flash-native-audio",
        thinks: Thinks::OnRequest,
        thinking_budget: true,
        affective_dialog: true,
        proactive: Proactive::OnRequest,
        client_content: true,
        non_blocking_functions: true,
        scheduling: true,
        ..UNKNOWN
    },
];

impl Model {
    /// The thinking settings that it takes, in the words of the configuration.
    fn instead(&self) -> String {
        let levels: Vec<_> = self.thinking_levels.iter().map(|level| level.word()).collect();
        let levels = (!levels.is_empty()).then(|| format!("thinking_level ({})", levels.join(", ")));
        let budget = self.thinking_budget.then(|| "thinking_budget".to_owned());
        levels.into_iter().chain(budget).collect::<Vec<_>>().join(" or ")
    }
}

/// The model with this name, with or without a path before it and a version's number behind it (`-001`, `-12-2025`).
pub(crate) fn known(name: &str) -> Option<&'static Model> {
    let name = name.rsplit('/').next().unwrap_or(name);
    MODELS.iter().find(|model| {
        let version = name.strip_prefix(model.name);
        version.is_some_and(|version| {
            version.is_empty()
                || version.starts_with('-')
                    && version.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
        })
    })
}

/// What a setup asks for that its model is not known to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// The field's name among the keys of an agent.
    pub key: &'static str,
    /// What the model does with it, as the end of the sentence "MODEL …".
    pub why: String,
    /// Whether the model would refuse the whole setup; otherwise the field has no effect.
    pub refused: bool,
}

impl SetupRequest {
    /// What it asks for that its model does not take, and what it lacks.
    pub(crate) fn unfit(&self) -> Vec<Unfit> {
        let model = known(&self.model).unwrap_or(&UNKNOWN);
        let mut unfit = Vec::new();
        let mut check = |is_asked: bool, key, why: &str, refused| {
            if is_asked {
                unfit.push(Unfit { key, why: why.to_owned(), refused });
            }
        };
        let thinking = match self.thinking {
            Some(Thinking::Budget(_)) => "thinking_budget",
            _ => "thinking_level",
        };
        let instead = model.instead();
        check(
            self.thinking.is_some() && model.thinks == Thinks::Never,
            thinking,
            "does not take a thinking setting",
            true,
        );
        check(
            self.thinking.is_none() && model.thinks == Thinks::Always,
            thinking,
            &format!("needs {instead}"),
            true,
        );
        let takes = match self.thinking {
            Some(Thinking::Level(level)) => model.thinking_levels.contains(&level),
            Some(Thinking::Budget(_)) => model.thinking_budget,
            None => true,
        };
        check(
            !takes && model.thinks != Thinks::Never,
            thinking,
            &format!("does not take this {thinking}, it takes {instead}"),
            true,
        );
        check(
            self.affective_dialog && !model.affective_dialog,
            "affective_dialog",
            "has no affective dialog to switch on",
            true,
        );
        check(
            self.proactive_audio && model.proactive == Proactive::Never,
            "proactive_audio",
            "has no proactive audio to switch on",
            true,
        );
        check(
            self.turns.silence_duration_ms.is_some() && !model.silence_duration,
            "silence_duration_ms",
            "ignores the length of silence",
            false,
        );
        unfit
    }

    /// Declares the functions that the model may call, as this model wants it.
    pub fn declare(&mut self, functions: Vec<Value>) {
        let in_full = known(&self.model).is_some_and(|model| model.functions_in_full);
        let as_wanted = |function| if in_full { tools::in_full(function) } else { function };
        self.functions = functions.into_iter().map(as_wanted).collect();
    }

    /// Leaves out what the model would refuse.
    pub fn fit(&mut self) {
        for unfit in self.unfit() {
            match unfit.key {
                "affective_dialog" => self.affective_dialog = false,
                "proactive_audio" => self.proactive_audio = false,
                "silence_duration_ms" => self.turns.silence_duration_ms = None,
                _ => self.thinking = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::setup::TurnTaking;
    use super::*;

    fn everything(model: &str) -> SetupRequest {
        SetupRequest {
            model: model.to_owned(),
            thinking: Some(Thinking::Level(ThinkingLevel::Low)),
            affective_dialog: true,
            proactive_audio: true,
            turns: TurnTaking { silence_duration_ms: Some(300), ..TurnTaking::default() },
            ..SetupRequest::default()
        }
    }

    fn left_out(model: &str) -> Vec<&'static str> {
        everything(model).unfit().into_iter().map(|unfit| unfit.key).collect()
    }

    #[test]
    fn a_model_is_known_by_its_name_with_a_path_before_and_a_version_behind() {
        let name = |text| known(text).map(|model| model.name);
        assert_eq!(name("gemini-3.8-live"), Some("gemini-3.8-live"));
        assert_eq!(name("models/gemini-3.8-live-001"), Some("gemini-3.8-live"));
        assert_eq!(name("gemini-3.8-live-extended-thinking"), Some("gemini-3.8-live-extended-thinking"));
        let vertex = "projects/p/locations/l/publishers/google/models/gemini-live-2.5-flash-native-audio";
        assert_eq!(name(vertex), Some("gemini-live-2.5-flash-native-audio"));
        assert_eq!(
            name("gemini-2.5-flash-native-audio-preview-12-2025"),
            Some("gemini-2.5-flash-native-audio-preview")
        );
        for unknown in ["", "gemini-3.8-liver", "gemini-3.8-live-new", "gemini-9-live"] {
            assert_eq!(name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn each_model_is_sent_only_what_it_takes() {
        assert_eq!(left_out("gemini-3.8-live"), ["thinking_level", "affective_dialog"]);
        assert_eq!(left_out("gemini-3.8-live-extended-thinking"), ["affective_dialog"]);
        assert_eq!(left_out("gemini-2.5-flash-native-audio-preview-12-2025"), ["thinking_level"]);
        let mut budget = everything("gemini-2.5-flash-native-audio-preview-12-2025");
        budget.thinking = Some(Thinking::Budget(512));
        assert_eq!(budget.unfit(), []);
        assert_eq!(
            left_out("gemini-3.1-flash-live-preview"),
            ["thinking_level", "affective_dialog", "proactive_audio", "silence_duration_ms"]
        );
        assert_eq!(left_out("gemini-9-live"), ["thinking_level", "affective_dialog", "proactive_audio"]);
        for model in MODELS.iter().map(|model| model.name).chain(["gemini-9-live"]) {
            let mut setup = everything(model);
            setup.fit();
            assert_eq!(setup.unfit(), [], "{model}");
        }
    }

    #[test]
    fn a_model_that_must_be_told_how_much_to_think_is_named() {
        let model = "gemini-3.8-live-extended-thinking".to_owned();
        let unfit = SetupRequest { model, ..SetupRequest::default() }.unfit();
        assert_eq!(unfit.len(), 1);
        assert!(unfit[0].refused && unfit[0].why.starts_with("needs thinking_level"), "{unfit:?}");
    }

    #[test]
    fn levels_of_thinking_are_those_that_the_model_has() {
        let unfit = |level| {
            let mut setup = everything("gemini-3.8-live-extended-thinking-001");
            (setup.thinking, setup.affective_dialog) = (Some(Thinking::Level(level)), false);
            setup.unfit()
        };
        for level in [ThinkingLevel::Low, ThinkingLevel::Medium, ThinkingLevel::High] {
            assert_eq!(unfit(level), [], "{level:?}");
        }
        for level in [ThinkingLevel::Minimal, ThinkingLevel::XHigh] {
            let unfit = unfit(level);
            assert!(
                unfit.len() == 1 && unfit[0].refused && unfit[0].why.contains("(low, medium, high)"),
                "{unfit:?}"
            );
        }
    }

    #[test]
    fn functions_are_declared_as_their_model_wants_them() {
        let declared = |model: &str| {
            let mut setup = SetupRequest { model: model.to_owned(), ..SetupRequest::default() };
            setup.declare(vec![tools::end_call(), tools::send_dtmf()]);
            setup.functions
        };
        for model in ["gemini-3.8-live", "gemini-9-live"] {
            assert_eq!(declared(model), [tools::end_call(), tools::send_dtmf()], "{model}");
        }
        for function in
            declared("projects/p/locations/l/publishers/google/models/gemini-3.8-live-extended-thinking")
        {
            assert_eq!(function["behavior"], "NON_BLOCKING");
            assert_eq!(function["parameters"]["type"], "OBJECT");
        }
    }
}
