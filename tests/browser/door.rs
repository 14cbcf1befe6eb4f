//! A stable address for a daemon that is restarted on another port.

use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};

/// Leads to a daemon. Closed when this is dropped.
pub(crate) struct Door {
    url: String,
    target: Arc<Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Door {
    /// Opens one that leads to `url`.
    pub(crate) async fn open(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = format!("http://{}", listener.local_addr().expect("an address"));
        let target = Arc::new(Mutex::new(authority(url)));
        let behind = Arc::clone(&target);
        let task = tokio::spawn(async move {
            while let Ok((mut outer, _)) = listener.accept().await {
                let target = behind.lock().unwrap().clone();
                tokio::spawn(async move {
                    // No daemon runs: the connection is closed, as by a daemon that is gone.
                    if let Ok(mut inner) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                    }
                });
            }
        });
        Self { url: own, target, task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on it leads there.
    pub(crate) fn lead_to(&self, url: &str) {
        *self.target.lock().unwrap() = authority(url);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn authority(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}
