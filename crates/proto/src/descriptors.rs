//! Descriptors of every Envoy message, for rendering `Any` as JSON.
//!
//! A pool costs about 19 MB: build it when it is asked for and drop it after use. The sidecar never holds one.

use prost_reflect::{DescriptorError, DescriptorPool};

static ENVOY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.binpb"));

/// # Errors
/// Only if this build's own descriptor set is damaged.
pub fn pool() -> Result<DescriptorPool, DescriptorError> {
    DescriptorPool::decode(ENVOY)
}

#[cfg(test)]
mod tests {
    #[test]
    fn knows_what_a_config_dump_holds() {
        let pool = super::pool().unwrap();
        for name in [
            "envoy.admin.v3.ConfigDump",
            "envoy.config.cluster.v3.Cluster",
            "google.protobuf.Any",
        ] {
            assert!(pool.get_message_by_name(name).is_some(), "{name}");
        }
    }
}
