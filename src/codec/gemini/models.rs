//! Which model takes what: the one table of the models that are known, and what each refuses.
//!
//! Runs in: the main thread, when configuration is read, and the control thread; pure. Owns the table. Never guesses: of a
//! model that is not in it nothing is known, and it is sent only what every model takes.
//! Invariant: a setup that [`fit`] has passed holds no field that its model is known to refuse.
//!
//! Agrees with Google's pages of the models and the types of google-genai 3.4.0, as of November 2026. To add a model, add
//! an entry to [`MODELS`].

use serde_json::Value;

use crate::base::model_options::ThinkingLevel;
use crate::base::parameters::Parameters;
use crate::call::model::{Behavior, Scheduling, SetupRequest, Thinking, Unfit};

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
    /// Functions that it waits for (`BLOCKING`).
    pub blocking_functions: bool,
    /// Functions that it does not wait for (`NON_BLOCKING`).
    pub non_blocking_functions: bool,
    /// `scheduling` in the answer of a function that it did not wait for.
    pub scheduling: bool,
    /// Each function must say `behavior` and `parameters`, even where it has none (see `tools.rs`).
    pub functions_in_full: bool,
}

/// A model of which nothing is known: what every model takes.
pub(crate) const UNKNOWN: Model = Model {
    name: "",
    thinks: Thinks::Never,
    thinking_levels: &[],
    thinking_budget: false,
    affective_dialog: false,
    proactive: Proactive::Never,
    silence_duration: true,
    blocking_functions: true,
    non_blocking_functions: false,
    scheduling: false,
    functions_in_full: false,
};

const NATIVE_AUDIO_2_5: Model = Model {
    name: "gemini-2.5-flash-native-audio-preview",
    thinks: Thinks::OnRequest,
    thinking_budget: true,
    affective_dialog: true,
    proactive: Proactive::OnRequest,
    non_blocking_functions: true,
    scheduling: true,
    ..UNKNOWN
};

/// The models that are known.
pub(crate) static MODELS: &[Model] = &[
    Model {
        name: "gemini-3.8-live",
        proactive: Proactive::Always,
        non_blocking_functions: true,
        scheduling: true,
        ..UNKNOWN
    },
    Model {
        name: "gemini-3.8-live-extended-thinking",
        thinks: Thinks::Always,
        thinking_levels: &[ThinkingLevel::Low, ThinkingLevel::Medium, ThinkingLevel::High],
        thinking_budget: true,
        proactive: Proactive::Always,
        blocking_functions: false,
        non_blocking_functions: true,
        functions_in_full: true,
        ..UNKNOWN
    },
    Model { name: "gemini-3.1-flash-live-preview", silence_duration: false, ..UNKNOWN },
    NATIVE_AUDIO_2_5,
    Model { name: "gemini-live-2.5-flash-native-audio", ..NATIVE_AUDIO_2_5 },
];

