//! The OpenAPI document, and the unversioned routes.

use crate::api::harness::World;
use serde_json::Value;

/// Every route of the contract.
const ROUTES: &[(&str, &[&str])] = &[
    ("/", &["get"]),
    ("/healthz", &["get"]),
    ("/readyz", &["get"]),
    ("/metrics", &["get"]),
    ("/openapi.json", &["get"]),
    ("/ws", &["get"]),
    ("/0.0/nodes", &["get"]),
    ("/0.0/nodes/{id}", &["get"]),
    ("/0.0/nodes/create", &["post"]),
    ("/0.0/nodes/update/{id}", &["patch"]),
    ("/0.0/nodes/delete/{id}", &["delete"]),
    ("/0.0/nodes/cordon/{id}", &["post"]),
    ("/0.0/nodes/uncordon/{id}", &["post"]),
    ("/0.0/nodes/drain/{id}", &["post"]),
    ("/0.0/applications", &["get"]),
    ("/0.0/applications/{id}", &["get"]),
    ("/0.0/applications/create", &["post"]),
    ("/0.0/applications/update/{id}", &["patch"]),
    ("/0.0/applications/delete/{id}", &["delete"]),
    ("/0.0/applications/scale/{id}", &["post"]),
    ("/0.0/applications/restart/{id}", &["post"]),
    ("/0.0/applications/rollback/{id}", &["post"]),
    ("/0.0/containers", &["get"]),
    ("/0.0/containers/{id}", &["get"]),
    ("/0.0/containers/create", &["post"]),
    ("/0.0/containers/launch/{id}", &["post"]),
    ("/0.0/container/launch/{id}", &["post"]),
    ("/0.0/containers/stop/{id}", &["post"]),
    ("/0.0/containers/update/{id}", &["patch"]),
    ("/0.0/containers/delete/{id}", &["delete"]),
    ("/0.0/containers/{id}/logs", &["get"]),
    ("/0.0/containers/{id}/progress", &["get"]),
    ("/0.0/containers/{id}/stats", &["get"]),
    ("/0.0/rebalance", &["post"]),
    ("/0.0/events", &["get"]),
    ("/0.0/events/{seq}", &["get"]),
    ("/0.0/events/stream", &["get"]),
    ("/0.0/why/nodes/{id}", &["get"]),
    ("/0.0/why/containers/{id}", &["get"]),
    ("/0.0/state", &["get"]),
    ("/0.0/diff", &["get"]),
    ("/0.0/audit/verify", &["get"]),
    ("/0.0/audit/proof", &["get"]),
    ("/0.0/audit/consistency", &["get"]),
    ("/0.0/checkpoint", &["get"]),
    ("/0.0/backup", &["get"]),
    ("/0.0/export", &["get"]),
    ("/0.0/rebuild", &["post"]),
    ("/0.0/replay", &["post"]),
    ("/0.0/history/nodes/{id}", &["get"]),
    ("/0.0/history/applications/{id}", &["get"]),
    ("/0.0/history/containers/{id}", &["get"]),
];

#[tokio::test]
async fn openapi_has_exactly_the_routes() {
    let world = World::new().await;
    let document = world.get_raw("/openapi.json").await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "kDaemon");
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in ROUTES {
        let operations = paths.get(*path).unwrap_or_else(|| panic!("{path} is missing")).as_object().unwrap();
        assert_eq!(operations.keys().collect::<Vec<_>>(), *methods, "{path}");
        for operation in operations.values() {
            assert!(operation["summary"].is_string() && operation["operationId"].is_string(), "{path}");
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"];
            assert_eq!(problem["$ref"], "#/components/schemas/ProblemDetails", "{path}");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{path}: {name}");
            }
        }
    }
    let known: Vec<_> = ROUTES.iter().map(|(path, _)| *path).collect();
    assert!(paths.keys().all(|path| known.contains(&path.as_str())), "{:?}", paths.keys());
    let ids: Vec<_> = paths
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "operation ids are unique: {ids:?}");
}

#[tokio::test]
async fn openapi_references_resolve() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let world = World::new().await;
    let document = world.get_raw("/openapi.json").await.expect(200);
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let schemas = &document["components"]["schemas"];
    for (schema, field) in
        [("NodeRow", "container_count"), ("ContainerInput", "application_id"), ("ProblemDetails", "reasons")]
    {
        assert!(schemas[schema]["properties"][field].is_object(), "{schema}.{field}");
    }
}

