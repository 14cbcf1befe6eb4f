//! Tests of reading Compose files.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::compose::{Stack, read};
use super::interpolate::Variables;
use super::yaml::YamlNode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn parsed(text: &str) -> Result<Stack, Vec<String>> {
    let mut root = YamlNode::parse(text).map_err(|error| vec![error])?;
    Variables::new(BTreeMap::new()).resolve(&mut root).map_err(|error| vec![error])?;
    read(&root, Path::new("."), &[])
}

fn body(stack: &Stack, name: &str) -> Value {
    let service = stack.services.iter().find(|service| service.name == name);
    Value::Object(service.unwrap_or_else(|| panic!("no service {name}")).body.clone())
}

#[test]
fn service_fields_map_to_application_fields() {
    let stack = parsed(
        r#"
version: "3.9"
name: shop
x-common: &common
  restart: unless-stopped
services:
  web:
    <<: *common
    image: nginx:${TAG:-1.27}
    ports: ["8080:80", 443, {target: 53, published: "53", protocol: udp, mode: host}]
    environment:
      A: 1
      B: "two"
      C: true
    command: nginx -g 'daemon off;'
    entrypoint: ["/bin/tini", "--"]
    volumes:
      - data:/data:ro
      - /srv:/srv
      - {type: volume, source: data, target: /more, read_only: true}
    labels: ["tier=web"]
    depends_on:
      db: {condition: service_started}
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost"]
      interval: 1m30s
      timeout: 10s
      retries: 2
      start_period: 500ms
      start_interval: 2s
    networks: [back, default]
    deploy:
      replicas: 3
      resources:
        limits: {cpus: "0.50", memory: 256M}
        reservations: {cpus: "0.25", memory: 64M}
      placement:
        constraints: ["node.labels.zone == a"]
        preferences: [{spread: node.labels.rack}]
        max_replicas_per_node: 1
      restart_policy: {condition: on-failure, max_attempts: 3}
  db:
    image: postgres:17
volumes:
  data: {name: shop-data}
networks:
  back:
"#,
    )
    .unwrap();
    assert_eq!(stack.name.as_deref(), Some("shop"));
    assert_eq!(stack.left_out, Vec::<String>::new());
    assert_eq!(stack.services.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["db", "web"]);
    assert_eq!(
        body(&stack, "web"),
        json!({
            "docker_image": "nginx:1.27",
            "exposed_ports": ["8080:80", "443", "53:53/udp"],
            "env_variables": {"A": "1", "B": "two", "C": "true"},
            "command": "nginx -g 'daemon off;'",
            "entrypoint": ["/bin/tini", "--"],
            "volumes": ["shop-data:/data:ro", "/srv:/srv", "shop-data:/more:ro"],
            "labels": {"tier": "web"},
            "restart_policy": "on-failure:3",
            "health_check": {"command": ["CMD", "curl", "-f", "http://localhost"], "interval_ms": 90_000,
                "timeout_ms": 10_000, "retries": 2, "start_period_ms": 500, "start_interval_ms": 2_000},
            "networks": ["back"],
            "resources": {"cpus": 0.5, "memory": "256M", "reserved_cpus": 0.25, "reserved_memory": "64M"},
            "constraints": ["zone==a"],
            "spread_over": "rack",
            "anti_affinity": true,
            "dependencies": ["db"],
            "replicas": 3,
            "update_policy": "rolling",
        })
    );
    assert_eq!(body(&stack, "db")["restart_policy"], "no", "the default of Compose");
}

#[test]
fn unsupported_parts_are_reported_with_their_line() {
    let stack = parsed(
        "services:\n  a:\n    image: x\n    privileged: true\n    build: .\n    user: root\n    networks:\n      n:\n        aliases: [b]\n    deploy:\n      update_config:\n        parallelism: 2\n    healthcheck:\n      colour: red\nnetworks:\n  n: {driver: overlay}\nsecrets:\n  s: {file: ./s}\n",
    )
    .unwrap();
    let expected = [
        "line 16: networks.n.driver",
        "line 18: secrets",
        "line 4: services.a.privileged",
        "line 5: services.a.build: kDaemon does not build images",
        "line 6: services.a.user",
        "line 9: services.a.networks.n.aliases",
        "line 12: services.a.deploy.update_config",
        "line 14: services.a.healthcheck.colour",
    ];
    let mut left_out = stack.left_out.clone();
    left_out.sort_by_key(|line| expected.iter().position(|expected| expected == line));
    assert_eq!(left_out, expected);
}

