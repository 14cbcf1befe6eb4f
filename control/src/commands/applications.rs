//! Decisions about the application library.

use super::decision::DecisionBuilder;
use super::replicas::{self, REPLICAS_LIMIT};
use super::{Refusal, check_name, check_variable, rollouts};
use kdaemon_events::application::{
    ApplicationCreated, ApplicationDeleted, ApplicationScaled, ApplicationUpdated, UpdateSettings,
};
use kdaemon_events::{ApplicationId, HealthCommand, Resources, Spec, SpecChanges, UpdatePolicy};
use kdaemon_projections::Desired;
use std::collections::BTreeSet;
use std::fmt::Display;

/// The longest `min_ready`, in milliseconds.
const MIN_READY_MAX_MS: u64 = 3_600_000;

/// Adds an application to the library.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateApplication {
    /// The name.
    pub name: String,
    /// The owner, as given by the client.
    pub user_id: Option<String>,
    /// The specification, as changes of the empty one, without the affinity.
    pub spec: SpecChanges,
    /// Names or ids of the applications that a node must already run.
    pub affinity: Vec<String>,
    /// Whether it may launch containers.
    pub is_enabled: bool,
    /// Names or ids of its dependencies.
    pub dependencies: Vec<String>,
    /// How many containers the daemon keeps.
    pub replicas: Option<u32>,
    /// The effect of an edit on running containers.
    pub update_policy: UpdatePolicy,
    /// How rollouts replace containers.
    pub update: UpdateSettings,
}

/// Edits an application; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::option_option, missing_docs)] // the fields are documented in CreateApplication
pub struct UpdateApplication {
    pub application_id: ApplicationId,
    pub name: Option<String>,
    pub user_id: Option<Option<String>>,
    pub spec: SpecChanges,
    pub affinity: Option<Vec<String>>,
    pub is_enabled: Option<bool>,
    pub dependencies: Option<Vec<String>>,
    pub replicas: Option<Option<u32>>,
    pub update_policy: Option<UpdatePolicy>,
    pub update: Option<UpdateSettings>,
}

pub(super) fn create(decision: &mut DecisionBuilder<'_>, create: CreateApplication) -> Result<(), Refusal> {
    check_free(decision, &create.name, None)?;
    let mut spec = create.spec.on(&Spec::default());
    check_spec(&spec)?;
    check_replicas(create.replicas)?;
    check_update(&create.update)?;
    let application_id = ApplicationId(decision.identity());
    spec.affinity = resolve_affinity(decision, application_id, &create.name, &create.affinity)?;
    let dependencies = resolve_dependencies(decision, application_id, &create.name, &create.dependencies)?;
    decision.emit(ApplicationCreated {
        application_id,
        name: create.name,
        user_id: create.user_id,
        spec: Box::new(spec),
        is_enabled: create.is_enabled,
        dependencies,
        replicas: create.replicas,
        update_policy: create.update_policy,
        update: create.update,
    });
    replicas::keep_replicas(decision, application_id)
}

