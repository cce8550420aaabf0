//! DestinationRules: which apply to a host for a given client, merged, and the policy they give to one port and subset.
//!
//! Lookup goes through three namespaces (the client's, the service's, the root) and stops at the first that has a rule for
//! the host; within a namespace the most specific host wins. Rules for the same host are merged: subsets are united, and the
//! oldest traffic policy counts.

use std::collections::HashMap;

use model::kinds::{
    ClientTlsSettings, ConnectionPoolSettings, DestinationRule, LoadBalancerSettings, OutlierDetection, ProxyProtocol,
    RetryBudget, Subset, TrafficPolicy, TunnelSettings,
};
use model::mesh::{Config, ConfigRef, Host, Proxy, Snapshot};

use crate::visibility::{exported, selects};

/// All rules a client can see, by namespace and host.
#[derive(Debug, Default)]
pub(crate) struct Rules<'a> {
    namespaces: HashMap<&'a str, NamespaceRules<'a>>,
}

#[derive(Debug, Default)]
struct NamespaceRules<'a> {
    exact: HashMap<Host, Vec<&'a Config<DestinationRule>>>,
    /// Most specific first.
    wildcard: Vec<(Host, Vec<&'a Config<DestinationRule>>)>,
}

impl<'a> Rules<'a> {
    pub(crate) fn seen_by(snapshot: &'a Snapshot, proxy: &Proxy) -> Self {
        let mut rules = Rules::default();
        let default = &snapshot.mesh.default_destination_rule_export_to;
        for rule in &snapshot.destination_rules {
            if exported(&rule.spec.export_to, default, rule.namespace(), &proxy.namespace) && is_for(rule, proxy) {
                let host = Host::resolve(&rule.spec.host, rule.namespace(), &snapshot.domain);
                rules
                    .namespaces
                    .entry(&rule.reference.namespace)
                    .or_default()
                    .add(host, rule);
            }
        }
        for namespace in rules.namespaces.values_mut() {
            namespace.finish();
        }
        rules
    }

    /// What applies to `host` (a service of `namespace`) for this client.
    pub(crate) fn find(&self, client: &str, namespace: &str, root: &str, host: &Host) -> Option<Destination<'a>> {
        let tiers = [client, namespace, root];
        let tier = if client == root { &tiers[1..] } else { &tiers[..] };
        let rules = tier.iter().find_map(|name| self.namespaces.get(name)?.find(host))?;
        Some(Destination::merge(rules))
    }
}

impl<'a> NamespaceRules<'a> {
    fn add(&mut self, host: Host, rule: &'a Config<DestinationRule>) {
        if !host.is_wildcard() {
            self.exact.entry(host).or_default().push(rule);
            return;
        }
        match self.wildcard.iter_mut().find(|(known, _)| *known == host) {
            Some((_, rules)) => rules.push(rule),
            None => self.wildcard.push((host, vec![rule])),
        }
    }

    fn finish(&mut self) {
        self.wildcard
            .sort_by(|(a, _), (b, _)| a.specificity().cmp(&b.specificity()));
        let lists = self
            .exact
            .values_mut()
            .chain(self.wildcard.iter_mut().map(|(_, rules)| rules));
        for rules in lists {
            // A rule made for these very workloads goes before one for all.
            rules.sort_by_key(|rule| rule.spec.workload_selector.is_none());
        }
    }

    fn find(&self, host: &Host) -> Option<&[&'a Config<DestinationRule>]> {
        let wildcard = || {
            self.wildcard
                .iter()
                .find(|(wildcard, _)| wildcard.covers(host))
                .map(|(_, rules)| rules)
        };
        self.exact.get(host).or_else(wildcard).map(|rules| rules.as_slice())
    }
}

/// A rule with a workload selector is for such clients of its own namespace only.
fn is_for(rule: &Config<DestinationRule>, proxy: &Proxy) -> bool {
    match &rule.spec.workload_selector {
        None => true,
        Some(selector) => rule.namespace() == proxy.namespace && selects(&selector.match_labels, &proxy.labels),
    }
}

/// Rules with a selector that match this proxy: proxies of one namespace that agree on these see the same rules.
pub(crate) fn selected<'a>(snapshot: &'a Snapshot, proxy: &Proxy) -> impl Iterator<Item = &'a ConfigRef> {
    let with_selector = snapshot
        .destination_rules
        .iter()
        .filter(|rule| rule.spec.workload_selector.is_some());
    let matching: Vec<_> = with_selector
        .filter(|rule| is_for(rule, proxy))
        .map(|rule| &rule.reference)
        .collect();
    matching.into_iter()
}

