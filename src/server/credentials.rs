//! The credentials as links need them, made of the configuration: where they lead, with which headers, under which limit.
//!
//! Runs in: the main thread, and whoever reloads the configuration. Owns nothing.
//! Invariant: whatever is missing is named together with its remedy; no secret is part of a text.

use std::io;

use http::{HeaderName, HeaderValue};

use super::Builder;
use crate::admission::credentials::CredentialTerms;
use crate::config::{BaseUrl, Config, CredentialConfig, CredentialKind, GeminiConfig, Secret};
use crate::net::dial::{Dialer, Target};
use crate::threads::credentials::Access;
use crate::threads::dial::{DialOutboxes, DialPool};
use crate::threads::gemini::link_limits;
use crate::threads::keeper::Keeper;
use crate::threads::tokens::TokenSource;

/// The credential that `gemini.api_key` is where no other is configured.
const ONLY: &str = "default";
/// The version of Vertex AI's path that Google's own SDKs use.
const VERTEX_API: &str = "google.cloud.aiplatform.v1beta1";
/// The location of a project that names none.
const GLOBAL: &str = "global";
/// Google's own address of the metadata server, and the variable that its libraries know for another one.
const METADATA_HOST: (&str, &str) = ("metadata.google.internal", "GCE_METADATA_HOST");

impl Builder<'_> {
    /// The dial pool, and the thread that keeps tokens and links for it.
    pub(super) fn dial_pool(&mut self, dialer: Dialer, to: DialOutboxes) -> io::Result<DialPool> {
        let dial = DialPool::new(self.relay.clone(), dialer, to);
        let connect_within = self.config.gemini.connect_timeout;
        let keeper = Keeper { relay: self.relay.clone(), dial: dial.clone(), connect_within };
        self.start("keeper", move || keeper.run())?;
        Ok(dial)
    }
}

/// All credentials in the order of the file.
///
/// # Errors
/// A missing or unusable key, or a URL of which none can be made.
pub(crate) fn credentials(config: &Config) -> Result<Vec<(CredentialTerms, Access)>, String> {
    if config.credentials.is_empty() {
        let gemini = &config.gemini;
        if gemini.api_key.is_none() && !gemini.base_url.is_loopback() {
            return Err("no key for Gemini: set GEMINI_API_KEY (get one at https://aistudio.google.com/apikey), or try \
                        the relay without one on the bundled simulator: make play"
                .into());
        }
        let target = developer(&gemini.base_url, gemini, gemini.api_key.as_ref())?;
        return Ok(vec![(terms(ONLY, None), Access::with_key(target))]);
    }
    config.credentials.iter().map(|credential| of(credential, &config.gemini)).collect()
}

fn terms(name: &str, max_sessions: Option<usize>) -> CredentialTerms {
    CredentialTerms {
        name: name.into(),
        max_sessions: max_sessions.unwrap_or(0),
        model_prefix: None,
        needs_token: false,
    }
}

fn of(credential: &CredentialConfig, gemini: &GeminiConfig) -> Result<(CredentialTerms, Access), String> {
    let terms = terms(&credential.name, credential.max_sessions);
    let key = credential.api_key.as_ref();
    if credential.kind == CredentialKind::Developer {
        let base = credential.base_url.as_ref().unwrap_or(&gemini.base_url);
        return Ok((terms, Access::with_key(developer(base, gemini, key)?)));
    }
    let location = credential.location.as_deref().unwrap_or(GLOBAL);
    let base = match &credential.base_url {
        Some(base) => base.clone(),
        None => vertex_base(location)?,
    };
    // Google's SDKs name the project before the publisher, and in express mode only the publisher.
    let model_prefix = match credential.project.as_ref().filter(|_| key.is_none()) {
        Some(project) => format!("projects/{project}/locations/{location}/publishers/google/models/"),
        None => "publishers/google/models/".to_owned(),
    };
    let target = target(&base, &format!("{VERTEX_API}.LlmBidiService/BidiGenerateContent"), key)?;
    let source = source(credential).filter(|_| key.is_none());
    let terms =
        CredentialTerms { model_prefix: Some(model_prefix.into()), needs_token: source.is_some(), ..terms };
    Ok(match source {
        Some(source) => (terms, Access::with_tokens(target, source)),
        None => (terms, Access::with_key(target)),
    })
}

