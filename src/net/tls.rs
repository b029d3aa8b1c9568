//! TLS through native-tls: the relay's own certificate towards switches, the system's roots towards Gemini.
//!
//! Runs in: main (reads the files), accept and dial threads (handshakes). Owns nothing.
//! Never turns verification off.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use native_tls::{Certificate, Identity, Protocol, TlsAcceptor, TlsConnector};

/// What accepts TLS with the certificate and key of this section of the configuration.
///
/// # Errors
/// A text that names the file and what is wrong with it.
pub fn acceptor(section: &str, certificate: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let identity = Identity::from_pkcs8(&read(certificate)?, &read(key)?).map_err(|error| {
        format!(
            "{section}.tls_certificate {} and {section}.tls_key {} do not make an identity: {error}; the certificate must \
             be PEM (the chain, own certificate first), the key PKCS#8 PEM (\"BEGIN PRIVATE KEY\"): openssl pkcs8 \
             -topk8 -nocrypt converts one",
            certificate.display(),
            key.display()
        )
    })?;
    TlsAcceptor::builder(identity)
        .min_protocol_version(Some(Protocol::Tlsv12))
        .build()
        .map_err(|error| format!("TLS cannot be set up: {error}"))
}

/// What speaks TLS to Gemini, trusting the system's roots and those in `more_roots`.
///
/// # Errors
/// A text that names the file and what is wrong with it.
pub fn connector(more_roots: Option<&Path>) -> Result<TlsConnector, String> {
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

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| {
        let mut text = format!("cannot read {}: {error}", path.display());
        if error.kind() == io::ErrorKind::PermissionDenied {
            _ = write!(text, "; the user that runs tandem needs to read it");
        }
        text
    })
}
