//! `proxy-config`: a proxy's own account of its configuration.

mod cluster;
mod dump;
mod endpoint;
mod listener;
mod route;
mod secret;

use serde_json::Value;

use crate::flags::{ClusterFilter, EndpointFilter, Format, From, ListenerFilter, ProxyConfig, RouteFilter, What};
use crate::http::get;
use crate::output;
use crate::place::Mesh;
use dump::Dump;

pub(crate) async fn run(flags: ProxyConfig) -> Result<String, String> {
    match flags.what {
        What::Cluster { from, filter } => Ok(clusters(&dump(&from).await?, &filter, from.output)),
        What::Listener { from, filter } => Ok(listeners(&dump(&from).await?, &filter, from.output)),
        What::Route { from, filter } => Ok(routes(&dump(&from).await?, &filter, from.output)),
        What::Secret { from } => Ok(secrets(&dump(&from).await?, from.output)),
        What::Endpoint { from, filter } => endpoints(&from, &filter).await,
        What::Bootstrap { from } => bootstrap(&dump(&from).await?, from.output),
        What::All { from } => all(&from).await,
    }
}

fn clusters(dump: &Dump, filter: &ClusterFilter, format: Format) -> String {
    let found = cluster::select(dump, filter);
    show(format, &found, || {
        output::table(cluster::HEADER, &cluster::rows(&found))
    })
}

fn listeners(dump: &Dump, filter: &ListenerFilter, format: Format) -> String {
    let found = listener::select(dump, filter);
    show(format, &found, || {
        output::table(listener::HEADER, &listener::rows(&found)) + &refusals(dump)
    })
}

fn routes(dump: &Dump, filter: &RouteFilter, format: Format) -> String {
    let found = route::select(dump, filter);
    show(format, &found, || output::table(route::HEADER, &route::rows(&found)))
}

fn secrets(dump: &Dump, format: Format) -> String {
    let found = dump.secrets();
    show(format, &found, || output::table(secret::HEADER, &secret::rows(&found)))
}

/// Where somebody has to look when the table does not show what was written.
fn refusals(dump: &Dump) -> String {
    let lines: Vec<String> = dump
        .refusals()
        .iter()
        .map(|(name, why)| format!("REFUSED {name}: {why}\n"))
        .collect();
    lines.concat()
}

async fn endpoints(from: &From, filter: &EndpointFilter) -> Result<String, String> {
    let statuses = match &from.file {
        Some(_) => endpoint::of_dump(&dump(from).await?),
        None => endpoint::of_clusters(&ask(from, "/clusters?format=json").await?),
    };
    let found: Vec<endpoint::Endpoint> = statuses
        .into_iter()
        .filter(|endpoint| endpoint.matches(filter))
        .collect();
    let values: Vec<Value> = found.iter().map(|endpoint| endpoint.value.clone()).collect();
    let values: Vec<&Value> = values.iter().collect();
    Ok(show(from.output, &values, || {
        output::table(endpoint::HEADER, &endpoint::rows(&found))
    }))
}

/// One object, which has no short form.
fn bootstrap(dump: &Dump, format: Format) -> Result<String, String> {
    let bootstrap = dump.bootstrap().ok_or("the config dump holds no bootstrap")?;
    Ok(if format == Format::Yaml {
        output::yaml(bootstrap)
    } else {
        output::json(bootstrap)
    })
}

async fn all(from: &From) -> Result<String, String> {
    let dump = dump(from).await?;
    match from.output {
        Format::Json => return Ok(output::json(dump.value())),
        Format::Yaml => return Ok(output::yaml(dump.value())),
        Format::Short => {}
    }
    let parts = [
        clusters(&dump, &ClusterFilter::default(), Format::Short),
        listeners(&dump, &ListenerFilter::default(), Format::Short),
        routes(&dump, &RouteFilter::default(), Format::Short),
        endpoints(from, &EndpointFilter::default()).await?,
        secrets(&dump, Format::Short),
    ];
    Ok(parts.join("\n"))
}

fn show(format: Format, values: &[&Value], short: impl FnOnce() -> String) -> String {
    let list = || Value::from(values.iter().map(|value| (*value).clone()).collect::<Vec<_>>());
    match format {
        Format::Short => short(),
        Format::Json => output::json(&list()),
        Format::Yaml => output::yaml(&list()),
    }
}

async fn dump(from: &From) -> Result<Dump, String> {
    match &from.file {
        Some(file) => {
            let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
            let value = serde_json::from_slice(&text)
                .map_err(|error| format!("{}: not a config dump: {error}", file.display()))?;
            Ok(Dump::new(value))
        }
        None => ask(from, "/config_dump?include_eds").await.map(Dump::new),
    }
}

async fn ask(from: &From, path: &str) -> Result<Value, String> {
    let (address, whom) = match (&from.proxy_admin_address, &from.pod) {
        (Some(address), _) => (address.clone(), "the proxy".to_owned()),
        (None, pod) => {
            let mesh = Mesh::find(&from.mesh)?;
            let pod = mesh.pod(pod.as_deref().unwrap_or_default(), from.mesh.namespace.as_deref())?;
            let title = format!("the proxy of {}.{}", pod.name, pod.namespace);
            (
                pod.admin
                    .clone()
                    .ok_or_else(|| format!("{}.{} has no proxy", pod.name, pod.namespace))?,
                title,
            )
        }
    };
    let body = get(&address, path, &whom).await?;
    serde_json::from_slice(&body)
        .map_err(|error| format!("{whom} at {address}: the answer to {path} is not JSON: {error}"))
}
