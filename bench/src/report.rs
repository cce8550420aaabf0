//! What a run leaves in the documentation.

use std::path::Path;

use crate::options::Run;
use crate::results::Results;

pub fn write(_: &Results) -> anyhow::Result<()> {
    Ok(())
}

pub fn rewrite(_: &Path, _: &Run) -> anyhow::Result<()> {
    Ok(())
}
