//! What a client and the servers of each service port think of mutual TLS: for people who ask why a connection is refused.

use model::kinds::ClientTlsMode;
use model::mesh::{ConfigRef, Endpoint, ServicePort, TlsMode};

use crate::authn::{PeerMode, peer};
use crate::destination::Destination;
use crate::scope::{Scope, VisibleService};

/// What one side speaks or accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsSide {
    Plaintext,
    Mutual,
    /// A server that takes what comes; a client that asks endpoint by endpoint.
    Either,
    /// Pods that differ, or TLS of the user's own.
    Unknown,
}

/// Both sides of one port, as the proxy of the scope would dial it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCheck {
    pub host: String,
    pub port: u16,
    /// The policy that decides for the server, and the DestinationRule that decides for the client.
    pub policy: Option<ConfigRef>,
    pub rule: Option<ConfigRef>,
    pub server: TlsSide,
    pub client: TlsSide,
}

impl TlsCheck {
    /// One side speaks what the other refuses.
    pub fn conflicts(&self) -> bool {
        matches!(
            (self.client, self.server),
            (TlsSide::Plaintext, TlsSide::Mutual) | (TlsSide::Mutual, TlsSide::Plaintext)
        )
    }
}

impl Scope<'_> {
    /// Every port that this proxy sees.
    pub fn tls_checks(&self) -> Vec<TlsCheck> {
        let ports = |visible| VisibleService::ports(visible).map(move |port| (visible, port));
        self.services()
            .iter()
            .flat_map(ports)
            .map(|(visible, port)| check(self, visible, port))
            .collect()
    }
}

fn check(scope: &Scope<'_>, visible: &VisibleService<'_>, port: &ServicePort) -> TlsCheck {
    let service = visible.service;
    let destination = scope.destination(&service.hostname);
    let endpoints = scope.snapshot.endpoints_of(service);
    let mut server = None;
    let mut policy = None;
    for endpoint in endpoints.filter(|endpoint| endpoint.service_port == port.number) {
        let (side, reason) = server_side(scope, visible, port, endpoint);
        server = match server {
            None => Some(side),
            Some(known) if known == side => Some(side),
            Some(_) => Some(TlsSide::Unknown),
        };
        policy = policy.or(reason);
    }
    let server = server.unwrap_or(TlsSide::Unknown);
    TlsCheck {
        host: service.hostname.to_string(),
        port: port.number,
        policy: policy.cloned(),
        rule: destination.rules.first().map(|rule| (*rule).clone()),
        server,
        client: client_side(scope, visible, port, &destination),
    }
}

fn server_side<'s>(
    scope: &'s Scope<'_>,
    visible: &VisibleService<'_>,
    port: &ServicePort,
    endpoint: &Endpoint,
) -> (TlsSide, Option<&'s ConfigRef>) {
    if endpoint.tls_mode != TlsMode::Istio {
        return (TlsSide::Plaintext, None);
    }
    let service = Some((visible.service, port));
    let peer = peer(
        scope.snapshot,
        &endpoint.namespace,
        &endpoint.labels,
        Some(endpoint.port),
        service,
    );
    let side = match peer.mode {
        PeerMode::Disable => TlsSide::Plaintext,
        PeerMode::Permissive => TlsSide::Either,
        PeerMode::Strict => TlsSide::Mutual,
    };
    (side, peer.policy)
}

fn client_side(
    scope: &Scope<'_>,
    visible: &VisibleService<'_>,
    port: &ServicePort,
    destination: &Destination<'_>,
) -> TlsSide {
    match destination.policy("", port.number).tls.map(|tls| tls.mode) {
        None if scope.snapshot.mesh.enable_auto_mtls && !visible.service.mesh_external => TlsSide::Either,
        None | Some(ClientTlsMode::Disable) => TlsSide::Plaintext,
        Some(ClientTlsMode::IstioMutual) => TlsSide::Mutual,
        Some(ClientTlsMode::Simple | ClientTlsMode::Mutual) => TlsSide::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::{Mesh, productpage};

    fn of_reviews(mesh: &Mesh) -> TlsCheck {
        let proxy = productpage();
        let checks = Scope::new(&mesh.0, &proxy).tls_checks();
        let reviews = |check: &TlsCheck| check.host.starts_with("reviews.");
        checks.into_iter().find(reviews).expect("reviews is seen")
    }

    #[test]
    fn both_sides_and_their_conflict() {
        let strict = |mesh: Mesh| {
            let spec = json!({"mtls": {"mode": "STRICT"}});
            mesh.apply("PeerAuthentication", "default", "default", spec)
        };
        let rule = |mesh: Mesh, mode: &str| {
            let spec = json!({"host": "reviews", "trafficPolicy": {"tls": {"mode": mode}}});
            mesh.apply("DestinationRule", "default", "reviews", spec)
        };
        let cases = [
            (Mesh::bookinfo(), TlsSide::Either, TlsSide::Either, false),
            (strict(Mesh::bookinfo()), TlsSide::Mutual, TlsSide::Either, false),
            (
                rule(Mesh::bookinfo(), "DISABLE"),
                TlsSide::Either,
                TlsSide::Plaintext,
                false,
            ),
            (
                rule(strict(Mesh::bookinfo()), "DISABLE"),
                TlsSide::Mutual,
                TlsSide::Plaintext,
                true,
            ),
            (
                rule(strict(Mesh::bookinfo()), "ISTIO_MUTUAL"),
                TlsSide::Mutual,
                TlsSide::Mutual,
                false,
            ),
        ];
        for (mesh, server, client, conflict) in cases {
            let check = of_reviews(&mesh);
            assert_eq!(
                (check.server, check.client, check.conflicts()),
                (server, client, conflict)
            );
        }
        let check = of_reviews(&rule(strict(Mesh::bookinfo()), "DISABLE"));
        assert_eq!(
            check.policy.map(|policy| policy.kind.to_string()),
            Some("PeerAuthentication".to_owned())
        );
        assert_eq!(check.rule.map(|rule| rule.name.to_string()), Some("reviews".to_owned()));
    }
}
