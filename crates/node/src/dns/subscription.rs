//! The table of names, as pilot sends it.
//!
//! The agent has a stream of its own: the proxy may be an Envoy, which knows no such resource. The stream says by its user
//! agent that no proxy speaks there, so pilot does not count it as one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proto::istio::nds::v1::NameTable;
use proto::type_url::NAME_TABLE;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use xds::client::grpc::{Connecting, Connector, Event, Io, Options, Service, Session};
use xds::client::{Client as Xds, Dialect, Interest, Rejection, decode};

use super::names::Names;
use super::{Client, Table};
use crate::bootstrap::{Discovery, Node, XdsMode};
use crate::grpc;
use crate::identity::Secrets;

/// How the agent calls itself towards pilot.
const USER_AGENT: &str = "meltemi-agent";
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How pilot is reached, and by whom.
pub(crate) struct Pilot {
    pub(crate) discovery: Discovery,
    pub(crate) node: Node,
    pub(crate) secrets: watch::Receiver<Secrets>,
    /// The address to dial from.
    pub(crate) source: Option<IpAddr>,
}

/// Keeps the table as pilot has it; never ends.
pub(crate) async fn follow(pilot: Pilot, client: Client, search: Option<String>, publish: watch::Sender<Table>) {
    let mut session = pilot.session();
    let mut complaint = None;
    loop {
        match session.next().await {
            Event::Opened => complaint = None,
            Event::Closed { reason, retry_in } => {
                // Pilot that is away for hours is no news every few seconds.
                if complaint.replace(reason.clone()) != Some(reason.clone()) {
                    tracing::warn!(
                        reason,
                        ?retry_in,
                        "no stream to pilot for names; those in force stay in force"
                    );
                }
            }
            Event::Response(response) => {
                let Some(update) = session.client().receive(response) else {
                    continue;
                };
                let mut rejections = Vec::new();
                for resource in &update.changed {
                    match decode::<NameTable>(&resource.body) {
                        Ok(table) => {
                            let names = Names::new(&table, &client, search.as_deref());
                            tracing::debug!(names = names.len(), "names of the mesh");
                            publish.send_replace(Some(Arc::new(names)));
                        }
                        Err(reason) => rejections.push(Rejection {
                            name: resource.name.clone(),
                            reason,
                        }),
                    }
                }
                session.client().settle(update, rejections);
            }
        }
    }
}

// === impl Pilot ===

impl Pilot {
    fn session(self) -> Session {
        let dialect = match self.discovery.mode {
            XdsMode::Delta => Dialect::Delta,
            XdsMode::Sotw => Dialect::Sotw,
        };
        let mut client = Xds::new(dialect, self.node.message(USER_AGENT));
        client.subscribe(NAME_TABLE, Interest::Everything);
        let options = Options {
            service: Service::Aggregated,
            authority: self.discovery.address.to_string(),
            connect_timeout: self.discovery.connect_timeout,
            keep_alive: Some(KEEP_ALIVE),
            retry: RETRY,
        };
        Session::new(client, self.connector(), options)
    }

    fn connector(self) -> Connector {
        let pilot = Arc::new(self);
        Box::new(move || -> Connecting {
            let pilot = pilot.clone();
            Box::pin(async move { pilot.connect().await })
        })
    }

    async fn connect(&self) -> Result<Box<dyn Io>, String> {
        let address = &self.discovery.address;
        let named = |error: std::io::Error| format!("{address}: {error}");
        let Some(identity) = &self.discovery.pilot_identity else {
            return Ok(Box::new(self.dial().await.map_err(named)?));
        };
        let config = self.tls(identity).await?;
        let stream = self.dial().await.map_err(named)?;
        let stream = grpc::tls(stream, config, &address.host).await;
        let stream = stream.map_err(|error| format!("{address}: {}", pki::tls::explain_io(&error)))?;
        Ok(Box::new(stream))
    }

    async fn dial(&self) -> std::io::Result<tokio::net::TcpStream> {
        let address = &self.discovery.address;
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for target in tokio::net::lookup_host((address.host.as_str(), address.port)).await? {
            match self.dial_one(target).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn dial_one(&self, target: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
        let socket = match target {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.source.filter(|source| source.is_ipv4() == target.is_ipv4()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// With the certificate of the moment, which is waited for.
    async fn tls(&self, expected: &str) -> Result<Arc<pki::tls::rustls::ClientConfig>, String> {
        let mut secrets = self.secrets.clone();
        let ready = secrets.wait_for(|secrets| secrets.identity.is_some() && secrets.roots.is_some());
        let secrets = ready.await.map_err(|_| "there is no certificate".to_owned())?.clone();
        let (Some(identity), Some(roots)) = (secrets.identity, secrets.roots) else {
            return Err("there is no certificate".to_owned());
        };
        let unusable = |error: &dyn std::fmt::Display| format!("the certificate cannot be used: {error}");
        let identity = pki::tls::Identity::from_pem(identity.chain_pem.as_bytes(), identity.key_pem().as_bytes());
        let identity = identity.map_err(|error| unusable(&error))?;
        let roots = pki::tls::Roots::from_pem(roots.pem.as_bytes()).map_err(|error| unusable(&error))?;
        let verify = pki::tls::ServerVerify::Spiffe {
            roots,
            sans: vec![pki::SanMatch::Exact(expected.to_owned())],
        };
        pki::tls::client_config(Some(&identity), verify, &[b"h2"]).map_err(|error| unusable(&error))
    }
}
