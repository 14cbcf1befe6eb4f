//! Endpoints that are not engines: small TCP servers.

use kdaemon::engine::Failure;
use kdaemon::engine::docker::{DockerEngines, EngineLimits};
use kdaemon::engine::{Credentials, Engine, EngineError, Engines, Identity, LaunchOrder, Pulling};
use kdaemon_events::{ClusterId, ContainerId, Endpoint, Generation, Spec};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

/// A server on loopback that reads a request's head, passes it on, and sends the answer that `answer`
/// returns. `None`: it never answers.
async fn server(
    answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> (Arc<dyn Engine>, mpsc::UnboundedReceiver<String>) {
    let (endpoint, told) = listening(answer).await;
    (client(endpoint), told)
}

async fn listening(
    answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> (Endpoint, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heads, told) = mpsc::unbounded_channel();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&answer), heads.clone()));
        }
    });
    (Endpoint::tcp("127.0.0.1", port).unwrap(), told)
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<impl Fn(&str) -> Option<String>>,
    heads: mpsc::UnboundedSender<String>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    match answer(&head) {
        Some(answer) => {
            let _ = heads.send(head);
            let _ = stream.write_all(answer.as_bytes()).await;
            if answer.contains("chunked") {
                // The rest of the answer never comes.
                let _ = stream.read_u8().await;
            }
        }
        None => {
            let _ = heads.send(head);
            // Holds the connection until the client closes it.
            let _ = stream.read_u8().await;
        }
    }
}

fn client(endpoint: Endpoint) -> Arc<dyn Engine> {
    let limits = EngineLimits {
        connect: Duration::from_millis(400),
        probe: Duration::from_millis(300),
        request: Duration::from_millis(500),
        pull: Duration::from_secs(5),
        idle: Duration::from_millis(300),
        ..EngineLimits::default()
    };
    DockerEngines::new(limits).client(&endpoint)
}

fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn order() -> LaunchOrder {
    let identity = Identity {
        cluster: ClusterId(Uuid::nil()),
        container: ContainerId(Uuid::nil()),
        generation: Generation(1),
    };
    let spec = Spec { docker_image: "reg.example:5000/x:1".into(), ..Default::default() };
    LaunchOrder { identity, name: "x".into(), spec: Arc::new(spec), volumes: Vec::new(), credentials: None }
}

fn unreachable<T: std::fmt::Debug>(answer: Result<T, EngineError>) -> String {
    match answer {
        Err(EngineError::Unreachable(failure)) => kdaemon::says::failure(&failure),
        other => panic!("not unreachable: {other:?}"),
    }
}

#[tokio::test]
async fn closed_port_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let sentence = unreachable(client(Endpoint::tcp("127.0.0.1", port).unwrap()).ping().await);
    assert!(sentence.starts_with("no connection: Connection refused"), "{sentence}");
}

#[tokio::test]
async fn missing_socket_is_unreachable() {
    let sentence = unreachable(client("unix:///nowhere/docker.sock".parse().unwrap()).ping().await);
    assert!(sentence.starts_with("no connection: No such file or directory"), "{sentence}");
}

#[tokio::test]
async fn unknown_host_name_is_unreachable() {
    let engine = client(Endpoint::tcp("no-such-host.invalid", 2375).unwrap());
    unreachable(engine.ping().await);
}

#[tokio::test]
async fn silent_server_is_unreachable_after_the_timeout() {
    let (engine, _told) = server(|_| None).await;
    let begin = Instant::now();
    assert_eq!(unreachable(engine.ping().await), "no answer within 300 ms");
    assert!(begin.elapsed() < Duration::from_secs(3));
    let cluster = ClusterId(Uuid::nil());
    assert_eq!(unreachable(engine.list(cluster).await), "no answer within 500 ms");
    assert_eq!(unreachable(engine.facts().await), "no answer within 500 ms");
    assert_eq!(unreachable(engine.launch(&order()).await), "no answer within 500 ms");
    assert_eq!(unreachable(engine.events(cluster).await.map(drop)), "no answer within 500 ms");
}

