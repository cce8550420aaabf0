//! `x-forwarded-client-cert`: who called, as the certificates of each hop say.

use std::cell::OnceCell;

use crate::config::{ForwardClientCert, HttpConnectionManager};
use crate::connection::{ConnectionInfo, DownstreamTlsInfo};
use crate::head::{Headers, Name, OwnedValue};

const XFCC: &str = NAME.as_str();
const NAME: Name<'static> = Name::from_static("x-forwarded-client-cert");

/// Keeps, extends, replaces or removes the header, as the connection manager says. `ours` holds what we say of this connection, once made.
pub(super) fn forward_client_cert(
    manager: &HttpConnectionManager,
    connection: &ConnectionInfo,
    ours: &OnceCell<OwnedValue>,
    headers: &mut Headers,
) {
    let peer = connection.tls.as_ref().filter(|tls| tls.peer.is_some());
    match (manager.forward_client_cert, peer) {
        (ForwardClientCert::AlwaysForwardOnly, _) | (ForwardClientCert::ForwardOnly, Some(_)) => {}
        // Envoy removes what a plaintext peer claims, whatever it would have been put beside: nothing stands behind it.
        (ForwardClientCert::Sanitize, _) | (_, None) => {
            headers.remove(XFCC);
        }
        (ForwardClientCert::AppendForward, Some(tls)) => {
            let entry = ours.get_or_init(|| entry(manager, tls));
            match std::str::from_utf8(entry.as_bytes()) {
                // No entry holds a control character.
                Ok(text) if headers.contains(XFCC) => drop(headers.append_to_list(NAME, text)),
                _ => headers.append(NAME, entry.as_value()),
            }
        }
        (ForwardClientCert::SanitizeSet, Some(tls)) => {
            // What the client says never stays in the place of what we say.
            headers.remove(XFCC);
            headers.append(NAME, ours.get_or_init(|| entry(manager, tls)).as_value());
        }
    }
}

/// One hop, in Envoy's order of keys.
fn entry(manager: &HttpConnectionManager, tls: &DownstreamTlsInfo) -> OwnedValue {
    let mut parts = Vec::with_capacity(6);
    if let Some(uri) = &tls.local_uri {
        parts.push(format!("By={uri}"));
    }
    if let Some(peer) = &tls.peer {
        parts.push(format!("Hash={}", peer.sha256_hex));
        if manager.xfcc_subject {
            parts.push(format!(
                "Subject=\"{}\"",
                peer.subject.replace('\\', "\\\\").replace('"', "\\\"")
            ));
        }
        if manager.xfcc_uri {
            parts.extend(peer.uri_sans.iter().map(|uri| format!("URI={uri}")));
        }
        if manager.xfcc_dns {
            parts.extend(peer.dns_sans.iter().map(|dns| format!("DNS={dns}")));
        }
    }
    // A certificate may hold what a header cannot.
    let text = parts.join(";").replace(|c: char| c.is_control(), " ");
    OwnedValue::new(text.into_bytes()).expect("no control characters are left")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::config::Direction;
    use crate::head::Value;
    use crate::http::tests::harness;

    const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/cart";
    const OURS: &str = "spiffe://cluster.local/ns/shop/sa/reviews";

    fn connection(mutual: bool) -> ConnectionInfo {
        let peer = pki::PeerCertificate {
            uri_sans: vec![CLIENT.to_owned()],
            dns_sans: vec!["cart.shop".to_owned()],
            ip_sans: vec![],
            subject: "O=\"x\"".to_owned(),
            issuer: String::new(),
            serial: String::new(),
            sha256_hex: "abcd".to_owned(),
            authority_key_id: String::new(),
            subject_key_id: String::new(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
            is_ca: false,
        };
        let address: SocketAddr = "10.0.0.1:80".parse().expect("an address");
        ConnectionInfo {
            id: 1,
            local: address,
            remote: address,
            redirected: false,
            direction: Direction::Inbound,
            server_name: None,
            tls: mutual.then(|| DownstreamTlsInfo {
                peer: Some(Arc::new(peer)),
                local_uri: Some(OURS.into()),
                alpn: None,
                version: "TLSv1.3",
                cipher: "",
            }),
            chain: None,
        }
    }

    #[test]
    fn no_subject_lets_the_clients_word_stand() {
        for (subject, shown) in [("O=a\nb\0", "O=a b "), ("O=\u{e4}", "O=\u{e4}")] {
            for way in [ForwardClientCert::SanitizeSet, ForwardClientCert::AppendForward] {
                let mut manager = harness::plain_manager();
                manager.forward_client_cert = way;
                let mut connection = connection(true);
                let peer = connection.tls.as_mut().and_then(|tls| tls.peer.as_mut());
                Arc::get_mut(peer.expect("a peer")).expect("ours alone").subject = subject.to_owned();
                let mut headers = Headers::default();
                headers.append(Name::from_static(XFCC), Value::from_static("By=other"));
                forward_client_cert(&manager, &connection, &OnceCell::new(), &mut headers);
                let value = headers.get(XFCC).expect("our entry").as_bytes();
                let text = std::str::from_utf8(value).expect("text");
                assert!(text.contains(&format!("Subject=\"{shown}\"")), "{text}");
                assert_eq!(text.contains("By=other"), way == ForwardClientCert::AppendForward);
            }
        }
    }

    #[test]
    fn five_ways_with_a_certificate_and_without() {
        use ForwardClientCert::{AlwaysForwardOnly, AppendForward, ForwardOnly, Sanitize, SanitizeSet};
        let entry = format!("By={OURS};Hash=abcd;Subject=\"O=\\\"x\\\"\";URI={CLIENT};DNS=cart.shop");
        let appended = format!("By=other,{entry}");
        let cases = [
            (Sanitize, true, None),
            (Sanitize, false, None),
            (ForwardOnly, true, Some("By=other")),
            (ForwardOnly, false, None),
            (AppendForward, true, Some(appended.as_str())),
            (AppendForward, false, None),
            (SanitizeSet, true, Some(entry.as_str())),
            (SanitizeSet, false, None),
            (AlwaysForwardOnly, true, Some("By=other")),
            (AlwaysForwardOnly, false, Some("By=other")),
        ];
        for (way, mutual, expected) in cases {
            let mut manager = harness::plain_manager();
            manager.forward_client_cert = way;
            let mut headers = Headers::default();
            headers.append(Name::from_static(XFCC), Value::from_static("By=other"));
            forward_client_cert(&manager, &connection(mutual), &OnceCell::new(), &mut headers);
            assert_eq!(headers.text(XFCC), expected, "{way:?} {mutual}");
        }
    }
}
