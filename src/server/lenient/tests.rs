#![allow(clippy::unwrap_used)]

use super::shell_words::split_words;
use super::*;
use kdaemon_api::environment_text;
use kdaemon_events::{Environment, HealthCheck, HealthCommand};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, from_value, json};
use std::num::{NonZeroU32, NonZeroU64};

fn variables(text: &str) -> Vec<(String, String)> {
    let LenientEnvironment(variables) = from_value(Value::String(text.to_owned())).unwrap();
    variables.into_iter().collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn variables_are_split_at_commas_before_a_name() {
    assert_eq!(variables("A=1,B=2"), pairs(&[("A", "1"), ("B", "2")]));
    assert_eq!(variables("A=1, B=2,"), pairs(&[("A", "1"), ("B", "2")]));
    assert_eq!(variables("HOSTS=a,b,c,X=1"), pairs(&[("HOSTS", "a,b,c"), ("X", "1")]));
    assert_eq!(variables(r"A=1\,B=2"), pairs(&[("A", "1,B=2")]));
    assert_eq!(variables(r"P=C:\dir,B=2"), pairs(&[("B", "2"), ("P", r"C:\dir")]));
    assert_eq!(variables("URL=http://h?a=b&c=d"), pairs(&[("URL", "http://h?a=b&c=d")]));
    assert_eq!(variables(""), pairs(&[]));
    assert!(from_value::<LenientEnvironment>(json!("A")).is_err());
}

#[test]
fn text_of_variables_reads_back_unchanged() {
    for value in ["", ",", "\\", "a,B=2", "\\,", "a\\", "x\\\\,y=", " , =", "é,ü=1", ",,,"] {
        let environment = Environment::from([
            ("A".to_owned(), value.to_owned()),
            ("B".to_owned(), value.to_owned()),
            ("_c.d-e".to_owned(), value.to_owned()),
        ]);
        let LenientEnvironment(read) = from_value(Value::String(environment_text(&environment))).unwrap();
        assert_eq!(read, environment, "{value:?}");
    }
}

#[test]
fn variables_may_be_lists_and_objects() {
    let LenientEnvironment(list) = from_value(json!(["A=1", "B=x,y=z"])).unwrap();
    assert_eq!(list.into_iter().collect::<Vec<_>>(), pairs(&[("A", "1"), ("B", "x,y=z")]));
    let LenientEnvironment(object) = from_value(json!({"A": 1, "B": true, "C": "x"})).unwrap();
    assert_eq!(object.into_iter().collect::<Vec<_>>(), pairs(&[("A", "1"), ("B", "true"), ("C", "x")]));
    assert!(from_value::<LenientEnvironment>(json!({"A": null})).is_err());
    assert!(from_value::<LenientEnvironment>(json!(["A"])).is_err());
    assert!(from_value::<LenientEnvironment>(json!(7)).is_err());
}

#[test]
fn line_is_split_into_words_as_by_a_shell() {
    let words = |line: &str| split_words(line);
    assert_eq!(words("sleep  100").unwrap(), ["sleep", "100"]);
    assert_eq!(words(r#"sh -c 'echo "a b"' """#).unwrap(), ["sh", "-c", r#"echo "a b""#, ""]);
    assert_eq!(words(r#"a\ b "c\"d" e"f g"h"#).unwrap(), ["a b", "c\"d", "ef gh"]);
    assert_eq!(words("").unwrap(), Vec::<String>::new());
    assert!(words("a 'b").is_err());
    assert!(words("a \"b").is_err());
    assert!(words("a\\").is_err());
}

#[test]
fn bytes_have_units() {
    let bytes = |value: Value| from_value::<LenientBytes>(value).map(|bytes| bytes.0).ok();
    assert_eq!(bytes(json!(7)), Some(7));
    assert_eq!(bytes(json!("64MiB")), Some(64 << 20));
    assert_eq!(bytes(json!("64m")), Some(64 << 20));
    assert_eq!(bytes(json!("1 GB")), Some(1 << 30));
    assert_eq!(bytes(json!("x")), None);
    assert_eq!(bytes(json!(-1)), None);
    assert_eq!(bytes(json!("99999999999999999999")), None);
}

#[test]
fn comma_separated_values_may_be_a_list() {
    let ports = |value: Value| {
        from_value::<CommaSeparated<PortSpec>>(value)
            .map(|many| many.0.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let expected: Vec<String> = vec!["2368".into(), "53/udp".into(), "8080:80".into()];
    assert_eq!(ports(json!("2368,53/udp, 8080:80")).unwrap(), expected);
    assert_eq!(ports(json!([2368, "53/udp", "8080:80"])).unwrap(), expected);
    assert_eq!(ports(json!(80)).unwrap(), vec!["80".to_owned()]);
    assert!(ports(json!(0)).is_err());
    assert!(ports(json!(["80", true])).is_err());
    assert!(from_value::<CommaSeparated<String>>(json!(7)).is_err());
    assert_eq!(from_value::<CommaSeparated<String>>(json!("")).unwrap().0, Vec::<String>::new());
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let text = || prop_oneof!["CMD|CMD-SHELL|NONE", "[a-c \\[\"]{0,4}"];
    let command = prop_oneof![
        Just(HealthCommand::Inherited),
        Just(HealthCommand::Disabled),
        text().prop_map(HealthCommand::Shell),
        (text(), vec(text(), 0..3))
            .prop_map(|(program, arguments)| HealthCommand::Exec { program, arguments }),
    ];
    let ms = || any::<u64>().prop_map(NonZeroU64::new);
    let retries = any::<u32>().prop_map(NonZeroU32::new);
    (command, ms(), ms(), retries, ms(), ms()).prop_map(
        |(command, interval_ms, timeout_ms, retries, start_period_ms, start_interval_ms)| HealthCheck {
            command,
            interval_ms,
            timeout_ms,
            retries,
            start_period_ms,
            start_interval_ms,
        },
    )
}

proptest! {
    #[test]
    fn health_check_of_a_row_reads_back_unchanged(check in health_check()) {
        let row = serde_json::to_value(&check).unwrap();
        let read: LenientHealthCheck = serde_json::from_value(row.clone()).unwrap();
        prop_assert_eq!(&read.0, &check, "{}", row);
        prop_assert_eq!(serde_json::from_value::<HealthCheck>(row.clone()).unwrap(), check, "{}", row);
    }
}
