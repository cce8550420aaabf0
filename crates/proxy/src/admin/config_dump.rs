//! `/config_dump`: what is in force, what waits, and what was refused with the reason.
//!
//! The proxy keeps resources as the bytes they came in. To print them takes the descriptors of every Envoy message, so the bytes go to a child
//! process that knows them ([`super::render`]), and its output is the answer.

use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::{Message, Name};
use proto::envoy::envoy::admin::v3::{
    ClientResourceStatus, ClustersConfigDump, EndpointsConfigDump, ListenersConfigDump, RoutesConfigDump,
    SecretsConfigDump, UpdateFailureState, clusters_config_dump as clusters, endpoints_config_dump as endpoints,
    listeners_config_dump as listeners, routes_config_dump as routes, secrets_config_dump as secrets,
};
use proto::envoy::google::protobuf::{Any, Timestamp};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Pages;
use super::page::{Page, Query};
use super::render::{self, Input};
use crate::control::{Accepted, Kind, Refused, State};

/// A child that needs longer is stuck.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What of the configuration is asked for.
#[derive(Default)]
pub(super) struct Selection {
    /// One field of one of the sections, such as `dynamic_listeners`.
    pub(super) resource: Option<String>,
    pub(super) name: Option<regex::Regex>,
    pub(super) endpoints: bool,
}

pub(super) async fn page(pages: &Rc<Pages>, query: &Query) -> Page {
    if query.has("mask") {
        tracing::warn!("/config_dump: `mask` has no effect here, the whole resource is shown");
    }
    let name = match query.regex("name_regex") {
        Ok(name) => name,
        Err(page) => return page,
    };
    let resource = query.get("resource").map(str::to_owned);
    let selection = Selection {
        endpoints: query.has("include_eds") || resource.is_some(),
        resource,
        name,
    };
    let input = {
        let state = pages.state.borrow();
        let configs = dump(&state, &selection);
        let with_bootstrap = selection
            .resource
            .as_deref()
            .is_none_or(|resource| resource == "bootstrap");
        if configs.is_empty() && !with_bootstrap {
            let resource = selection.resource.as_deref().unwrap_or_default();
            return Page::text(404, format!("{resource} not found in config dump\n"));
        }
        Input {
            bootstrap: with_bootstrap.then(|| pages.bootstrap.text.clone()),
            started: timestamp_text(state.started),
            configs,
        }
        .encode()
    };
    match tokio::time::timeout(TIMEOUT, child(input)).await {
        Ok(Ok(body)) => Page {
            status: 200,
            content_type: "application/json",
            body: body.into(),
        },
        Ok(Err(error)) => Page::text(500, format!("the configuration cannot be rendered: {error}\n")),
        Err(_) => Page::text(500, format!("the configuration was not rendered within {TIMEOUT:?}\n")),
    }
}

async fn child(input: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(render::COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take();
    let feed = async {
        if let Some(stdin) = &mut stdin {
            stdin.write_all(&input).await?;
        }
        drop(stdin);
        std::io::Result::Ok(())
    };
    let (fed, output) = tokio::join!(feed, child.wait_with_output());
    let output = output?;
    if !output.status.success() {
        anyhow::bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    fed?;
    Ok(output.stdout)
}

/// The sections, or the items of the one that is asked for.
pub(super) fn dump(state: &State, selection: &Selection) -> Vec<Any> {
    let mut out = Out {
        selection,
        configs: Vec::new(),
    };
    out.section(clusters(state, selection), |dump, out| {
        out.items("static_clusters", &dump.static_clusters);
        out.items("dynamic_active_clusters", &dump.dynamic_active_clusters);
        out.items("dynamic_warming_clusters", &dump.dynamic_warming_clusters);
    });
    if selection.endpoints {
        out.section(endpoints(state, selection), |dump, out| {
            out.items("dynamic_endpoint_configs", &dump.dynamic_endpoint_configs)
        });
    }
    out.section(listeners(state, selection), |dump, out| {
        out.items("static_listeners", &dump.static_listeners);
        out.items("dynamic_listeners", &dump.dynamic_listeners);
    });
    out.section(routes(state, selection), |dump, out| {
        out.items("dynamic_route_configs", &dump.dynamic_route_configs)
    });
    out.section(secrets(state, selection), |dump, out| {
        out.items("dynamic_active_secrets", &dump.dynamic_active_secrets)
    });
    out.configs
}

struct Out<'a> {
    selection: &'a Selection,
    configs: Vec<Any>,
}

impl Out<'_> {
    fn section<M: Message + Name>(&mut self, dump: M, items: impl FnOnce(&M, &mut Self)) {
        match self.selection.resource {
            None => self.configs.push(proto::any(&M::type_url(), &dump)),
            Some(_) => items(&dump, self),
        }
    }

    fn items<M: Message + Name>(&mut self, field: &str, items: &[M]) {
        if self.selection.resource.as_deref() == Some(field) {
            self.configs
                .extend(items.iter().map(|item| proto::any(&M::type_url(), item)));
        }
    }
}

/// One resource: in force or waiting, refused, or both.
struct Entry<'a> {
    kind: Kind,
    name: &'a Arc<str>,
    accepted: Option<&'a Accepted>,
    refused: Option<&'a Refused>,
}

