//! Rules of DestinationRule.

use super::common::{duration, export_to, host, is_dns_label, labels, percent, port, tls_files};
use super::{Context, Issues, Validate};
use crate::kinds::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, ConsistentHashLb, DestinationRule, LoadBalancerSettings,
    LocalityLbSetting, OutlierDetection, SimpleLb, TcpSettings, TrafficPolicy, TunnelSettings,
};

impl Validate for DestinationRule {
    fn validate(&self, _: Context<'_>, issues: &mut Issues) {
        if self.host.is_empty() {
            issues.error(
                "spec.host",
                "a DestinationRule needs a host",
                "name the service it is about",
            );
        } else {
            host("spec.host", &self.host, issues);
        }
        export_to(&self.export_to, issues);
        if let Some(policy) = &self.traffic_policy {
            traffic_policy("spec.trafficPolicy", policy, issues);
        }
        for (index, subset) in self.subsets.iter().enumerate() {
            let path = format!("spec.subsets[{index}]");
            if !subset.name.split('.').all(is_dns_label) {
                let rule = format!("{:?} is not a name for a subset", subset.name);
                issues.error(
                    format!("{path}.name"),
                    rule,
                    "write letters, digits and \"-\", such as v1",
                );
            }
            if self.subsets[..index].iter().any(|other| other.name == subset.name) {
                let rule = format!("subset {:?} is defined twice", subset.name);
                issues.error(format!("{path}.name"), rule, "give each subset a name of its own");
            }
            labels(&format!("{path}.labels"), &subset.labels, issues);
            if let Some(policy) = &subset.traffic_policy {
                traffic_policy(&format!("{path}.trafficPolicy"), policy, issues);
            }
        }
    }
}

fn traffic_policy(path: &str, policy: &TrafficPolicy, issues: &mut Issues) {
    let TrafficPolicy {
        load_balancer: balancer,
        connection_pool,
        outlier_detection,
        tls,
        tunnel,
        ..
    } = policy;
    if let Some(settings) = tunnel {
        tunnel_settings(&format!("{path}.tunnel"), settings, issues);
    }
    blocks(
        path,
        balancer.as_ref(),
        connection_pool.as_ref(),
        outlier_detection.as_ref(),
        tls.as_ref(),
        issues,
    );
    for (index, port_policy) in policy.port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{index}]");
        match &port_policy.port {
            Some(selector) => port(&format!("{path}.port.number"), selector.number, issues),
            None => issues.error(
                format!("{path}.port"),
                "settings of a port need the port",
                "write port: {number: ...}",
            ),
        }
        let (balancer, pool) = (port_policy.load_balancer.as_ref(), port_policy.connection_pool.as_ref());
        let (outliers, tls) = (port_policy.outlier_detection.as_ref(), port_policy.tls.as_ref());
        blocks(&path, balancer, pool, outliers, tls, issues);
    }
}

fn tunnel_settings(path: &str, tunnel: &TunnelSettings, issues: &mut Issues) {
    if !["", "CONNECT", "POST"].contains(&tunnel.protocol.as_str()) {
        issues.error(
            format!("{path}.protocol"),
            format!("{:?} is no way to ask for a tunnel", tunnel.protocol),
            "write CONNECT or POST",
        );
    }
    if tunnel.target_host.starts_with('*') || tunnel.target_host.is_empty() {
        issues.error(
            format!("{path}.targetHost"),
            "a tunnel leads to one host",
            "write its name or address",
        );
    } else {
        host(&format!("{path}.targetHost"), &tunnel.target_host, issues);
    }
    port(&format!("{path}.targetPort"), tunnel.target_port, issues);
}

fn blocks(
    path: &str,
    balancer: Option<&LoadBalancerSettings>,
    pool: Option<&ConnectionPoolSettings>,
    outliers: Option<&OutlierDetection>,
    tls: Option<&ClientTlsSettings>,
    issues: &mut Issues,
) {
    if let Some(balancer) = balancer {
        load_balancer(&format!("{path}.loadBalancer"), balancer, issues);
    }
    if let Some(ConnectionPoolSettings { tcp, http }) = pool {
        if let Some(tcp) = tcp {
            connection_pool_tcp(&format!("{path}.connectionPool.tcp"), tcp, issues);
        }
        if let Some(http) = http {
            duration(
                &format!("{path}.connectionPool.http.idleTimeout"),
                http.idle_timeout,
                issues,
            );
        }
    }
    if let Some(outliers) = outliers {
        outlier_detection(&format!("{path}.outlierDetection"), outliers, issues);
    }
    if let Some(tls) = tls {
        client_tls(&format!("{path}.tls"), tls, issues);
    }
}

