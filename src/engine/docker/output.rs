//! A container's output and resource usage.

use super::answers::time_of;
use super::events::{opened, until_error};
use super::wire::AnswerBegun;
use super::{DockerEngine, RequestError, absent_by_id, wire};
use crate::engine::Failure;
use crate::engine::{EngineError, LogRequest, Stats};
use bollard::models::{ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::{LogsOptions, StatsOptions};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The interval between the two samples of processor time.
const SAMPLE: Duration = Duration::from_millis(250);

impl DockerEngine {
    pub(super) async fn read_logs(
        &self,
        id: &str,
        request: LogRequest,
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        // Followed streams may last indefinitely, so this refuses rather than waits.
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            let words =
                format!("{} streams of this engine are open, which is the limit", self.limits.max_streams);
            return Err(EngineError::NodeFault(Failure::refused(words)));
        };
        let options = LogsOptions {
            follow: request.follow,
            stdout: true,
            stderr: true,
            // bollard sends whole seconds only: rather a little too much than too little.
            since: request.since.map_or(0, |since| i32::try_from(since.timestamp()).unwrap_or(0)),
            tail: request.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
            ..Default::default()
        };
        let answered = AnswerBegun::default();
        let docker = wire::client(&self.endpoint, &self.limits, AnswerBegun::clone(&answered))
            .map_err(RequestError::from)?;
        let mut output = opened(docker.logs(id, Some(options)), &answered, self.limits.request).await?;
        // Existing output arrives without a pause; new output may take any time.
        let idle = (!request.follow).then_some(self.limits.idle);
        let chunks = futures_util::stream::poll_fn(move |context| {
            let _held = &permit;
            output.poll_next_unpin(context)
        })
        .map(|chunk| {
            chunk.map(bollard::container::LogOutput::into_bytes).map_err(|e| RequestError::from(e).error)
        });
        Ok(match idle {
            None => until_error(chunks),
            Some(limit) => until_error(without_pauses(chunks.boxed(), limit)),
        })
    }

    /// Docker itself would measure for one to two seconds. Two looks of our own, a quarter of a second apart,
    /// tell the same and cost the engine some milliseconds each.
    pub(super) async fn measure(&self, id: &str) -> Result<Stats, RequestError> {
        let earlier = self.look(id).await?;
        // Engines older than 20.10 do not support a single sample, and have measured already.
        if cpus(&earlier, None) > 0.0 {
            return Ok(stats(&earlier, None));
        }
        sleep(SAMPLE).await;
        let later = self.look(id).await?;
        Ok(stats(&later, Some(&earlier)))
    }

    async fn look(&self, id: &str) -> Result<ContainerStatsResponse, RequestError> {
        let options = StatsOptions { stream: false, one_shot: true };
        let mut stream = self.docker()?.stats(id, Some(options));
        let look = async move { stream.next().await.transpose() };
        match self.question(look).await? {
            Some(look) => Ok(look),
            None => Err(absent_by_id()),
        }
    }
}

/// The stream, with an error as its last item when it pauses for longer than `limit`.
fn without_pauses<T: Send + 'static>(
    stream: BoxStream<'static, Result<T, EngineError>>,
    limit: Duration,
) -> BoxStream<'static, Result<T, EngineError>> {
    futures_util::stream::unfold(stream, move |mut stream| async move {
        match timeout(limit, stream.next()).await {
            Ok(item) => Some((item?, stream)),
            Err(_) => Some((Err(RequestError::late(limit).error), stream)),
        }
    })
    .boxed()
}

fn stats(now: &ContainerStatsResponse, before: Option<&ContainerStatsResponse>) -> Stats {
    let memory = now.memory_stats.as_ref();
    let networks = now.networks.iter().flat_map(|networks| networks.values());
    let sum = |bytes: fn(&bollard::models::ContainerNetworkStats) -> Option<u64>| {
        networks.clone().filter_map(bytes).fold(0, u64::saturating_add)
    };
    Stats {
        cpus: cpus(now, before),
        memory_bytes: memory.map_or(0, memory_in_use),
        memory_limit_bytes: memory.and_then(|memory| memory.limit).unwrap_or(0),
        network_received_bytes: sum(|network| network.rx_bytes),
        network_sent_bytes: sum(|network| network.tx_bytes),
        pids: now.pids_stats.as_ref().and_then(|pids| pids.current).unwrap_or(0),
    }
}

/// Processors in use, from processor time over elapsed time: between two samples, or the two that the engine
/// took itself.
#[allow(clippy::cast_precision_loss)] // differences of nanoseconds, far below 2^52
fn cpus(now: &ContainerStatsResponse, before: Option<&ContainerStatsResponse>) -> f64 {
    let used =
        |stats: &Option<bollard::models::ContainerCpuStats>| stats.as_ref()?.cpu_usage.as_ref()?.total_usage;
    let (used_before, read_before) = match before {
        Some(before) => (used(&before.cpu_stats), &before.read),
        None => (used(&now.precpu_stats), &now.preread),
    };
    let times = read_before.as_deref().and_then(time_of).zip(now.read.as_deref().and_then(time_of));
    let Some((then, now_read)) = times else { return 0.0 };
    let Some((used_before, used_now)) = used_before.zip(used(&now.cpu_stats)) else { return 0.0 };
    let gone_by = (now_read - then).num_nanoseconds().unwrap_or(0);
    if gone_by <= 0 {
        return 0.0;
    }
    used_now.saturating_sub(used_before) as f64 / gone_by as f64
}

/// Memory in use without the page cache, computed as `docker stats` does, on cgroups v1 and v2.
fn memory_in_use(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or(0);
    let of = |name: &str| memory.stats.as_ref()?.get(name).copied();
    let cache = of("total_inactive_file").or_else(|| of("inactive_file")).unwrap_or(0);
    if cache < usage { usage - cache } else { usage }
}
