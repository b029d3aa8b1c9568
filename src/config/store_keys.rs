//! Where records are kept, `[store]`, and what tokens cost, `[prices.NAME]`: what they are, and their keys.
//!
//! Runs in: anywhere: pure. Owns its part of the registry. Never reads anything, and never quotes the URL of a database,
//! which may hold a password. Invariant: as in [`super::keys`].

use std::path::PathBuf;
use std::time::Duration;

use super::model::Config;
use super::registry::{Key, Kind, integer_or_zero, text};
use super::secret::Secret;
use super::setters::{path, unless_zero};

/// Section `[store]`.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The database.
    pub url: StoreUrl,
    /// Where records wait while the database is away; beside SQLite's file, or in the directory of the relay's state, if
    /// `None`.
    pub spool_directory: Option<PathBuf>,
    /// How long records are kept; for ever if `None`.
    pub retention: Option<Duration>,
}

/// Which database.
#[derive(Debug, Clone, Default)]
pub enum StoreUrl {
    /// SQLite, in the directory of the relay's state.
    #[default]
    Usual,
    /// None: no records are kept.
    Off,
    /// SQLite in this file.
    Sqlite(PathBuf),
    /// Postgres, by this URL.
    Postgres(Secret),
}

impl StoreUrl {
    fn parse(url: &str) -> Result<Self, String> {
        if url == "none" {
            return Ok(Self::Off);
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(Secret::new(url)));
        }
        match url.strip_prefix("sqlite:") {
            Some(path) if !path.trim_start_matches('/').is_empty() => {
                // sqlite:///PATH is what other programs write.
                let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            _ => Err("names no database that Tandem knows".to_owned()),
        }
    }
}

