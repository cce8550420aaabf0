//! Both variants of xDS lead to the same state, in a real Envoy as in our proxy.
//!
//! Sidecars and gateways of both kinds, one of each variant, take the same random changes of configuration from one pilot. After each step
//! all of a kind must hold the same resources, byte for byte but for their own addresses; and ours the same as Envoy's.
//!
//! `MELTEMI_DIALECT_STEPS` says how many steps there are, `MELTEMI_DIALECT_SEED` where they begin.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_tests::client::{self, eventually};
use node::bootstrap::XdsMode;
use serde_json::{Value, json};

use crate::objects;
use crate::proxy::{PLANES, Plane, Proxy};
use crate::small::Small;

/// As many as a test may take time for.
const STEPS: usize = 25;
const CHANGES: usize = 4;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// For a change to reach every proxy.
const LIMIT: Duration = Duration::from_secs(15);

/// A generator of numbers that anybody can repeat (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % n as u64).unwrap_or(0)
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": { "name": name, "namespace": "random" }, "spec": spec,
    })
}

fn service(name: &str, random: &mut Random) -> Vec<Value> {
    let ports = [
        json!({ "name": "http", "port": 80 }),
        json!({ "name": "grpc", "port": 81 }),
        json!({ "name": "tcp", "port": 90 }),
    ];
    let ports = &ports[..=random.below(ports.len())];
    let endpoints: Vec<Value> = (0..random.below(4))
        .map(|n| json!({ "addresses": [format!("10.0.{}.{}", name.as_bytes()[0], n + 1)], "conditions": { "ready": true } }))
        .collect();
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "random" },
            "spec": { "selector": { "app": name }, "ports": ports },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-1"), "namespace": "random", "labels": { "kubernetes.io/service-name": name },
            },
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        }),
    ]
}

fn virtual_service(name: &str, random: &mut Random) -> Value {
    let gateways = [json!(["mesh"]), json!(["random/a"]), json!(["mesh", "random/b"])];
    let share = random.below(100);
    object(
        "VirtualService",
        name,
        json!({
            "hosts": [format!("{name}.random.svc.cluster.local")],
            "gateways": gateways[random.below(gateways.len())],
            "http": [
                { "match": [{ "uri": { "prefix": random.of(&["/x", "/y"]) } }],
                  "route": [{ "destination": { "host": random.of(&NAMES), "port": { "number": 80 } } }], "retries": { "attempts": random.below(4) } },
                { "route": [
                    { "destination": { "host": name, "port": { "number": 80 } }, "weight": share },
                    { "destination": { "host": random.of(&NAMES), "subset": "v1", "port": { "number": 80 } }, "weight": 100 - share },
                ] },
            ],
        }),
    )
}

fn destination_rule(name: &str, random: &mut Random) -> Value {
    let versions = ["v1", "v2", "v3"];
    let subset = |version: &&str| json!({ "name": version, "labels": { "version": version } });
    object(
        "DestinationRule",
        name,
        json!({
            "host": name,
            "subsets": versions[..random.below(4)].iter().map(subset).collect::<Vec<_>>(),
            "trafficPolicy": { "loadBalancer": { "simple": random.of(&["RANDOM", "ROUND_ROBIN", "LEAST_REQUEST"]) } },
        }),
    )
}

fn gateway(name: &str, random: &mut Random) -> Value {
    let ports = [80, 8000, 8001];
    let port = ports[random.below(ports.len())];
    object(
        "Gateway",
        name,
        json!({
            "selector": { "istio": "ingressgateway" },
            "servers": [{
                "port": { "number": port, "name": format!("http-{port}"), "protocol": "HTTP" },
                "hosts": [random.of(&["*", "*.random.svc.cluster.local"])],
            }],
        }),
    )
}

fn service_entry(name: &str, random: &mut Random) -> Value {
    let endpoints: Vec<Value> = (0..=random.below(2))
        .map(|n| json!({ "address": format!("10.9.0.{}", n + 1) }))
        .collect();
    object(
        "ServiceEntry",
        name,
        json!({
            "hosts": [format!("{name}.example.com")],
            "ports": [{ "number": 80 + random.below(2), "name": "http", "protocol": "HTTP" }],
            "resolution": "STATIC", "location": random.of(&["MESH_EXTERNAL", "MESH_INTERNAL"]), "endpoints": endpoints,
        }),
    )
}

