//! tmp
use super::{Context, failure::Failure};
/// tmp
#[derive(Debug, clap::Args)]
pub(super) struct ApplyArgs {}
pub(super) async fn run(_cx: &Context, _args: &ApplyArgs) -> Result<(), Failure> {
    Ok(())
}
