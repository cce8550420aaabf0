//! Views of Kubernetes' own kinds: the fields the mesh or the local runner reads, and no others.
//!
//! A view is read from the whole object (its labels and annotations are in the store's object already). Fields that are not
//! here are Kubernetes' business and never reported.

mod meta;
mod pod;
mod service;

pub use meta::{
    ConfigMap, IntOrString, LabelSelector, Namespace, Node, NodeAddress, NodeStatus, ObjectMeta, Secret, ServiceAccount,
};
pub use pod::{
    ConfigMapKeySelector, Container, ContainerPort, Deployment, DeploymentSpec, EnvFromSource, EnvVar, EnvVarSource,
    ExecAction, FieldSelector, GrpcAction, HttpGetAction, HttpHeader, Lifecycle, LifecycleHandler, LocalReference, Pod,
    PodCondition, PodIp, PodSpec, PodStatus, PodTemplateSpec, Probe, TcpSocketAction,
};
pub use service::{
    Endpoint, EndpointAddress, EndpointConditions, EndpointPort, EndpointSlice, EndpointSubset, Endpoints,
    IngressAddress, LoadBalancerStatus, ObjectReference, Service, ServicePort, ServiceSpec, ServiceStatus,
};