#[test]
fn invalid_files_are_refused_with_all_errors() {
    for (text, why) in [
        ("- a", "expected a map with `services`, got a list"),
        ("x-a: 1", "the file has no `services`"),
        ("services: {a: {}}", "services.a: the service has no image"),
        ("services: [a]", "services: expected a map, got a list"),
        ("services:\n  a:\n    image: [x]", "line 3: services.a.image: expected a single value"),
        ("services: {a: {image: x, ports: ['127.0.0.1:80:80']}}", "all addresses of a node"),
        ("services: {a: {image: x, volumes: ['./here:/there']}}", "a path on this machine"),
        ("services: {a: {image: x, volumes: ['data:/there']}}", "not declared in `volumes`"),
        ("services: {a: {image: x, networks: [n]}}", "not declared in `networks`"),
        ("services: {a: {image: x, depends_on: [b]}}", "no service `b`"),
        ("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}", "a cycle among a, b"),
        ("services: {a: {image: x, deploy: {mode: global}}}", "mode global is not supported"),
        (
            "services: {a: {image: x, deploy: {replicas: many}}}",
            "expected a number of containers, got `many`",
        ),
        ("services: {a: {image: x, healthcheck: {test: [curl, -f]}}}", "begins with CMD, CMD-SHELL or NONE"),
        ("services: {a: {image: x, healthcheck: {test: [CMD]}}}", "CMD takes a program"),
        ("services: {a: {image: x, healthcheck: {test: {a: b}}}}", "expected a list, got a map"),
        ("services: {a: {image: x, healthcheck: {disable: maybe}}}", "expected true or false, got `maybe`"),
        ("services: {a: {image: x, healthcheck: {test: x, interval: 10}}}", "expected a duration"),
        ("services: {a: {image: x, extends: b}}", "copy the fields"),
        (
            "services: {a: {image: x, deploy: {placement: {constraints: [node.role==manager]}}}}",
            "not a condition on a node label",
        ),
        ("services: {a: {image: x, env_file: no-such-file}}", "no-such-file"),
        ("services: {a: {image: '${TAG:?say which}'}}", "say which"),
    ] {
        let errors = parsed(text).expect_err(text).join("\n");
        assert!(errors.contains(why), "{text}: {errors}");
    }
    let both = parsed("services:\n  a: {}\n  b: {image: x, depends_on: [c]}\n").unwrap_err();
    assert_eq!(both.len(), 2, "{both:?}");
}

#[test]
fn health_checks_keep_their_form() {
    for (check, expected) in [
        ("{test: curl -f localhost}", json!({"command": "curl -f localhost"})),
        ("{test: [CMD, /check, a b]}", json!({"command": ["CMD", "/check", "a b"]})),
        ("{test: [CMD-SHELL, a | b], retries: 1}", json!({"command": ["CMD-SHELL", "a | b"], "retries": 1})),
        ("{test: [NONE]}", json!({"command": ["NONE"]})),
        ("{disable: true, test: [CMD, /check], interval: 5s}", json!({"disable": true})),
        ("{disable: false, interval: 5s}", json!({"interval_ms": 5_000})),
        ("{}", Value::Null),
    ] {
        let stack = parsed(&format!("services: {{a: {{image: x, healthcheck: {check}}}}}")).unwrap();
        assert_eq!(body(&stack, "a")["health_check"], expected, "{check}");
        assert_eq!(stack.left_out, Vec::<String>::new(), "{check}");
    }
}

#[test]
fn deploy_overrides_older_keys_of_resources() {
    for (fields, expected) in [
        ("mem_limit: 64M, mem_reservation: 32M", json!({"memory": "64M", "reserved_memory": "32M"})),
        (
            "deploy: {resources: {reservations: {memory: 16M}}}, mem_reservation: 32M, cpus: 1",
            json!({"cpus": 1.0, "reserved_memory": "16M"}),
        ),
        ("cpus: 2", json!({"cpus": 2.0})),
    ] {
        let stack = parsed(&format!("services: {{a: {{image: x, {fields}}}}}")).unwrap();
        assert_eq!(body(&stack, "a")["resources"], expected, "{fields}");
        assert_eq!(stack.left_out, Vec::<String>::new(), "{fields}");
    }
}

#[test]
fn services_of_inactive_profiles_are_left_out() {
    let text = "services: {a: {image: x}, debug: {image: y, profiles: [tools]}}";
    let stack = parsed(text).unwrap();
    assert_eq!(stack.services.len(), 1);
    assert!(stack.inactive.contains("debug"));
    let root = YamlNode::parse(text).unwrap();
    assert_eq!(read(&root, Path::new("."), &["tools".to_owned()]).unwrap().services.len(), 2);
}

#[test]
fn environment_overrides_env_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.env"), "A=file\nB=file\n").unwrap();
    let text = "services: {a: {image: x, env_file: [a.env, {path: none.env, required: false}], environment: [A=own]}}";
    let stack = read(&YamlNode::parse(text).unwrap(), folder.path(), &[]).unwrap();
    assert_eq!(body(&stack, "a")["env_variables"], json!({"A": "own", "B": "file"}));
}
