//! `x-forwarded-client-cert`: who called, as the certificates of each hop say.

use crate::config::{ForwardClientCert, HttpConnectionManager};
use crate::connection::{ConnectionInfo, DownstreamTlsInfo};
use crate::head::{Headers, Name, Value};

const XFCC: &str = "x-forwarded-client-cert";

/// Keeps, extends, replaces or removes the header, as the connection manager says.
pub(super) fn forward_client_cert(manager: &HttpConnectionManager, connection: &ConnectionInfo, headers: &mut Headers) {
    let peer = connection.tls.as_ref().filter(|tls| tls.peer.is_some());
    match (manager.forward_client_cert, peer) {
        (ForwardClientCert::AlwaysForwardOnly, _) | (ForwardClientCert::ForwardOnly, Some(_)) => {}
        (ForwardClientCert::Sanitize, _) | (ForwardClientCert::SanitizeSet | ForwardClientCert::ForwardOnly, None) => {
            headers.remove(XFCC);
        }
        // Envoy removes what a plaintext peer claims: nothing stands behind it.
        (ForwardClientCert::AppendForward, None) => {
            headers.remove(XFCC);
        }
        (ForwardClientCert::AppendForward, Some(tls)) => headers.append_to_list(Name::from_static(XFCC), &entry(manager, tls)),
        (ForwardClientCert::SanitizeSet, Some(tls)) => {
            if let Ok(value) = Value::from_str(&entry(manager, tls)) {
                headers.set(Name::from_static(XFCC), value);
            }
        }
    }
}

/// One hop, in Envoy's order of keys.
fn entry(manager: &HttpConnectionManager, tls: &DownstreamTlsInfo) -> String {
    let Some(peer) = &tls.peer else { return String::new() };
    let mut parts = Vec::with_capacity(6);
    if let Some(uri) = &tls.local_uri {
        parts.push(format!("By={uri}"));
    }
    parts.push(format!("Hash={}", peer.sha256_hex));
    if manager.xfcc_subject {
        parts.push(format!("Subject=\"{}\"", peer.subject.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    if manager.xfcc_uri {
        parts.extend(peer.uri_sans.iter().map(|uri| format!("URI={uri}")));
    }
    if manager.xfcc_dns {
        parts.extend(peer.dns_sans.iter().map(|dns| format!("DNS={dns}")));
    }
    parts.join(";")
}
