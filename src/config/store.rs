//! Where records are kept, `[store]`, and what tokens cost, `[prices.NAME]`.
//!
//! Runs in: anywhere: pure. Owns their settings. Never reads anything, and never quotes the URL of a database,
//! which may hold a password. Invariant: as in [`super::settings`].

use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use super::setters::currency;
use super::settings::{from_checked, settings};

settings! {
    /// Records of calls: who called, what was said, what happened (docs/records.md).
    pub struct StoreConfig in "store" {
        /// The database for records of calls (docs/records.md). When not set, SQLite in the file tandem.db in
        /// STATE_DIRECTORY (systemd sets it), else in ~/.local/state/tandem; none keeps no records.
        pub url: StoreUrl,
            secret("sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or none"),
            like "sqlite:/var/lib/tandem/tandem.db", environment "DATABASE_URL";
        /// Where records wait while the database is away. When not set, the directory tandem-spool beside SQLite's
        /// file, or for Postgres where that file would be.
        pub spool_directory: Option<PathBuf>,
            text("the path of a directory"), like "/var/lib/tandem/tandem-spool";
        /// How long records and transcripts are kept; older ones are deleted.
        pub retention "retention_days": Option<Duration> = 0, integer_or_zero(1, 36_500, "for ever") in DAYS;
    }
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
        Some(percent_encoding::percent_decode_str(&written).decode_utf8_lossy().into_owned())
    }
}

from_checked! {
    StoreUrl: Text(url) => Self::parse(&url), nothing => Ok(Self::Usual);
}

settings! {
    /// What the tokens of a model cost, for the estimate in the records of calls. Without one that fits a record has no
    /// cost.
    pub struct PriceConfig {
        /// The model whose tokens cost this. Of several prices that fit the first counts.
        pub model: String,
            text("the name of a model, with * at the end for any rest"), like "gemini-2.5-flash-native-audio*";
        /// A million tokens of what the model hears, and of what it reads where that has no price of its own.
        pub input_per_million: f64, number(0.0, 1_000_000.0), like 3.0;
        /// A million tokens of what it reads: instructions, results of tools, what was said before. As
        /// input_per_million by default.
        pub input_text_per_million: Option<f64>, number(0.0, 1_000_000.0), like 0.75;
        /// A million tokens of what it says.
        pub output_per_million: f64, number(0.0, 1_000_000.0), like 12.0;
        /// A million tokens of what it writes. As output_per_million by default.
        pub output_text_per_million: Option<f64>, number(0.0, 1_000_000.0), like 4.5;
        /// A million tokens of what it thinks. As what it writes by default.
        pub thoughts_per_million: Option<f64>, number(0.0, 1_000_000.0), like 4.5;
        /// The currency of all of them.
        pub currency: String = "USD", text("three letters such as \"USD\"", currency);
        + /// The name of the table.
        pub name: String;
    }
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
