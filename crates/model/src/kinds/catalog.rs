//! Every kind there is: what it is called, where it lives, and what becomes of it here.

use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::gateway_api::{
    GatewayClass, GrpcRouteSpec, HttpRouteSpec, KubernetesGateway, ReferenceGrant, TcpRouteSpec, TlsRouteSpec,
};
use super::ingress::{Ingress, IngressClass};
use super::shape::{Finding, Shape};
use super::validate::{Context, Issue, Issues, Validate};
use super::{
    DestinationRule, EnvoyFilter, Gateway, MeshConfig, MeshProxyConfig, PeerAuthentication, Policy, ProxyConfig,
    ServiceEntry, Sidecar, VirtualService, WorkloadEntry, WorkloadGroup, k8s,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespace,
    Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Works,
    /// Read and checked; nothing reads it yet.
    Later,
    /// Known by name only: Kubernetes' business, nothing here looks at it.
    Ignored,
}

impl Effect {
    pub fn describe(self) -> &'static str {
        match self {
            Effect::Works => "works",
            Effect::Later => "is reported and has no effect yet",
            Effect::Ignored => "is left to Kubernetes",
        }
    }
}

/// One kind.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub kind: &'static str,
    /// Empty for Kubernetes' core group.
    pub group: &'static str,
    /// Newest first.
    pub versions: &'static [&'static str],
    pub scope: Scope,
    pub effect: Effect,
    /// How an object of this kind is checked; none where nothing is known of its fields.
    pub check: Option<fn(&Value) -> Report>,
}

impl Entry {
    const fn new(kind: &'static str, group: &'static str, versions: &'static [&'static str]) -> Entry {
        Entry {
            kind,
            group,
            versions,
            scope: Scope::Namespace,
            effect: Effect::Works,
            check: None,
        }
    }

    /// What the kind is known by here. Two groups may have a kind of one name: that which Istio has keeps it, the other is
    /// called as kubectl has it (`Gateway.gateway.networking.k8s.io`). Groups that took over a kind from another share it.
    pub fn name(&self) -> &'static str {
        match (self.group, self.kind) {
            (GATEWAY_API, "Gateway") => super::gateway_api::GATEWAY_KIND,
            (_, kind) => kind,
        }
    }

    const fn cluster(mut self) -> Entry {
        self.scope = Scope::Cluster;
        self
    }

    const fn checked(mut self, check: fn(&Value) -> Report) -> Entry {
        self.check = Some(check);
        self
    }

    const fn later(mut self) -> Entry {
        self.effect = Effect::Later;
        self
    }

    const fn ignored(mut self) -> Entry {
        self.effect = Effect::Ignored;
        self
    }
}

/// A kind that has a type here. `read` is given the whole object.
pub trait Kind: DeserializeOwned + Validate {
    /// Whether the type is the object's `spec` (Istio's kinds) or the object itself (views of Kubernetes' kinds).
    const SPEC: bool;
    /// The fields, where all of them are known.
    fn shape() -> Option<&'static Shape>;
}

/// A value of the wrong type, or one that does not follow its notation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct WrongValue {
    /// From the root of the object: `spec.http[0].timeout`.
    pub path: String,
    pub message: String,
}

/// An object read as its type, with what else was noticed.
#[derive(Clone, Debug, PartialEq)]
pub struct Read<T> {
    pub value: T,
    pub findings: Vec<Finding>,
}

/// All that checking one object by itself finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub wrong: Option<WrongValue>,
    pub findings: Vec<Finding>,
    pub issues: Vec<Issue>,
}

/// Reads an object as `T`.
pub fn read<T: Kind>(object: &Value) -> Result<Read<T>, WrongValue> {
    static NULL: Value = Value::Null;
    let (root, value) = if T::SPEC {
        ("spec", object.get("spec").unwrap_or(&NULL))
    } else {
        ("", object)
    };
    let empty = Value::Object(serde_json::Map::new());
    let value = if value.is_null() { &empty } else { value };
    let mut findings = Vec::new();
    let value = match T::shape() {
        Some(shape) => {
            if let Some(path) = shape.misplaced_list(root, value) {
                let message = "invalid type: sequence, expected a map".to_owned();
                return Err(WrongValue { path, message });
            }
            shape.inspect(root, value, &mut findings);
            shape.normalize(value)
        }
        None => without_nulls(value),
    };
    let value = deserialize(root, value)?;
    Ok(Read { value, findings })
}

