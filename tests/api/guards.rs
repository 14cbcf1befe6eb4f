//! Checks that every request passes: hosts, origins, sizes, types, methods, routes.

use crate::api::harness::{Answer, World};
use serde_json::json;

async fn send(request: reqwest::RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn unknown_route_and_wrong_method_are_problems() {
    let world = World::new().await;
    for path in ["/0.0/nope", "/1.0/nodes", "/nope", "/0.0", "/0.0/nodes/a/b/c", "/0.0/states", "/0.0/why/x"]
    {
        let problem = world.get_raw(path).await.expect(404);
        assert_eq!(problem["type"], "/problems/no-such-route", "{path}");
    }
    let answer = world.command("PUT", "/nodes").await;
    let problem = answer.expect(405);
    assert_eq!(problem["type"], "/problems/method-not-allowed");
    let detail = problem["detail"].as_str().unwrap();
    for method in answer.header("allow").split(',') {
        assert!(detail.contains(method.trim()), "{detail}");
    }
    assert!(answer.header("allow").contains("GET"), "{answer:?}");
    for (method, path, allowed) in [
        ("GET", "/containers/launch/x", "POST"),
        ("POST", "/nodes/delete/x", "DELETE"),
        ("DELETE", "/nodes/x", "GET"),
        ("PUT", "/nodes/update/x", "PATCH"),
        ("OPTIONS", "/nodes", "GET"),
        ("POST", "/events", "GET"),
    ] {
        let answer = world.command(method, path).await;
        answer.expect(405);
        assert!(answer.header("allow").contains(allowed), "{method} {path}: {answer:?}");
    }
    let head = world.request("HEAD", "/nodes").send().await.unwrap();
    assert_eq!(head.status(), 200);
}

#[tokio::test]
async fn trailing_slash_is_ignored() {
    let world = World::new().await;
    world.post("/nodes/create/", json!({"name": "n1", "endpoint": "tcp://a:1"})).await.expect(201);
    world.get("/nodes/n1/?min_seq=1").await.expect(200);
    world.get_raw("/healthz/").await.expect(200);
}

#[tokio::test]
async fn malformed_json_names_its_position() {
    let world = World::new().await;
    let post = |body: &'static str| {
        send(world.request("POST", "/nodes/create").header("content-type", "application/json").body(body))
    };
    let problem = post("{\"name\": \n }").await.expect(400);
    assert!(problem["detail"].as_str().unwrap().contains("line 2"), "{problem}");
    for body in ["", "{", "nonsense", "{\"a\":1}}", "{'a':1}"] {
        assert_eq!(post(body).await.expect(400)["type"], "/problems/malformed", "{body}");
    }
    for body in ["[]", "5", "null", "\"x\""] {
        post(body).await.expect(422);
    }
    let deep = "[".repeat(100_000);
    send(world.request("POST", "/nodes/create").body(deep)).await.expect(400);
    let bytes = vec![b'"', 0xFF, b'"'];
    send(world.request("POST", "/nodes/create").body(bytes)).await.expect(400);
}

#[tokio::test]
async fn body_type_is_json_or_curls_default() {
    let world = World::new().await;
    let mut number = 0;
    for (media, status) in [
        (None, 201),
        (Some("application/json"), 201),
        (Some("application/json; charset=utf-8"), 201),
        (Some("APPLICATION/JSON"), 201),
        (Some("application/json; charset=\"UTF-8\""), 201),
        (Some("application/json; profile=\"a; charset=iso-8859-1\""), 201),
        (Some("nonsense"), 415),
        (Some("application/merge-patch+json"), 201),
        (Some("application/x-www-form-urlencoded"), 201),
        (Some("application/json; charset=iso-8859-1"), 415),
        (Some("text/plain"), 415),
        (Some("application/xml"), 415),
        (Some("multipart/form-data; boundary=x"), 415),
    ] {
        number += 1;
        let mut request = world.request("POST", "/nodes/create");
        if let Some(media) = media {
            request = request.header("content-type", media);
        }
        let body = json!({"endpoint": format!("tcp://n{number}:1")}).to_string();
        send(request.body(body)).await.expect(status);
    }
    let form =
        world.request("POST", "/nodes/create").header("content-type", "application/x-www-form-urlencoded");
    let problem = send(form.body("name=n1&d_port=5")).await.expect(415);
    assert_eq!(problem["type"], "/problems/unsupported-media-type");
}

#[tokio::test]
async fn body_size_is_limited_with_and_without_content_length() {
    let world = World::with(|config| {
        let max = kdaemon::config::SETTINGS.iter().find(|setting| setting.name == "max_body_bytes").unwrap();
        (max.set)(config, "1KiB").unwrap();
    })
    .await;
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(2_000));
    let problem = send(world.request("POST", "/nodes/create").body(large.clone())).await.expect(413);
    assert_eq!(problem["type"], "/problems/too-large");
    let chunks = futures_util::stream::iter(
        large.into_bytes().chunks(100).map(<[u8]>::to_vec).map(Ok::<_, std::io::Error>).collect::<Vec<_>>(),
    );
    let streamed = world.request("POST", "/nodes/create").body(reqwest::Body::wrap_stream(chunks));
    send(streamed).await.expect(413);
    let exact = format!("{{\"endpoint\":\"tcp://a:1\",\"user_id\":\"{}\"}}", "x".repeat(900));
    send(world.request("POST", "/nodes/create").body(exact)).await.expect(201);
}