pub(super) fn update(decision: &mut DecisionBuilder<'_>, update: UpdateApplication) -> Result<(), Refusal> {
    let application = decision.application(update.application_id)?;
    let id = application.id;
    let name = update.name.filter(|name| *name != application.name);
    if let Some(name) = &name {
        check_free(decision, name, Some(id))?;
    }
    if let Some(settings) = &update.update {
        check_update(settings)?;
    }
    let mut spec = update.spec.on(&application.spec);
    check_spec(&spec)?;
    if let Some(names) = update.affinity {
        spec.affinity = resolve_affinity(decision, id, name.as_deref().unwrap_or(&application.name), &names)?;
    }
    let dependencies = match update.dependencies {
        None => None,
        Some(names) => {
            let own_name = name.as_deref().unwrap_or(&application.name);
            Some(resolve_dependencies(decision, id, own_name, &names)?)
        }
    };
    let event = ApplicationUpdated {
        application_id: id,
        name,
        user_id: update.user_id.filter(|user_id| *user_id != application.user_id),
        spec: Some(spec).filter(|spec| *spec != *application.spec).map(Box::new),
        is_enabled: update.is_enabled.filter(|enabled| *enabled != application.is_enabled),
        dependencies: dependencies.filter(|dependencies| *dependencies != application.dependencies),
        update_policy: update.update_policy.filter(|policy| *policy != application.update_policy),
        update: update.update.filter(|settings| *settings != application.update),
    };
    let nothing = ApplicationUpdated {
        application_id: id,
        name: None,
        user_id: None,
        spec: None,
        is_enabled: None,
        dependencies: None,
        update_policy: None,
        update: None,
    };
    let has_new_spec = event.spec.as_ref().is_some_and(|spec| !spec.makes_the_same_as(&application.spec));
    let is_enabled_now = event.is_enabled == Some(true);
    if event != nothing {
        decision.emit(event);
    }
    if has_new_spec {
        rollouts::renew_broken(decision, id)?;
    }
    let replicas = update.replicas.filter(|replicas| *replicas != application.replicas);
    if let Some(replicas) = replicas {
        check_replicas(replicas)?;
        decision.emit(ApplicationScaled { application_id: id, replicas });
    }
    if replicas.is_some() || is_enabled_now { replicas::keep_replicas(decision, id) } else { Ok(()) }
}

pub(super) fn delete(decision: &mut DecisionBuilder<'_>, id: ApplicationId) -> Result<(), Refusal> {
    let application = decision.application(id)?;
    if let Some(dependent) = decision.cluster().applications().find(|other| other.dependencies.contains(&id))
    {
        return Err(Refusal::conflict(format!(
            "application `{}` depends on `{}`; take it out of its dependencies first",
            dependent.name, application.name
        )));
    }
    if let Some(other) = decision.cluster().applications().find(|other| other.spec.affinity.contains(&id)) {
        return Err(Refusal::conflict(format!(
            "application `{}` has an affinity to `{}`; take it out of its affinity first",
            other.name, application.name
        )));
    }
    let containers = application
        .containers
        .iter()
        .filter_map(|id| decision.cluster().container(*id))
        .filter(|container| container.desired != Desired::Deleted)
        .count();
    if containers > 0 {
        return Err(Refusal::conflict(format!(
            "application `{}` has {containers} containers; delete them first",
            application.name
        )));
    }
    decision.emit(ApplicationDeleted { application_id: id });
    Ok(())
}

pub(super) fn scale(
    decision: &mut DecisionBuilder<'_>,
    id: ApplicationId,
    replicas: u32,
) -> Result<(), Refusal> {
    let application = decision.application(id)?;
    check_replicas(Some(replicas))?;
    if !application.is_enabled && replicas > 0 {
        return Err(Refusal::conflict(format!(
            "application `{}` is disabled and launches nothing; enable it first (is_enabled = true)",
            application.name
        )));
    }
    if application.replicas != Some(replicas) {
        decision.emit(ApplicationScaled { application_id: id, replicas: Some(replicas) });
    }
    replicas::keep_replicas(decision, id)
}

fn check_free(
    decision: &DecisionBuilder<'_>,
    name: &str,
    except: Option<ApplicationId>,
) -> Result<(), Refusal> {
    check_name(name)?;
    match decision.cluster().find_application(name) {
        Some(other) if Some(other.id) != except => {
            Err(Refusal::conflict(format!("there is an application `{name}` already")))
        }
        _ => Ok(()),
    }
}

fn check_update(update: &UpdateSettings) -> Result<(), Refusal> {
    let positive = |field: &str, value: u32| match value {
        0 => Err(Refusal::invalid(field, "1 is the least".into())),
        _ => Ok(()),
    };
    positive("update.parallelism", update.parallelism)?;
    positive("update.max_failures", update.max_failures)?;
    if update.min_ready_ms > MIN_READY_MAX_MS {
        return Err(Refusal::invalid("update.min_ready", "an hour is the longest".into()));
    }
    Ok(())
}

