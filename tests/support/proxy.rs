//! A TCP proxy that cuts, delays and swallows traffic on command.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The fate of traffic through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Link {
    /// Passes.
    #[default]
    Open,
    /// Passes with this delay.
    Slow(Duration),
    /// Disappears, in both directions. Connections stay open.
    Swallow,
    /// Requests pass, answers disappear.
    SwallowAnswers,
    /// Connections are cut, and new ones refused.
    Cut,
}

/// The proxy. Stops when dropped.
pub(crate) struct Proxy {
    /// The address it listens on.
    pub(crate) address: SocketAddr,
    link: watch::Sender<Link>,
    /// Incremented to cut the current connections.
    cuts: watch::Sender<u64>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to `target`.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (link, _) = watch::channel(Link::Open);
        let (cuts, _) = watch::channel(0);
        let connections = Arc::new(Mutex::new(tokio::task::JoinSet::new()));
        let (links, cut) = (link.clone(), cuts.clone());
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (link, cuts) = (links.subscribe(), cut.subscribe());
                let connection = connect(client, target, link, cuts);
                connections.lock().expect("not poisoned").spawn(connection);
            }
        });
        Self { address, link, cuts, listening }
    }

    /// Applies to all traffic from now on.
    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
        if link == Link::Cut {
            self.cut_once();
        }
    }

    /// Cuts the current connections; new ones can be made.
    pub(crate) fn cut_once(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn connect(
    client: TcpStream,
    target: SocketAddr,
    link: watch::Receiver<Link>,
    mut cuts: watch::Receiver<u64>,
) {
    if *link.borrow() == Link::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = carry(from_client, to_server, link.clone(), false) => {}
        () = carry(from_server, to_client, link, true) => {}
        _ = cuts.changed() => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    link: watch::Receiver<Link>,
    are_answers: bool,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let now = *link.borrow();
        match now {
            Link::Open => {}
            Link::Slow(delay) => tokio::time::sleep(delay).await,
            Link::SwallowAnswers if !are_answers => {}
            Link::Swallow | Link::SwallowAnswers => continue,
            Link::Cut => return,
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
