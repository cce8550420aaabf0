//! Classes: made anew where needed, and never different from what would be made from nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use model::mesh::{InterceptionMode, Locality, Proxy, ProxyKind};
use store::{Batch, FileChange, Store};
use translate::ResourceType;

use super::{Discovery, Places, ProxyView, Trust};
use crate::metrics::Metrics;
use crate::registry::{Impact, Registry, Settings};
use crate::report::Reports;

struct World {
    store: Store,
    registry: Registry,
    discovery: Discovery,
    reports: Arc<Reports>,
}

type Versions = Vec<(ResourceType, String, u64)>;

impl World {
    fn new() -> Self {
        let metrics = Arc::new(Metrics::new(SystemTime::now()));
        let settings = Settings {
            domain: "cluster.local".into(),
            trust_domain: "".into(),
        };
        World {
            store: Store::new(store::Settings::default()),
            registry: Registry::new(settings),
            discovery: Discovery::new(metrics.clone()),
            reports: Arc::new(Reports::new(metrics)),
        }
    }

    fn write(&mut self, text: &str) {
        let change = FileChange::Content {
            source: 0,
            file: PathBuf::from("test.yaml"),
            text: text.to_owned(),
        };
        self.store.apply(Batch {
            files: vec![change],
            sources: Vec::new(),
        });
        let (snapshot, impact) = self.registry.update(&self.store, &self.store.mesh_config());
        let state = self.discovery.state();
        let impact = if state.generation == 0 {
            Impact::everything()
        } else {
            impact
        };
        let places = Arc::new(Places::new(&self.store));
        self.discovery
            .publish(state.next(snapshot, &impact, (places, self.registry.secrets()), Instant::now()));
    }

    fn view(&self) -> ProxyView {
        ProxyView::new(
            &self.discovery,
            self.reports.clone(),
            self.discovery.state(),
            Arc::new(proxy()),
            Trust::Identified,
        )
    }

    fn versions(&self) -> Versions {
        let view = self.view();
        let of = |ty: ResourceType| {
            let built = view.built(ty).clone();
            let resources: Vec<_> = built.resources().map(|r| (ty, r.name.to_string(), r.version)).collect();
            resources
        };
        ResourceType::ALL.into_iter().flat_map(of).collect()
    }
}

fn proxy() -> Proxy {
    Proxy {
        id: "sidecar~10.1.0.1~web-1.default~default.svc.cluster.local".into(),
        kind: ProxyKind::Sidecar,
        ips: vec!["10.1.0.1".parse().unwrap()],
        pod: "web-1".into(),
        namespace: "default".into(),
        dns_domain: "default.svc.cluster.local".into(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        annotations: Default::default(),
        service_account: "sa".into(),
        interception: InterceptionMode::Redirect,
        app_address: None,
        bind_address: None,
        locality: Locality::default(),
        network: String::new(),
        cluster: "Kubernetes".into(),
        version: String::new(),
        tracing: None,
        native: false,
        metadata: Default::default(),
    }
}

/// Services `web` and `api` with this many endpoints, `web` routed with these weights, each object preceded by `comment`.
fn mesh(web: usize, api: usize, weights: (u32, u32), comment: &str) -> String {
    let mut text = String::new();
    for (name, count) in [("web", web), ("api", api)] {
        let addresses =
            (1..=count).map(|n| format!("{{addresses: [10.{}.0.{n}]}}", name.len() + usize::from(name == "api")));
        let addresses: Vec<String> = addresses.collect();
        text += &format!(
            "---\n{comment}\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n\
             ---\n{comment}\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, namespace: default, \
             labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\n\
             endpoints: [{}]\n",
            addresses.join(", ")
        );
    }
    text + &format!(
        "---\n{comment}\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web, namespace: default}}\n\
         spec: {{hosts: [web], http: [{{route: [{{destination: {{host: web}}, weight: {}}}, {{destination: {{host: api}}, weight: {}}}]}}]}}\n",
        weights.0, weights.1
    )
}

#[test]
fn what_is_made_in_steps_is_what_would_be_made_at_once() {
    let steps = [
        mesh(1, 1, (90, 10), ""),
        mesh(2, 1, (90, 10), ""),
        mesh(2, 3, (50, 50), ""),
        mesh(2, 3, (50, 50), "# moved"),
        mesh(0, 3, (50, 50), ""),
        mesh(5, 0, (10, 90), "#"),
    ];
    let mut world = World::new();
    for (n, step) in steps.iter().enumerate() {
        world.write(step);
        let mut fresh = World::new();
        fresh.write(step);
        let versions = world.versions();
        assert!(!versions.is_empty());
        assert_eq!(versions, fresh.versions(), "step {n}");
    }
}

fn changed(before: &Versions, after: &Versions) -> Vec<ResourceType> {
    let mut types: Vec<ResourceType> = after
        .iter()
        .filter(|v| !before.contains(v))
        .map(|(ty, ..)| *ty)
        .collect();
    types.dedup();
    types
}

#[test]
fn a_change_changes_the_bytes_of_what_depends_on_it_alone() {
    let mut world = World::new();
    world.write(&mesh(2, 2, (90, 10), ""));
    let first = world.versions();
    world.write(&mesh(2, 2, (90, 10), "# three\n# lines\n# more"));
    assert_eq!(world.versions(), first, "only lines moved");
    world.write(&mesh(2, 2, (50, 50), ""));
    let second = world.versions();
    assert_eq!(changed(&first, &second), [ResourceType::Route]);
    world.write(&mesh(3, 2, (50, 50), ""));
    let third = world.versions();
    assert_eq!(changed(&second, &third), [ResourceType::Endpoint]);
}

#[test]
fn unchanged_resources_keep_their_bytes_in_memory_and_classes_are_shared() {
    let mut world = World::new();
    world.write(&mesh(2, 2, (90, 10), ""));
    let (one, other) = (world.view(), world.view());
    let before = one.built(ResourceType::Cluster).clone();
    assert!(Arc::ptr_eq(&before, other.built(ResourceType::Cluster)));
    world.write(
        &(mesh(2, 2, (90, 10), "")
            + "---\napiVersion: v1\nkind: Service\nmetadata: {name: new}\nspec: {ports: [{port: 1}]}\n"),
    );
    let after = world.view().built(ResourceType::Cluster).clone();
    assert!(!Arc::ptr_eq(&before, &after));
    let kept = before.resources().filter(|old| {
        after
            .resources()
            .any(|new| new.name == old.name && new.bytes.as_ptr() == old.bytes.as_ptr())
    });
    assert_eq!(kept.count(), before.resources().count());
}

#[test]
fn places_move_without_a_change_of_resources() {
    let mut world = World::new();
    world.write(&mesh(1, 1, (90, 10), ""));
    let before = world.discovery.state().places.version();
    world.write(&mesh(1, 1, (90, 10), "#"));
    assert_eq!(
        world.discovery.state().places.version(),
        before,
        "the comment stands after the document's line"
    );
    world.write(&mesh(1, 1, (90, 10), "# a\n# b"));
    assert_ne!(world.discovery.state().places.version(), before);
    let reference = world.store.list("VirtualService")[0].reference();
    let described = world.discovery.state().places.describe(&reference);
    assert!(
        described.starts_with("VirtualService default/web (test.yaml:"),
        "{described}"
    );
}
