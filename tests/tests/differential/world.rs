//! What a group of files runs in: a pilot for each plane with the configuration of all of them, and pairs of proxies, ours and Envoy, in the same places.
//!
//! A folder below `tests/scenarios` is a group; its `mesh.yaml` is the mesh's configuration. Each file is a namespace with addresses
//! of its own, so that files do not meet; a mesh for each scenario would take hours.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mesh_tests::client::{self, eventually};
use node::bootstrap::XdsMode;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::backend::Backends;
use crate::capture;
use crate::group::{Group, stem};
use crate::objects::{self, Endpoint};
use crate::pilots::{Config, Pilots, SECURE_PORT};
use crate::proxy::{PLANES, Pilot, Plane, Proxy, Role};
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
    pilots: Pilots,
    config: Config,
    _lock: TcpListener,
    _folder: tempfile::TempDir,
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
    pub async fn start(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<Option<Self>> {
        let group = Group::read(folder)?;
        let paths: Vec<&PathBuf> = group.files.iter().filter(|path| wanted(path)).collect();
        if paths.is_empty() {
            return Ok(None);
        }
        let names: Vec<String> = paths.iter().map(|path| stem(path)).collect();
        let (net, lock) = Net::take()?;
        let authority = Authority::new()?;
        let backends = Backends::start(authority.backend(names.iter().map(String::as_str))?).await?;
        let at = folder;
        let folder = tempfile::Builder::new().prefix("mlt").rand_bytes(5).tempdir()?;
        authority.write(&folder.path().join("certs"))?;
        let dead = closed_port()?;
        let mut files = Vec::new();
        let config = Config::new(folder.path())?;
        for (at, path) in paths.iter().enumerate() {
            let row = at + FIRST_FILE;
            let ports = [("PORT", backends.port), ("GREETING", backends.greeting), ("DEAD", dead)];
            let words = |name: &str, head: &Head| words(name, head, &net, row, ports, folder.path());
            let file = File::read(path, &words)?;
            for (n, backend) in file.head.backends.iter().enumerate() {
                backends.name(net.address(row, n + 1)?.into(), &backend.name);
            }
            write(&config.common, &file, &net, row, backends.port, dead)?;
            files.push(file);
        }
        let captures = |file: &File| {
            [&file.head.client, &file.head.server]
                .into_iter()
                .flatten()
                .any(|own| own.captured)
        };
        if files.iter().any(captures) && !capture::is_possible()? {
            eprintln!("{}: left out: the kernel follows connections here", at.display());
            return Ok(None);
        }
        let local_ports = local_ports(&files);
        write_objects(
            &config.common,
            "local-ports",
            &[objects::local_ports(&local_ports), objects::ingress()],
        )?;
        let pilots_at = [net.address(0, 250)?, net.address(0, 249)?];
        let mut starter = Starter {
            net: &net,
            pilots: pilots_at,
            mode: group.mode,
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
        let pilots = Pilots::start(at, pilots_at, &config, &authority, folder.path())?;
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
            pilots,
            config,
            _lock: lock,
            _folder: folder,
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
        self.pilots.log()
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

    /// The sidecar of the file's own server, where questions come to it through another proxy.
    pub fn server_behind(&self, file: &File, from: From, plane: Plane) -> Option<&Proxy> {
        let own = self.own.get(&(file.name.clone(), "server"))?;
        (from != From::Server).then(|| own.of(plane))
    }

    /// Puts objects in place of those that the file has.
    pub fn put(&self, file: &File, objects: &str) -> Result<()> {
        let path = self.config.common.join(format!("{}.yaml", file.name));
        let mut all = std::fs::read_to_string(&path)?
            .split(BETWEEN)
            .map(serde_json::from_str)
            .collect::<Result<Vec<Value>, _>>()?;
        for object in placed(file, objects)? {
            let same = |other: &Value| {
                let key = |object: &Value| {
                    [
                        &object["kind"],
                        &object["metadata"]["namespace"],
                        &object["metadata"]["name"],
                    ]
                    .map(Value::clone)
                };
                key(other) == key(&object)
            };
            all.retain(|other| !same(other));
            all.push(object);
        }
        let written = path.with_extension("tmp");
        std::fs::write(&written, joined(&all))?;
        Ok(std::fs::rename(written, path)?)
    }

    /// All addresses from which a plane's proxies dial.
    pub fn addresses(&self, plane: Plane) -> Vec<IpAddr> {
        let own = self.pairs().map(|pair| pair.of(plane).address.into());
        own.chain([capture::SOURCE.into()]).collect()
    }

    /// Where a question is sent.
    pub fn target(&self, file: &File, ask: &Ask, plane: Plane) -> Result<SocketAddr> {
        let proxy = self.proxy(file, ask.from, plane)?;
        if ask.to.is_some() {
            let server = ask.from == From::Server;
            let port = if server { capture::INBOUND } else { capture::OUTBOUND };
            return Ok(SocketAddr::new(proxy.address.into(), port));
        }
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

struct Starter<'a> {
    net: &'a Net,
    pilots: [Ipv4Addr; 2],
    mode: XdsMode,
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
                &Pilot {
                    address: SocketAddr::new(self.pilots[plane as usize].into(), SECURE_PORT),
                    mode: self.mode,
                    secure: true,
                },
                self.authority,
                self.folder,
            )?);
        }
        let pair = <[Proxy; 2]>::try_from(proxies);
        Ok(Pair(pair.ok().context("two planes")?))
    }

    /// Objects for proxies of files' own. Only what says where they stand differs by plane: a client of one meets no server of the other.
    fn write_own(&self, config: &Config, own: &[OwnRole]) -> Result<()> {
        for ((file, kind), role, first) in own {
            let labels = json!(role.labels);
            if *kind == "gateway" {
                let service = objects::gateway_service(&role.namespace, &role.name, labels.clone());
                write_objects(&config.common, &format!("own-{kind}-{file}"), &[service])?;
            }
            for (n, plane) in (*first..).zip(PLANES) {
                let address = self.net.address(proxy_row(n), n % 200)?;
                let name = format!("{}-0", role.name);
                let mut made = vec![objects::running(
                    &role.namespace,
                    &name,
                    labels.clone(),
                    address,
                    &role.name,
                )];
                if *kind == "server" {
                    made.extend(objects::server_service(&role.namespace, &labels, &name, address));
                }
                if *kind == "gateway" {
                    made.push(objects::gateway_slice(&role.namespace, &role.name, &name, address));
                }
                if role.captured {
                    made.push(capture::filter(&role.namespace, kind, &labels, address));
                }
                write_objects(config.of(plane), &format!("own-{kind}-{file}"), &made)?;
            }
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

fn words(name: &str, head: &Head, net: &Net, row: usize, ports: [(&str, u16); 3], folder: &Path) -> Words {
    let mut words = Words::from([
        ("NS".to_owned(), name.to_owned()),
        ("CERTS".to_owned(), folder.join("certs").display().to_string()),
    ]);
    words.extend(ports.map(|(name, port)| (name.to_owned(), port.to_string())));
    for path in std::fs::read_dir(folder.join("certs")).into_iter().flatten().flatten() {
        let text = std::fs::read(path.path()).unwrap_or_default();
        words.insert(format!("BASE64_{}", stem(&path.path())), STANDARD.encode(text));
    }
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
    let own = placed(file, &file.config)?;
    Ok(std::fs::write(
        config.join(format!("{}.yaml", file.name)),
        joined(&own),
    )?)
}

/// The file's own objects, each in the file's namespace unless it names another.
fn placed(file: &File, config: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for text in config.split(BETWEEN) {
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
        objects.push(value);
    }
    Ok(objects)
}

/// Between the documents of a file.
const BETWEEN: &str = "\n---\n";

fn joined(objects: &[Value]) -> String {
    let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
    texts.join(BETWEEN)
}

pub fn write_objects(config: &Path, name: &str, objects: &[Value]) -> Result<()> {
    Ok(std::fs::write(config.join(format!("{name}.yaml")), joined(objects))?)
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
