//! What a group of files runs in: one pilot with the configuration of all of them, and pairs of proxies, ours and Envoy, in the same places.
//!
//! A folder below `tests/scenarios` is a group; its `mesh.yaml` is the mesh's configuration. Each file is a namespace with addresses
//! of its own, so that files do not meet; a mesh for each scenario would take hours.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::client::{self, eventually};
use mesh_tests::mesh;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::backend::Backends;
use crate::objects::{self, Endpoint};
use crate::proxy::{PLANES, Plane, Proxy, Role};
use crate::scenario::{Ask, File, From, Head, Words, Workload};

const FIRST_LOCAL_PORT: u16 = 20_000;

/// A proxy of each kind, in one place.
pub struct Pair([Proxy; 2]);

pub struct World {
    pub files: Vec<File>,
    pub backends: Backends,
    pub authority: Authority,
    client: Pair,
    gateway: Pair,
    own: BTreeMap<(String, &'static str), Pair>,
    local_ports: BTreeMap<String, u16>,
    pilot: Child,
    _lock: TcpListener,
    pub folder: tempfile::TempDir,
}

/// Where addresses of a group come from: `127.<net>.0.0/16`, of which nobody else has this part.
pub struct Net(u8);

impl Net {
    pub fn take() -> Result<(Net, TcpListener)> {
        let free = (200..=250).find_map(|net| {
            let lock = TcpListener::bind((Ipv4Addr::new(127, net, 255, 254), 15999)).ok()?;
            Some((Net(net), lock))
        });
        free.context("no part of 127.0.0.0/8 is free")
    }

    pub fn address(&self, file: usize, n: usize) -> Result<Ipv4Addr> {
        Ok(Ipv4Addr::new(127, self.0, u8::try_from(file)?, u8::try_from(n)?))
    }
}

/// Rows of the net: 0 for what a group has once, 1 for files' own proxies, then a row for each file.
const FIRST_FILE: usize = 3;

impl Pair {
    pub fn of(&self, plane: Plane) -> &Proxy {
        &self.0[plane as usize]
    }
}

impl World {
    /// Starts a group with those of its files that the filter names.
    pub async fn start(group: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Option<Self>> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(group)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        paths.sort();
        paths.retain(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            path.extension().is_some_and(|end| end == "yaml") && name != "mesh" && wanted(&name)
        });
        if paths.is_empty() {
            return Ok(None);
        }
        let names: Vec<String> = paths
            .iter()
            .map(|path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
            .collect();
        let (net, lock) = Net::take()?;
        let authority = Authority::new()?;
        let backends = Backends::start(authority.backend(names.iter().map(String::as_str))?).await?;
        let folder = tempfile::Builder::new().prefix("mlt").rand_bytes(5).tempdir()?;
        authority.write(&folder.path().join("certs"))?;
        let dead = closed_port()?;
        let mut files = Vec::new();
        let config = folder.path().join("config");
        std::fs::create_dir_all(&config)?;
        for (at, path) in paths.iter().enumerate() {
            let row = at + FIRST_FILE;
            let words = |name: &str, head: &Head| words(name, head, &net, row, backends.port, dead, folder.path());
            let file = File::read(path, &words)?;
            for (n, backend) in file.head.backends.iter().enumerate() {
                backends.name(net.address(row, n + 1)?.into(), &backend.name);
            }
            write(&config, &file, &net, row, backends.port, dead)?;
            files.push(file);
        }
        let local_ports = local_ports(&files);
        write_objects(
            &config,
            "local-ports",
            &[objects::local_ports(&local_ports), objects::ingress()],
        )?;
        let mut starter = Starter {
            net: &net,
            pilot: SocketAddr::new(net.address(0, 250)?.into(), 15010),
            authority: &authority,
            folder: folder.path(),
            next: 1,
        };
        let own_roles = own_roles(&files, &net)?;
        starter.write_own(&config, &own_roles)?;
        for (_, role, _) in own_roles.iter().filter(|((_, kind), _, _)| *kind == "server") {
            for (_, _, port) in objects::APPLICATION_PORTS {
                backends
                    .serve_at(SocketAddr::new(role.application.into(), port))
                    .await?;
            }
        }
        let pilot = start_pilot(group, starter.pilot, &config, folder.path())?;
        let client = Workload {
            labels: BTreeMap::from([("app".into(), "client".into()), ("version".into(), "v1".into())]),
            ..Workload::default()
        };
        let client = starter.pair(&Role::new("client", "client", &client, false))?;
        let gateway = Workload {
            labels: BTreeMap::from([("istio".into(), "ingressgateway".into())]),
            ..Workload::default()
        };
        let gateway = starter.pair(&Role::new("ingressgateway", "istio-system", &gateway, true))?;
        let mut own = BTreeMap::new();
        for (key, role, first) in own_roles {
            starter.next = first;
            own.insert(key, starter.pair(&role)?);
        }
        let world = World {
            files,
            backends,
            authority,
            client,
            gateway,
            own,
            local_ports,
            pilot,
            _lock: lock,
            folder,
        };
        world.ready().await?;
        Ok(Some(world))
    }

