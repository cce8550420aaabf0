//! Secrets that gateways and rules name (`credentialName`): which resource brings them, or why nothing can.
//!
//! A proxy gets the Secrets of its own namespace only, whoever wrote the object that names one; and those that a Gateway of the
//! Gateway API was allowed to name for it. What is missing or unusable is
//! known here, before anything is sent: the server that wants it is left out alone and reported, and comes with the Secret.

use model::mesh::{CredentialName, Fitness};

use crate::gateway;
use crate::scope::Scope;

/// Why a credential cannot be used: what is wrong, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) rule: String,
    pub(crate) way_out: String,
}

/// What comes from a Secret, and what is wrong with its newest content if an older one is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usable {
    /// Name of the xDS resource.
    pub(crate) resource: String,
    pub(crate) outdated: Option<Unusable>,
}

/// Which Secrets an object may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of the proxy's namespace.
    Own,
    /// All: the Gateway API has its own way to allow it (ReferenceGrant), and the name has passed it.
    Granted,
}

/// Certificate and key of `name`.
pub(crate) fn identity(scope: &Scope<'_>, name: &str, reach: Reach) -> Result<Usable, Unusable> {
    let wanted = within(scope, name, reach)?;
    let fitness = scope.snapshot.credentials.identity(wanted);
    judge(
        wanted,
        fitness,
        wanted.identity_resource(&scope.proxy.namespace),
        "tls.crt and tls.key (or cert and key)",
    )
}

/// The roots that `name` brings: of the Secret `name-cacert`, else of `name` itself.
pub(crate) fn roots(scope: &Scope<'_>, name: &str, reach: Reach) -> Result<Usable, Unusable> {
    let wanted = within(scope, name, reach)?;
    let fitness = scope.snapshot.credentials.roots(wanted);
    judge(
        wanted,
        fitness,
        wanted.roots_resource(&scope.proxy.namespace),
        "ca.crt (or cacert)",
    )
}

/// Whether the proxy has a Gateway of the Gateway API that was allowed to name this Secret of another namespace.
pub(crate) fn is_granted(scope: &Scope<'_>, secret: CredentialName<'_>) -> bool {
    let own = scope.proxy.namespace.as_str();
    let derived = gateway::selecting(scope.snapshot, scope.proxy).filter(|gateway| gateway.spec.derived.is_some());
    let settings = derived.flat_map(|gateway| gateway.spec.servers.iter().filter_map(|server| server.tls.as_ref()));
    let mut names = settings.flat_map(|tls| {
        [&tls.credential_name, &tls.ca_cert_credential_name]
            .into_iter()
            .chain(&tls.credential_names)
    });
    names.any(|name| {
        let named = CredentialName::parse(name, own);
        named == secret || (named.namespace == secret.namespace && named.roots_secrets()[0] == secret.name)
    })
}

fn within<'n>(scope: &'n Scope<'_>, name: &'n str, reach: Reach) -> Result<CredentialName<'n>, Unusable> {
    let own = scope.proxy.namespace.as_str();
    let wanted = CredentialName::parse(name, own);
    let foreign = wanted.namespace != own && reach == Reach::Own;
    if foreign || wanted.name.is_empty() || wanted.name.contains('/') {
        return Err(Unusable {
            rule: format!("credential {name:?} is not of namespace {own}, where the proxy is"),
            way_out: "create the Secret beside the proxy, and name it without a namespace".to_owned(),
        });
    }
    Ok(wanted)
}

fn judge(wanted: CredentialName<'_>, fitness: Fitness, resource: String, keys: &str) -> Result<Usable, Unusable> {
    let secret = format!("Secret {}/{}", wanted.namespace, wanted.name);
    match fitness {
        Fitness::Usable => Ok(Usable {
            resource,
            outdated: None,
        }),
        Fitness::Outdated(reason) => Ok(Usable {
            resource,
            outdated: Some(Unusable {
                rule: format!("{secret} is served as it was before: {reason}"),
                way_out: "correct the Secret".to_owned(),
            }),
        }),
        Fitness::Missing => Err(Unusable {
            rule: format!("{secret} is not there, or has no {keys}"),
            way_out: format!("create it in namespace {} with these keys", wanted.namespace),
        }),
        Fitness::Broken(reason) => Err(Unusable {
            rule: format!("{secret} cannot be used: {reason}"),
            way_out: "correct the Secret".to_owned(),
        }),
    }
}
