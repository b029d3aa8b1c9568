//! A blocking connection to a server of ours: in clear, or encrypted and known by the certificate that is configured for it.
//!
//! Runs in: the main thread of `tandem call` and `tandem doctor`. Owns its socket.
//! Never takes a certificate for another's name: it takes one certificate, whatever names are in it.
//! Invariant: where a certificate is given, nothing is sent before the server has shown that it is the one that has it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{HandshakeError, SslConnector, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509;

/// See the head of this file.
pub(crate) enum OwnServer {
    /// In clear.
    Plain(TcpStream),
    /// Encrypted.
    Encrypted(Box<SslStream<TcpStream>>),
}

impl OwnServer {
    /// Connects; with TLS where the file of the server's certificate is given.
    ///
    /// # Errors
    /// Those of connecting and of TLS, that it has another certificate included.
    pub(crate) fn connect(
        address: SocketAddr,
        certificate: Option<&Path>,
        within: Duration,
    ) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, within)?;
        socket.set_nodelay(true)?;
        let Some(path) = certificate else { return Ok(Self::Plain(socket)) };
        socket.set_read_timeout(Some(within))?;
        socket.set_write_timeout(Some(within))?;
        let pem = std::fs::read(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let stream = encrypted(&pem, socket).map_err(io::Error::other)?;
        Ok(Self::Encrypted(Box::new(stream)))
    }

    /// The socket below, for its time-outs.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Encrypted(stream) => stream.get_ref(),
        }
    }
}

fn encrypted(pem: &[u8], socket: TcpStream) -> Result<SslStream<TcpStream>, String> {
    let told = |error: ErrorStack| error.to_string();
    let own =
        X509::stack_from_pem(pem).map_err(told)?.into_iter().next().ok_or("the file has no certificate")?;
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(told)?;
    // Not who has signed it for which name counts, but that it is this one.
    builder.set_verify(SslVerifyMode::NONE);
    let configuration = builder.build().configure().map_err(told)?;
    let configuration = configuration.verify_hostname(false).use_server_name_indication(false);
    let stream = configuration.connect("tandem", socket).map_err(|error| match error {
        HandshakeError::WouldBlock(_) => "no TLS in time".to_owned(),
        error => error.to_string(),
    })?;
    let theirs = stream.ssl().peer_certificate().ok_or("it has no certificate")?;
    if theirs.to_der().map_err(told)? != own.to_der().map_err(told)? {
        return Err(
            "it has another certificate than the configuration: restart the relay, if it was replaced"
                .to_owned(),
        );
    }
    Ok(stream)
}

impl Read for OwnServer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Encrypted(stream) => stream.read(into),
        }
    }
}

impl Write for OwnServer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Encrypted(stream) => stream.flush(),
        }
    }
}
