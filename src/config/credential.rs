//! A credential, `[credentials.NAME]`: one API key or one project with its own limit of sessions.
//!
//! Runs in: anywhere: pure. Owns its settings. Never reads anything. Invariant: as in [`super::settings`].

use std::path::PathBuf;

use super::base_url::BaseUrl;
use super::secret::Secret;
use super::setters::name;
use super::settings::settings;
use crate::base::{Words, words};

settings! {
    /// An API key or a project with its own limit of sessions, tried in the order of the file. Without any there is
    /// gemini.api_key alone.
    pub struct CredentialConfig {
        /// Which API: developer is the Gemini Developer API with an API key, vertex is Vertex AI with a bearer token.
        pub kind: CredentialKind = "developer", choice(CredentialKind::WORDS);
        /// Where the API is, if not where gemini.base_url says or, for Vertex AI, at the address of the location.
        pub base_url: Option<BaseUrl>,
            text("a URL that begins with wss://", BaseUrl::parse),
            like "wss://us-central1-aiplatform.googleapis.com";
        /// API key of the Developer API, or of Vertex AI in express mode. Better in the environment than in a file:
        /// TANDEM_CREDENTIALS_NAME_API_KEY.
        pub api_key: Option<Secret>, secret("the key alone, as Google AI Studio shows it"), like "your-key";
        /// Calls that this credential carries at one time; more go to the next credential.
        pub max_sessions: Option<usize> = 0, integer_or_zero(1, 100_000, "no limit");
        /// Vertex AI: the project.
        pub project: Option<String>,
            text("the id of a Google Cloud project", |v| name(v, "-.:")), like "my-project";
        /// Vertex AI: where the model runs; global if not set.
        pub location: Option<String>,
            text("a location such as \"us-central1\" or \"global\"", |v| name(v, "-")), like "us-central1";
        /// Vertex AI: a command that prints a bearer token, alone or as JSON with access_token and expires_in. Run by
        /// sh with a time-out of 20 s, ahead of the token's end.
        pub token_command: Option<String>, text("a command"), like "gcloud auth print-access-token";
        /// Vertex AI: a file that holds a bearer token, in the same forms, and is kept fresh by somebody else.
        pub token_file: Option<PathBuf>, text("the path of a file"), like "/run/tandem/token";
        /// Vertex AI: ask the metadata server of the machine (Compute Engine, GKE) for the token.
        pub metadata: bool = false, switch();
        + /// What the log and the metrics call it.
        pub name: String;
    }
}

words! {
    /// Which of Google's two APIs a credential is for.
    pub enum CredentialKind {
        /// The Gemini Developer API.
        Developer = "developer",
        /// Vertex AI.
        Vertex = "vertex",
    }
}

impl CredentialConfig {
    /// One of which nothing but the name was said.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
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