/// Changes one object, or removes it; tells which.
fn change(config: &Path, random: &mut Random) -> Result<String> {
    let (name, keep) = (random.of(&NAMES), random.below(4) > 0);
    let (kind, objects) = match random.below(5) {
        0 => ("service", service(name, random)),
        1 => ("route", vec![virtual_service(name, random)]),
        2 => ("rule", vec![destination_rule(name, random)]),
        3 => ("gateway", vec![gateway(name, random)]),
        _ => ("entry", vec![service_entry(name, random)]),
    };
    let file = config.join(format!("{kind}-{name}.yaml"));
    if keep {
        write(&file, &objects)?;
        return Ok(format!(
            "{kind} {name} is {}",
            objects.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
        ));
    }
    let _ = std::fs::remove_file(&file);
    Ok(format!("{kind} {name} goes"))
}

fn write(file: &Path, objects: &[Value]) -> Result<()> {
    let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
    mesh_tests::mesh::write(file, &texts.join("\n---\n"))
}

/// The proof that a proxy has what a step has written: a service that only this step has.
fn write_mark(config: &Path, step: usize) -> Result<()> {
    let mark = object(
        "ServiceEntry",
        "mark",
        json!({
            "hosts": [mark(step)], "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }],
            "resolution": "STATIC", "endpoints": [{ "address": "10.9.9.9" }],
        }),
    );
    write(&config.join("mark.yaml"), &[mark])
}

fn mark(step: usize) -> String {
    format!("step{step}.example.org")
}

type Resources = BTreeMap<String, Value>;

/// What a proxy has in force: kind and name of each resource with its content, its own address replaced by a word.
async fn in_force(proxy: &Proxy) -> Result<Resources> {
    let admin = SocketAddr::new(proxy.address.into(), 15000);
    let text = client::get(admin, "/config_dump").await?.text();
    let dump: Value = serde_json::from_str(&text.replace(&proxy.address.to_string(), "ADDRESS"))?;
    let mut found = Resources::new();
    for section in dump["configs"].as_array().context("a dump has sections")? {
        for (list, field) in [
            ("dynamic_active_clusters", "cluster"),
            ("dynamic_listeners", "listener"),
            ("dynamic_route_configs", "route_config"),
        ] {
            for item in section[list].as_array().into_iter().flatten() {
                let resource = item.get(field).or_else(|| item["active_state"].get(field));
                let Some(resource) = resource else { continue };
                let name = resource["name"].as_str().context("a resource has a name")?;
                let mut resource = resource.clone();
                whole_numbers(&mut resource);
                found.insert(format!("{field} {name}"), resource);
            }
        }
    }
    let asked = asked_for(&found);
    found.retain(|name, _| {
        name.strip_prefix("route_config ")
            .is_none_or(|name| asked.contains(name))
    });
    Ok(found)
}

/// Route tables that listeners in force ask for: Envoy keeps others for as long as a listener drains that is gone.
fn asked_for(resources: &Resources) -> BTreeSet<String> {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
            Value::Object(fields) => {
                names.extend(
                    fields
                        .get("route_config_name")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                fields.values().for_each(|field| collect(field, names));
            }
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    let listeners = resources.iter().filter(|(name, _)| name.starts_with("listener "));
    listeners.for_each(|(_, listener)| collect(listener, &mut names));
    names
}

/// A number of JSON in one way: what metadata has as 80, some write as 80.0.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0) {
                *value = json!(whole);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Hosts of each cluster, as the proxy tells them.
async fn hosts(proxy: &Proxy) -> Result<BTreeSet<String>> {
    let admin = SocketAddr::new(proxy.address.into(), 15000);
    let page = client::get(admin, "/clusters").await?.text();
    let host = |line: &str| {
        let mut words = line.split("::");
        let (cluster, host) = (words.next()?, words.next()?);
        (words.next()? == "health_flags" && cluster.contains('|')).then(|| format!("{cluster} {host}"))
    };
    Ok(page.lines().filter_map(host).collect())
}

/// What stands in one and not, or not so, in the other.
fn differences(a: &Resources, b: &Resources) -> Vec<String> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differs = names.into_iter().filter(|name| a.get(*name) != b.get(*name));
    let show = |value: Option<&Value>| {
        value.map_or("nothing".to_owned(), |value| {
            value.to_string().chars().take(3000).collect()
        })
    };
    differs
        .map(|name| format!("{name}:\n    {}\n    {}", show(a.get(name)), show(b.get(name))))
        .collect()
}

