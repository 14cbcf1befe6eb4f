//! Name resolution for nodes' addresses.
//!
//! The system's resolver (getaddrinfo) blocks a thread for as long as it takes, half a minute where no name
//! server answers, and cannot be cancelled: its caller may be long gone. The runtime's threads for blocking
//! work are limited, and the store reads in them. So only some of them may resolve names, and a permit is
//! free again when the resolver has returned.

use hyper_util::client::legacy::connect::dns::Name;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec::IntoIter;
use tokio::sync::Semaphore;

/// Concurrent lookups in the whole process: a quarter of tokio's threads for blocking work.
static PLACES: Semaphore = Semaphore::const_new(128);

/// Resolves names for a connector.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameResolver;

impl tower::Service<Name> for NameResolver {
    type Response = IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<IntoIter<SocketAddr>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        // The connector replaces this port by its own.
        Box::pin(in_one_of(&PLACES, move || (name.as_str(), 0).to_socket_addrs()))
    }
}

/// Runs blocking work once a permit is free.
async fn in_one_of<T: Send + 'static>(
    places: &'static Semaphore,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let place = places.acquire().await.map_err(io::Error::other)?;
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    });
    done.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::poll;
    use std::pin::pin;
    use std::sync::mpsc;

    #[tokio::test]
    async fn known_names_resolve_and_unknown_ones_fail() {
        let look_up = |name: &str| tower::Service::call(&mut NameResolver, name.parse::<Name>().unwrap());
        assert!(look_up("localhost").await.unwrap().all(|address| address.ip().is_loopback()));
        assert!(
            look_up(&"x".repeat(64)).await.is_err(),
            "a label is at most 63 characters long (RFC 1035): refused without a query"
        );
    }

    #[tokio::test]
    async fn abandoned_lookup_keeps_its_permit_until_it_ends() {
        static TWO: Semaphore = Semaphore::const_new(2);
        let (end, ended) = mpsc::channel::<()>();
        let mut first = Box::pin(in_one_of(&TWO, move || ended.recv().map_err(io::Error::other)));
        assert!(poll!(&mut first).is_pending());
        drop(first);
        assert_eq!(in_one_of(&TWO, || Ok(7)).await.unwrap(), 7, "there is another place");
        let (go_on, gone_on) = mpsc::channel::<()>();
        let mut second = Box::pin(in_one_of(&TWO, move || gone_on.recv().map_err(io::Error::other)));
        assert!(poll!(&mut second).is_pending());
        let mut third = pin!(in_one_of(&TWO, || Ok(8)));
        assert!(poll!(&mut third).is_pending());
        assert_eq!(TWO.available_permits(), 0);
        end.send(()).unwrap();
        assert_eq!(third.await.unwrap(), 8);
        go_on.send(()).unwrap();
        second.await.unwrap();
    }
}
