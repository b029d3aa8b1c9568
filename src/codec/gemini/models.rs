//! Which model takes what: the one table of the models that are known, and what each refuses.
//!
//! Runs in: the main thread, when configuration is read, and the control thread; pure. Owns the table. Never guesses: of a
//! model that is not in it nothing is known, and it is sent only what every model takes.
//! Invariant: a setup that [`SetupRequest::fit`] has passed holds no field that its model is known to refuse.
//!
//! Agrees with Google's pages of the models and the types of google-genai 3.4.0, as of November 2026. To add a model, add
//! an entry to [`MODELS`].

use super::setup::SetupRequest;

/// Whether a model thinks before it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinks {
    /// `thinkingConfig` is refused.
    Never,
    /// It may be given.
    OnRequest,
    /// It must be given.
    Always,
}

/// Whether a model can be told to speak of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proactive {
    /// `proactivity` is refused.
    Never,
    /// It may be asked for.
    OnRequest,
    /// It does in any case; asking is allowed, asking otherwise is not.
    Always,
}

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// Its name, without what stands before and without the number of a version behind.
    pub name: &'static str,
    /// `thinkingConfig`.
    pub thinks: Thinks,
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
    /// `contextUpdate`.
    pub context_update: bool,
}

/// A model of which nothing is known: what every model takes.
pub static UNKNOWN: Model = Model {
    name: "",
    thinks: Thinks::Never,
    affective_dialog: false,
    proactive: Proactive::Never,
    silence_duration: true,
    client_content: false,
    blocking_functions: true,
    non_blocking_functions: false,
    context_update: false,
};

/// The models that are known.
pub static MODELS: &[Model] = &[
    Model {
        name: "gemini-3.8-live",
        proactive: Proactive::Always,
        client_content: true,
        non_blocking_functions: true,
        context_update: true,
        ..UNKNOWN
    },
    Model {
        name: "gemini-3.8-live-extended-thinking",
        thinks: Thinks::Always,
        proactive: Proactive::Always,
        client_content: true,
        blocking_functions: false,
        non_blocking_functions: true,
        ..UNKNOWN
    },
    Model { name: "gemini-3.1-flash-live-preview", silence_duration: false, ..UNKNOWN },
    Model {
        name: "gemini-2.5-flash-native-audio-preview",
        thinks: Thinks::OnRequest,
        affective_dialog: true,
        proactive: Proactive::OnRequest,
        client_content: true,
        non_blocking_functions: true,
        ..UNKNOWN
    },
    Model {
        name: "gemini-live-2.5-flash-native-audio",
        thinks: Thinks::OnRequest,
        affective_dialog: true,
        proactive: Proactive::OnRequest,
        client_content: true,
        non_blocking_functions: true,
        ..UNKNOWN
    },
];

/// The model with this name, with or without a path before it and a version's number behind it (`-001`, `-12-2025`).
pub fn known(name: &str) -> Option<&'static Model> {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit {
    /// The field's name among the keys of an agent.
    pub key: &'static str,
    /// What the model does with it, as the end of the sentence "MODEL …".
    pub why: &'static str,
    /// Whether the model would refuse the whole setup; otherwise the field has no effect.
    pub refused: bool,
}

impl SetupRequest {
    /// What it asks for that its model does not take, and what it lacks.
    pub fn unfit(&self) -> Vec<Unfit> {
        let model = known(&self.model).unwrap_or(&UNKNOWN);
        let mut unfit = Vec::new();
        let mut check = |is_asked: bool, key, why, refused| {
            if is_asked {
                unfit.push(Unfit { key, why, refused });
            }
        };
        let thinking = match self.thinking {
            Some(super::setup::Thinking::Budget(_)) => "thinking_budget",
            _ => "thinking_level",
        };
        check(
            self.thinking.is_some() && model.thinks == Thinks::Never,
            thinking,
            "does not take a thinking setting",
            true,
        );
        check(
            self.thinking.is_none() && model.thinks == Thinks::Always,
            thinking,
            "needs thinking_level (low, medium, high) or thinking_budget",
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
    use super::super::setup::{Thinking, TurnTaking};
    use super::*;
    use crate::base::model_options::ThinkingLevel;

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
        assert_eq!(left_out("gemini-2.5-flash-native-audio-preview-12-2025"), [""; 0]);
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
}