fn source(credential: &CredentialConfig) -> Option<TokenSource> {
    let command = credential.token_command.clone().map(TokenSource::Command);
    let file = credential.token_file.clone().map(TokenSource::File);
    command.or(file).or_else(|| {
        let (host, variable) = METADATA_HOST;
        let set = std::env::var(variable).ok().filter(|host| !host.is_empty());
        credential.metadata.then(|| TokenSource::Metadata(set.unwrap_or_else(|| host.to_owned())))
    })
}

/// Where Vertex AI serves a location.
fn vertex_base(location: &str) -> Result<BaseUrl, String> {
    let host = match location {
        GLOBAL => "aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
        region => format!("{region}-aiplatform.googleapis.com"),
    };
    BaseUrl::parse(&format!("wss://{host}")).map_err(|why| format!("location = {location:?} {why}"))
}

fn developer(base: &BaseUrl, gemini: &GeminiConfig, key: Option<&Secret>) -> Result<Target, String> {
    let api =
        format!("google.ai.generativelanguage.{}.GenerativeService.BidiGenerateContent", gemini.api_version);
    target(base, &api, key)
}

fn target(base: &BaseUrl, method: &str, key: Option<&Secret>) -> Result<Target, String> {
    let url = format!("{base}/ws/{method}");
    let mut headers = Vec::new();
    if let Some(key) = key {
        let value = HeaderValue::from_str(key.expose());
        let mut value = value.map_err(|_| {
            "a key for Gemini holds characters that no HTTP header may have; copy it again".to_owned()
        })?;
        value.set_sensitive(true);
        headers.push((HeaderName::from_static("x-goog-api-key"), value));
    }
    Ok(Target {
        host: base.host().to_owned(),
        port: base.port(),
        tls: base.tls(),
        url: url.parse().map_err(|problem| format!("{base} does not make a URL ({url}): {problem}"))?,
        headers,
        limits: link_limits(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut CredentialConfig)) -> (CredentialTerms, Access) {
        let mut credential = CredentialConfig::named("one");
        change(&mut credential);
        of(&credential, &Config::default().gemini).expect("complete")
    }

    fn url(access: &Access) -> String {
        access.target().expect("no token needed").url.to_string()
    }

    #[test]
    fn vertex_has_its_own_address_path_and_model_names() {
        let place = |location: Option<&str>| {
            let (terms, access) = with(|c| {
                (c.kind, c.api_key) = (CredentialKind::Vertex, Some(Secret::new("express")));
                c.location = location.map(str::to_owned);
            });
            assert!(terms.model_prefix.is_some() && !terms.needs_token);
            url(&access)
        };
        let path = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent";
        assert_eq!(place(None), format!("wss://aiplatform.googleapis.com{path}"));
        assert_eq!(place(Some("eu")), format!("wss://aiplatform.eu.rep.googleapis.com{path}"));
        assert_eq!(place(Some("us-central1")), format!("wss://us-central1-aiplatform.googleapis.com{path}"));
        let (terms, access) = with(|c| {
            (c.kind, c.project) = (CredentialKind::Vertex, Some("p".into()));
            c.token_file = Some("/t".into());
        });
        assert_eq!(
            terms.model_prefix.as_deref(),
            Some("projects/p/locations/global/publishers/google/models/")
        );
        assert!(terms.needs_token && access.target().is_none());
        let (terms, _) =
            with(|c| (c.kind, c.api_key) = (CredentialKind::Vertex, Some(Secret::new("express"))));
        assert_eq!(terms.model_prefix.as_deref(), Some("publishers/google/models/"));
    }

    #[test]
    fn a_key_of_the_developer_api_goes_into_a_header_that_is_never_printed() {
        let (terms, access) = with(|c| {
            (c.api_key, c.max_sessions) = (Some(Secret::new("AIza-secret")), Some(3));
        });
        assert_eq!((terms.max_sessions, terms.model_prefix), (3, None));
        let target = access.target().expect("no token needed");
        assert!(target.url.path().ends_with("v1beta.GenerativeService.BidiGenerateContent"));
        assert_eq!(target.headers[0].1.to_str().ok(), Some("AIza-secret"));
        assert!(!format!("{:?} {}", target.headers, target.url).contains("secret"));
    }

    #[test]
    fn without_credentials_the_key_of_gemini_is_the_only_one() {
        let mut config = Config::default();
        assert!(credentials(&config).err().expect("no key").contains("GEMINI_API_KEY"));
        config.gemini.api_key = Some(Secret::new("AIza"));
        let list = credentials(&config).expect("complete");
        assert_eq!(list.len(), 1);
        assert_eq!((&*list[0].0.name, list[0].0.max_sessions), ("default", 0));
    }
}