fn check_replicas(replicas: Option<u32>) -> Result<(), Refusal> {
    match replicas {
        Some(replicas) if replicas > REPLICAS_LIMIT => Err(Refusal::invalid(
            "replicas",
            format!("{replicas} is more than the {REPLICAS_LIMIT} containers that one application can have"),
        )),
        _ => Ok(()),
    }
}

fn check_spec(spec: &Spec) -> Result<(), Refusal> {
    let image = &spec.docker_image;
    if image.is_empty() {
        return Err(Refusal::invalid(
            "docker_image",
            "an application needs an image, as in nginx:1.27".into(),
        ));
    }
    if image.len() > 512 || image.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Refusal::invalid("docker_image", format!("`{image}` is not the reference of an image")));
    }
    for name in spec.env_variables.keys() {
        check_variable(name)?;
    }
    let mut published = BTreeSet::new();
    let mut fixed = BTreeSet::new();
    for port in &spec.exposed_ports {
        let twice = !published.insert((port.protocol, port.container));
        let host_twice = port.host.is_some_and(|host| !fixed.insert((port.protocol, host)));
        if twice || host_twice {
            return Err(Refusal::invalid("exposed_ports", format!("{port} is there twice")));
        }
    }
    let mut targets = BTreeSet::new();
    for volume in &spec.volumes {
        if !targets.insert(&volume.target) {
            return Err(Refusal::invalid("volumes", format!("two volumes are mounted at {}", volume.target)));
        }
    }
    for network in &spec.networks {
        let named = network.starts_with(|c: char| c.is_ascii_alphanumeric())
            && network.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if !named {
            return Err(Refusal::invalid("networks", format!("`{network}` is not the name of a network")));
        }
        // Both would attach the container to the node's own network or to another container's.
        if network == "host" || network == "none" {
            return Err(Refusal::invalid(
                "networks",
                format!("`{network}` is not available: containers have a network of their own"),
            ));
        }
    }
    check_placement(spec)?;
    if let Some(label) = spec.labels.keys().find(|label| label.starts_with("io.kdaemon.") || label.is_empty())
    {
        return Err(Refusal::invalid("labels", format!("`{label}` is reserved for kDaemon")));
    }
    check_resources(&spec.resources)?;
    if let HealthCommand::Shell(command) | HealthCommand::Exec { program: command, .. } =
        &spec.health_check.command
        && command.is_empty()
    {
        return Err(Refusal::invalid(
            "health_check.command",
            "expected a command, got an empty string".into(),
        ));
    }
    // The name becomes part of a path on the daemon's machine.
    if let Some(name) = &spec.registry_auth
        && (name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'))
    {
        return Err(Refusal::invalid(
            "registry_auth",
            "a name of letters, digits, - and _ is expected".into(),
        ));
    }
    Ok(())
}

/// Checks limits and reservations. A reservation of 0 reserves nothing.
fn check_resources(resources: &Resources) -> Result<(), Refusal> {
    // The engine's own lower bound (moby: daemon/daemon_unix.go, linuxMinMemory).
    const LEAST_MEMORY: u64 = 6 * 1024 * 1024;
    if resources.memory_bytes.is_some_and(|bytes| bytes < LEAST_MEMORY) {
        return Err(Refusal::invalid(
            "resources.memory_bytes",
            "6291456 (6 MiB) is the least that an engine takes".into(),
        ));
    }
    if resources.reserved_memory_bytes.is_some_and(|bytes| (1..LEAST_MEMORY).contains(&bytes)) {
        return Err(Refusal::invalid(
            "resources.reserved_memory_bytes",
            "6291456 (6 MiB) is the least that an engine takes; 0 reserves nothing".into(),
        ));
    }
    if resources.cpus.is_some_and(|cpus| cpus.0 < 1) {
        return Err(Refusal::invalid("resources.cpus", "0.001 is the least".into()));
    }
    check_reservation("resources.reserved_cpus", resources.reserved_cpus, resources.cpus)?;
    check_reservation(
        "resources.reserved_memory_bytes",
        resources.reserved_memory_bytes,
        resources.memory_bytes,
    )
}

