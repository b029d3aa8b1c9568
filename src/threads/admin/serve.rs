//! The connections of the admin server: accepting, TLS, limits, and the end.
//!
//! Runs in: the admin thread, on tokio's current-thread runtime; reading the database and files is done by a few threads of
//! that runtime. Owns the connections.
//! Never lets a peer hold a connection by sending nothing: every head, body and handshake has its time.
//! Invariant: at most [`CONNECTIONS_MAX`] connections; the rest wait in the system's queue.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use log::{debug, warn};
use openssl::ssl::{Ssl, SslAcceptor};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;

use super::AdminShared;
use super::access::Peer;
use crate::net::options;

/// Connections at one time.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// Longest head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most headers.
const HEADERS_MAX: usize = 64;
/// How long a head may take to arrive, and a connection may wait for its next request.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long requests under way may go on when the server ends.
const END_WITHIN: Duration = Duration::from_secs(1);
/// After an error of accepting, usually that no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Threads for what blocks: the database, files.
const BLOCKING_THREADS_MAX: usize = 4;

/// Serves until stopped.
///
/// # Errors
/// Those of starting the runtime.
pub(super) fn run(shared: &Arc<AdminShared>, router: impl FnOnce() -> Router) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("admin-blocking")
        .build()?;
    let result = runtime.block_on(async {
        let listener = shared.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        serve(shared, TcpListener::from_std(listener)?, router()).await;
        Ok(())
    });
    runtime.shutdown_timeout(END_WITHIN);
    result
}

async fn serve(shared: &Arc<AdminShared>, listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stopped = shared.stopped.subscribe();
    let mut connections = JoinSet::new();
    let tls = shared.parts.tls.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accepted => accepted,
            () = ending(&mut stopped) => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                let (router, tls, stopped) = (router.clone(), tls.clone(), stopped.clone());
                connections.spawn(async move {
                    connection(socket, peer, router, tls, stopped).await;
                    drop(place);
                });
            }
            Err(problem) => {
                warn!("the admin server cannot accept a connection: {problem}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    _ = timeout(END_WITHIN, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(
    socket: TcpStream,
    peer: SocketAddr,
    router: Router,
    tls: Option<SslAcceptor>,
    stopped: watch::Receiver<bool>,
) {
    // A peer that is gone already, or that takes nothing, ends by itself.
    if options::apply(&socket).is_err() {
        return;
    }
    match tls {
        None => requests(socket, peer, router, stopped).await,
        Some(tls) => match timeout(HANDSHAKE_WITHIN, encrypted(&tls, socket)).await {
            Ok(Ok(stream)) => requests(stream, peer, router, stopped).await,
            Ok(Err(problem)) => debug!("admin: no TLS with {peer}: {problem}"),
            Err(_) => debug!("admin: no TLS with {peer} within {HANDSHAKE_WITHIN:?}"),
        },
    }
}

/// The connection after its TLS handshake.
async fn encrypted(
    tls: &SslAcceptor,
    socket: TcpStream,
) -> Result<SslStream<TcpStream>, openssl::ssl::Error> {
    let mut stream = SslStream::new(Ssl::new(tls.context())?, socket)?;
    Pin::new(&mut stream).accept().await?;
    Ok(stream)
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let service = router.layer(axum::Extension(Peer(peer.ip())));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        // Whoever says that they will send no more still reads the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ending(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(problem) = ended {
        debug!("admin: the connection of {peer} ended: {problem}");
    }
}

/// Waits for the end of the server.
pub(super) async fn ending(stopped: &mut watch::Receiver<bool>) {
    // An error says that nobody can stop it any more.
    _ = stopped.wait_for(|stopped| *stopped).await;
}