impl Model {
    /// The thinking settings that it takes, in the words of the configuration.
    fn instead(&self) -> String {
        let levels: Vec<_> = self.thinking_levels.iter().map(|level| level.label()).collect();
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

/// Leaves out of a setup what its model is not known to take, and tells what that is, and what the setup lacks.
pub(crate) fn fit(setup: &mut SetupRequest) -> Vec<Unfit> {
    let unfit = unfit(setup);
    for unfit in &unfit {
        match unfit.key {
            "affective_dialog" => setup.affective_dialog = false,
            "proactive_audio" => setup.proactive_audio = false,
            "silence_duration_ms" => setup.turns.silence_duration_ms = None,
            _ => setup.thinking = None,
        }
    }
    unfit
}

fn unfit(setup: &SetupRequest) -> Vec<Unfit> {
    let known = known(&setup.model);
    let model = known.unwrap_or(&UNKNOWN);
    let mut unfit = Vec::new();
    // `why` ends the sentence "MODEL …"; what is not refused has no effect.
    let mut check = |is_asked: bool, key, why: &str, refused| {
        if is_asked {
            let name = &setup.model;
            let text = match (known, refused) {
                (Some(_), true) => format!("the model {name} {why}: change the key or the model"),
                (Some(_), false) => format!("the model {name} {why}: the key has no effect"),
                (None, _) => {
                    format!(
                        "the model {name} is not one of those that Tandem knows, so this is not sent to it"
                    )
                }
            };
            unfit.push(Unfit { key, text, is_warning: known.is_none() || !refused });
        }
    };
    let thinking = match setup.thinking {
        Some(Thinking::Budget(_)) => "thinking_budget",
        _ => "thinking_level",
    };
    let instead = model.instead();
    check(
        setup.thinking.is_some() && model.thinks == Thinks::Never,
        thinking,
        "does not take a thinking setting",
        true,
    );
    check(
        setup.thinking.is_none() && model.thinks == Thinks::Always,
        thinking,
        &format!("needs {instead}"),
        true,
    );
    let takes = match setup.thinking {
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
        setup.affective_dialog && !model.affective_dialog,
        "affective_dialog",
        "has no affective dialog to switch on",
        true,
    );
    check(
        setup.proactive_audio && model.proactive == Proactive::Never,
        "proactive_audio",
        "has no proactive audio to switch on",
        true,
    );
    check(
        setup.turns.silence_duration_ms.is_some() && !model.silence_duration,
        "silence_duration_ms",
        "ignores the length of silence",
        false,
    );
    unfit
}

/// Leaves out what a tool says of itself that this model is not known to take, and tells what that is.
pub(crate) fn fit_tool(
    model: &str,
    (name, parameters): (&str, &Parameters),
    behavior: &mut Option<Behavior>,
    scheduling: &mut Option<Scheduling>,
) -> Vec<Unfit> {
    let known = known(model);
    let takes = known.unwrap_or(&UNKNOWN);
    let asked = (*behavior, *scheduling);
    // What becomes of a result that the model does not wait for is said only where it does not wait.
    *behavior = behavior.or(scheduling.map(|_| Behavior::NonBlocking)).filter(|wanted| match wanted {
        Behavior::NonBlocking => takes.non_blocking_functions,
        // A model that knows nothing else is not told.
        Behavior::Blocking => takes.blocking_functions && takes.non_blocking_functions,
    });
    *scheduling = scheduling.filter(|_| takes.scheduling && *behavior == Some(Behavior::NonBlocking));
    let is_so_anyway = known.is_some_and(|model| match asked.0 {
        Some(Behavior::Blocking) => !model.non_blocking_functions,
        Some(Behavior::NonBlocking) => !model.blocking_functions,
        None => true,
    });
    let unsaid = match asked {
        (_, Some(_)) if scheduling.is_none() => Some("scheduling"),
        (Some(_), _) if behavior.is_none() && !is_so_anyway => Some("behavior"),
        _ => None,
    };
    let unsaid = unsaid.map(|unsaid| match known {
        Some(_) => format!("the model {model} refuses {unsaid}, so that of tools.{name} is not sent to it"),
        None => format!(
            "the model {model} is not one of those that Tandem knows, so {unsaid} of tools.{name} is not sent to it"
        ),
    });
    let mut unfit: Vec<_> =
        unsaid.into_iter().map(|text| Unfit { key: "tools", text, is_warning: true }).collect();
    if takes.functions_in_full && parameters.schema().is_some_and(has_reference) {
        let text = format!(
            "the model {model} takes no $ref in tools.{name}.parameters: write what it stands for in its place"
        );
        unfit.push(Unfit { key: "tools", text, is_warning: false });
    }
    unfit
}

fn has_reference(schema: &Value) -> bool {
    match schema {
        Value::Object(keywords) => keywords.contains_key("$ref") || keywords.values().any(has_reference),
        Value::Array(schemas) => schemas.iter().any(has_reference),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tools::declarations;
    use super::*;
    use crate::call::model::{Function, TurnTaking};

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
        unfit(&everything(model)).into_iter().map(|unfit| unfit.key).collect()
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
        assert_eq!(unfit(&budget), []);
        assert_eq!(
            left_out("gemini-3.1-flash-live-preview"),
            ["thinking_level", "affective_dialog", "proactive_audio", "silence_duration_ms"]
        );
        assert_eq!(left_out("gemini-9-live"), ["thinking_level", "affective_dialog", "proactive_audio"]);
        for model in MODELS.iter().map(|model| model.name).chain(["gemini-9-live"]) {
            let mut setup = everything(model);
            fit(&mut setup);
            assert_eq!(unfit(&setup), [], "{model}");
        }
    }

    #[test]
    fn a_model_that_must_be_told_how_much_to_think_is_named() {
        let model = "gemini-3.8-live-extended-thinking".to_owned();
        let unfit = unfit(&SetupRequest { model, ..SetupRequest::default() });
        assert_eq!(unfit.len(), 1);
        assert!(!unfit[0].is_warning && unfit[0].text.contains(" needs thinking_level"), "{unfit:?}");
    }

    #[test]
    fn levels_of_thinking_are_those_that_the_model_has() {
        let refused = |level| {
            let mut setup = everything("gemini-3.8-live-extended-thinking-001");
            (setup.thinking, setup.affective_dialog) = (Some(Thinking::Level(level)), false);
            unfit(&setup)
        };
        for level in [ThinkingLevel::Low, ThinkingLevel::Medium, ThinkingLevel::High] {
            assert_eq!(refused(level), [], "{level:?}");
        }
        for level in [ThinkingLevel::Minimal, ThinkingLevel::XHigh] {
            let unfit = refused(level);
            assert!(
                unfit.len() == 1 && !unfit[0].is_warning && unfit[0].text.contains("(low, medium, high)"),
                "{unfit:?}"
            );
        }
    }

    #[test]
    fn functions_are_declared_as_their_model_wants_them() {
        let declared = |model: &str| {
            declarations(&SetupRequest {
                model: model.to_owned(),
                functions: vec![Function::EndCall, Function::SendDtmf],
                ..SetupRequest::default()
            })
        };
        assert_eq!(declared("gemini-3.8-live"), declared("gemini-9-live"));
        for function in declared("gemini-9-live") {
            assert_eq!(function.get("behavior"), None);
        }
        for function in
            declared("projects/p/locations/l/publishers/google/models/gemini-3.8-live-extended-thinking")
        {
            assert_eq!(function["behavior"], "NON_BLOCKING");
            assert_eq!(function["parameters"]["type"], "OBJECT");
        }
    }
}
