//! A pilot with a folder of objects, and proxies that stand alone: no servers, no scenarios.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Child;

use anyhow::Result;
use mesh_tests::mesh::root;
use node::bootstrap::XdsMode;

use crate::authority::Authority;
use crate::pilots;
use crate::proxy::{Pilot, Plane, Proxy, Role};
use crate::scenario::Workload;
use crate::world::Net;

pub struct Small {
    authority: Authority,
    net: Net,
    pilot: Option<Child>,
    next: usize,
    folder: tempfile::TempDir,
    _lock: TcpListener,
}

impl Small {
    pub fn new() -> Result<Self> {
        let (net, lock) = Net::take()?;
        let folder = tempfile::Builder::new().prefix("mlt").rand_bytes(5).tempdir()?;
        std::fs::create_dir_all(folder.path().join("config"))?;
        Ok(Small {
            authority: Authority::new()?,
            net,
            pilot: None,
            next: 1,
            folder,
            _lock: lock,
        })
    }

    /// Where objects are written.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    fn address_of_pilot(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.net.address(0, 250)?.into(), 15010))
    }

    pub fn start_pilot(&mut self) -> Result<u32> {
        let group = root().join("tests/scenarios/main");
        let pilot = pilots::plain(&group, self.address_of_pilot()?, &self.config(), self.folder.path())?;
        let pid = pilot.id();
        self.pilot = Some(pilot);
        Ok(pid)
    }

    /// A proxy without anything behind it: a sidecar, or a gateway.
    pub fn proxy(&mut self, plane: Plane, mode: XdsMode, router: bool) -> Result<Proxy> {
        let mut workload = Workload::default();
        let (name, namespace) = if router {
            workload.labels.insert("istio".into(), "ingressgateway".into());
            ("ingressgateway", "istio-system")
        } else {
            ("client", "client")
        };
        let role = Role::new(name, namespace, &workload, router);
        let address = self.net.address(0, self.next)?;
        self.next += 1;
        let pilot = Pilot {
            address: self.address_of_pilot()?,
            mode,
            secure: false,
        };
        Proxy::start(plane, &role, address, &pilot, &self.authority, self.folder.path())
    }

    pub fn pilot_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pilot.log")).unwrap_or_default()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Some(pilot) = &mut self.pilot {
            let _ = pilot.kill();
            let _ = pilot.wait();
        }
    }
}
