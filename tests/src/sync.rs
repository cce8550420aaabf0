//! Waiting until configuration has arrived, and telling what proxies were given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::client::eventually;
use crate::mesh::Mesh;

const LIMIT: Duration = Duration::from_secs(10);

/// Waits until every pod's proxy has acknowledged all that follows from the directory as the control plane sees it.
pub async fn in_sync(mesh: &Mesh) -> Result<()> {
    eventually("all proxies in sync", LIMIT, async || {
        let proxies = mesh.debug("/debug/syncz").await?;
        let proxies = proxies.as_array().context("syncz is a list")?;
        let pods = mesh.pods()?;
        for pod in &pods {
            let name = format!("{}.{}", pod.name, pod.namespace);
            let entry = proxies.iter().find(|entry| entry["proxy"] == name.as_str());
            let entry = entry.with_context(|| format!("{name} is not connected"))?;
            ensure!(
                entry["synced"] == true && entry.get("rejected").is_none(),
                "{name} is not in sync: {entry}"
            );
        }
        ensure!(!pods.is_empty(), "no pods");
        Ok(())
    })
    .await
}

/// The generation of the configuration that the control plane works by.
pub async fn generation(mesh: &Mesh) -> Result<u64> {
    mesh.debug("/debug/push_status").await?["generation"]
        .as_u64()
        .context("no generation")
}

/// Edits the directory and waits until the change of content has arrived everywhere.
pub async fn after_change(mesh: &Mesh, edit: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = generation(mesh).await?;
    edit()?;
    eventually("the control plane has read the edit", LIMIT, async || {
        ensure!(generation(mesh).await? > before, "still generation {before}");
        Ok(())
    })
    .await?;
    in_sync(mesh).await
}

/// Where every object of some file stands: (kind, namespace, name) → line.
pub async fn lines(mesh: &Mesh, file: &str) -> Result<BTreeMap<String, u64>> {
    let objects = mesh.debug("/debug/status").await?;
    let objects = objects["objects"].as_array().context("status has objects")?;
    let of_file = objects.iter().filter(|object| {
        object["file"]
            .as_str()
            .is_some_and(|path| path.ends_with(&format!("/{file}")))
    });
    let entry = |object: &Value| {
        (
            format!("{} {}/{}", object["kind"], object["namespace"], object["name"]),
            object["line"].as_u64().unwrap_or(0),
        )
    };
    Ok(of_file.map(entry).collect())
}

/// Edits a file in a way that moves its objects, and waits until the control plane knows their new places.
pub async fn after_move(mesh: &Mesh, file: &str, edit: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = lines(mesh, file).await?;
    ensure!(!before.is_empty(), "{file} holds no object");
    edit()?;
    eventually("the control plane has read the edit", LIMIT, async || {
        let now = lines(mesh, file).await?;
        ensure!(now != before, "nothing in {file} has moved: {now:?}");
        ensure!(
            now.keys().eq(before.keys()),
            "{file} has other objects: {now:?}, {before:?}"
        );
        Ok(())
    })
    .await
}

/// Everything that proxies have been given: each resource of each proxy with its version and content, and the number of the last
/// response of each stream and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub resources: BTreeMap<String, Value>,
    pub responses: BTreeMap<String, String>,
}

impl Given {
    pub async fn now(mesh: &Mesh) -> Result<Self> {
        let mut given = Given {
            resources: BTreeMap::new(),
            responses: BTreeMap::new(),
        };
        let streams = mesh.debug("/debug/adsz").await?;
        for stream in streams["clients"].as_array().context("adsz lists clients")? {
            let proxy = stream["proxy"].as_str().context("a stream has a proxy")?;
            for (kind, watch) in stream["watches"].as_object().context("a stream has watches")? {
                // Where objects stand in files is told apart from what they configure, and only to our own proxy.
                if kind == "origins" {
                    continue;
                }
                given
                    .responses
                    .insert(format!("{proxy} {kind}"), watch["nonceSent"].to_string());
            }
            let dump = mesh.debug(&format!("/debug/config_dump?proxyID={proxy}")).await?;
            given.add(proxy, &dump)?;
        }
        ensure!(
            !given.resources.is_empty() && !given.responses.is_empty(),
            "no proxy was given anything"
        );
        Ok(given)
    }

    fn add(&mut self, proxy: &str, dump: &Value) -> Result<()> {
        for section in dump["configs"].as_array().context("a dump has sections")? {
            let lists = section
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(list, items)| Some((list, items.as_array()?)));
            for (list, items) in lists {
                for (index, item) in items.iter().enumerate() {
                    let resource = ["cluster", "listener", "route_config", "endpoint_config"]
                        .iter()
                        .find_map(|field| {
                            let inner = item.get(*field).or_else(|| item["active_state"].get(*field))?;
                            inner["name"].as_str().or_else(|| inner["cluster_name"].as_str())
                        });
                    let name = resource.map_or_else(|| index.to_string(), str::to_owned);
                    self.resources.insert(format!("{proxy} {list} {name}"), item.clone());
                }
            }
        }
        Ok(())
    }

    /// What is different, by name.
    pub fn differences(&self, other: &Given) -> Vec<String> {
        let mut found = different(&self.resources, &other.resources);
        found.extend(different(&self.responses, &other.responses));
        found
    }
}

fn different<T: PartialEq>(a: &BTreeMap<String, T>, b: &BTreeMap<String, T>) -> Vec<String> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names
        .into_iter()
        .filter(|name| a.get(*name) != b.get(*name))
        .cloned()
        .collect()
}
