//! Postgres, by its URL, and with TLS as [`super::postgres_url`] decides.
//!
//! Runs in: whichever thread waits for the database; never one of an asynchronous runtime. Owns a connection.
//! Never says the URL, in which a password may stand.
//! Invariant: the server is told to give up a statement after [`STATEMENT_WITHIN`]; a server that answers nothing at all is
//! for whoever waits for this thread to notice.

use std::error::Error;
use std::time::Duration;

use ::postgres::Client;
use ::postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use bytes::BytesMut;
use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::MakeTlsConnector;

use super::database::{Database, Row, StoreError, Value};
use super::postgres_url::{Check, PostgresUrl};
use crate::base::Quoted;
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
        let unusable =
            |why: String| StoreError::Away(format!("store.url (DATABASE_URL) cannot be used: {why}"));
        let url = PostgresUrl::parse(url.expose()).map_err(unusable)?;
        let tls = MakeTlsConnector::new(connector(&url).map_err(unusable)?);
        let mut config = url.config;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WITHIN);
        }
        config.tcp_user_timeout(NETWORK_WITHIN).application_name("tandem");
        config.keepalives_idle(NETWORK_WITHIN).keepalives_interval(NETWORK_WITHIN / 3).keepalives_retries(3);
        let connected = config.connect(tls).map_err(|error| StoreError::Away(refusal(&error)));
        let mut postgres = Self(connected?);
        let limit_ms = STATEMENT_WITHIN.as_millis();
        postgres.batch(&format!("SET statement_timeout = {limit_ms}; SET lock_timeout = {limit_ms}"))?;
        Ok(postgres)
    }
}

/// What speaks TLS to the server, if that is spoken.
fn connector(url: &PostgresUrl) -> Result<TlsConnector, String> {
    let mut builder = TlsConnector::builder();
    builder
        .danger_accept_invalid_certs(url.check == Check::Nothing)
        .danger_accept_invalid_hostnames(url.check != Check::AuthorityAndName);
    if let Some(path) = &url.authorities {
        let pem = std::fs::read(path).map_err(|error| format!("sslrootcert {}: {error}", path.display()))?;
        let authorities = Certificate::stack_from_pem(&pem);
        let authorities =
            authorities.map_err(|error| format!("sslrootcert {} holds no PEM: {error}", path.display()))?;
        for authority in authorities {
            builder.add_root_certificate(authority);
        }
    }
    builder.build().map_err(|error| format!("TLS cannot be used: {error}"))
}

/// Why there is no connection, with the remedy where it is the encryption that is missing.
fn refusal(error: &::postgres::Error) -> String {
    let what = described(error);
    let remedy = if what.contains("server does not support TLS") {
        "; beyond this machine and private addresses (numbers) it is asked for TLS before it is told a password: switch TLS \
         on there, or add ?sslmode=disable to the URL to send all of it in clear"
    } else if what.contains("certificate verify failed") {
        "; name its authority with sslrootcert=FILE in the URL (docs/records.md)"
    } else {
        ""
    };
    format!("{what}{remedy}")
}

/// What the server said; else what the client says, with its cause.
pub(super) fn described(error: &::postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return Quoted(said.message()).to_string();
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

    fn limit(&mut self, within: Duration) -> Result<(), StoreError> {
        self.batch(&format!("SET statement_timeout = {}", within.as_millis()))
    }

    fn begin(&self) -> &'static str {
        "BEGIN"
    }

    fn lock_for_migration(&self) -> &'static str {
        // The number is the first eight letters of "tandem db".
        "SELECT pg_advisory_xact_lock(8386095496399381604)"
    }

    fn columns_of_calls(&self) -> &'static str {
        "SELECT column_name::text FROM information_schema.columns \
             WHERE table_name = 'calls' AND table_schema = current_schema()"
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What a server that refuses TLS is told by a client with this URL, in which `PORT` stands for its port, and what
    /// becomes of the connection.
    fn told_to_a_server_without_tls(url: &str) -> (Vec<u8>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = thread::spawn(move || {
            let mut socket = listener.accept().expect("the client comes").0;
            let mut request = [0; 8];
            socket.read_exact(&mut request).expect("a request for TLS");
            assert_eq!(
                request[4..],
                80_877_103_u32.to_be_bytes(),
                "SSLRequest of the protocol's section 55.7"
            );
            socket.write_all(b"N").expect("it is answered");
            let mut told = Vec::new();
            let mut piece = [0; 1024];
            while let Ok(n @ 1..) = socket.read(&mut piece) {
                told.extend_from_slice(&piece[..n]);
                // AuthenticationCleartextPassword, for whoever goes on in clear.
                _ = socket.write_all(b"R\0\0\0\x08\0\0\0\x03");
                if told.windows(6).any(|window| window == b"geheim") {
                    break;
                }
            }
            told
        });
        let url = Secret::new(url.replace("PORT", &port.to_string()));
        let why = Postgres::connect(&url).err().expect("no database is there").to_string();
        (server.join().expect("served"), why)
    }

    #[test]
    fn a_server_that_refuses_tls_is_not_told_the_password() {
        // 0.0.0.0 is no near address, and leads to this machine.
        for far in [
            "postgres://tandem:geheim@0.0.0.0:PORT/calls",
            "postgres://tandem:geheim@0.0.0.0:PORT/calls?connect_timeout=5",
            "postgres://tandem:geheim@127.0.0.1:PORT/calls?sslmode=require",
            "postgres://tandem:geheim@127.0.0.1:PORT/calls?sslmode=verify-full",
        ] {
            let (told, why) = told_to_a_server_without_tls(far);
            assert_eq!(String::from_utf8_lossy(&told), "", "{far}");
            assert!(why.contains("TLS") && why.contains("sslmode=disable"), "{why}");
        }
        let (told, _) = told_to_a_server_without_tls("postgres://tandem:geheim@127.0.0.1:PORT/calls");
        assert!(String::from_utf8_lossy(&told).contains("geheim"), "a near one may be without TLS");
    }
}
