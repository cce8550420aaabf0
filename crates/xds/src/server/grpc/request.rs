//! From the generated requests to the machine's.

use std::time::Instant;

use prost::Message;
use proto::envoy::envoy::config::core::v3::Node;
use proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use crate::server::{Conversation, DeltaRequest, Dialect, SotwRequest, Step, View, Violation};

/// A request of either variant.
pub(super) trait Request: Message + Default + 'static {
    const DIALECT: Dialect;

    fn take_node(&mut self) -> Option<Node>;

    fn tell(self, conversation: &mut Conversation, view: &dyn View, now: Instant) -> Result<Step, Violation>;
}

impl Request for DiscoveryRequest {
    const DIALECT: Dialect = Dialect::Sotw;

    fn take_node(&mut self) -> Option<Node> {
        self.node.take()
    }

    fn tell(self, conversation: &mut Conversation, view: &dyn View, now: Instant) -> Result<Step, Violation> {
        let request = SotwRequest {
            type_url: self.type_url,
            names: self.resource_names,
            nonce: self.response_nonce,
            error: self.error_detail.map(|status| status.message),
        };
        conversation.sotw(request, view, now)
    }
}

impl Request for DeltaDiscoveryRequest {
    const DIALECT: Dialect = Dialect::Delta;

    fn take_node(&mut self) -> Option<Node> {
        self.node.take()
    }

    fn tell(self, conversation: &mut Conversation, view: &dyn View, now: Instant) -> Result<Step, Violation> {
        let request = DeltaRequest {
            type_url: self.type_url,
            subscribe: self.resource_names_subscribe,
            unsubscribe: self.resource_names_unsubscribe,
            known: self.initial_resource_versions,
            nonce: self.response_nonce,
            error: self.error_detail.map(|status| status.message),
        };
        conversation.delta(request, view, now)
    }
}