impl StoreUrl {
    /// The password in the URL, if there is one.
    pub fn password(&self) -> Option<String> {
        let Self::Postgres(url) = self else { return None };
        let rest = url.expose().split_once("://")?.1;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = place.split('/').next().unwrap_or_default();
        let of_user =
            authority.rsplit_once('@').and_then(|(user, _)| Some(user.split_once(':')?.1.to_owned()));
        let of_query = || query.split('&').find_map(|pair| Some(pair.strip_prefix("password=")?.to_owned()));
        let written = of_user.or_else(of_query).filter(|password| !password.is_empty())?;
        let pair = format!("x={}", written.replace('+', "%2B"));
        form_urlencoded::parse(pair.as_bytes()).map(|(_, value)| value.into_owned()).next()
    }
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

/// See the head of this file.
pub(super) const STORE_KEYS: &[Key<Config>] = &[
    Key::<Config>::new(
        "store.url",
        "",
        Kind::Secret {
            form: "sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or none",
            set: |c, v| v.map_or(Ok(StoreUrl::Usual), StoreUrl::parse).map(|url| c.store.url = url),
        },
        "The database for records of calls (docs/records.md). When not set, SQLite in the file tandem.db in \
         STATE_DIRECTORY (systemd sets it), else in ~/.local/state/tandem; none keeps no records.",
    )
    .environment(&["DATABASE_URL"])
    .example(r#""sqlite:/var/lib/tandem/tandem.db""#),
    Key::<Config>::new(
        "store.spool_directory",
        "",
        text("the path of a directory", |c, v| {
            c.store.spool_directory = path(v);
            Ok(())
        }),
        "Where records wait while the database is away. When not set, the directory tandem-spool beside SQLite's file, or \
         for Postgres where that file would be.",
    )
    .example(r#""/var/lib/tandem/tandem-spool""#),
    Key::<Config>::new(
        "store.retention_days",
        "0",
        integer_or_zero(1, 36_500, "for ever", |c, v| c.store.retention = unless_zero(v, days)),
        "How long records and transcripts are kept; older ones are deleted.",
    ),
];

/// One `[prices.NAME]`: what tokens of a model cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PriceConfig {
    /// The name of the table.
    pub name: String,
    /// The model, with `*` at the end for any rest.
    pub model: String,
    /// A million tokens of what goes in: of audio, and of text where that has no price of its own.
    pub input_per_million: f64,
    /// A million tokens of text that goes in.
    pub input_text_per_million: Option<f64>,
    /// A million tokens of what comes out, as above.
    pub output_per_million: f64,
    /// A million tokens of text that comes out.
    pub output_text_per_million: Option<f64>,
    /// A million tokens of thoughts; as text that comes out if `None`.
    pub thoughts_per_million: Option<f64>,
    /// The currency of all of them.
    pub currency: String,
}

impl PriceConfig {
    /// The structure before any key was applied.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Whether it is the price of this model.
    pub fn fits(&self, model: &str) -> bool {
        match self.model.strip_suffix('*') {
            Some(beginning) => model.starts_with(beginning),
            None => model == self.model,
        }
    }
}

/// The keys of a price.
pub static PRICE_KEYS: &[Key<PriceConfig>] = &[
    Key::<PriceConfig>::new(
        "model",
        "",
        text("the name of a model, with * at the end for any rest", |c, v| {
            c.model = v.ok_or("is empty")?.to_owned();
            Ok(())
        }),
        "The model whose tokens cost this. Of several prices that fit the first counts.",
    )
    .example(r#""gemini-2.5-flash-native-audio*""#),
    Key::<PriceConfig>::new(
        "input_per_million",
        "",
        Kind::Number { min: 0.0, max: 1_000_000.0, set: |c, v| c.input_per_million = v.unwrap_or_default() },
        "A million tokens of what the model hears, and of what it reads where that has no price of its own.",
    )
    .example("3.0"),
    Key::<PriceConfig>::new(
        "input_text_per_million",
        "",
        Kind::Number { min: 0.0, max: 1_000_000.0, set: |c, v| c.input_text_per_million = v },
        "A million tokens of what it reads: instructions, results of tools, what was said before. As input_per_million by \
         default.",
    )
    .example("0.75"),
    Key::<PriceConfig>::new(
        "output_per_million",
        "",
        Kind::Number { min: 0.0, max: 1_000_000.0, set: |c, v| c.output_per_million = v.unwrap_or_default() },
        "A million tokens of what it says.",
    )
    .example("12.0"),
    Key::<PriceConfig>::new(
        "output_text_per_million",
        "",
        Kind::Number { min: 0.0, max: 1_000_000.0, set: |c, v| c.output_text_per_million = v },
        "A million tokens of what it writes. As output_per_million by default.",
    )
    .example("4.5"),
    Key::<PriceConfig>::new(
        "thoughts_per_million",
        "",
        Kind::Number { min: 0.0, max: 1_000_000.0, set: |c, v| c.thoughts_per_million = v },
        "A million tokens of what it thinks. As what it writes by default.",
    )
    .example("4.5"),
    Key::<PriceConfig>::new(
        "currency",
        r#""USD""#,
        text("three letters such as \"USD\"", |c, v| match v {
            Some(code) if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                c.currency = code.to_owned();
                Ok(())
            }
            _ => Err("is no code of a currency (ISO 4217)".to_owned()),
        }),
        "The currency of all of them.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_database() {
        let sqlite = |url: &str| match StoreUrl::parse(url) {
            Ok(StoreUrl::Sqlite(path)) => path.display().to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(sqlite("sqlite:/var/lib/tandem.db"), "/var/lib/tandem.db");
        assert_eq!(sqlite("sqlite:///var/lib/tandem.db"), "/var/lib/tandem.db");
        assert_eq!(sqlite("sqlite:calls.db"), "calls.db");
        assert!(matches!(StoreUrl::parse("none"), Ok(StoreUrl::Off)));
        let url = StoreUrl::parse("postgres://tandem:geheim@db/calls").unwrap();
        assert!(matches!(url, StoreUrl::Postgres(_)) && !format!("{url:?}").contains("geheim"));
        for wrong in ["sqlite:", "sqlite://", "mysql://x", "/var/lib/tandem.db"] {
            assert!(StoreUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_password_of_a_url_is_found_wherever_it_stands() {
        for (url, password) in [
            ("postgres://tandem:geheim@db/calls", Some("geheim")),
            ("postgres://tandem:ge%2Fheim+1@db:5432/calls?sslmode=require", Some("ge/heim+1")),
            ("postgres://db/calls?user=tandem&password=geheim", Some("geheim")),
            ("postgres://tandem@db/calls", None),
            ("sqlite:calls.db", None),
        ] {
            let url = StoreUrl::parse(url).expect("a URL");
            assert_eq!(url.password().as_deref(), password, "{url:?}");
        }
    }

    #[test]
    fn a_price_is_that_of_its_model() {
        let price = |model: &str| PriceConfig { model: model.to_owned(), ..PriceConfig::named("x") };
        assert!(price("gemini-3*").fits("gemini-3.1-flash") && !price("gemini-3*").fits("gemini-2.5"));
        assert!(price("gemini-3").fits("gemini-3") && !price("gemini-3").fits("gemini-3.1"));
    }
}
