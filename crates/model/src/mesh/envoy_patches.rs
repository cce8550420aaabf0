//! An EnvoyFilter as it is applied: both forms of the object as one list of patches, whose values are Envoy's messages, encoded.

use std::collections::BTreeMap;

use ipnet::IpNet;
use regex::Regex;

use crate::kinds::{
    ApplyTo, ClusterMatch, FilterClass, ListenerMatch, ListenerProtocol, PatchContext, RouteConfigurationMatch,
};

/// The patches of one object.
#[derive(Clone, Debug, Default)]
pub struct EnvoyPatches {
    /// Labels of the workloads it is for; none: all.
    pub selector: BTreeMap<String, String>,
    /// Names of the Gateways of the Gateway API whose proxies it is for; none: all.
    pub gateways: Vec<String>,
    /// Smaller ones are applied first.
    pub priority: i32,
    pub patches: Vec<EnvoyPatch>,
}

/// One change to what is generated.
#[derive(Clone, Debug)]
pub struct EnvoyPatch {
    /// Where it stands in the object: `spec.configPatches[0]`.
    pub path: String,
    pub apply_to: ApplyTo,
    pub operation: EnvoyOperation,
    pub context: PatchContext,
    /// What the version of the proxy must match.
    pub proxy_version: Option<Regex>,
    /// What the node's metadata must hold.
    pub proxy_metadata: BTreeMap<String, String>,
    pub target: EnvoyTarget,
    pub class: FilterClass,
    /// The encoded message; empty with REMOVE.
    pub value: Vec<u8>,
    pub native: NativeEffect,
}

/// What our own proxy would make of a value: the first thing of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NativeEffect {
    /// What it does not have: with it, it would refuse what is patched.
    pub lack: Option<Lack>,
    /// What it takes without effect.
    pub idle: Option<Lack>,
}

/// Something in a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Where: `typed_config.rules`.
    pub path: String,
    /// In a word: a field, or the name of a message.
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvoyOperation {
    Merge,
    /// Lists of the value take the place of those that are there.
    MergeReplacingLists,
    Add,
    Remove,
    Before,
    After,
    First,
    /// After all others that are not at the end by their nature. Of 1.1's form only.
    Last,
    Replace,
}

/// Which of the generated messages are meant.
#[derive(Clone, Debug)]
pub enum EnvoyTarget {
    All,
    Listener(ListenerTarget),
    Route(RouteConfigurationMatch),
    Cluster(ClusterMatch),
}

#[derive(Clone, Debug, Default)]
pub struct ListenerTarget {
    pub listener: ListenerMatch,
    /// What only 1.1's form can ask for.
    pub port_name_prefix: String,
    pub protocol: ListenerProtocol,
    pub addresses: Vec<IpNet>,
}

impl Lack {
    pub(crate) fn new(path: &str, what: String) -> Self {
        let path = path.to_owned();
        Lack { path, what }
    }
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl EnvoyOperation {
    pub fn is_merge(self) -> bool {
        matches!(self, EnvoyOperation::Merge | EnvoyOperation::MergeReplacingLists)
    }
}
