//! The pilot-agent of a pod: its command line, and when it is ready.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use model::kinds::ProxySettings;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Pod, Role, What};
use crate::manifest::PodTemplate;
use crate::probe::get_status;
use crate::process::Launch;
use crate::restarts::RestartPolicy;
use crate::settings::DataPlane;
use crate::supervise::{Stop, supervise};

/// Container name of agent and proxy, as in a cluster.
pub(crate) const NAME: &str = "istio-proxy";

const STATUS_PORT: u16 = 15020;
const DNS_PORT: u16 = 15053;
pub(crate) const ADMIN_PORT: u16 = 15000;

/// The longest that open requests keep a leaving proxy.
const DRAIN: &str = "5s";

const ASK_STARTING: Duration = Duration::from_millis(25);
const ASK_READY: Duration = Duration::from_millis(500);

/// Keeps the agent running and `ready` true while it is.
pub(crate) async fn run(pod: Rc<Pod>, ready: watch::Sender<bool>, stop: watch::Receiver<Stop>) {
    let report = |state| {
        pod.tell(What::Process {
            container: NAME.into(),
            state,
        })
    };
    let health = |_| watch_readiness(&pod, &ready);
    let grace = Duration::from_secs(1);
    supervise(
        &*pod.world.processes,
        RestartPolicy::Always,
        grace,
        || launch(&pod),
        health,
        report,
        stop,
    )
    .await;
}

/// Asks the agent for as long as it runs; what it says last holds until it ends.
async fn watch_readiness(pod: &Pod, ready: &watch::Sender<bool>) -> String {
    let _unready = OnDrop(|| tell(pod, ready, false));
    loop {
        let asked = get_status(
            pod.identity.addresses.pod,
            STATUS_PORT,
            "/healthz/ready",
            None,
            Duration::from_secs(1),
        )
        .await;
        let is_ready = asked == Ok(200);
        tell(pod, ready, is_ready);
        sleep(if is_ready { ASK_READY } else { ASK_STARTING }).await;
    }
}

