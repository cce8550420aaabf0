//! Workloads: Deployments, and Pods that stand for themselves.

use std::collections::BTreeMap;

use model::kinds::MeshProxyConfig;
use serde::Deserialize;
use serde_json::Value;

use super::{Manifest, Place, PodTemplate, PortRef};
use crate::controller::{Strategy, WorkloadKey};

/// More than this is a slip of the keyboard on one machine.
const MAX_REPLICAS: usize = 100;

#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) key: WorkloadKey,
    pub(crate) replicas: usize,
    pub(crate) strategy: Strategy,
    pub(crate) template: PodTemplate,
    /// Hash of the template: a change of it replaces the pods.
    pub(crate) revision: String,
    pub(crate) place: Place,
    /// What its annotation says of its proxy.
    pub(crate) proxy: MeshProxyConfig,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StrategySpec {
    r#type: String,
    #[serde(rename = "rollingUpdate")]
    rolling: RollingUpdate,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RollingUpdate {
    max_surge: Option<PortRef>,
    max_unavailable: Option<PortRef>,
}

impl Workload {
    pub(crate) fn deployment(manifest: &Manifest) -> Result<Self, String> {
        let replicas = manifest.read::<Option<usize>>("/spec/replicas")?.unwrap_or(1);
        if replicas > MAX_REPLICAS {
            return Err(format!(
                "{}: spec.replicas: {replicas} process pods are more than one machine is asked to run; write {MAX_REPLICAS} or fewer",
                manifest.title()
            ));
        }
        let strategy = manifest.read("/spec/strategy")?;
        Self::new(
            "Deployment",
            manifest,
            "/spec/template",
            replicas,
            rolling(&strategy, replicas),
        )
    }

    pub(crate) fn pod(manifest: &Manifest) -> Result<Self, String> {
        Self::new("Pod", manifest, "", 1, Strategy::Recreate)
    }

    fn new(
        kind: &'static str,
        manifest: &Manifest,
        pointer: &str,
        replicas: usize,
        strategy: Strategy,
    ) -> Result<Self, String> {
        let template = PodTemplate::read(manifest, pointer)?;
        if template.spec.containers.is_empty() {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            let dot = if field.is_empty() { "" } else { "." };
            return Err(format!(
                "{}: {field}{dot}spec.containers: a pod needs at least one container",
                manifest.title()
            ));
        }
        Ok(Workload {
            key: WorkloadKey {
                kind,
                namespace: manifest.namespace.clone(),
                name: manifest.name.clone(),
            },
            replicas,
            strategy,
            revision: revision(&template),
            template,
            place: manifest.place.clone(),
            proxy: MeshProxyConfig::default(),
        })
    }

    /// Whether its pods are gateways: the proxy alone, in router mode.
    pub(crate) fn is_gateway(&self) -> bool {
        let templates = self.template.annotations.get("inject.istio.io/templates");
        let by_template = templates.is_some_and(|names| names.split(',').any(|name| name.trim() == "gateway"));
        by_template
            || self
                .template
                .spec
                .containers
                .iter()
                .any(|c| c.args.starts_with(&["proxy".into(), "router".into()]))
    }

    /// Whether its pods get a sidecar: all do, unless the pod says no in Istio's way.
    pub(crate) fn wants_sidecar(&self) -> bool {
        let key = "sidecar.istio.io/inject";
        let word = self
            .template
            .labels
            .get(key)
            .or_else(|| self.template.annotations.get(key));
        word.is_none_or(|word| matches!(word.to_ascii_lowercase().as_str(), "" | "y" | "yes" | "true" | "on"))
    }
}

/// The strategy as written; without one, a new pod is ready before an old one goes (Kubernetes rounds its default of 25 %
/// the same way for up to three replicas).
fn rolling(spec: &StrategySpec, replicas: usize) -> Strategy {
    if spec.r#type == "Recreate" {
        return Strategy::Recreate;
    }
    let surge = amount(spec.rolling.max_surge.as_ref(), replicas, true).unwrap_or(1);
    let unavailable = amount(spec.rolling.max_unavailable.as_ref(), replicas, false).unwrap_or(0);
    // With neither, nothing could ever move.
    let surge = if surge == 0 && unavailable == 0 { 1 } else { surge };
    Strategy::Rolling { surge, unavailable }
}

/// A number, or a percentage of the replicas.
fn amount(value: Option<&PortRef>, replicas: usize, round_up: bool) -> Option<usize> {
    match value? {
        PortRef::Number(number) => Some(usize::from(*number)),
        PortRef::Name(text) => {
            let share = text.strip_suffix('%')?.parse::<usize>().ok()?.min(1000) * replicas;
            Some(if round_up { share.div_ceil(100) } else { share / 100 })
        }
    }
}

/// FNV-1a over the template, keys in alphabetical order: moving lines about must replace no pod.
fn revision(template: &PodTemplate) -> String {
    let mut text = format!("{:?}{:?}", template.labels, template.annotations);
    canonical(&template.raw, &mut text);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{:09x}", hash & 0xf_ffff_ffff)
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            text.push('{');
            for (key, value) in fields.iter().collect::<BTreeMap<_, _>>() {
                text.push_str(key);
                text.push(':');
                canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
