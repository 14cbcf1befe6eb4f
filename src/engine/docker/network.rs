//! Networks: created when a container joins one that is missing.

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
