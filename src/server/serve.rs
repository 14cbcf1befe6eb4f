//! The listener: limits the number of connections and their idle time, and shuts down gracefully.

use super::guard::{self, Connection};
use super::{Api, router};
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Time for requests in progress to complete when the daemon stops.
const GRACE: Duration = Duration::from_secs(10);
/// Timeout of reading the head of a request, and of an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// A peer that acknowledges nothing for this duration is considered dead.
const DEAD_AFTER: Duration = Duration::from_secs(60);
/// Backoff after accepting a connection failed, usually because of too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API until the shutdown token is cancelled, then waits for requests in progress and returns.
///
/// # Errors
/// When the listener has no local address.
pub async fn serve(listener: TcpListener, api: Api) -> io::Result<()> {
    listener.local_addr()?;
    let shutdown = api.shutdown.clone();
    let max_connections = api.config.max_connections;
    let places = Arc::new(Semaphore::new(max_connections));
    let router = router(api);
    loop {
        // At the limit no connection is accepted: further ones wait in the listener's backlog.
        let permit = tokio::select! {
            permit = Arc::clone(&places).acquire_owned() => permit,
            () = shutdown.cancelled() => break,
        };
        let Ok(permit) = permit else { break };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        let Ok(local) = stream.local_addr() else { continue };
        let connection = Connection { local, _permit: Arc::new(permit) };
        let shutdown = shutdown.clone();
        tokio::spawn(serve_connection(stream, connection, router.clone(), shutdown));
    }
    drop(listener);
    // All permits are free when every connection has ended, including WebSockets.
    let all = u32::try_from(max_connections).unwrap_or(u32::MAX);
    if tokio::time::timeout(GRACE, places.acquire_many(all)).await.is_err() {
        let left = max_connections - places.available_permits();
        tracing::warn!(connections = left, "closed connections that did not end within the grace period");
    }
    Ok(())
}

/// Sets the socket's timeouts so that a dead peer is detected even while nothing is sent (as on followed logs), because its
/// connection counts towards `max_connections`.
fn end_when_dead(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(DEAD_AFTER / 2).with_interval(DEAD_AFTER / 6).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))
}

async fn serve_connection(
    stream: TcpStream,
    connection: Connection,
    router: axum::Router,
    shutdown: CancellationToken,
) {
    let _ = stream.set_nodelay(true); // only slower without it
    let _ = end_when_dead(&stream); // only detected later without it
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        // A router's layers run after routing, so the path is changed outside of the router.
        guard::without_trailing_slash(request.map(axum::body::Body::new))
    });
    let exchange = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut exchange = pin!(exchange);
    let ended = tokio::select! {
        ended = exchange.as_mut() => ended,
        () = shutdown.cancelled() => {
            exchange.as_mut().graceful_shutdown();
            exchange.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection failed");
    }
}