impl Entry<'_> {
    fn version(&self) -> String {
        self.accepted
            .map(|accepted| accepted.version.to_string())
            .unwrap_or_default()
    }

    fn body(&self) -> Option<Any> {
        self.accepted.map(|accepted| Any {
            type_url: self.kind.type_url().to_owned(),
            value: accepted.body.to_vec(),
        })
    }

    fn updated(&self) -> Option<Timestamp> {
        self.accepted.map(|accepted| timestamp(accepted.updated))
    }

    fn error(&self) -> Option<UpdateFailureState> {
        self.refused.map(|refused| UpdateFailureState {
            failed_configuration: refused.body.clone(),
            last_update_attempt: Some(timestamp(refused.attempted)),
            details: refused.reason.clone(),
            version_info: refused.version.clone(),
        })
    }

    fn status(&self) -> i32 {
        let status = if self.refused.is_some() {
            ClientResourceStatus::Nacked
        } else {
            ClientResourceStatus::Acked
        };
        status as i32
    }
}

fn entries<'a>(state: &'a State, kind: Kind, selection: &Selection) -> Vec<Entry<'a>> {
    let refused = state.records.refused(kind);
    let accepted = state.records.accepted(kind).map(|(name, accepted)| Entry {
        kind,
        name,
        accepted: Some(accepted),
        refused: refused.get(name),
    });
    let only_refused = refused
        .iter()
        .filter(|(name, _)| state.records.get(kind, name).is_none())
        .map(|(name, refused)| Entry {
            kind,
            name,
            accepted: None,
            refused: Some(refused),
        });
    let wanted = |entry: &Entry<'_>| selection.name.as_ref().is_none_or(|name| name.is_match(entry.name));
    accepted.chain(only_refused).filter(wanted).collect()
}

fn statics(state: &State, kind: Kind) -> impl Iterator<Item = (Option<Any>, Option<Timestamp>)> {
    let of_kind = state.statics.iter().filter(move |(known, _)| *known == kind);
    of_kind.map(|(_, body)| (Some(body.clone()), Some(timestamp(state.started))))
}

fn clusters(state: &State, selection: &Selection) -> ClustersConfigDump {
    let mut dump = ClustersConfigDump {
        version_info: state.records.version(Kind::Cluster).to_owned(),
        static_clusters: statics(state, Kind::Cluster)
            .map(|(cluster, last_updated)| clusters::StaticCluster { cluster, last_updated })
            .collect(),
        ..Default::default()
    };
    for entry in entries(state, Kind::Cluster, selection) {
        let is_active = entry.accepted.is_some() && state.clusters.is_warm(entry.name);
        let list = if is_active {
            &mut dump.dynamic_active_clusters
        } else {
            &mut dump.dynamic_warming_clusters
        };
        list.push(clusters::DynamicCluster {
            version_info: entry.version(),
            cluster: entry.body(),
            last_updated: entry.updated(),
            error_state: entry.error(),
            client_status: entry.status(),
        });
    }
    dump
}

fn endpoints(state: &State, selection: &Selection) -> EndpointsConfigDump {
    let dynamic = |entry: Entry<'_>| endpoints::DynamicEndpointConfig {
        version_info: entry.version(),
        endpoint_config: entry.body(),
        last_updated: entry.updated(),
        error_state: entry.error(),
        client_status: entry.status(),
    };
    EndpointsConfigDump {
        dynamic_endpoint_configs: entries(state, Kind::Endpoint, selection)
            .into_iter()
            .map(dynamic)
            .collect(),
        ..Default::default()
    }
}

fn listeners(state: &State, selection: &Selection) -> ListenersConfigDump {
    let dynamic = |entry: Entry<'_>| {
        let held = entry.accepted.map(|accepted| listeners::DynamicListenerState {
            version_info: accepted.version.to_string(),
            listener: entry.body(),
            last_updated: entry.updated(),
        });
        let waits = state.listeners.is_waiting_for(entry.name);
        let (active_state, warming_state) = if waits { (None, held) } else { (held, None) };
        listeners::DynamicListener {
            name: entry.name.to_string(),
            active_state,
            warming_state,
            draining_state: None,
            error_state: entry.error(),
            client_status: entry.status(),
        }
    };
    ListenersConfigDump {
        version_info: state.records.version(Kind::Listener).to_owned(),
        static_listeners: statics(state, Kind::Listener)
            .map(|(listener, last_updated)| listeners::StaticListener { listener, last_updated })
            .collect(),
        dynamic_listeners: entries(state, Kind::Listener, selection)
            .into_iter()
            .map(dynamic)
            .collect(),
    }
}

fn routes(state: &State, selection: &Selection) -> RoutesConfigDump {
    let dynamic = |entry: Entry<'_>| routes::DynamicRouteConfig {
        version_info: entry.version(),
        route_config: entry.body(),
        last_updated: entry.updated(),
        error_state: entry.error(),
        client_status: entry.status(),
    };
    RoutesConfigDump {
        dynamic_route_configs: entries(state, Kind::Route, selection)
            .into_iter()
            .map(dynamic)
            .collect(),
        ..Default::default()
    }
}

fn secrets(state: &State, selection: &Selection) -> SecretsConfigDump {
    let dynamic = |entry: Entry<'_>| secrets::DynamicSecret {
        name: entry.name.to_string(),
        version_info: entry.version(),
        last_updated: entry.updated(),
        secret: entry.body(),
        error_state: entry.error(),
        client_status: entry.status(),
    };
    SecretsConfigDump {
        dynamic_active_secrets: entries(state, Kind::Secret, selection)
            .into_iter()
            .map(dynamic)
            .collect(),
        ..Default::default()
    }
}

fn timestamp(moment: SystemTime) -> Timestamp {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

fn timestamp_text(moment: SystemTime) -> String {
    time::OffsetDateTime::from(moment)
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}