    async fn ready(&self) -> Result<()> {
        for pair in self.pairs() {
            for plane in PLANES {
                pair.of(plane).ready().await.with_context(|| self.pilot_log())?;
            }
        }
        Ok(())
    }

    /// Nothing that pilot made was refused.
    pub async fn all_accepted(&self) -> Result<()> {
        for pair in self.pairs() {
            for plane in PLANES {
                pair.of(plane).accepts_all().await?;
            }
        }
        Ok(())
    }

    pub fn pilot_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pilot.log")).unwrap_or_default()
    }

    fn pairs(&self) -> impl Iterator<Item = &Pair> {
        [&self.client, &self.gateway].into_iter().chain(self.own.values())
    }

    /// The proxy that a question goes to first.
    pub fn proxy(&self, file: &File, from: From, plane: Plane) -> Result<&Proxy> {
        let own = |kind| self.own.get(&(file.name.clone(), kind));
        let pair = match from {
            From::Client => own("client").unwrap_or(&self.client),
            From::Gateway => &self.gateway,
            From::OwnGateway => own("gateway").context("the file has no gateway of its own")?,
            From::Server => own("server").context("the file has no server of its own")?,
        };
        Ok(pair.of(plane))
    }

    /// All addresses from which a plane's proxies dial.
    pub fn addresses(&self, plane: Plane) -> Vec<IpAddr> {
        self.pairs().map(|pair| pair.of(plane).address.into()).collect()
    }

    /// Where a question is sent.
    pub fn target(&self, file: &File, ask: &Ask, plane: Plane) -> Result<SocketAddr> {
        let proxy = self.proxy(file, ask.from, plane)?;
        let port = match (ask.from, &ask.connect, ask.port) {
            (From::Client, Some(connect), _) => {
                let key = local_key(file, connect)?;
                *self
                    .local_ports
                    .get(&key)
                    .with_context(|| format!("no local port of {key}"))?
            }
            (From::Client, None, port) => port.unwrap_or(15002),
            (From::Server, _, port) => port.unwrap_or(8080),
            (From::Gateway | From::OwnGateway, _, port) => {
                let wanted = port.unwrap_or(if ask.tls.is_some() { 443 } else { 80 });
                let known = objects::GATEWAY_PORTS.iter().find(|(_, port, _)| *port == wanted);
                known.with_context(|| format!("gateways have no port {wanted}"))?.2
            }
        };
        Ok(SocketAddr::new(proxy.address.into(), port))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.pilot.kill();
        let _ = self.pilot.wait();
    }
}

struct Starter<'a> {
    net: &'a Net,
    pilot: SocketAddr,
    authority: &'a Authority,
    folder: &'a Path,
    next: usize,
}

