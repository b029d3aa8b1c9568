//! The keys of a credential, `[credentials.NAME]`: one API key or one project with its own limit of sessions.
//!
//! Runs in: anywhere: pure. Owns its part of the registry. Never reads anything. Invariant: as in [`super::keys`].

use super::model::{CredentialConfig, CredentialKind};
use super::registry::{Key, Kind, integer_or_zero, text};
use super::setters::{header_secret, name_of, path};

/// See the head of this file.
pub static CREDENTIAL_KEYS: &[Key<CredentialConfig>] = &[
    Key::<CredentialConfig>::new(
        "kind",
        r#""developer""#,
        Kind::Choice { choices: CredentialKind::WORDS, set: |c, i| c.kind = CredentialKind::ALL[i] },
        "Which API: developer is the Gemini Developer API with an API key, vertex is Vertex AI with a bearer token.",
    ),
    Key::<CredentialConfig>::new(
        "api_key",
        "",
        Kind::Secret {
            form: "the key alone, as Google AI Studio shows it",
            set: |c, v| header_secret(v).map(|key| c.api_key = key),
        },
        "API key of the Developer API. Better in the environment than in a file.",
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
        "Vertex AI: where the model runs.",
    )
    .example(r#""us-central1""#),
    Key::<CredentialConfig>::new(
        "token_command",
        "",
        text("a command", |c, v| {
            c.token_command = v.map(str::to_owned);
            Ok(())
        }),
        "Vertex AI: a command that prints a bearer token.",
    )
    .example(r#""gcloud auth print-access-token""#),
    Key::<CredentialConfig>::new(
        "token_file",
        "",
        text("the path of a file", |c, v| {
            c.token_file = path(v);
            Ok(())
        }),
        "Vertex AI: a file that holds a bearer token and is kept fresh by somebody else.",
    )
    .example(r#""/run/tandem/token""#),
    Key::<CredentialConfig>::new(
        "metadata",
        "false",
        Kind::Switch { set: |c, v| c.metadata = v },
        "Vertex AI: ask the metadata server of the machine for the token.",
    ),
];
