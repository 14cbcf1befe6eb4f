//! Scalars of Compose files: ports, durations, constraints.

/// Maximum number of ports in a range.
const RANGE_LIMIT: u16 = 100;

/// Parses ports in the short form: `80`, `8080:80/udp`, `3000-3005:3000-3005`.
pub(super) fn ports_of_text(text: &str) -> Result<Vec<String>, String> {
    let (numbers, protocol) = match text.split_once('/') {
        Some((numbers, protocol)) => (numbers, Some(protocol)),
        None => (text, None),
    };
    let (host, container) = match numbers.rsplit_once(':') {
        None => (None, numbers),
        Some((host, container)) => {
            if host.contains(':') || host.parse::<std::net::IpAddr>().is_ok() {
                return Err(format!(
                    "`{text}` has an address, but ports are always published on all addresses of a node"
                ));
            }
            (Some(host).filter(|host| !host.is_empty()), container)
        }
    };
    let unreadable = || format!("expected a port such as 80, 8080:80 or 53:53/udp, got `{text}`");
    let containers = range(container).ok_or_else(unreadable)?;
    let hosts = host.map(|host| range(host).ok_or_else(unreadable)).transpose()?;
    let hosts = match hosts {
        None => vec![None; containers.len()],
        Some(hosts) if hosts.len() == containers.len() => hosts.into_iter().map(Some).collect(),
        Some(_) => return Err(format!("`{text}`: both ranges must have the same length")),
    };
    let written = |number: u16| number.to_string();
    hosts
        .into_iter()
        .zip(containers)
        .map(|(host, container)| port(host.map(written).as_deref(), &written(container), protocol))
        .collect()
}

fn range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last && last - first < RANGE_LIMIT).then(|| (first..=last).collect())
}

/// A port in the form of the API.
pub(super) fn port(host: Option<&str>, container: &str, protocol: Option<&str>) -> Result<String, String> {
    let host = host.filter(|host| !host.is_empty());
    for number in host.into_iter().chain([container]) {
        if number.parse::<u16>().ok().filter(|number| *number > 0).is_none() {
            return Err(format!("expected a port from 1 to 65535, got `{number}`"));
        }
    }
    let protocol = match protocol {
        None | Some("tcp" | "") => "",
        Some("udp") => "/udp",
        Some(other) => return Err(format!("expected the protocol tcp or udp, got `{other}`")),
    };
    let host = host.map(|host| format!("{host}:")).unwrap_or_default();
    Ok(format!("{host}{container}{protocol}"))
}

/// Parses a duration of Compose (`1m30s`, `500ms`) to milliseconds.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = rest[number..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| number + end);
        let ms = match &rest[number..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(rest[..number].parse::<u64>().ok()?.checked_mul(ms)?)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

/// Parses a constraint of Compose, `node.labels.zone == a`, or of kDaemon, `zone==a`; `None` if it is not on a label.
pub(super) fn constraint(text: &str) -> Option<String> {
    let text = text.trim();
    let (lacks, bare) = match text.strip_prefix('!') {
        Some(bare) => ("!", bare.trim()),
        None => ("", text),
    };
    let bare = match bare.strip_prefix("node.labels.") {
        Some(label) => label,
        None if bare.starts_with("node.") || bare.starts_with("engine.") => return None,
        None => bare,
    };
    let compact = ["==", "!="].iter().find_map(|operator| {
        let (label, value) = bare.split_once(operator)?;
        Some(format!("{}{operator}{}", label.trim(), value.trim()))
    });
    Some(compact.unwrap_or_else(|| format!("{lacks}{bare}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn short_forms_of_ports_are_parsed() {
        for (text, expected) in [
            ("80", "80"),
            ("8080:80", "8080:80"),
            ("53:53/udp", "53:53/udp"),
            ("80/tcp", "80"),
            ("3000-3002", "3000 3001 3002"),
            ("8000-8001:90-91/udp", "8000:90/udp 8001:91/udp"),
        ] {
            assert_eq!(ports_of_text(text).unwrap().join(" "), expected);
        }
        for wrong in
            ["", "x", "0", "70000", "1:2:3", "127.0.0.1:80:80", "80/sctp", "1-3:1-2", "5-1", "1-65535"]
        {
            assert!(ports_of_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_add_up_their_units() {
        for (text, ms) in [("1m30s", 90_000), ("500ms", 500), ("1h1ms", 3_600_001), ("0", 0), ("10s", 10_000)]
        {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for wrong in ["", "10", "s", "1x", "1m30", "99999999999999999999h", "-1s"] {
            assert_eq!(duration_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_constraints_on_labels_are_accepted() {
        for (text, expected) in [
            ("node.labels.zone == a", Some("zone==a")),
            ("node.labels.disk!=hdd", Some("disk!=hdd")),
            ("zone==a", Some("zone==a")),
            ("!gpu", Some("!gpu")),
            ("node.labels.gpu", Some("gpu")),
            ("node.hostname == x", None),
            ("node.role==manager", None),
        ] {
            assert_eq!(constraint(text).as_deref(), expected, "{text}");
        }
    }
}
