//! The security kinds.

use super::Message;

#[rustfmt::skip] // lists of names read better in lines than in columns
pub(super) const MESSAGES: &[Message] = &[
    Message { name: "PeerAuthentication", works: &["selector", "mtls", "portLevelMtls"], ..Message::EMPTY },
    Message { name: "WorkloadLabelSelector", works: &["matchLabels"], ..Message::EMPTY },
    Message { name: "MutualTls", works: &["mode"], ..Message::EMPTY },
    // authentication.istio.io/v1alpha1
    Message {
        name: "Policy",
        works: &["targets", "peers"],
        unsupported: &["peerIsOptional", "origins", "originIsOptional", "principalBinding"],
        ..Message::EMPTY
    },
    Message {
        name: "TargetSelector",
        works: &["name", "ports"],
        unsupported: &["labels"],
        notes: &[
            ("labels", "never took part in the selection"),
        ],
        ..Message::EMPTY
    },
    Message { name: "TargetPort", works: &["number", "name"], ..Message::EMPTY },
    Message {
        name: "PeerAuthenticationMethod",
        works: &["mtls"],
        unsupported: &["jwt"],
        notes: &[
            ("mtls", "`mtls:` without a value is STRICT, as `mtls: {}` is"),
        ],
        ..Message::EMPTY
    },
    Message {
        name: "PolicyMutualTls",
        works: &["mode"],
        unsupported: &["allowTls"],
        notes: &[
            ("allowTls", "deprecated: write `mode`"),
        ],
        ..Message::EMPTY
    },
];