fn tell(pod: &Pod, ready: &watch::Sender<bool>, is_ready: bool) {
    if *ready.borrow() != is_ready {
        ready.send_replace(is_ready);
        pod.tell(What::Sidecar { ready: is_ready });
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn launch(pod: &Pod) -> Result<Launch, String> {
    let (layout, settings) = (&pod.world.layout, &pod.world.settings);
    Ok(Launch {
        program: settings.executable.clone(),
        args: arguments(pod, &layout.pod(&pod.identity.uid)),
        env: environment(pod),
        directory: settings.directory.clone(),
        log: layout.log(&pod.identity.name, NAME),
    })
}

fn arguments(pod: &Pod, files: &Path) -> Vec<String> {
    let (identity, settings) = (&pod.identity, &pod.world.settings);
    let namespace = pod.namespace();
    let p = identity.addresses.pod;
    let file = |name: &str| files.join(name).display().to_string();
    let labels = &identity.workload.template.labels;
    let app = labels.get("app").unwrap_or(&identity.workload.key.name);
    let (proxy, kind) = match &settings.data_plane {
        DataPlane::Native => (settings.executable.display().to_string(), "native"),
        DataPlane::Envoy(path) => (path.display().to_string(), "envoy"),
    };
    let role = if identity.role.has_containers() {
        "sidecar"
    } else {
        "router"
    };
    let mut args: Vec<String> = ["pilot-agent", "proxy", role].map(String::from).to_vec();
    let mut flag = |name: &str, value: String| args.extend([format!("--{name}"), value]);
    flag("id", format!("{}.{namespace}", identity.name));
    flag("ip", p.to_string());
    flag("domain", format!("{namespace}.svc.cluster.local"));
    flag("serviceCluster", format!("{app}.{namespace}"));
    flag("discoveryAddress", format!("{}:15011", settings.subnet.pilot()));
    flag("controlPlaneAuthPolicy", "MUTUAL_TLS".into());
    flag("caAddress", format!("{}:8060", settings.subnet.citadel()));
    flag("tokenPath", file("token"));
    flag(
        "caRootCert",
        pod.world.layout.ca().join("root-cert.pem").display().to_string(),
    );
    flag("trust-domain", settings.trust_domain.borrow().clone());
    flag("configPath", files.display().to_string());
    flag("binaryPath", proxy);
    flag("proxyType", kind.into());
    flag("proxyAdminAddress", p.to_string());
    flag("proxyAdminPort", ADMIN_PORT.to_string());
    flag("statusPort", STATUS_PORT.to_string());
    flag("statusAddress", p.to_string());
    flag("prometheusAddress", p.to_string());
    let written = pod.world.desired.borrow().proxy_settings(&identity.workload);
    let threads = written
        .concurrency
        .map_or_else(|| settings.concurrency.to_string(), |threads| threads.to_string());
    flag("concurrency", threads);
    let drain = written.drain_duration.map(|drain| format!("{}ms", drain.as_millis()));
    flag("drainDuration", drain.unwrap_or_else(|| DRAIN.into()));
    flag("proxyLogLevel", settings.proxy_log_level.clone());
    flag("xds-mode", settings.xds_mode.clone());
    if let Some(ttl) = &settings.workload_cert_ttl {
        flag("csr-ttl", ttl.clone());
    }
    if identity.role == Role::Sidecar {
        flag("app-address", identity.addresses.app.to_string());
        let ports = pod.world.desired.borrow().served_ports(&identity.workload);
        if !ports.is_empty() {
            let list: Vec<String> = ports.iter().map(u16::to_string).collect();
            flag("applicationPorts", list.join(","));
        }
    }
    args
}

fn environment(pod: &Pod) -> Vec<(String, String)> {
    let identity = &pod.identity;
    let (workload, template) = (&identity.workload.key, &identity.workload.template);
    let names: Vec<&str> = template
        .spec
        .containers
        .iter()
        .map(|container| container.name.as_str())
        .collect();
    let written = pod.world.desired.borrow().proxy_settings(&identity.workload);
    let mut env = vec![
        ("POD_NAME", identity.name.clone()),
        ("POD_NAMESPACE", pod.namespace().to_owned()),
        ("INSTANCE_IP", identity.addresses.pod.to_string()),
        ("SERVICE_ACCOUNT", template.spec.service_account().to_owned()),
        ("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "true".into()),
        // By then every client has been told for a while.
        ("MINIMUM_DRAIN_DURATION", "500ms".into()),
        ("ISTIO_META_INTERCEPTION_MODE", "NONE".into()),
        ("ISTIO_META_SERVICE_ACCOUNT", template.spec.service_account().to_owned()),
        ("ISTIO_META_WORKLOAD_NAME", workload.name.clone()),
        ("ISTIO_META_CLUSTER_ID", "Kubernetes".into()),
        ("ISTIO_META_MESH_ID", pod.world.settings.trust_domain.borrow().clone()),
        ("ISTIO_META_NODE_NAME", pod.world.settings.node.clone()),
        ("ISTIO_META_APP_CONTAINERS", names.join(",")),
        ("ISTIO_META_OWNER", owner(pod)),
        ("ISTIO_METAJSON_LABELS", json!(template.labels).to_string()),
        (
            "ISTIO_METAJSON_ANNOTATIONS",
            annotations(template, &written).to_string(),
        ),
    ];
    if identity.role == Role::Sidecar {
        env.push(("ISTIO_META_DNS_CAPTURE", "true".into()));
        env.push(("DNS_PROXY_ADDR", format!("{}:{DNS_PORT}", identity.addresses.pod)));
    }
    if identity.role == (Role::Gateway { ingress: true }) {
        env.push(("ISTIO_META_BIND_ADDRESS", "127.0.0.1".into()));
    } else if identity.role == (Role::Gateway { ingress: false }) {
        env.push(("ISTIO_META_BIND_ADDRESS", identity.addresses.pod.to_string()));
    }
    if let Some(drain) = written.termination_drain_duration {
        env.push((
            "TERMINATION_DRAIN_DURATION_SECONDS",
            drain.as_millis().div_ceil(1000).to_string(),
        ));
    }
    // Who the pod is, is not for others to say: the runner's own variables come last and win.
    let given = written.environment.into_iter();
    given
        .chain(env.into_iter().map(|(name, value)| (name.to_owned(), value)))
        .collect()
}

/// The pod's annotations, with the statistics that its proxy's settings ask for.
fn annotations(template: &PodTemplate, written: &ProxySettings) -> serde_json::Value {
    let mut all = template.annotations.clone();
    let wanted = written.inclusion.clone().unwrap_or_default();
    for (kind, list) in [
        ("Prefixes", wanted.inclusion_prefixes),
        ("Suffixes", wanted.inclusion_suffixes),
        ("Regexps", wanted.inclusion_regexps),
    ] {
        if !list.is_empty() {
            all.entry(format!("sidecar.istio.io/statsInclusion{kind}"))
                .or_insert_with(|| list.join(","));
        }
    }
    json!(all)
}

fn owner(pod: &Pod) -> String {
    let key = &pod.identity.workload.key;
    let (group, plural) = if key.kind == "Deployment" {
        ("apps", "deployments")
    } else {
        ("", "pods")
    };
    let path = if group.is_empty() {
        "v1".to_owned()
    } else {
        format!("{group}/v1")
    };
    format!(
        "kubernetes://apis/{path}/namespaces/{}/{plural}/{}",
        key.namespace, key.name
    )
}
