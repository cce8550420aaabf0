//! The proxy's admin, as far as the agent asks it. Both data planes speak it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::address::HostPort;
use crate::http_client::{Call, CallError};

/// A client of one proxy's admin.
#[derive(Clone, Debug)]
pub struct Admin {
    target: HostPort,
    timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("the proxy's admin: {0}")]
    Call(#[from] CallError),
    #[error("the proxy's admin answers {status} to {path}")]
    Status { path: String, status: StatusCode },
}

impl Admin {
    pub fn new(target: HostPort) -> Self {
        Admin {
            target,
            timeout: Duration::from_secs(2),
        }
    }

    pub fn target(&self) -> &HostPort {
        &self.target
    }

    pub async fn get(&self, path: &str) -> Result<Bytes, AdminError> {
        let call = Call {
            timeout: self.timeout,
            ..Call::get(&self.target, path)
        };
        accepted(path, call.send().await?)
    }

    /// Envoy changes its state by POST only.
    pub async fn post(&self, path: &str) -> Result<Bytes, AdminError> {
        let call = Call {
            timeout: self.timeout,
            ..Call::post(&self.target, path)
        };
        accepted(path, call.send().await?)
    }

    /// Whether the proxy says that it takes traffic.
    pub async fn is_live(&self) -> Result<bool, AdminError> {
        match self.get("/ready").await {
            Ok(_) => Ok(true),
            Err(AdminError::Status {
                status: StatusCode::SERVICE_UNAVAILABLE,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Counters and gauges whose names match the regular expression.
    pub async fn stats(&self, filter: &str) -> Result<BTreeMap<String, u64>, AdminError> {
        let body = self.get(&format!("/stats?filter={}", percent_encode(filter))).await?;
        Ok(parse_stats(&String::from_utf8_lossy(&body)))
    }

    /// Names of the active listeners with their ports.
    pub async fn listeners(&self) -> Result<Vec<(String, u16)>, AdminError> {
        let body = self.get("/listeners").await?;
        Ok(parse_listeners(&String::from_utf8_lossy(&body)))
    }

    /// Connections of clients that are open now; none if the proxy does not count them. The scrape port's and the admin's are left out:
    /// whoever watches the drain must not prolong it.
    pub async fn active_connections(&self) -> Result<Option<u64>, AdminError> {
        let stats = self.stats(r"^listener\..*\.downstream_cx_active$").await?;
        let counts = |name: &str| name.starts_with("listener.") && name.ends_with(".downstream_cx_active");
        let traffic = stats
            .iter()
            .filter(|(name, _)| is_traffic(name))
            .map(|(_, value)| value);
        Ok(stats.keys().any(|name| counts(name)).then(|| traffic.sum()))
    }
}

fn accepted(path: &str, response: Response<Bytes>) -> Result<Bytes, AdminError> {
    match response.status() {
        status if status.is_success() => Ok(response.into_body()),
        status => Err(AdminError::Status {
            path: path.to_owned(),
            status,
        }),
    }
}

fn is_traffic(stat: &str) -> bool {
    let service = [
        "listener.admin.",
        "_15090.",
        "_15020.",
        "_15021.",
        "listener.prometheus.",
    ];
    !service.iter().any(|part| stat.contains(part))
        && !stat.contains(".worker_")
        && stat.ends_with(".downstream_cx_active")
}

/// `name: value` lines; histograms and texts are passed over.
fn parse_stats(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

/// `name::address:port` lines.
fn parse_listeners(text: &str) -> Vec<(String, u16)> {
    text.lines()
        .filter_map(|line| {
            let (name, address) = line.split_once("::")?;
            Some((name.to_owned(), address.rsplit_once(':')?.1.trim().parse().ok()?))
        })
        .collect()
}

/// For a query value: everything but letters, digits and `-._~`.
pub fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_read_and_histograms_passed_over() {
        let text = "server.state: 0\nlistener.0.0.0.0_15006.downstream_cx_active: 3\nh: P0(nan,1) P25(nan,2)\ncluster.a: b.c: 7\n";
        let stats = parse_stats(text);
        assert_eq!(stats.len(), 3);
        assert_eq!(stats["listener.0.0.0.0_15006.downstream_cx_active"], 3);
    }

    #[test]
    fn listeners_are_read_whatever_their_family() {
        let text = "virtualInbound::0.0.0.0:15006\n127.64.1.1_9080::127.64.1.1:9080\nsix::[::]:15001\nnoise\n";
        let ports: Vec<_> = parse_listeners(text).into_iter().map(|(_, port)| port).collect();
        assert_eq!(ports, [15006, 9080, 15001]);
    }

    #[test]
    fn only_traffic_keeps_a_drain_waiting() {
        let cases = [
            ("listener.0.0.0.0_15006.downstream_cx_active", true),
            ("listener.127.64.1.1_9080.downstream_cx_active", true),
            ("listener.127.64.1.1_9080.worker_0.downstream_cx_active", false),
            ("listener.admin.downstream_cx_active", false),
            ("listener.0.0.0.0_15090.downstream_cx_active", false),
        ];
        for (name, counted) in cases {
            assert_eq!(is_traffic(name), counted, "{name}");
        }
    }

    #[test]
    fn a_regular_expression_survives_a_query() {
        assert_eq!(percent_encode(r"^a\.(b|c)$"), "%5Ea%5C.%28b%7Cc%29%24");
    }
}