/// All rules for one host as one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destination<'a> {
    policy: Option<&'a TrafficPolicy>,
    subsets: Vec<&'a Subset>,
    /// Subsets whose name cannot be part of a cluster's, and the rules that have them.
    pub(crate) unnameable: Vec<(&'a ConfigRef, &'a Subset)>,
    /// The rules this was made of, the one that gave the policy (or else the oldest) first.
    pub(crate) rules: Vec<&'a ConfigRef>,
}

impl<'a> Destination<'a> {
    fn merge(rules: &[&'a Config<DestinationRule>]) -> Self {
        let mut merged = Destination::default();
        for rule in rules {
            match (&merged.policy, &rule.spec.traffic_policy) {
                (None, Some(policy)) => {
                    merged.policy = Some(policy);
                    merged.rules.insert(0, &rule.reference);
                }
                _ => merged.rules.push(&rule.reference),
            }
            for subset in &rule.spec.subsets {
                if subset.name.is_empty() || subset.name.contains('|') {
                    merged.unnameable.push((&rule.reference, subset));
                } else if merged.subset(&subset.name).is_none() {
                    merged.subsets.push(subset);
                }
            }
        }
        merged
    }

    pub(crate) fn subsets(&self) -> impl Iterator<Item = &'a Subset> {
        self.subsets.iter().copied()
    }

    pub(crate) fn subset(&self, name: &str) -> Option<&'a Subset> {
        self.subsets.iter().find(|subset| subset.name == name).copied()
    }

    /// The policy for one port of a subset (`""`: all endpoints). The subset's blocks replace the rule's one by one; settings
    /// for a port replace all blocks of their level.
    pub(crate) fn policy(&self, subset: &str, port: u16) -> Policy<'a> {
        let wide = self.policy.map(|policy| Policy::of(policy, port)).unwrap_or_default();
        let own = self.subset(subset).and_then(|subset| subset.traffic_policy.as_ref());
        match own {
            Some(policy) => Policy::of(policy, port).or(wide),
            None => wide,
        }
    }
}

/// The blocks of a traffic policy that are in force.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy<'a> {
    pub(crate) load_balancer: Option<&'a LoadBalancerSettings>,
    pub(crate) connection_pool: Option<&'a ConnectionPoolSettings>,
    pub(crate) outlier_detection: Option<&'a OutlierDetection>,
    pub(crate) tls: Option<&'a ClientTlsSettings>,
    pub(crate) retry_budget: Option<&'a RetryBudget>,
    pub(crate) proxy_protocol: Option<&'a ProxyProtocol>,
    pub(crate) tunnel: Option<&'a TunnelSettings>,
}

impl<'a> Policy<'a> {
    fn of(policy: &'a TrafficPolicy, port: u16) -> Self {
        let for_port = policy.port_level_settings.iter().find(|settings| {
            let selector = settings.port.as_ref();
            selector.is_some_and(|selector| selector.number == u32::from(port))
        });
        match for_port {
            Some(settings) => Policy {
                load_balancer: settings.load_balancer.as_ref(),
                connection_pool: settings.connection_pool.as_ref(),
                outlier_detection: settings.outlier_detection.as_ref(),
                tls: settings.tls.as_ref(),
                retry_budget: policy.retry_budget.as_ref(),
                proxy_protocol: policy.proxy_protocol.as_ref(),
                tunnel: policy.tunnel.as_ref(),
            },
            None => Policy {
                load_balancer: policy.load_balancer.as_ref(),
                connection_pool: policy.connection_pool.as_ref(),
                outlier_detection: policy.outlier_detection.as_ref(),
                tls: policy.tls.as_ref(),
                retry_budget: policy.retry_budget.as_ref(),
                proxy_protocol: policy.proxy_protocol.as_ref(),
                tunnel: policy.tunnel.as_ref(),
            },
        }
    }

    fn or(self, wide: Policy<'a>) -> Self {
        Policy {
            load_balancer: self.load_balancer.or(wide.load_balancer),
            connection_pool: self.connection_pool.or(wide.connection_pool),
            outlier_detection: self.outlier_detection.or(wide.outlier_detection),
            tls: self.tls.or(wide.tls),
            retry_budget: self.retry_budget.or(wide.retry_budget),
            proxy_protocol: self.proxy_protocol.or(wide.proxy_protocol),
            tunnel: self.tunnel.or(wide.tunnel),
        }
    }
}
