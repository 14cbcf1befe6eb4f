//! Networks: created when a container joins one that is missing, and removed when none uses them.

use super::DockerEngine;
use crate::engine::Failure;
use crate::engine::{EngineError, LABEL_CLUSTER};
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::ListNetworksOptions;
use kdaemon_events::ClusterId;
use std::collections::HashMap;

/// The networks of every engine.
const BUILT_IN: [&str; 4] = ["bridge", "host", "none", "default"];

/// Refuses what is not a network's name.
pub(super) fn check_names(names: &[String]) -> Result<(), EngineError> {
    let named = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    // `container:…` would join another container's network.
    if let Some(name) = names.iter().find(|name| !named(name)) {
        return Err(EngineError::Rejected(Failure::InvalidNetwork { network: name.as_str().into() }));
    }
    Ok(())
}

/// A network that carries the cluster's label.
pub(super) struct OwnNetwork {
    pub(super) id: String,
    pub(super) name: String,
}

impl DockerEngine {
    /// Ensures that the networks exist; creates missing ones as bridges with the cluster's label.
    pub(super) async fn ensure_networks(
        &self,
        cluster: ClusterId,
        names: &[String],
    ) -> Result<(), EngineError> {
        for name in names.iter().filter(|name| !BUILT_IN.contains(&name.as_str())) {
            let _alone = self.networks.lock().await;
            if self.networks_named(name).await?.is_empty() {
                self.make_network(cluster, name).await?;
            }
        }
        Ok(())
    }

    async fn make_network(&self, cluster: ClusterId, name: &str) -> Result<(), EngineError> {
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(HashMap::from([(LABEL_CLUSTER.to_owned(), cluster.to_string())])),
            ..Default::default()
        };
        let own = match self.change(self.docker()?.create_network(request)).await {
            Ok(made) => made.id,
            Err(failure) if failure.status == Some(409) => return Ok(()),
            Err(failure) => return Err(failure.error),
        };
        // Engines before 25 allow two networks of one name, which no container can join then. If another
        // daemon created one at the same time, the one with the smaller id stays: both daemons choose alike.
        if self.networks_named(name).await?.first().is_some_and(|first| *first != own) {
            match self.change(self.docker()?.remove_network(&own)).await {
                Err(failure) if !failure.is_not_found() => return Err(failure.error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The networks that carry the cluster's label.
    pub(super) async fn own_networks(&self, cluster: ClusterId) -> Result<Vec<OwnNetwork>, EngineError> {
        let label = format!("{LABEL_CLUSTER}={cluster}");
        let options =
            ListNetworksOptions { filters: Some(HashMap::from([("label".to_owned(), vec![label])])) };
        let networks = self.question(self.docker()?.list_networks(Some(options))).await?;
        // However the engine interprets the filter, the label decides.
        let is_own =
            |labels: &HashMap<String, String>| labels.get(LABEL_CLUSTER) == Some(&cluster.to_string());
        let own = networks.into_iter().filter(|network| network.labels.as_ref().is_some_and(is_own));
        Ok(own.filter_map(|network| Some(OwnNetwork { id: network.id?, name: network.name? })).collect())
    }

    /// Removes a network that carries the cluster's label, unless a container is attached to it. Returns whether
    /// it is gone.
    pub(super) async fn remove_own_network(
        &self,
        cluster: ClusterId,
        name: &str,
    ) -> Result<bool, EngineError> {
        let _alone = self.networks.lock().await;
        let own = self.own_networks(cluster).await?;
        for OwnNetwork { id, .. } in own.into_iter().filter(|network| network.name == name) {
            // An engine refuses only while a container runs, and a stopped one could not be started again.
            let attached = HashMap::from([("network".to_owned(), vec![id.clone(), name.to_owned()])]);
            if !self.containers(Some(attached)).await?.is_empty() {
                return Ok(false);
            }
            match self.change(self.docker()?.remove_network(&id)).await {
                Err(failure) if failure.is_not_found() => {}
                Err(failure) if failure.is_in_use() => return Ok(false),
                removed => removed?,
            }
        }
        Ok(true)
    }

    /// The ids of all networks with exactly this name, sorted.
    async fn networks_named(&self, name: &str) -> Result<Vec<String>, EngineError> {
        // The filter also matches parts of names.
        let filters = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
        let options = ListNetworksOptions { filters: Some(filters) };
        let networks = self.question(self.docker()?.list_networks(Some(options))).await?;
        let mut ids: Vec<String> = networks
            .into_iter()
            .filter(|network| network.name.as_deref() == Some(name))
            .filter_map(|network| network.id)
            .collect();
        ids.sort();
        Ok(ids)
    }
}