#[tokio::test]
async fn openapi_has_common_parameters() {
    let world = World::new().await;
    let document = world.get_raw("/openapi.json").await.expect(200);
    let parameters = |operation: &Value| -> Vec<String> {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        parameters.iter().map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut commands = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            for response in operation["responses"].as_object().unwrap().values() {
                assert!(response["headers"]["X-KDaemon-Seq"].is_object(), "{path}: {response}");
            }
            let names = parameters(operation);
            let has = |name: &str| names.iter().any(|known| known == name);
            if !has("dry_run") {
                continue;
            }
            commands += 1;
            assert!(has("Idempotency-Key"), "{path}");
            assert_eq!(has("If-Match"), path.contains("{id}"), "{path}");
            let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            let dry_run = "#/components/schemas/DryRun";
            let is_told = schema["$ref"] == dry_run || schema["oneOf"][1]["$ref"] == dry_run;
            assert!(is_told, "{path}: {schema}");
        }
    }
    assert_eq!(commands, 19);
    let rebalance = &document["paths"]["/0.0/rebalance"]["post"]["responses"]["200"]["content"];
    let shapes = &rebalance["application/json"]["schema"]["oneOf"];
    assert_eq!(shapes[0]["$ref"], "#/components/schemas/Rebalance");
    for (path, word) in [("nodes", "`state`"), ("applications", "`label`"), ("containers", "`status`")] {
        let list = &document["paths"][format!("/0.0/{path}")]["get"]["parameters"];
        let filter = list.as_array().unwrap().iter().find(|parameter| parameter["name"] == "filter").unwrap();
        assert!(filter["description"].as_str().unwrap().contains(word), "{filter}");
    }
}

#[tokio::test]
async fn metrics_are_served_to_prometheus() {
    let world = World::new().await;
    world.node("n1").await;
    world.application("web").await;
    world.running("w1", "web").await;
    world.get("/nodes/nope").await.expect(404);
    let metrics = world.get_raw("/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    let head = world.head();
    for line in [
        "kdaemon_nodes{state=\"UP\"} 1".to_owned(),
        "kdaemon_nodes{state=\"DOWN\"} 0".to_owned(),
        "kdaemon_containers{status=\"UP\"} 1".to_owned(),
        "kdaemon_containers{status=\"FAILED\"} 0".to_owned(),
        "kdaemon_applications 1".to_owned(),
        format!("kdaemon_journal_seq {head}"),
        "kdaemon_commands_waiting 0".to_owned(),
        "kdaemon_journal_writable 1".to_owned(),
        "kdaemon_http_requests_total{route=\"/0.0/nodes/{id}\",method=\"GET\",status=\"404\"} 1".to_owned(),
        "kdaemon_http_requests_total{route=\"/0.0/nodes/create\",method=\"POST\",status=\"201\"} 1"
            .to_owned(),
    ] {
        assert!(metrics.text.lines().any(|found| found == line), "{line} is not in\n{}", metrics.text);
    }
    assert!(metrics.text.contains("kdaemon_http_request_duration_seconds_bucket"));
    assert!(metrics.text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn health_routes_have_no_version() {
    let world = World::new().await;
    assert_eq!(world.get_raw("/healthz").await.expect(200)["status"], "ok");
    assert_eq!(world.get_raw("/readyz").await.expect(200)["seq"], world.head());
    let home = world.get_raw("/").await;
    assert!(home.header("content-type").starts_with("text/html"));
    assert!(home.text.contains("content=\"/0.0\"") && home.text.contains("/main.js"));
}

#[test]
fn openapi_file_matches_the_handlers() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/kdaemon.json");
    let declared = kdaemon::server::description("0.0");
    if std::env::var_os("KDAEMON_WRITE_OPENAPI").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &declared).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if committed != declared {
        let mut lines = committed.lines().zip(declared.lines()).enumerate();
        let at = lines.find(|(_, (old, new))| old != new);
        let at = at.map(|(index, (old, new))| format!("line {}:\n- {old}\n+ {new}", index + 1));
        panic!(
            "openapi/kdaemon.json is out of date: run scripts/openapi and commit the result\n{}",
            at.unwrap_or_default()
        );
    }
}

/// The UI builds its forms from these schemas.
#[test]
fn input_schemas_say_how_a_form_should_offer_them() {
    let document: Value = serde_json::from_str(&kdaemon::server::description("0.0")).unwrap();
    let schemas = &document["components"]["schemas"];
    let hint = |input: &str, field: &str| {
        let property = &schemas[input]["properties"][field];
        let options = property["oneOf"].as_array().into_iter().flatten();
        let reference = options.chain([property]).find_map(|one| one["$ref"].as_str()).unwrap();
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        schema["x-kdaemon-input"].as_str().unwrap().to_owned()
    };
    assert_eq!(hint("ApplicationInput", "is_enabled"), "boolean");
    assert_eq!(hint("ApplicationInput", "command"), "shell-words");
    assert_eq!(hint("ApplicationInput", "exposed_ports"), "comma-separated");
    assert_eq!(hint("ApplicationInput", "env_variables"), "map");
    assert_eq!(hint("ContainerInput", "balance"), "boolean");
    assert_eq!(hint("NodeInput", "capacity"), "text");
}
