//! A blocking connection to a server of ours: in clear, or encrypted and known by the certificate that is configured for it.
//!
//! Runs in: the main thread of `tandem doctor`. Owns nothing. Never sends anything itself.
//! Invariant: where a certificate is given, nothing is sent before the server has shown that it is the one that has it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::socket::Socket;
use super::stream::Stream;
use super::tls::Client;

/// Connects; with TLS where the file of the server's certificate is given.
///
/// # Errors
/// Those of connecting and of TLS, that it has another certificate included.
pub(crate) fn connect(
    address: SocketAddr,
    certificate: Option<&Path>,
    within: Duration,
) -> io::Result<Stream> {
    let socket = TcpStream::connect_timeout(&address, within)?;
    socket.set_nodelay(true)?;
    let Some(path) = certificate else { return Ok(Stream::plain(socket)) };
    socket.set_read_timeout(Some(within))?;
    socket.set_write_timeout(Some(within))?;
    let client = Client::of_own_server(path).map_err(io::Error::other)?;
    client.handshake("tandem", Socket::new(socket)).map(Stream::tls).map_err(io::Error::other)
}
