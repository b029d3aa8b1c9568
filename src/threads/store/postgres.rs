//! Postgres, by its URL; with TLS where the URL's `sslmode` asks for it.
//!
//! Runs in: whichever thread waits for the database; never one of an asynchronous runtime. Owns a connection.
//! Never says the URL, in which a password may stand.
//! Invariant: the server is told to give up a statement after [`STATEMENT_WITHIN`]; a server that answers nothing at all is
//! for whoever waits for this thread to notice.

use std::error::Error;
use std::time::Duration;

use ::postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use ::postgres::{Client, Config, NoTls};
use bytes::BytesMut;
use postgres_native_tls::MakeTlsConnector;

use super::database::{Database, Row, StoreError, Value};
use crate::config::Secret;

/// From the first packet to a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// What the server may take for a statement.
const STATEMENT_WITHIN: Duration = Duration::from_secs(10);
/// How long the network may take no packet.
const NETWORK_WITHIN: Duration = Duration::from_secs(10);

/// See the head of this file.
pub(super) struct Postgres(Client);

impl Postgres {
    /// Connects.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) fn connect(url: &Secret) -> Result<Self, StoreError> {
        let mut config: Config = url.expose().parse().map_err(|error: ::postgres::Error| {
            StoreError::Away(format!("store.url (DATABASE_URL) cannot be used: {}", described(&error)))
        })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WITHIN);
        }
        config.tcp_user_timeout(NETWORK_WITHIN).application_name("tandem");
        config.keepalives_idle(NETWORK_WITHIN).keepalives_interval(NETWORK_WITHIN / 3).keepalives_retries(3);
        let connected = if config.get_ssl_mode() == ::postgres::config::SslMode::Disable {
            config.connect(NoTls)
        } else {
            let tls = native_tls::TlsConnector::new();
            let tls = tls.map_err(|error| StoreError::Away(format!("TLS cannot be used: {error}")))?;
            config.connect(MakeTlsConnector::new(tls))
        };
        let mut postgres = Self(connected.map_err(|error| StoreError::Away(described(&error)))?);
        let limit_ms = STATEMENT_WITHIN.as_millis();
        postgres.batch(&format!("SET statement_timeout = {limit_ms}; SET lock_timeout = {limit_ms}"))?;
        Ok(postgres)
    }
}

/// What the server said; else what the client says, with its cause.
fn described(error: &::postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return said.message().to_owned();
    }
    let cause = error.source().map_or(String::new(), |cause| format!(": {cause}"));
    let text = error.to_string();
    if text.ends_with(&cause) { text } else { format!("{text}{cause}") }
}

fn trouble(error: &::postgres::Error) -> StoreError {
    let what = described(error);
    // The classes of values that do not fit and of constraints that they break (appendix A of Postgres' manual).
    let refused =
        error.code().is_some_and(|code| ["22", "23"].iter().any(|class| code.code().starts_with(class)));
    // A program limit is reached: a value too long for an index.
    let too_long = error.code().is_some_and(|code| code.code() == "54000");
    if refused || too_long { StoreError::Refused(what) } else { StoreError::Away(what) }
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl Database for Postgres {
    fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.0.batch_execute(sql).map_err(|error| trouble(&error))
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        self.0.execute(sql, &parameters(values)).map_err(|error| trouble(&error))
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let rows = self.0.query(sql, &parameters(values)).map_err(|error| trouble(&error))?;
        rows.iter()
            .map(|row| (0..row.len()).map(|column| row.try_get(column)).collect::<Result<Row, _>>())
            .collect::<Result<_, _>>()
            .map_err(|error| trouble(&error))
    }

    fn begin(&self) -> &'static str {
        "BEGIN"
    }

    fn lock_for_migration(&self) -> &'static str {
        // The number is the first eight letters of "tandem db".
        "SELECT pg_advisory_xact_lock(8386095496399381604)"
    }
}

impl ToSql for Value {
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Switch(on) => on.to_sql_checked(wanted, out),
            Self::Integer(number) => number.to_sql_checked(wanted, out),
            Self::Real(number) => number.to_sql_checked(wanted, out),
            Self::Text(text) => text.to_sql_checked(wanted, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        match *of {
            Type::BOOL => bool::from_sql(of, raw).map(Self::Switch),
            Type::INT8 => i64::from_sql(of, raw).map(Self::Integer),
            Type::INT4 => i32::from_sql(of, raw).map(|number| Self::Integer(number.into())),
            Type::FLOAT8 => f64::from_sql(of, raw).map(Self::Real),
            _ => String::from_sql(of, raw).map(Self::Text),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
