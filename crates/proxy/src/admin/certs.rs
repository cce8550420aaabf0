//! `/certs`

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use pki::{PeerCertificate, San};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Pages;
use super::page::{Page, Query};
use crate::config::compile::SecretContent;

pub(super) fn page(pages: &Rc<Pages>, _: &Query) -> Page {
    let secrets = pages.state.borrow().tls().secrets();
    let certificates: Vec<Value> = secrets
        .iter()
        .map(|(name, content)| certificate(name, content))
        .collect();
    Page::json(&json!({ "certificates": certificates }))
}

fn certificate(secret: &str, content: &SecretContent) -> Value {
    let none: &[PeerCertificate] = &[];
    let (roots, chain) = match content {
        SecretContent::Identity(identity) => (none, identity.chain()),
        SecretContent::Validation(validation) => (validation.roots().map_or(none, |roots| roots.certificates()), none),
    };
    let all = |certificates: &[PeerCertificate]| -> Vec<Value> {
        certificates.iter().map(|one| details(secret, one)).collect()
    };
    json!({ "ca_cert": all(roots), "cert_chain": all(chain) })
}

fn details(secret: &str, certificate: &PeerCertificate) -> Value {
    let left = certificate
        .not_after
        .duration_since(SystemTime::now())
        .unwrap_or(Duration::ZERO);
    let names: Vec<Value> = certificate.sans().iter().map(name).collect();
    json!({
        "path": format!("<secret {secret}>"),
        "serial_number": certificate.serial,
        "subject_alt_names": names,
        "days_until_expiration": (left.as_secs() / (24 * 3600)).to_string(),
        "valid_from": timestamp(certificate.not_before),
        "expiration_time": timestamp(certificate.not_after),
    })
}

fn name(san: &San) -> Value {
    match san {
        San::Uri(uri) => json!({ "uri": uri }),
        San::Dns(dns) => json!({ "dns": dns }),
        San::Ip(ip) => json!({ "ip_address": ip }),
    }
}

fn timestamp(moment: SystemTime) -> String {
    OffsetDateTime::from(moment).format(&Rfc3339).unwrap_or_default()
}