fn deserialize<T: DeserializeOwned>(root: &str, value: Value) -> Result<T, WrongValue> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = match (root, path.as_str()) {
            (root, ".") => root.to_owned(),
            ("", path) => path.to_owned(),
            (root, path) if path.starts_with('[') => format!("{root}{path}"),
            (root, path) => format!("{root}.{path}"),
        };
        WrongValue {
            path,
            message: error.into_inner().to_string(),
        }
    })
}

/// Checks an object by itself: types, names of fields, rules. MeshConfig, which is no object, is checked the same way.
pub fn check<T: Kind>(object: &Value) -> Report {
    match read::<T>(object) {
        Ok(Read { value, mut findings }) => {
            findings.extend(value.envoy_only());
            let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let context = Context {
                kind: text("/kind"),
                name: text("/metadata/name"),
            };
            let mut issues = Issues::default();
            value.validate(context, &mut issues);
            Report {
                wrong: None,
                findings,
                issues: issues.into_vec(),
            }
        }
        Err(wrong) => Report {
            wrong: Some(wrong),
            ..Report::default()
        },
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let entries = object.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                entries
                    .map(|(key, value)| (key.clone(), without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

macro_rules! spec_kinds {
    ($($kind:ty),* $(,)?) => {
        $(impl Kind for $kind {
            const SPEC: bool = true;
            fn shape() -> Option<&'static Shape> {
                static SHAPE: OnceLock<Shape> = OnceLock::new();
                Some(SHAPE.get_or_init(Shape::of::<$kind>))
            }
        })*
    };
}

macro_rules! views {
    ($($kind:ty),* $(,)?) => {
        $(impl Kind for $kind {
            const SPEC: bool = false;
            fn shape() -> Option<&'static Shape> {
                None
            }
        }
        impl Validate for $kind {})*
    };
}

spec_kinds! {
    VirtualService, DestinationRule, Gateway, ServiceEntry, WorkloadEntry, WorkloadGroup, Sidecar, EnvoyFilter, ProxyConfig,
    PeerAuthentication, Policy, GatewayClass, KubernetesGateway, HttpRouteSpec, GrpcRouteSpec, TlsRouteSpec, TcpRouteSpec,
    ReferenceGrant, Ingress, IngressClass,
}

views! {
    k8s::Namespace, k8s::Node, k8s::Endpoints, k8s::EndpointSlice, k8s::Pod, k8s::ServiceAccount, k8s::ConfigMap, k8s::Secret,
}

impl Kind for k8s::Service {
    const SPEC: bool = false;
    fn shape() -> Option<&'static Shape> {
        None
    }
}

impl Kind for k8s::Deployment {
    const SPEC: bool = false;
    fn shape() -> Option<&'static Shape> {
        None
    }
}

impl Kind for MeshConfig {
    const SPEC: bool = false;
    fn shape() -> Option<&'static Shape> {
        static SHAPE: OnceLock<Shape> = OnceLock::new();
        Some(SHAPE.get_or_init(Shape::of::<MeshConfig>))
    }
}

impl Kind for MeshProxyConfig {
    const SPEC: bool = false;
    fn shape() -> Option<&'static Shape> {
        static SHAPE: OnceLock<Shape> = OnceLock::new();
        Some(SHAPE.get_or_init(Shape::of::<MeshProxyConfig>))
    }
}