fn load_balancer(path: &str, balancer: &LoadBalancerSettings, issues: &mut Issues) {
    if let Some(hash) = &balancer.consistent_hash {
        if balancer.simple.is_some_and(|simple| simple != SimpleLb::Unspecified) {
            issues.error(
                path,
                "simple and consistentHash exclude one another",
                "keep one of them",
            );
        }
        consistent_hash(&format!("{path}.consistentHash"), hash, issues);
    }
    if let Some(setting) = &balancer.locality_lb_setting {
        locality(&format!("{path}.localityLbSetting"), setting, issues);
    }
}

fn consistent_hash(path: &str, hash: &ConsistentHashLb, issues: &mut Issues) {
    let keys = [
        hash.http_header_name.is_some(),
        hash.http_cookie.is_some(),
        hash.use_source_ip.is_some(),
        hash.http_query_parameter_name.is_some(),
    ];
    if keys.into_iter().filter(|given| *given).count() != 1 {
        issues.error(
            path,
            "a consistent hash is taken over one thing",
            "give one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName",
        );
    }
    if let Some(cookie) = &hash.http_cookie
        && cookie.name.is_empty()
    {
        issues.error(
            format!("{path}.httpCookie.name"),
            "a cookie needs a name",
            "name the cookie to hash",
        );
    }
    if hash.ring_hash.is_some() && hash.maglev.is_some() {
        issues.error(path, "ringHash and maglev exclude one another", "keep one of them");
    }
}

pub(super) fn locality(path: &str, setting: &LocalityLbSetting, issues: &mut Issues) {
    if !setting.distribute.is_empty() && !setting.failover.is_empty() {
        issues.error(path, "distribute and failover exclude one another", "keep one of them");
    }
    for (index, distribute) in setting.distribute.iter().enumerate() {
        if distribute.to.values().map(|weight| u64::from(*weight)).sum::<u64>() != 100 {
            issues.error(
                format!("{path}.distribute[{index}].to"),
                "the weights do not sum to 100",
                "make them sum to 100",
            );
        }
    }
    for (index, failover) in setting.failover.iter().enumerate() {
        if failover.from == failover.to {
            let rule = "a region cannot fail over to itself";
            issues.error(
                format!("{path}.failover[{index}]"),
                rule,
                "name another region under to",
            );
        }
    }
}

fn connection_pool_tcp(path: &str, tcp: &TcpSettings, issues: &mut Issues) {
    duration(&format!("{path}.connectTimeout"), tcp.connect_timeout, issues);
    duration(
        &format!("{path}.maxConnectionDuration"),
        tcp.max_connection_duration,
        issues,
    );
}

fn outlier_detection(path: &str, outliers: &OutlierDetection, issues: &mut Issues) {
    duration(&format!("{path}.interval"), outliers.interval, issues);
    duration(&format!("{path}.baseEjectionTime"), outliers.base_ejection_time, issues);
    percent(
        &format!("{path}.maxEjectionPercent"),
        f64::from(outliers.max_ejection_percent),
        issues,
    );
    percent(
        &format!("{path}.minHealthPercent"),
        f64::from(outliers.min_health_percent),
        issues,
    );
}

pub(super) fn client_tls(path: &str, tls: &ClientTlsSettings, issues: &mut Issues) {
    let files = !tls.client_certificate.is_empty() || !tls.private_key.is_empty() || !tls.ca_certificates.is_empty();
    if !tls.credential_name.is_empty() && files {
        issues.error(path, "credentialName and files exclude one another", "keep one of them");
    }
    let named = [
        ("clientCertificate", &tls.client_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
        ("caCrl", &tls.ca_crl),
    ];
    tls_files(path, named, issues);
    match tls.mode {
        ClientTlsMode::Mutual if tls.credential_name.is_empty() => {
            for (field, file) in [
                ("clientCertificate", &tls.client_certificate),
                ("privateKey", &tls.private_key),
            ] {
                if file.is_empty() {
                    issues.error(
                        format!("{path}.{field}"),
                        "MUTUAL needs a certificate and its key",
                        "give the file's path",
                    );
                }
            }
        }
        ClientTlsMode::IstioMutual if files => {
            issues.error(
                path,
                "ISTIO_MUTUAL uses the workload's own certificate",
                "remove the files, or write mode: MUTUAL",
            );
        }
        _ => {}
    }
}
