//! A credential, `[credentials.NAME]`: one API key or one project with its own limit of sessions; what it is, and its keys.
//!
//! Runs in: anywhere: pure. Owns its part of the registry. Never reads anything. Invariant: as in [`super::keys`].

use std::path::PathBuf;

use super::base_url::BaseUrl;
use super::registry::{Key, Kind, integer_or_zero, text};
use super::secret::Secret;
use super::setters::{header_secret, name_of, path};

/// One `[credentials.NAME]`.
#[derive(Debug, Clone)]
pub struct CredentialConfig {
    /// What the log and the metrics call it.
    pub name: String,
    /// Which API.
    pub kind: CredentialKind,
    /// Where it is; `None` for `gemini.base_url`, or for Vertex AI the address of the location.
    pub base_url: Option<BaseUrl>,
    /// API key of the Developer API, or of Vertex AI in express mode.
    pub api_key: Option<Secret>,
    /// Sessions at one time; `None` without a limit.
    pub max_sessions: Option<usize>,
    /// Project of Vertex AI.
    pub project: Option<String>,
    /// Location of Vertex AI.
    pub location: Option<String>,
    /// A command that prints a bearer token.
    pub token_command: Option<String>,
    /// A file that holds one.
    pub token_file: Option<PathBuf>,
    /// Ask the machine's metadata server for one.
    pub metadata: bool,
}

/// Which of Google's two APIs a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// The Gemini Developer API.
    Developer,
    /// Vertex AI.
    Vertex,
}

impl CredentialKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Developer, Self::Vertex];
    /// Their words, in that order.
    pub const WORDS: &'static [&'static str] = &["developer", "vertex"];
}

impl CredentialConfig {
    /// The structure before any key was applied.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: CredentialKind::Developer,
            base_url: None,
            api_key: None,
            max_sessions: None,
            project: None,
            location: None,
            token_command: None,
            token_file: None,
            metadata: false,
        }
    }

    /// What is missing, as the end of a sentence that begins with the credential.
    pub(super) fn lack(&self, gemini_is_near: bool) -> Option<&'static str> {
        let is_near = self.base_url.as_ref().map_or(gemini_is_near, BaseUrl::is_loopback);
        match (self.kind, &self.api_key) {
            (CredentialKind::Developer, None) if !is_near => Some(
                "has no api_key: write one, or set the environment variable TANDEM_CREDENTIALS_NAME_API_KEY with this name",
            ),
            (CredentialKind::Vertex, None) if self.token_sources() != 1 => {
                Some("needs one source of tokens: token_command, token_file or metadata = true")
            }
            (CredentialKind::Vertex, None) if self.project.is_none() => Some("needs a project"),
            _ => None,
        }
    }

    /// What is too much and is not used, in the same form.
    pub(super) fn excess(&self) -> Option<&'static str> {
        let of_project = self.token_sources() > 0 || self.project.is_some();
        match (self.kind, &self.api_key) {
            (CredentialKind::Developer, _) if of_project || self.location.is_some() => Some(
                "is for the Developer API, and keys of Vertex AI are not used: write kind = \"vertex\" if it is not",
            ),
            (CredentialKind::Vertex, Some(_)) if of_project => Some(
                "has an api_key, with which Vertex AI (express mode) takes neither project nor token: they are not used",
            ),
            _ => None,
        }
    }

    fn token_sources(&self) -> usize {
        let sources = [self.token_command.is_some(), self.token_file.is_some(), self.metadata];
        sources.into_iter().filter(|is_set| *is_set).count()
    }
}

/// See the head of this file.
pub static CREDENTIAL_KEYS: &[Key<CredentialConfig>] = &[
    Key::<CredentialConfig>::new(
        "kind",
        r#""developer""#,
        Kind::Choice { choices: CredentialKind::WORDS, set: |c, i| c.kind = CredentialKind::ALL[i] },
        "Which API: developer is the Gemini Developer API with an API key, vertex is Vertex AI with a bearer token.",
    ),
    Key::<CredentialConfig>::new(
        "base_url",
        "",
        text("a URL that begins with wss://", |c, v| {
            c.base_url = v.map(BaseUrl::parse).transpose()?;
            Ok(())
        }),
        "Where the API is, if not where gemini.base_url says or, for Vertex AI, at the address of the location.",
    )
    .example(r#""wss://us-central1-aiplatform.googleapis.com""#),
    Key::<CredentialConfig>::new(
        "api_key",
        "",
        Kind::Secret {
            form: "the key alone, as Google AI Studio shows it",
            set: |c, v| header_secret(v).map(|key| c.api_key = key),
        },
        "API key of the Developer API, or of Vertex AI in express mode. Better in the environment than in a file: \
         TANDEM_CREDENTIALS_NAME_API_KEY.",
    )
    .example(r#""your-key""#),
    Key::<CredentialConfig>::new(
        "max_sessions",
        "0",
        integer_or_zero(1, 100_000, "no limit", |c, v| c.max_sessions = (v > 0).then_some(v as usize)),
        "Calls that this credential carries at one time; more go to the next credential.",
    ),
    Key::<CredentialConfig>::new(
        "project",
        "",
        text("the id of a Google Cloud project", |c, v| {
            c.project = v.map(|v| name_of(Some(v), "-.:")).transpose()?;
            Ok(())
        }),
        "Vertex AI: the project.",
    )
    .example(r#""my-project""#),
    Key::<CredentialConfig>::new(
        "location",
        "",
        text("a location such as \"us-central1\" or \"global\"", |c, v| {
            c.location = v.map(|v| name_of(Some(v), "-")).transpose()?;
            Ok(())
        }),
        "Vertex AI: where the model runs; global if not set.",
    )
    .example(r#""us-central1""#),
    Key::<CredentialConfig>::new(
        "token_command",
        "",
        text("a command", |c, v| {
            c.token_command = v.map(str::to_owned);
            Ok(())
        }),
        "Vertex AI: a command that prints a bearer token, alone or as JSON with access_token and expires_in. Run by sh \
         with a time-out of 20 s, ahead of the token's end.",
    )
    .example(r#""gcloud auth print-access-token""#),
    Key::<CredentialConfig>::new(
        "token_file",
        "",
        text("the path of a file", |c, v| {
            c.token_file = path(v);
            Ok(())
        }),
        "Vertex AI: a file that holds a bearer token, in the same forms, and is kept fresh by somebody else.",
    )
    .example(r#""/run/tandem/token""#),
    Key::<CredentialConfig>::new(
        "metadata",
        "false",
        Kind::Switch { set: |c, v| c.metadata = v },
        "Vertex AI: ask the metadata server of the machine (Compute Engine, GKE) for the token.",
    ),
];