/// The shapes of all kinds whose every field is known, by name, in the order of the compatibility page.
pub fn shapes() -> Vec<(&'static str, &'static Shape)> {
    fn entry<T: Kind>(name: &'static str) -> Option<(&'static str, &'static Shape)> {
        T::shape().map(|shape| (name, shape))
    }
    [
        entry::<VirtualService>("VirtualService"),
        entry::<DestinationRule>("DestinationRule"),
        entry::<Gateway>("Gateway"),
        entry::<ServiceEntry>("ServiceEntry"),
        entry::<WorkloadEntry>("WorkloadEntry"),
        entry::<WorkloadGroup>("WorkloadGroup"),
        entry::<Sidecar>("Sidecar"),
        entry::<EnvoyFilter>("EnvoyFilter"),
        entry::<ProxyConfig>("ProxyConfig"),
        entry::<PeerAuthentication>("PeerAuthentication"),
        entry::<Policy>("Policy"),
        entry::<Policy>("MeshPolicy"),
        entry::<MeshConfig>("MeshConfig"),
        entry::<GatewayClass>("GatewayClass"),
        entry::<KubernetesGateway>(super::gateway_api::GATEWAY_KIND),
        entry::<HttpRouteSpec>("HTTPRoute"),
        entry::<GrpcRouteSpec>("GRPCRoute"),
        entry::<TlsRouteSpec>("TLSRoute"),
        entry::<TcpRouteSpec>("TCPRoute"),
        entry::<ReferenceGrant>("ReferenceGrant"),
        entry::<Ingress>("Ingress"),
        entry::<IngressClass>("IngressClass"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const NETWORKING: &str = "networking.istio.io";
const ALL_THREE: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const SECURITY: &str = "security.istio.io";
const SECURITY_VERSIONS: &[&str] = &["v1", "v1beta1"];
const MIXER: &str = "config.istio.io";
const ALPHA2: &[&str] = &["v1alpha2"];
const RBAC: &str = "rbac.istio.io";
const ALPHA1: &[&str] = &["v1alpha1"];
const V1: &[&str] = &["v1"];
const GATEWAY_API: &str = super::gateway_api::GROUP;

/// All kinds: those with a type here first, then those that are reported, then those left to Kubernetes.
pub const ENTRIES: &[Entry] = &[
    Entry::new("VirtualService", NETWORKING, ALL_THREE).checked(check::<VirtualService>),
    Entry::new("DestinationRule", NETWORKING, ALL_THREE).checked(check::<DestinationRule>),
    Entry::new("Gateway", NETWORKING, ALL_THREE).checked(check::<Gateway>),
    Entry::new("ServiceEntry", NETWORKING, ALL_THREE).checked(check::<ServiceEntry>),
    Entry::new("WorkloadEntry", NETWORKING, ALL_THREE).checked(check::<WorkloadEntry>),
    Entry::new("WorkloadGroup", NETWORKING, ALL_THREE)
        .checked(check::<WorkloadGroup>)
        .later(),
    Entry::new("Sidecar", NETWORKING, ALL_THREE).checked(check::<Sidecar>),
    Entry::new("EnvoyFilter", NETWORKING, &["v1alpha3"]).checked(check::<EnvoyFilter>),
    Entry::new("ProxyConfig", NETWORKING, &["v1beta1"]).checked(check::<ProxyConfig>),
    Entry::new("PeerAuthentication", SECURITY, SECURITY_VERSIONS).checked(check::<PeerAuthentication>),
    Entry::new("Policy", "authentication.istio.io", ALPHA1).checked(check::<Policy>),
    Entry::new("MeshPolicy", "authentication.istio.io", ALPHA1)
        .cluster()
        .checked(check::<Policy>),
    Entry::new("Namespace", "", V1)
        .cluster()
        .checked(check::<k8s::Namespace>),
    Entry::new("Node", "", V1).cluster().checked(check::<k8s::Node>),
    Entry::new("Service", "", V1).checked(check::<k8s::Service>),
    Entry::new("Endpoints", "", V1).checked(check::<k8s::Endpoints>),
    Entry::new("EndpointSlice", "discovery.k8s.io", &["v1", "v1beta1"]).checked(check::<k8s::EndpointSlice>),
    Entry::new("Deployment", "apps", &["v1", "v1beta2", "v1beta1"]).checked(check::<k8s::Deployment>),
    Entry::new("Deployment", "extensions", &["v1beta1"]).checked(check::<k8s::Deployment>),
    Entry::new("Pod", "", V1).checked(check::<k8s::Pod>),
    Entry::new("ServiceAccount", "", V1).checked(check::<k8s::ServiceAccount>),
    Entry::new("ConfigMap", "", V1).checked(check::<k8s::ConfigMap>),
    Entry::new("Secret", "", V1).checked(check::<k8s::Secret>),
    Entry::new("RequestAuthentication", SECURITY, SECURITY_VERSIONS).later(),
    Entry::new("AuthorizationPolicy", SECURITY, SECURITY_VERSIONS).later(),
    Entry::new("Telemetry", "telemetry.istio.io", &["v1", "v1alpha1"]).later(),
    Entry::new("WasmPlugin", "extensions.istio.io", ALPHA1).later(),
    Entry::new("TrafficExtension", "extensions.istio.io", ALPHA1).later(),
    Entry::new("ClusterRbacConfig", RBAC, ALPHA1).cluster().later(),
    Entry::new("RbacConfig", RBAC, ALPHA1).later(),
    Entry::new("ServiceRole", RBAC, ALPHA1).later(),
    Entry::new("ServiceRoleBinding", RBAC, ALPHA1).later(),
    Entry::new("HTTPAPISpec", MIXER, ALPHA2).later(),
    Entry::new("HTTPAPISpecBinding", MIXER, ALPHA2).later(),
    Entry::new("QuotaSpec", MIXER, ALPHA2).later(),
    Entry::new("QuotaSpecBinding", MIXER, ALPHA2).later(),
    Entry::new("rule", MIXER, ALPHA2).later(),
    Entry::new("attributemanifest", MIXER, ALPHA2).later(),
    Entry::new("handler", MIXER, ALPHA2).later(),
    Entry::new("instance", MIXER, ALPHA2).later(),
    Entry::new("adapter", MIXER, ALPHA2).later(),
    Entry::new("template", MIXER, ALPHA2).later(),
    Entry::new("bypass", MIXER, ALPHA2).later(),
    Entry::new("circonus", MIXER, ALPHA2).later(),
    Entry::new("cloudwatch", MIXER, ALPHA2).later(),
    Entry::new("denier", MIXER, ALPHA2).later(),
    Entry::new("dogstatsd", MIXER, ALPHA2).later(),
    Entry::new("fluentd", MIXER, ALPHA2).later(),
    Entry::new("kubernetesenv", MIXER, ALPHA2).later(),
    Entry::new("listchecker", MIXER, ALPHA2).later(),
    Entry::new("memquota", MIXER, ALPHA2).later(),
    Entry::new("noop", MIXER, ALPHA2).later(),
    Entry::new("opa", MIXER, ALPHA2).later(),
    Entry::new("prometheus", MIXER, ALPHA2).later(),
    Entry::new("rbac", MIXER, ALPHA2).later(),
    Entry::new("redisquota", MIXER, ALPHA2).later(),
    Entry::new("signalfx", MIXER, ALPHA2).later(),
    Entry::new("solarwinds", MIXER, ALPHA2).later(),
    Entry::new("stackdriver", MIXER, ALPHA2).later(),
    Entry::new("statsd", MIXER, ALPHA2).later(),
    Entry::new("stdio", MIXER, ALPHA2).later(),
    Entry::new("zipkin", MIXER, ALPHA2).later(),
    Entry::new("apikey", MIXER, ALPHA2).later(),
    Entry::new("authorization", MIXER, ALPHA2).later(),
    Entry::new("checknothing", MIXER, ALPHA2).later(),
    Entry::new("edge", MIXER, ALPHA2).later(),
    Entry::new("kubernetes", MIXER, ALPHA2).later(),
    Entry::new("listentry", MIXER, ALPHA2).later(),
    Entry::new("logentry", MIXER, ALPHA2).later(),
    Entry::new("metric", MIXER, ALPHA2).later(),
    Entry::new("quota", MIXER, ALPHA2).later(),
    Entry::new("reportnothing", MIXER, ALPHA2).later(),
    Entry::new("tracespan", MIXER, ALPHA2).later(),
    Entry::new("GatewayClass", GATEWAY_API, &["v1", "v1beta1"])
        .cluster()
        .checked(check::<GatewayClass>),
    Entry::new("Gateway", GATEWAY_API, &["v1", "v1beta1"]).checked(check::<KubernetesGateway>),
    Entry::new("HTTPRoute", GATEWAY_API, &["v1", "v1beta1"]).checked(check::<HttpRouteSpec>),
    Entry::new("GRPCRoute", GATEWAY_API, V1).checked(check::<GrpcRouteSpec>),
    Entry::new("TLSRoute", GATEWAY_API, &["v1", "v1alpha3", "v1alpha2"]).checked(check::<TlsRouteSpec>),
    Entry::new("TCPRoute", GATEWAY_API, ALPHA2).checked(check::<TcpRouteSpec>),
    Entry::new("ReferenceGrant", GATEWAY_API, &["v1", "v1beta1"]).checked(check::<ReferenceGrant>),
    Entry::new("Ingress", "networking.k8s.io", &["v1", "v1beta1"]).checked(check::<Ingress>),
    Entry::new("Ingress", "extensions", &["v1beta1"]).checked(check::<Ingress>),
    Entry::new("IngressClass", "networking.k8s.io", &["v1", "v1beta1"])
        .cluster()
        .checked(check::<IngressClass>),
    Entry::new("StatefulSet", "apps", V1).later(),
    Entry::new("DaemonSet", "apps", V1).later(),
    Entry::new("ReplicaSet", "apps", V1).later(),
    Entry::new("ReplicationController", "", V1).later(),
    Entry::new("Job", "batch", V1).later(),
    Entry::new("CronJob", "batch", &["v1", "v1beta1"]).later(),
    Entry::new("NetworkPolicy", "networking.k8s.io", V1).ignored(),
    Entry::new("PersistentVolumeClaim", "", V1).ignored(),
    Entry::new("PersistentVolume", "", V1).cluster().ignored(),
    Entry::new("StorageClass", "storage.k8s.io", V1).cluster().ignored(),
    Entry::new("ResourceQuota", "", V1).ignored(),
    Entry::new("LimitRange", "", V1).ignored(),
    Entry::new("Event", "", V1).ignored(),
    Entry::new("Role", "rbac.authorization.k8s.io", V1).ignored(),
    Entry::new("RoleBinding", "rbac.authorization.k8s.io", V1).ignored(),
    Entry::new("ClusterRole", "rbac.authorization.k8s.io", V1)
        .cluster()
        .ignored(),
    Entry::new("ClusterRoleBinding", "rbac.authorization.k8s.io", V1)
        .cluster()
        .ignored(),
    Entry::new(
        "HorizontalPodAutoscaler",
        "autoscaling",
        &["v2", "v1", "v2beta2", "v2beta1"],
    )
    .ignored(),
    Entry::new("PodDisruptionBudget", "policy", &["v1", "v1beta1"]).ignored(),
    Entry::new("PriorityClass", "scheduling.k8s.io", V1).cluster().ignored(),
    Entry::new("CustomResourceDefinition", "apiextensions.k8s.io", &["v1", "v1beta1"])
        .cluster()
        .ignored(),
    Entry::new(
        "MutatingWebhookConfiguration",
        "admissionregistration.k8s.io",
        &["v1", "v1beta1"],
    )
    .cluster()
    .ignored(),
    Entry::new(
        "ValidatingWebhookConfiguration",
        "admissionregistration.k8s.io",
        &["v1", "v1beta1"],
    )
    .cluster()
    .ignored(),
    Entry::new("Lease", "coordination.k8s.io", V1).ignored(),
];

/// What an object's `apiVersion` and `kind` are.
#[derive(Clone, Copy, Debug)]
pub enum Lookup {
    Known(&'static Entry),
    /// The kind is known in this group, the version is not.
    UnknownVersion(&'static Entry),
    /// No such kind in this group; `same_kind` is the entry of that name in another group, if there is one.
    UnknownKind {
        same_kind: Option<&'static Entry>,
        nearest: Option<&'static str>,
    },
}

/// Finds the entry of an object.
pub fn lookup(api_version: &str, kind: &str) -> Lookup {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if let Some(entry) = ENTRIES.iter().find(|e| e.kind == kind && e.group == group) {
        return if entry.versions.contains(&version) {
            Lookup::Known(entry)
        } else {
            Lookup::UnknownVersion(entry)
        };
    }
    let same_kind = ENTRIES.iter().find(|e| e.kind == kind);
    let nearest = crate::spelling::nearest(kind, ENTRIES.iter().map(|e| e.kind));
    Lookup::UnknownKind { same_kind, nearest }
}

/// The first entry of that name, whatever its group.
pub fn by_kind(kind: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.kind == kind)
}

/// Whether objects of this kind live in a namespace; kinds not known here are taken to.
pub fn is_namespaced(group: &str, kind: &str) -> bool {
    let entry = ENTRIES
        .iter()
        .find(|e| e.kind == kind && e.group == group)
        .or_else(|| by_kind(kind));
    entry.is_none_or(|entry| entry.scope == Scope::Namespace)
}