/// A proxy of each kind and variant in one role.
struct Four {
    role: &'static str,
    all: Vec<(Plane, XdsMode, Proxy)>,
}

impl Four {
    fn start(mesh: &mut Small, role: &'static str, router: bool) -> Result<Self> {
        let mut all = Vec::new();
        for plane in PLANES {
            for mode in [XdsMode::Delta, XdsMode::Sotw] {
                all.push((plane, mode, mesh.proxy(plane, mode, router)?));
            }
        }
        Ok(Four { role, all })
    }

    /// All have the same, and what this step has written.
    async fn agree(&self, step: usize) -> Result<usize> {
        let (plane, mode, first) = &self.all[0];
        let (expected, expected_hosts) = (in_force(first).await?, hosts(first).await?);
        ensure!(
            expected.keys().any(|name| name.contains(&mark(step))),
            "{} {plane:?} {mode:?} has not got step {step}",
            self.role
        );
        for (plane, mode, proxy) in &self.all[1..] {
            let (found, found_hosts) = (in_force(proxy).await?, hosts(proxy).await?);
            let differences = differences(&expected, &found);
            ensure!(
                differences.is_empty(),
                "{} {plane:?} {mode:?} differs:\n  {}",
                self.role,
                differences.join("\n  ")
            );
            let other: Vec<&String> = expected_hosts.symmetric_difference(&found_hosts).collect();
            ensure!(
                other.is_empty(),
                "{} {plane:?} {mode:?} has other hosts: {other:?}",
                self.role
            );
        }
        Ok(expected.len())
    }
}

fn number(variable: &str, otherwise: usize) -> Result<usize> {
    let said = std::env::var(variable).ok().map(|text| text.parse());
    Ok(said
        .transpose()
        .with_context(|| variable.to_owned())?
        .unwrap_or(otherwise))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_variants_of_xds_lead_to_the_same_state() -> Result<()> {
    let steps = number("MELTEMI_DIALECT_STEPS", STEPS)?;
    let seed = number("MELTEMI_DIALECT_SEED", 1)?;
    let mut random = Random(seed as u64);
    let mut mesh = Small::new()?;
    let config = mesh.config();
    write(&config.join("ingress.yaml"), &[objects::ingress()])?;
    write_mark(&config, 0)?;
    mesh.start_pilot()?;
    let roles = [
        Four::start(&mut mesh, "sidecar", false)?,
        Four::start(&mut mesh, "gateway", true)?,
    ];
    for (_, _, proxy) in roles.iter().flat_map(|role| &role.all) {
        proxy.ready().await.with_context(|| mesh.pilot_log())?;
    }
    let begun = Instant::now();
    let mut compared = 0;
    for step in 1..=steps {
        let changed: Result<Vec<String>> = (0..=random.below(CHANGES))
            .map(|_| change(&config, &mut random))
            .collect();
        let changed = changed?;
        write_mark(&config, step)?;
        for role in &roles {
            let what = format!(
                "step {step} of seed {seed} is everywhere the same:\n  {}",
                changed.join("\n  ")
            );
            compared += eventually(&what, LIMIT, || role.agree(step)).await?;
        }
    }
    for (_, _, proxy) in roles.iter().flat_map(|role| &role.all) {
        proxy.accepts_all().await?;
    }
    eprintln!(
        "{steps} steps in {:.1?}; {compared} resources, each in four proxies",
        begun.elapsed()
    );
    Ok(())
}
