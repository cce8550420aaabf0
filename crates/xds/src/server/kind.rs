//! The resource types that are served, in the order in which they are pushed.

use proto::type_url;

/// A resource type. The order of the variants is the order of a push: what is referred to goes before what refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Cluster,
    Endpoint,
    /// Keys, certificates and roots; asked for by name only.
    Secret,
    Listener,
    Route,
    /// Where each configuration object was written (file and line): only our own proxy asks for it.
    Origins,
    /// Names for the DNS server of an agent: only agents ask for it.
    NameTable,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Cluster,
        Kind::Endpoint,
        Kind::Secret,
        Kind::Listener,
        Kind::Route,
        Kind::Origins,
        Kind::NameTable,
    ];

    pub fn type_url(self) -> &'static str {
        match self {
            Kind::Cluster => type_url::CLUSTER,
            Kind::Endpoint => type_url::ENDPOINT,
            Kind::Secret => type_url::SECRET,
            Kind::Listener => type_url::LISTENER,
            Kind::Route => type_url::ROUTE,
            Kind::Origins => type_url::ORIGINS,
            Kind::NameTable => type_url::NAME_TABLE,
        }
    }

    pub fn from_type_url(url: &str) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// As people call it.
    pub fn short(self) -> &'static str {
        match self {
            Kind::Cluster => "CDS",
            Kind::Endpoint => "EDS",
            Kind::Secret => "SDS",
            Kind::Listener => "LDS",
            Kind::Route => "RDS",
            Kind::Origins => "origins",
            Kind::NameTable => "NDS",
        }
    }

    /// Whether a state-of-the-world response carries every resource (so that what is left out is removed), and a first
    /// request without names asks for all.
    pub fn is_whole_set(self) -> bool {
        matches!(self, Kind::Cluster | Kind::Listener | Kind::Origins | Kind::NameTable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_urls_lead_back_to_their_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_type_url(kind.type_url()), Some(kind));
        }
        assert_eq!(Kind::from_type_url("type.googleapis.com/envoy.api.v2.Cluster"), None);
    }
}
