//! Where the objects that resources refer to were written.
//!
//! Resources name objects, never lines: a moved line must change no resource. The two are joined here, when somebody reads.

use std::collections::BTreeMap;
use std::fmt;

use model::kinds::gateway_api::GATEWAY_KIND;
use model::mesh::ConfigRef;
use proto::meltemi::origins::v1::{Origin, Origins, Part};
use store::Object;
use xds::server::Encoded;

use crate::registry::Objects;

/// The kinds that resources are made of; pods and endpoints are never referred to.
const KINDS: &[&str] = &[
    "Service",
    "ServiceEntry",
    "VirtualService",
    "DestinationRule",
    "Gateway",
    "Sidecar",
    "EnvoyFilter",
    "PeerAuthentication",
    "Policy",
    "MeshPolicy",
    GATEWAY_KIND,
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "Ingress",
];

/// A file and a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Empty if the object did not come from a file.
    pub(crate) file: String,
    pub(crate) line: u32,
    /// Generation of the object.
    pub(crate) generation: u64,
    /// Line by name of what resources can name inside the object, see the message `Part`.
    parts: Vec<(String, u32)>,
}

#[derive(Debug, Default)]
pub(crate) struct Places {
    by_object: BTreeMap<ConfigRef, Place>,
    encoded: Option<Encoded>,
}

// === impl Places ===

impl Places {
    pub(crate) fn new(objects: &dyn Objects) -> Self {
        let place = |object: &Object| Place {
            file: object
                .origin
                .file
                .as_ref()
                .map(|file| file.display().to_string())
                .unwrap_or_default(),
            line: object.origin.line,
            generation: object.generation,
            parts: parts(object),
        };
        let relevant = KINDS.iter().flat_map(|kind| objects.list(kind));
        let by_object: BTreeMap<_, _> = relevant.map(|object| (object.reference(), place(&object))).collect();
        let encoded = Some(encode(&by_object));
        Places { by_object, encoded }
    }

    pub(crate) fn of(&self, object: &ConfigRef) -> Option<&Place> {
        self.by_object.get(object)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ConfigRef, &Place)> {
        self.by_object.iter()
    }

    /// All of it as one xDS resource.
    pub(crate) fn encoded(&self) -> Option<&Encoded> {
        self.encoded.as_ref()
    }

    pub(crate) fn version(&self) -> u64 {
        self.encoded.as_ref().map_or(0, |encoded| encoded.version)
    }

    /// `VirtualService default/reviews (routes.yaml:12)`, for messages.
    pub(crate) fn describe(&self, object: &ConfigRef) -> String {
        let mut text = format!("{} ", object.kind);
        if !object.namespace.is_empty() {
            text += &object.namespace;
            text.push('/');
        }
        text += &object.name;
        match self.of(object).filter(|place| !place.file.is_empty()) {
            Some(place) => format!("{text} ({place})"),
            None => text,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The lists whose entries resources can name, by kind: an entry is called by its `name` if it has one, else by its number.
const LISTS: &[(&str, &str)] = &[
    ("VirtualService", "http"),
    ("DestinationRule", "subsets"),
    ("Gateway", "servers"),
    (GATEWAY_KIND, "listeners"),
    ("HTTPRoute", "rules"),
    ("GRPCRoute", "rules"),
];

fn parts(object: &Object) -> Vec<(String, u32)> {
    let lists = LISTS.iter().filter(|(kind, _)| *kind == &*object.kind);
    let entries = lists.flat_map(|(_, list)| {
        let entries = object.value["spec"][*list].as_array().into_iter().flatten();
        entries.enumerate().map(move |(index, entry)| (*list, index, entry))
    });
    let part = |(list, index, entry): (&str, usize, &serde_json::Value)| {
        let name = entry["name"].as_str().filter(|name| !name.is_empty());
        let name = name.map_or_else(|| index.to_string(), str::to_owned);
        (name, object.line(&format!("spec.{list}[{index}]")))
    };
    entries.map(part).collect()
}

fn encode(places: &BTreeMap<ConfigRef, Place>) -> Encoded {
    let origin = |(object, place): (&ConfigRef, &Place)| Origin {
        kind: object.kind.to_string(),
        namespace: object.namespace.to_string(),
        name: object.name.to_string(),
        file: place.file.clone(),
        line: place.line,
        generation: place.generation,
        parts: place
            .parts
            .iter()
            .map(|(name, line)| Part {
                name: name.clone(),
                line: *line,
            })
            .collect(),
    };
    let message = Origins {
        origins: places.iter().map(origin).collect(),
    };
    Encoded::new("origins", &proto::any(proto::type_url::ORIGINS, &message))
}