#[tokio::test]
async fn server_that_sends_garbage_is_unreachable() {
    for nonsense in
        ["SSH-2.0-OpenSSH_9.2\r\n", "\0\0\0\0", "", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nOK"]
    {
        let (engine, _told) = server(move |_| Some(nonsense.to_owned())).await;
        unreachable(engine.ping().await);
        unreachable(engine.list(ClusterId(Uuid::nil())).await);
        unreachable(engine.facts().await);
    }
}

#[tokio::test]
async fn web_server_is_not_an_engine() {
    for (status, body) in
        [("200 OK", "<html>hello</html>"), ("404 Not Found", "404 page not found"), ("302 Found", "")]
    {
        let (engine, _told) = server(move |_| Some(http(status, body))).await;
        let sentence = unreachable(engine.ping().await);
        assert!(sentence.starts_with("the endpoint is not a container engine"), "{sentence}");
        unreachable(engine.list(ClusterId(Uuid::nil())).await);
    }
}

/// An engine without containers and images that answers a pull with `pull`.
fn empty_engine(head: &str, pull: Option<&str>) -> Option<String> {
    let path = head.split(' ').nth(1).unwrap();
    if path.starts_with("/containers/json") {
        Some(http("200 OK", "[]"))
    } else if path.starts_with("/images/create") {
        pull.map(str::to_owned)
    } else {
        Some(http("404 Not Found", r#"{"message":"No such image: x"}"#))
    }
}

#[tokio::test]
async fn credentials_are_sent_in_url_safe_base64() {
    let (engine, mut told) =
        server(|head| empty_engine(head, Some(&http("404 Not Found", r#"{"message":"manifest unknown"}"#))))
            .await;
    let mut order = order();
    // In standard base64 these give `+` and `/`, in the URL-safe alphabet `-` and `_`.
    order.credentials = Some(Credentials { username: "anna".into(), password: "~~~???>>>".into() });
    let refused = engine.launch(&order).await;
    assert!(matches!(refused, Err(EngineError::Rejected(_))), "{refused:?}");
    let head = loop {
        let head = told.recv().await.unwrap();
        if head.starts_with("POST /images/create") {
            break head;
        }
    };
    assert!(head.contains("fromImage=reg.example%3A5000%2Fx%3A1"), "{head}");
    let header = head.lines().find_map(|line| line.strip_prefix("x-registry-auth: ")).expect("the header");
    assert!(header.contains(['-', '_']) && !header.contains(['+', '/']), "{header}");
}

#[tokio::test]
async fn stalled_pull_is_a_node_fault() {
    let (engine, _told) = server(|head| empty_engine(head, None)).await;
    let EngineError::NodeFault(failure) = engine.launch(&order()).await.unwrap_err() else {
        panic!("no node fault")
    };
    assert_eq!(failure, Failure::PullStalled { image: "reg.example:5000/x:1".into(), limit_ms: 300 });
}

#[tokio::test]
async fn pull_progress_is_visible_until_it_ends() {
    let told = [
        r#"{"status":"Pulling from x","id":"1"}"#,
        r#"{"status":"Already exists","progressDetail":{},"id":"a"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"b"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"d"}"#,
        r#"{"status":"Waiting","progressDetail":{},"id":"d"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":100,"total":600},"id":"b"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":50,"total":400},"id":"c"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":150,"total":400},"id":"c"}"#,
        r#"{"status":"Download complete","progressDetail":{},"id":"b"}"#,
        r#"{"status":"Extracting","progressDetail":{"current":10,"total":600},"id":"b"}"#,
    ];
    let chunks: String = told.iter().map(|line| format!("{:x}\r\n{line}\n\r\n", line.len() + 1)).collect();
    let pull = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let (endpoint, _told) = listening(move |head| empty_engine(head, Some(&pull))).await;
    let engine = DockerEngines::new(EngineLimits::default()).client(&endpoint);
    let order = order();
    assert_eq!(engine.pulling(order.identity), None, "nothing is pulled yet");
    let launch = engine.launch(&order);
    let seen = async {
        let image = "reg.example:5000/x:1".to_owned();
        let wanted = Pulling { image, bytes: 750, of: 1000, layers: 2, unknown_layers: 1 };
        assert_eq!(wanted.percent(), Some(50), "the third layer counts as much as one of the two");
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while engine.pulling(order.identity).as_ref() != Some(&wanted) {
            looks.tick().await;
        }
    };
    tokio::select! {
        ended = launch => panic!("the pull did not wait: {ended:?}"),
        seen = tokio::time::timeout(Duration::from_secs(20), seen) => seen.expect("it is seen in time"),
    }
    assert_eq!(engine.pulling(order.identity), None, "the launch was given up, and its pull with it");
}

#[tokio::test]
async fn pull_success_is_verified() {
    let (engine, _told) = server(|head| {
        empty_engine(head, Some(&http("200 OK", "{\"status\":\"Status: Downloaded newer image\"}\n")))
    })
    .await;
    let refused = engine.launch(&order()).await;
    assert!(matches!(refused, Err(EngineError::NodeFault(_))), "{refused:?}");
}

#[tokio::test]
async fn error_inside_a_pull_quotes_the_engine() {
    let body = "{\"status\":\"Pulling\"}\n{\"errorDetail\":{\"message\":\"no space left on device\"},\"error\":\"no space left on device\"}\n";
    let (engine, _told) = server(move |head| empty_engine(head, Some(&http("200 OK", body)))).await;
    let failure =
        Failure::PullFailed { image: "reg.example:5000/x:1".into(), quote: "no space left on device".into() };
    assert_eq!(engine.launch(&order()).await, Err(EngineError::NodeFault(failure)));
}

#[tokio::test]
async fn name_that_would_change_the_request_is_refused() {
    let (engine, mut told) = server(|head| empty_engine(head, None)).await;
    for (image, network) in
        [("x/../../containers/json?all=1", "net"), ("x:1", "container:foreign"), ("x:1", "a/../b")]
    {
        let mut order = order();
        let spec = Arc::make_mut(&mut order.spec);
        spec.docker_image = image.into();
        spec.networks = vec![network.into()];
        let refused = engine.launch(&order).await;
        assert!(matches!(refused, Err(EngineError::Rejected(_))), "{refused:?}");
    }
    drop(engine);
    while let Ok(head) = told.try_recv() {
        assert!(!head.contains("foreign") && !head.contains(".."), "{head}");
    }
}

#[tokio::test]
async fn client_is_shared_while_referenced() {
    let engines = DockerEngines::new(EngineLimits::default());
    let endpoint = Endpoint::tcp("127.0.0.1", 1).unwrap();
    let first = engines.client(&endpoint);
    assert!(Arc::ptr_eq(&first, &engines.client(&endpoint)));
}
