//! Connections: their number, their end, and what they carry.

use crate::api::harness::{Answer, DEADLINE, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn raw(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

#[tokio::test]
async fn equivalent_requests_are_checked_alike() {
    let world = World::new().await;
    let answer = raw(&world, "GET /0.0/nodes HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "no host: {answer}");
    let absolute =
        "GET http://evil.example/0.0/nodes HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(raw(&world, absolute).await.starts_with("HTTP/1.1 403"));
    let two = "GET /0.0/nodes HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert!(raw(&world, two).await.starts_with("HTTP/1.1 403"));
    let old = raw(&world, "GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200"), "{old}");
}

#[tokio::test]
async fn surplus_connections_wait() {
    let world = World::with(|config| config.max_connections = 1).await;
    let mut first = TcpStream::connect(world.address).await.unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut some = [0; 16];
    first.read_exact(&mut some).await.unwrap();
    let second = world.request_raw("GET", "/healthz").send();
    tokio::pin!(second);
    // The only place is taken: no answer comes while the first client exchanges several requests.
    tokio::select! {
        biased;
        _ = &mut second => panic!("there was no place for it"),
        () = async {
            for _ in 0..3 {
                first.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
                first.read_exact(&mut some).await.unwrap();
            }
        } => {}
    }
    drop(first);
    assert_eq!(second.await.unwrap().status(), 200);
}

#[tokio::test]
async fn requests_in_progress_are_answered_at_stop() {
    let world = World::new().await;
    world.node("n1").await;
    world.application("web").await;
    let id = world.container("w1", "web").await;
    let waiting = world.request("POST", "/containers/launch/w1?wait=10m").send();
    let (answer, ()) = tokio::join!(waiting, async {
        world.until(|cluster| cluster.container(id).unwrap().placement.is_some()).await;
        world.shutdown.cancel();
    });
    let answer = Answer::of(answer.unwrap()).await;
    assert_eq!(answer.expect(202)["status"], "LAUNCHING");
    tokio::time::timeout(DEADLINE, world.server).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(world.address).await.is_err(), "the listener is closed");
}