impl Starter<'_> {
    fn pair(&mut self, role: &Role) -> Result<Pair> {
        let mut proxies = Vec::new();
        for plane in PLANES {
            let address = self.net.address(proxy_row(self.next), self.next % 200)?;
            self.next += 1;
            proxies.push(Proxy::start(
                plane,
                role,
                address,
                self.pilot,
                self.authority,
                self.folder,
            )?);
        }
        let pair = <[Proxy; 2]>::try_from(proxies);
        Ok(Pair(pair.ok().context("two planes")?))
    }

    /// Objects for proxies of files' own.
    fn write_own(&self, config: &Path, own: &[OwnRole]) -> Result<()> {
        for ((file, kind), role, first) in own {
            let mut made = Vec::new();
            if *kind == "gateway" {
                made.push(objects::gateway_service(
                    &role.namespace,
                    &role.name,
                    json!(role.labels),
                ));
            }
            let mut pods = Vec::new();
            for n in [*first, first + 1] {
                let address = self.net.address(proxy_row(n), n % 200)?;
                let name = format!("{}-{n}", role.name);
                pods.push((name.clone(), address));
                made.push(objects::running(
                    &role.namespace,
                    &name,
                    json!(role.labels),
                    address,
                    &role.name,
                ));
            }
            if *kind == "server" {
                made.extend(objects::server_service(&role.namespace, &json!(role.labels), &pods));
            }
            write_objects(config, &format!("own-{kind}-{file}"), &made)?;
        }
        Ok(())
    }
}

fn proxy_row(n: usize) -> usize {
    n / 200
}

