//! The command line over HTTPS: a TLS proxy in front of a daemon, with a certificate that only its own file makes trusted.

use crate::cli::shell::Shell;
use crate::support::daemon::Daemon;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A proxy that terminates TLS for the name `localhost`.
struct TlsProxy {
    port: u16,
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TlsProxy {
    /// Starts a proxy for a daemon at `HOST:PORT`.
    async fn start(daemon: String) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let config = rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, daemon) = (acceptor.clone(), daemon.clone());
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(stream).await else { return }; // it distrusts us
                    let mut daemon = TcpStream::connect(daemon).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut daemon).await;
                });
            }
        });
        Self { port, folder, task }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn https_needs_a_trusted_certificate() {
    let daemon = Daemon::start().await;
    let address = daemon.url("//");
    let proxy = TlsProxy::start(address.trim_start_matches("http://").trim_end_matches('/').to_owned()).await;
    let server = format!("https://localhost:{}", proxy.port);
    let shell = Shell::new(&server);
    let ca = proxy.ca().display().to_string();

    let (code, stdout, stderr) =
        shell.told(&format!("SSL_CERT_FILE={ca} kdaemon apps add web --image nginx -o name")).await;
    assert_eq!((code, stdout.as_str()), (0, "web\n"), "{stderr}");
    let (code, stdout, stderr) = shell.told(&format!("SSL_CERT_FILE={ca} kdaemon status")).await;
    assert!(code == 0 && stdout.starts_with(&format!("kDaemon at {server}")), "{stdout}{stderr}");
    let followed = format!(
        "export SSL_CERT_FILE={ca}\n kdaemon events -f -n 0 -o json --kind ContainerCreated > followed & \
         for i in $(seq 100); do kdaemon containers add c-$i 2>/dev/null; [ -s followed ] && break; sleep 0.05; done; \
         kill $!; head -1 followed | jq -r .kind"
    );
    let (_, stdout, stderr) = shell.told(&followed).await;
    assert_eq!(stdout, "ContainerCreated\n", "streams work, too: {stderr}");

    let (code, stdout, stderr) = shell.told("kdaemon status").await;
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (5, "", 1), "{stderr}");
    assert!(stderr.starts_with(&format!("kdaemon: no answer from {server}: ")), "{stderr}");
    assert!(stderr.contains("set SSL_CERT_FILE to the file of its certificate authority"), "{stderr}");

    // The certificate is trusted, but is not one for this name.
    let other = format!("SSL_CERT_FILE={ca} kdaemon --server https://127.0.0.1:{} status", proxy.port);
    let (code, _, stderr) = shell.told(&other).await;
    assert!(code == 5 && stderr.contains("use a name in the certificate"), "{stderr}");
}
