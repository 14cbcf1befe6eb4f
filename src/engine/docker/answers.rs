//! Interprets an engine's answers.

use super::FoundContainer;
use crate::engine::{
    ContainerState, Exit, Identity, LABEL_CLUSTER, LABEL_CONTAINER, LABEL_GENERATION, Launched,
};
use bollard::models::{
    ContainerInspectResponse, ContainerState as InspectedState, ContainerStateStatusEnum as State,
    ContainerSummary, ContainerSummaryStateEnum as ListedState, HealthStatusEnum as HealthState,
    NetworkSettings, PortSummary, PortSummaryTypeEnum as PortType,
};
use chrono::{DateTime, Utc};
use kdaemon_events::container::AnonymousVolume;
use kdaemon_events::{ContainerId, Generation, Protocol, PublishedPort};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The identity in a container's labels. `None`: the container belongs to no kDaemon cluster.
pub(super) fn identity_of(labels: &HashMap<String, String>) -> Option<Identity> {
    let label = |name: &str| labels.get(name).map(String::as_str);
    Some(Identity {
        cluster: label(LABEL_CLUSTER)?.parse().ok()?,
        container: label(LABEL_CONTAINER)?.parse::<ContainerId>().ok()?,
        generation: Generation(label(LABEL_GENERATION)?.parse().ok()?),
    })
}

pub(super) fn found(summary: ContainerSummary) -> Option<FoundContainer> {
    let identity = identity_of(summary.labels.as_ref()?)?;
    Some(FoundContainer { id: summary.id?, identity, state: summary.state.unwrap_or(ListedState::EMPTY) })
}

pub(super) fn state_when_listed(state: ListedState) -> ContainerState {
    match state {
        ListedState::CREATED | ListedState::EMPTY => ContainerState::Created,
        ListedState::EXITED | ListedState::DEAD | ListedState::REMOVING => ContainerState::Exited,
        _ => ContainerState::Running,
    }
}

pub(super) fn container_state(state: Option<&InspectedState>) -> ContainerState {
    match state.and_then(|state| state.status) {
        None | Some(State::CREATED | State::EMPTY) => ContainerState::Created,
        Some(State::EXITED | State::DEAD | State::REMOVING) => ContainerState::Exited,
        Some(_) => ContainerState::Running,
    }
}

pub(super) fn exit(state: Option<&InspectedState>) -> Option<Exit> {
    let state = state.filter(|state| container_state(Some(state)) == ContainerState::Exited)?;
    Some(Exit { code: state.exit_code.unwrap_or(0), out_of_memory: state.oom_killed.unwrap_or(false) })
}

pub(super) fn launched(inspected: &ContainerInspectResponse) -> Launched {
    let started_at = inspected.state.as_ref().and_then(|state| state.started_at.as_deref());
    Launched {
        engine_id: inspected.id.clone().unwrap_or_default(),
        image_id: inspected.image.clone().unwrap_or_default(),
        ports: published(inspected.network_settings.as_ref()),
        volumes: anonymous_volumes(inspected),
        health_check: has_health_check(inspected),
        started_at: started_at.and_then(time_of),
    }
}

/// The volumes that the engine named itself: by 64 hexadecimal digits (moby `volume/service`, Podman likewise).
fn anonymous_volumes(inspected: &ContainerInspectResponse) -> Vec<AnonymousVolume> {
    let is_anonymous = |name: &String| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let mounts = inspected.mounts.iter().flatten().filter(|mount| mount.typ.as_deref() == Some("volume"));
    let named = mounts.filter_map(|mount| {
        let name = mount.name.clone().filter(is_anonymous)?;
        Some(AnonymousVolume { name, target: mount.destination.clone()? })
    });
    let mut volumes: Vec<_> = named.collect();
    volumes.sort();
    volumes
}

/// Whether the engine checks the container's health: Docker's state has a part for it then, unless the check is switched
/// off.
fn has_health_check(inspected: &ContainerInspectResponse) -> bool {
    let health = inspected.state.as_ref().and_then(|state| state.health.as_ref());
    health.and_then(|health| health.status).is_some_and(|status| {
        matches!(status, HealthState::STARTING | HealthState::HEALTHY | HealthState::UNHEALTHY)
    })
}