type OwnRole = ((String, &'static str), Role, usize);

/// Proxies that belong to one file, each with the number of the first of its two addresses.
fn own_roles(files: &[File], net: &Net) -> Result<Vec<OwnRole>> {
    let mut found: Vec<OwnRole> = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let of = [
            ("client", &file.head.client),
            ("gateway", &file.head.gateway),
            ("server", &file.head.server),
        ];
        for (kind, workload) in of {
            let Some(workload) = workload else { continue };
            let mut role = Role::new(kind, &file.name, workload, kind == "gateway");
            role.application = net.address(at + FIRST_FILE, 1)?;
            let first = 11 + 2 * found.len();
            found.push(((file.name.clone(), kind), role, first));
        }
    }
    Ok(found)
}

fn words(name: &str, head: &Head, net: &Net, row: usize, port: u16, dead: u16, folder: &Path) -> Words {
    let mut words = Words::from([
        ("NS".to_owned(), name.to_owned()),
        ("PORT".to_owned(), port.to_string()),
        ("DEAD".to_owned(), dead.to_string()),
        ("CERTS".to_owned(), folder.join("certs").display().to_string()),
    ]);
    for (n, backend) in head.backends.iter().enumerate() {
        let address = net.address(row, n + 1).map(|address| address.to_string());
        words.insert(format!("IP_{}", backend.name), address.unwrap_or_default());
    }
    words
}

fn write(config: &Path, file: &File, net: &Net, row: usize, port: u16, dead: u16) -> Result<()> {
    let endpoints: Result<Vec<Endpoint<'_>>> = (file.head.backends.iter().enumerate())
        .map(|(n, backend)| {
            Ok(Endpoint {
                name: &backend.name,
                labels: &backend.labels,
                address: net.address(row, n + 1)?,
            })
        })
        .collect();
    write_objects(
        config,
        &format!("standard-{}", file.name),
        &objects::standard(file, &endpoints?, port, dead),
    )?;
    std::fs::write(config.join(format!("{}.yaml", file.name)), placed(file)?)?;
    Ok(())
}

/// The file's own objects, each in the file's namespace unless it names another.
fn placed(file: &File) -> Result<String> {
    let mut texts = Vec::new();
    for text in file.config.split("\n---\n") {
        let Some((mut value, _)) = store::yaml::parse_plain(&file.path, text)? else {
            continue;
        };
        let metadata = &mut value["metadata"];
        ensure!(
            metadata.is_object(),
            "{}: an object without metadata",
            file.path.display()
        );
        if metadata.get("namespace").is_none() {
            metadata["namespace"] = json!(file.name);
        }
        texts.push(value.to_string());
    }
    Ok(texts.join("\n---\n"))
}

pub fn write_objects(config: &Path, name: &str, objects: &[Value]) -> Result<()> {
    let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
    Ok(std::fs::write(
        config.join(format!("{name}.yaml")),
        texts.join("\n---\n"),
    )?)
}

/// A port for each service port that a scenario dials.
fn local_ports(files: &[File]) -> BTreeMap<String, u16> {
    let mut ports = BTreeMap::new();
    let mut next = FIRST_LOCAL_PORT;
    for file in files {
        let asked = file.scenarios.iter().flat_map(|scenario| &scenario.ask);
        for connect in asked.filter_map(|ask| ask.connect.as_ref()) {
            let Ok(key) = local_key(file, connect) else { continue };
            ports.entry(key).or_insert_with(|| {
                next += 1;
                next
            });
        }
    }
    ports
}

/// `name:port` or `name.namespace:port` as the key of a local port.
fn local_key(file: &File, connect: &str) -> Result<String> {
    let (name, port) = connect
        .rsplit_once(':')
        .with_context(|| format!("connect: {connect}: name:port"))?;
    let (name, namespace) = name.split_once('.').unwrap_or((name, &file.name));
    Ok(format!("{namespace}.{name}.{port}"))
}

/// A port where nobody listens.
fn closed_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub fn start_pilot(group: &Path, grpc: SocketAddr, config: &Path, folder: &Path) -> Result<Child> {
    let text = std::fs::read_to_string(group.join("mesh.yaml")).unwrap_or_default();
    let parsed = store::yaml::parse_plain(&group.join("mesh.yaml"), &text)?;
    let mut settings = parsed.map_or_else(|| json!({}), |(value, _)| value);
    settings["accessLogFile"] = json!("/dev/stdout");
    settings["accessLogEncoding"] = json!("JSON");
    let file = folder.join("mesh.yaml");
    std::fs::write(&file, settings.to_string())?;
    let log = std::fs::File::create(folder.join("pilot.log"))?;
    let at = |port: u16| SocketAddr::new(grpc.ip(), port).to_string();
    let child = Command::new(mesh::meltemi())
        .args(["pilot-discovery", "discovery", "--secureGrpcAddr="])
        .arg("--configDir")
        .arg(config)
        .arg("--meshConfig")
        .arg(file)
        .args([
            "--httpAddr",
            &at(8080),
            "--monitoringAddr",
            &at(15014),
            "--grpcAddr",
            &grpc.to_string(),
        ])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(child)
}

/// Objects that pilot refuses, with the reason: a scenario without its configuration would show nothing.
pub async fn refused_objects(world: &World) -> Result<Vec<String>> {
    let pilot = world.client.of(Plane::Ours).address.octets();
    let address = SocketAddr::new(Ipv4Addr::new(127, pilot[1], 0, 250).into(), 8080);
    let page = eventually("pilot tells of its configuration", Duration::from_secs(10), || {
        client::get(address, "/debug/status")
    });
    let status = page.await?.json().context("/debug/status")?;
    let objects = status["objects"].as_array().context("/debug/status has no objects")?;
    let refused = objects.iter().filter(|object| object["valid"] == json!(false));
    let told = refused.map(|object| {
        let messages = object["messages"].as_array().into_iter().flatten();
        let texts: Vec<String> = messages
            .map(|message| format!("{}: {}", message["field"], message["text"]))
            .collect();
        format!(
            "{} {}/{}: {}",
            object["kind"],
            object["namespace"],
            object["name"],
            texts.join("; ")
        )
    });
    Ok(told.collect())
}
