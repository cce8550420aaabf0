//! Kubernetes' Ingress and IngressClass, in the words of all versions: v1 names a backend by `service`, v1beta1 by
//! `serviceName` and `servicePort`.

use serde::Deserialize;

use super::k8s::IntOrString;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ingress {
    pub ingress_class_name: String,
    pub default_backend: Option<IngressBackend>,
    /// v1beta1's `defaultBackend`.
    pub backend: Option<IngressBackend>,
    pub tls: Vec<IngressTls>,
    pub rules: Vec<IngressRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressTls {
    /// Empty: every host.
    pub hosts: Vec<String>,
    pub secret_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressRule {
    /// Empty: every host.
    pub host: String,
    pub http: Option<IngressHttp>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressHttp {
    pub paths: Vec<IngressPath>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressPath {
    pub path: String,
    pub path_type: IngressPathType,
    pub backend: IngressBackend,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum IngressPathType {
    Exact,
    /// By whole segments.
    Prefix,
    #[default]
    ImplementationSpecific,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressBackend {
    pub service: Option<IngressService>,
    pub resource: Option<IngressResource>,
    /// v1beta1.
    pub service_name: String,
    /// v1beta1.
    pub service_port: Option<IntOrString>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressService {
    pub name: String,
    pub port: IngressServicePort,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressServicePort {
    pub name: String,
    pub number: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressResource {
    pub api_group: String,
    pub kind: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressClass {
    pub controller: String,
    pub parameters: Option<IngressClassParameters>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressClassParameters {
    pub api_group: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
    pub scope: String,
}
