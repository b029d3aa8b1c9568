//! The connections of the admin server: accepting, TLS, limits, and the end.
//!
//! Runs in: the admin thread, on tokio's current-thread runtime; reading the database and files is done by a few threads of
//! that runtime. Owns the connections.
//! Never lets a peer hold a connection by sending nothing: every head, body and handshake has its time.
//! Invariant: at most [`CONNECTIONS_MAX`] connections, of which fewer are being answered, so that a new one always finds a
//! place and [`FIRST`] is answered on it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use log::{debug, warn};
use openssl::ssl::{Ssl, SslAcceptor};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;

use super::AdminShared;
use super::access::Peer;
use super::connections::{ConnectionNumber, Connections};
use super::haproxy;
use super::places::Places;
use crate::admission::allowances::{Allowances, Rate};
use crate::net::options;

/// Connections at one time.
const CONNECTIONS_MAX: usize = 256;
/// Requests under way at one time, half of them of one address; those of [`FIRST`] do not count.
const REQUESTS_MAX: usize = 192;
/// What is answered whoever else is: from memory, at once.
const FIRST: &[&str] = &["/admit", "/healthz", "/readyz"];
/// TLS handshakes of one address: each is a millisecond in which nobody else is served.
const HANDSHAKES: Rate = Rate { per_second: 20, burst: 60 };
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
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Threads for what blocks: as many again as questions to the database, for files and metrics.
const BLOCKING_THREADS_MAX: usize = 8;
/// How much they stand back for the threads that carry calls (nice(2)).
const BLOCKING_NICE: i32 = 10;

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
        // Calls come first: what is read here may be all that was ever said. Where that is not allowed, it is as it was.
        .on_thread_start(|| _ = rustix::process::nice(BLOCKING_NICE))
        .build()?;
    let result = runtime.block_on(async {
        let listener = shared.listener.try_clone()?;
        if let Some(agent) = &shared.parts.haproxy_agent {
            let agent = TcpListener::from_std(agent.try_clone()?)?;
            tokio::spawn(haproxy::serve(shared.relay.clone(), agent));
        }
        serve(shared, TcpListener::from_std(listener)?, router()).await;
        Ok(())
    });
    runtime.shutdown_timeout(END_WITHIN);
    result
}

async fn serve(shared: &Arc<AdminShared>, listener: TcpListener, router: Router) {
    let gate = Arc::new(Gate { connections: Arc::default(), requests: Places::new(REQUESTS_MAX) });
    let mut handshakes = Allowances::new(HANDSHAKES);
    let mut stopped = shared.stopped.subscribe();
    let mut connections = JoinSet::new();
    let tls = shared.parts.tls.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ending(&mut stopped) => break,
        };
        match accepted {
            Ok((_, peer)) if tls.is_some() && !handshakes.take(shared.relay.clock.now(), peer.ip()) => {
                debug!("admin: {peer} begins more TLS handshakes than an address may");
            }
            Ok((socket, peer)) => {
                let place = gate.connections.add(peer.ip(), CONNECTIONS_MAX);
                let at = At { gate: Arc::clone(&gate), peer: peer.ip(), number: place.number };
                let router = router.clone().layer(middleware::from_fn_with_state(at, pass));
                let tls = tls.as_ref().map(|identity| identity.acceptor());
                let stopped = stopped.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = connection(socket, peer, router, tls, stopped) => {}
                        () = place.close.notified() => {
                            debug!("admin: {peer} makes room for others: nothing was asked on its connection");
                        }
                    }
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

/// What all connections share.
struct Gate {
    connections: Arc<Connections>,
    requests: Arc<Places>,
}

/// Whose requests come on a connection.
#[derive(Clone)]
struct At {
    gate: Arc<Gate>,
    peer: IpAddr,
    number: ConnectionNumber,
}

/// Lets a request through if there is a place for it, which it keeps until its answer has been given away.
async fn pass(State(at): State<At>, request: Request, next: Next) -> Response {
    if FIRST.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let Some(place) = at.gate.requests.take(at.peer) else {
        let why = "too many requests are under way, of this address or of all together: try again";
        return super::response::Response::error(503, why).into_response();
    };
    let under_way = at.gate.connections.begin(at.number);
    let response = next.run(request).await;
    // The body keeps them until it has been given away.
    let kept = (place, under_way);
    response.map(|body| Body::new(body.map_err(move |error| (error, &kept).0)))
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