/// The result of the health check, once it has decided.
pub(super) fn healthy(state: Option<&InspectedState>) -> Option<bool> {
    match state?.health.as_ref()?.status? {
        HealthState::HEALTHY => Some(true),
        HealthState::UNHEALTHY => Some(false),
        _ => None,
    }
}

/// The published ports in a list of containers, as [`published`] has them.
pub(super) fn listed_ports(ports: &[PortSummary]) -> Vec<PublishedPort> {
    let mut all: BTreeMap<(u16, Protocol), (BTreeSet<u16>, BTreeSet<u16>)> = BTreeMap::new();
    for port in ports {
        let protocol = match port.typ {
            None | Some(PortType::TCP | PortType::EMPTY) => Protocol::Tcp,
            Some(PortType::UDP) => Protocol::Udp,
            Some(_) => continue,
        };
        let Some(host) = port.public_port.filter(|host| *host > 0) else { continue };
        let (ipv4, ipv6) = all.entry((port.private_port, protocol)).or_default();
        let is_ipv6 = port.ip.as_deref().is_some_and(|ip| ip.contains(':'));
        if is_ipv6 { ipv6 } else { ipv4 }.insert(host);
    }
    let of_port =
        |((container, protocol), (ipv4, ipv6)): ((u16, Protocol), (BTreeSet<u16>, BTreeSet<u16>))| {
            let hosts = if ipv4.is_empty() { ipv6 } else { ipv4 };
            hosts.into_iter().map(move |host| PublishedPort { container, host, protocol })
        };
    let mut listed: Vec<_> = all.into_iter().flat_map(of_port).collect();
    listed.sort();
    listed
}

/// Parses an engine's time. The year 1 is Go's zero time and means "never".
pub(super) fn time_of(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    (time.timestamp() > 0).then_some(time)
}

/// The published ports, each once, although the engine lists one for IPv4 and one for IPv6. Where the two
/// numbers differ (the engine chose them, and chose twice) the one for IPv4 counts.
fn published(settings: Option<&NetworkSettings>) -> Vec<PublishedPort> {
    let Some(ports) = settings.and_then(|settings| settings.ports.as_ref()) else { return Vec::new() };
    let mut all = BTreeSet::new();
    for (inner, bindings) in ports {
        let (number, protocol) = inner.split_once('/').unwrap_or((inner, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => continue,
        };
        let Ok(container) = number.parse() else { continue };
        let hosts = |ipv6: bool| {
            let bindings = bindings.iter().flatten();
            bindings
                .filter(move |binding| binding.host_ip.as_deref().is_some_and(|ip| ip.contains(':')) == ipv6)
                .filter_map(|binding| binding.host_port.as_deref()?.parse::<u16>().ok())
                .filter(|port| *port > 0)
        };
        let ipv6 = hosts(false).next().is_none();
        all.extend(hosts(ipv6).map(|host| PublishedPort { container, host, protocol }));
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{published, time_of};
    use bollard::models::{NetworkSettings, PortBinding};

    fn ports(inner: &str, bindings: &[(&str, &str)]) -> Vec<u16> {
        let bindings = bindings.iter().map(|(ip, port)| PortBinding {
            host_ip: Some((*ip).to_owned()),
            host_port: Some((*port).to_owned()),
        });
        let ports = Some([(inner.to_owned(), Some(bindings.collect()))].into());
        published(Some(&NetworkSettings { ports, ..Default::default() }))
            .iter()
            .map(|port| port.host)
            .collect()
    }

    #[test]
    fn port_of_both_address_families_is_listed_once() {
        assert_eq!(ports("80/tcp", &[("0.0.0.0", "8080"), ("::", "8080")]), [8080]);
        assert_eq!(ports("80/tcp", &[("0.0.0.0", "49153"), ("::", "49154")]), [49153]);
        assert_eq!(ports("80/tcp", &[("::", "8080")]), [8080]);
        assert_eq!(ports("80/tcp", &[("0.0.0.0", "1"), ("0.0.0.0", "2"), ("::", "1"), ("::", "2")]), [1, 2]);
        assert_eq!(ports("80/tcp", &[]), [0; 0]);
        assert_eq!(ports("80/sctp", &[("0.0.0.0", "8080")]), [0; 0]);
    }

    #[test]
    fn year_1_means_never() {
        assert_eq!(time_of("0001-01-01T00:00:00Z"), None);
        assert!(time_of("2026-11-22T10:36:59.726501026Z").is_some());
    }
}
