//! Listening: connections are counted, bounded in their idleness, and ended in an orderly way.

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

/// What requests under way get to end by themselves when the daemon stops.
const GRACE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long a connection may idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// A peer that gives no sign of life for so long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(60);
/// The pause after a connection could not be accepted (too many open files, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API until the shutdown token is cancelled; then answers what is under way, and returns.
///
/// # Errors
/// When the listener's own address cannot be told.
pub async fn serve(listener: TcpListener, api: Api) -> io::Result<()> {
    listener.local_addr()?;
    let shutdown = api.shutdown.clone();
    let max_connections = api.config.max_connections;
    let places = Arc::new(Semaphore::new(max_connections));
    let router = router(api);
    loop {
        // A connection that has no place is not accepted yet: it waits in the listener's backlog.
        let permit = tokio::select! {
            permit = Arc::clone(&places).acquire_owned() => permit,
            () = shutdown.cancelled() => break,
        };
        let Ok(permit) = permit else { break };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        let Ok(local) = stream.local_addr() else { continue };
        let connection = Connection { local, _permit: Arc::new(permit) };
        let shutdown = shutdown.clone();
        tokio::spawn(converse(stream, connection, router.clone(), shutdown));
    }
    drop(listener);
    // All places are free again when every connection has ended, those that became WebSockets too.
    let all = u32::try_from(max_connections).unwrap_or(u32::MAX);
    if tokio::time::timeout(GRACE, places.acquire_many(all)).await.is_err() {
        let left = max_connections - places.available_permits();
        tracing::warn!(left, "connections were cut off: they did not end in time");
    }
    Ok(())
}

/// A peer that is gone without a word, or takes nothing of what is sent to it any more, is noticed after a while, also where
/// nothing is to be sent (logs that are followed, say): what its connection holds is wanted by others.
fn end_when_dead(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(DEAD_AFTER / 2).with_interval(DEAD_AFTER / 6).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))
}

async fn converse(
    stream: TcpStream,
    connection: Connection,
    router: axum::Router,
    shutdown: CancellationToken,
) {
    let _ = stream.set_nodelay(true); // slower without, not wrong
    let _ = end_when_dead(&stream); // it is kept longer without
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        // Routing happens before a router's own layers: what changes the path has to stand around it.
        guard::without_trailing_slash(request.map(axum::body::Body::new))
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut conversation = pin!(conversation);
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = shutdown.cancelled() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}