#[tokio::test]
async fn foreign_host_names_are_refused() {
    let world = World::with(|config| config.server_names = vec!["cluster.example".into()]).await;
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:1337", 200),
        ("localhost.", 200),
        ("127.0.0.1", 200),
        ("127.3.2.1:80", 200),
        ("[::1]", 200),
        ("[::1]:1337", 200),
        ("cluster.example", 200),
        ("Cluster.Example:443", 200),
        ("evil.example", 403),
        ("evil.example:1337", 403),
        ("localhost.evil.example", 403),
        ("10.1.2.3", 403),
        ("0.0.0.0", 403),
        ("[fe80::1]:1337", 403),
        ("", 403),
    ] {
        let answer = send(world.request("GET", "/nodes").header("host", host)).await;
        answer.expect(status);
        if status == 403 {
            assert_eq!(answer.json()["type"], "/problems/forbidden", "{host}");
        }
    }
    send(world.request_raw("GET", "/healthz").header("host", "evil.example")).await.expect(403);
}

/// Browsers send requests for 0.0.0.0 to this machine, from pages of any site.
#[tokio::test]
async fn unspecified_address_is_refused_as_a_host_even_when_bound_to_it() {
    for bind_ip in ["0.0.0.0", "::"] {
        let world = World::with(|config| config.bind_ip = bind_ip.parse().unwrap()).await;
        for host in ["0.0.0.0", "0.0.0.0:1337", "[::]", "[::]:1337", "[::ffff:0.0.0.0]"] {
            let refused = send(world.request("GET", "/nodes").header("host", host)).await;
            assert_eq!(refused.expect(403)["type"], "/problems/forbidden", "{host} on {bind_ip}");
        }
        send(world.request("GET", "/nodes").header("host", "127.0.0.1")).await.expect(200);
    }
}

#[tokio::test]
async fn bound_address_is_accepted_as_a_host() {
    let world = World::with(|config| config.bind_ip = "10.1.2.3".parse().unwrap()).await;
    for (host, status) in
        [("10.1.2.3", 200), ("10.1.2.3:1337", 200), ("[::ffff:10.1.2.3]", 200), ("10.1.2.4", 403)]
    {
        send(world.request("GET", "/nodes").header("host", host)).await.expect(status);
    }
}

#[tokio::test]
async fn foreign_origins_are_refused_unless_allowed() {
    let closed = World::new().await;
    let foreign = |world: &World, method: &str, path: &str, origin: &str| {
        world.request(method, path).header("origin", origin.to_owned())
    };
    let read = send(foreign(&closed, "GET", "/nodes", "https://evil.example")).await;
    read.expect(200);
    assert!(!read.headers.contains_key("access-control-allow-origin"));
    let own = format!("http://{}", closed.address);
    send(foreign(&closed, "POST", "/rebalance", &own)).await.expect(200);
    for origin in ["https://evil.example", "null"] {
        send(foreign(&closed, "POST", "/rebalance", origin)).await.expect(403);
    }
    send(foreign(&closed, "OPTIONS", "/nodes", "https://evil.example")).await.expect(405);

    let open = World::with(|config| config.cors_origins = vec!["https://ui.example".into()]).await;
    let read = send(foreign(&open, "GET", "/nodes", "https://ui.example")).await;
    read.expect(200);
    assert_eq!(read.header("access-control-allow-origin"), "https://ui.example");
    let exposed = read.header("access-control-expose-headers").to_lowercase();
    for name in ["x-kdaemon-seq", "x-request-id", "etag", "link", "location"] {
        assert!(exposed.contains(name), "{name}: {exposed}");
    }
    send(foreign(&open, "POST", "/rebalance", "https://ui.example")).await.expect(200);
    let error = send(foreign(&open, "GET", "/nodes/nope", "https://ui.example")).await;
    error.expect(404);
    assert_eq!(error.header("access-control-allow-origin"), "https://ui.example", "errors can be read too");
    let preflight = foreign(&open, "OPTIONS", "/nodes/create", "https://ui.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,idempotency-key");
    let preflight = send(preflight).await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), "https://ui.example");
    assert!(preflight.header("access-control-allow-methods").contains("PATCH"));
    let read = send(foreign(&open, "GET", "/nodes", "https://evil.example")).await;
    assert!(!read.headers.contains_key("access-control-allow-origin"));
    send(foreign(&open, "POST", "/rebalance", "https://evil.example")).await.expect(403);
}

#[tokio::test]
async fn every_answer_has_id_seq_and_security_headers() {
    let world = World::new().await;
    for path in ["/", "/healthz", "/metrics", "/openapi.json", "/nope", "/0.0/nodes", "/0.0/nodes/x", "/ws"] {
        let answer = world.get_raw(path).await;
        assert_eq!(answer.seq(), world.head(), "{path}");
        assert_eq!(answer.header("x-request-id").len(), 36, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
        assert!(!answer.text.is_empty());
    }
    for (given, taken) in [
        ("abc-123", true),
        (&*"x".repeat(128), true),
        (&*"x".repeat(129), false),
        ("", false),
        ("a b", true),
        ("a\tb", false),
    ] {
        let answer = send(world.request("GET", "/nodes").header("x-request-id", given)).await;
        assert_eq!(answer.header("x-request-id") == given, taken, "{given:?}");
    }
}

#[tokio::test]
async fn unknown_parameters_are_refused() {
    let world = World::new().await;
    world.node("n1").await;
    for path in
        ["/nodes/n1?x=1", "/events?x=1", "/events/1?x=1", "/containers/a/stats?x=1", "/history/nodes/n1?x=1"]
    {
        assert_eq!(world.get(path).await.expect(422)["field"], "x", "{path}");
    }
    world.command("POST", "/nodes/cordon/n1?limit=1").await.expect(422);
}