/// Refuses a reservation above the limit.
fn check_reservation<T: Ord + Display>(
    field: &str,
    reserved: Option<T>,
    limit: Option<T>,
) -> Result<(), Refusal> {
    match (reserved, limit) {
        (Some(reserved), Some(limit)) if reserved > limit => Err(Refusal::invalid(
            field,
            format!(
                "the reservation of {reserved} exceeds the limit of {limit}; lower it or raise the limit"
            ),
        )),
        _ => Ok(()),
    }
}

/// Checks the placement rules.
fn check_placement(spec: &Spec) -> Result<(), Refusal> {
    if spec.disruption_limit == Some(0) {
        let why = "at least 1: with 0 none could ever leave a node that is drained";
        return Err(Refusal::invalid("disruption_limit", why.into()));
    }
    if let Some(label) = &spec.spread_over
        && (label.is_empty() || label.contains(|c: char| c.is_whitespace() || "=!<>".contains(c)))
    {
        let why = format!("`{label}` is not the name of a label; write zone, say");
        return Err(Refusal::invalid("spread_over", why));
    }
    Ok(())
}

/// Resolves applications by name or id, each once. The last argument is the application that refers to them, and why
/// it cannot name itself.
fn resolve(
    decision: &DecisionBuilder<'_>,
    field: &str,
    names: &[String],
    (id, own_name, why_not): (ApplicationId, &str, &str),
) -> Result<Vec<ApplicationId>, Refusal> {
    let mut found: Vec<ApplicationId> = Vec::new();
    for name in names {
        if name == own_name || *name == id.to_string() {
            return Err(Refusal::invalid(field, why_not.to_owned()));
        }
        let Some(other) = decision.cluster().find_application(name) else {
            return Err(Refusal::invalid(field, format!("there is no application `{name}`")));
        };
        if !found.contains(&other.id) {
            found.push(other.id);
        }
    }
    Ok(found)
}

/// Resolves the applications of the affinity.
fn resolve_affinity(
    decision: &DecisionBuilder<'_>,
    id: ApplicationId,
    own_name: &str,
    names: &[String],
) -> Result<Vec<ApplicationId>, Refusal> {
    resolve(decision, "affinity", names, (id, own_name, "an application cannot wait for itself"))
}

/// Resolves the dependencies, and refuses a cycle.
fn resolve_dependencies(
    decision: &DecisionBuilder<'_>,
    id: ApplicationId,
    own_name: &str,
    names: &[String],
) -> Result<Vec<ApplicationId>, Refusal> {
    let itself = (id, own_name, "an application cannot depend on itself");
    let dependencies = resolve(decision, "dependencies", names, itself)?;
    for dependency in &dependencies {
        if let Some(path) = path_to(decision, *dependency, id) {
            return Err(Refusal::invalid(
                "dependencies",
                format!("they would go in a circle: {own_name} -> {} -> {own_name}", path.join(" -> ")),
            ));
        }
    }
    Ok(dependencies)
}

/// The names along a dependency path from `from` to `to`, without `to`.
fn path_to(decision: &DecisionBuilder<'_>, from: ApplicationId, to: ApplicationId) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut open = vec![(from, Vec::new())];
    while let Some((id, mut path)) = open.pop() {
        if id == to {
            return Some(path);
        }
        let Some(application) = decision.cluster().application(id) else { continue };
        if !seen.insert(id) {
            continue;
        }
        path.push(application.name.clone());
        open.extend(application.dependencies.iter().map(|next| (*next, path.clone())));
    }
    None
}
