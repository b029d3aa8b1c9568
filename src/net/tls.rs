//! TLS: the relay's own certificate towards switches and browsers, the system's roots towards Gemini.
//!
//! Runs in: main and signals (read the files), accept, admin, dial and tool threads (handshakes). Owns which versions and ciphers our servers
//! speak. Servers take OpenSSL's own acceptor, because that of native-tls is an older preset: without TLS 1.3, and with
//! ciphers in CBC mode. Never turns verification off: a server of ours is known by its certificate, whatever names are in it.
//! Invariant: a server of ours speaks TLS 1.3 and 1.2 with authenticated encryption, and nothing else.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use native_tls::{Certificate, HandshakeError, Protocol, TlsConnector, TlsStream};
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod, SslVersion};
use openssl::x509::X509;
use parking_lot::Mutex;

/// Certificate and key of one of our servers, which are read anew while it serves.
pub(crate) struct Identity {
    section: &'static str,
    certificate: PathBuf,
    key: PathBuf,
    acceptor: Mutex<SslAcceptor>,
}

impl Identity {
    /// That of this section of the configuration, if it has one.
    ///
    /// # Errors
    /// A text that names the file and what is wrong with it.
    pub(crate) fn configured(
        section: &'static str,
        certificate: Option<&PathBuf>,
        key: Option<&PathBuf>,
    ) -> Result<Option<Arc<Self>>, String> {
        let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(None) };
        let acceptor = Mutex::new(acceptor(section, certificate, key)?);
        Ok(Some(Arc::new(Self { section, certificate: certificate.clone(), key: key.clone(), acceptor })))
    }

    /// What accepts TLS with it, for the next connection.
    pub(crate) fn acceptor(&self) -> SslAcceptor {
        self.acceptor.lock().clone()
    }

    /// Reads the files again. Connections that there are keep what they have. Returns what is used from now on, in words.
    ///
    /// # Errors
    /// A text that names the file and what is wrong with it; what was read before stays.
    pub(crate) fn read_again(&self) -> Result<String, String> {
        let new = acceptor(self.section, &self.certificate, &self.key)?;
        let until = new.context().certificate().map(|own| own.not_after().to_string());
        *self.acceptor.lock() = new;
        let (section, path) = (self.section, self.certificate.display());
        Ok(format!("{section}.tls_certificate {path} is valid until {}", until.unwrap_or_default()))
    }
}

/// What accepts TLS with the certificate and key of this section of the configuration.
fn acceptor(section: &str, certificate: &Path, key: &Path) -> Result<SslAcceptor, String> {
    let (chain, private) = (read(certificate)?, read(key)?);
    made_of(&chain, &private).map_err(|problem| {
        format!(
            "{section}.tls_certificate {} and {section}.tls_key {} do not make an identity: {problem}; the certificate must \
             be PEM (the chain, own certificate first), the key PEM without a passphrase, and the key that of the certificate",
            certificate.display(),
            key.display()
        )
    })
}

/// Version 5 of Mozilla's intermediate recommendation: what every switch and browser of today speaks.
fn made_of(chain: &[u8], private: &[u8]) -> Result<SslAcceptor, String> {
    let told = |problem: ErrorStack| problem.to_string();
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).map_err(told)?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2)).map_err(told)?;
    let mut chain = X509::stack_from_pem(chain).map_err(told)?.into_iter();
    let own = chain.next().ok_or("the file of the certificate holds none")?;
    builder.set_certificate(&own).map_err(told)?;
    for above in chain {
        builder.add_extra_chain_cert(above).map_err(told)?;
    }
    // Whoever starts the relay is not asked for a passphrase.
    let private = PKey::private_key_from_pem_callback(private, |_| Ok(0)).map_err(told)?;
    builder.set_private_key(&private).map_err(told)?;
    builder.check_private_key().map_err(told)?;
    Ok(builder.build())
}

/// What speaks TLS to Gemini, trusting the system's roots and those in `more_roots`.
///
/// # Errors
/// A text that names the file and what is wrong with it.
pub(crate) fn connector(more_roots: Option<&Path>) -> Result<TlsConnector, String> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    if let Some(path) = more_roots {
        let roots = Certificate::stack_from_pem(&read(path)?).map_err(|error| {
            format!("gemini.ca_file {} holds no PEM certificates: {error}", path.display())
        })?;
        for root in roots {
            builder.add_root_certificate(root);
        }
    }
    builder.build().map_err(|error| format!("TLS cannot be set up: {error}"))
}

/// Whom a client takes for its server: whoever has a valid certificate for the name, or only who has a certain one.
#[derive(Debug)]
pub(crate) struct Client {
    connector: TlsConnector,
    only: Option<Vec<u8>>,
}

impl Client {
    /// Whoever has a certificate that `connector` takes.
    pub(crate) fn verifying(connector: TlsConnector) -> Self {
        Self { connector, only: None }
    }

    /// Only the server that has the certificate in this file.
    ///
    /// # Errors
    /// A text that names the file and what is wrong with it.
    pub(crate) fn of_own_server(certificate: &Path) -> Result<Self, String> {
        let unusable = |why: native_tls::Error| format!("{}: {why}", certificate.display());
        let chain = Certificate::stack_from_pem(&read(certificate)?).map_err(unusable)?;
        let own = chain.first().ok_or_else(|| format!("{} has no certificate", certificate.display()))?;
        let mut builder = TlsConnector::builder();
        // Not who has signed it for which name counts, but that it is this one.
        builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true).use_sni(false);
        builder.min_protocol_version(Some(Protocol::Tlsv12));
        Ok(Self {
            connector: builder.build().map_err(unusable)?,
            only: Some(own.to_der().map_err(unusable)?),
        })
    }

    /// Whether it takes only one certificate.
    pub(super) fn is_of_own_server(&self) -> bool {
        self.only.is_some()
    }

    /// Begins TLS over `stream`, which blocks.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn handshake<S: Read + Write>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<TlsStream<S>, Box<dyn Error + Send + Sync>> {
        let stream = self.connector.connect(host, stream).map_err(|error| match error {
            HandshakeError::Failure(error) => Box::from(error),
            HandshakeError::WouldBlock(_) => Box::<dyn Error + Send + Sync>::from("no TLS in time"),
        })?;
        if let Some(only) = &self.only {
            let theirs = stream.peer_certificate()?.ok_or("it has no certificate")?;
            if theirs.to_der()? != *only {
                return Err(
                    "it has another certificate than the configuration: reload the relay, if it was \
                            replaced"
                        .into(),
                );
            }
        }
        Ok(stream)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| {
        let mut text = format!("cannot read {}: {error}", path.display());
        if error.kind() == io::ErrorKind::PermissionDenied {
            _ = write!(text, "; the user that runs tandem needs to read it");
        }
        text
    })
}
