//! Secrets as rows: what a certificate says of itself.

use std::time::SystemTime;

use base64::Engine;
use pki::peer::PeerCertificate;
use serde_json::Value;

pub(super) const HEADER: [&str; 7] = [
    "RESOURCE NAME",
    "TYPE",
    "STATUS",
    "VALID CERT",
    "SERIAL NUMBER",
    "NOT AFTER",
    "NOT BEFORE",
];

pub(super) fn rows(secrets: &[&Value]) -> Vec<[String; 7]> {
    secrets.iter().map(|entry| row(entry, SystemTime::now())).collect()
}

fn row(entry: &Value, now: SystemTime) -> [String; 7] {
    let secret = &entry["secret"];
    let (kind, source) = match secret {
        _ if secret.get("tls_certificate").is_some() => ("Cert Chain", &secret["tls_certificate"]["certificate_chain"]),
        _ if secret.get("validation_context").is_some() => ("CA", &secret["validation_context"]["trusted_ca"]),
        _ => ("Other", &Value::Null),
    };
    let name = entry["name"]
        .as_str()
        .or_else(|| secret["name"].as_str())
        .unwrap_or_default();
    let certificate = certificate(source);
    let status = if certificate.is_some() { "ACTIVE" } else { "WARMING" };
    let [valid, serial, not_after, not_before] = match certificate {
        Some(certificate) => describe(&certificate, now),
        None => ["-", "-", "-", "-"].map(str::to_owned),
    };
    [
        name.to_owned(),
        kind.to_owned(),
        status.to_owned(),
        valid,
        serial,
        not_after,
        not_before,
    ]
}

/// The first certificate of a data source.
fn certificate(source: &Value) -> Option<PeerCertificate> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(source["inline_bytes"].as_str().unwrap_or_default())
        .ok();
    let pem = source["inline_string"]
        .as_str()
        .map(|text| text.as_bytes().to_vec())
        .or(bytes)?;
    PeerCertificate::from_pem(&pem).ok()?.into_iter().next()
}

fn describe(certificate: &PeerCertificate, now: SystemTime) -> [String; 4] {
    let valid = certificate.not_before <= now && now < certificate.not_after;
    [
        valid.to_string(),
        certificate.serial.clone(),
        date(certificate.not_after),
        date(certificate.not_before),
    ]
}

fn date(time: SystemTime) -> String {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::from(time).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::dump::tests::sample;
    use super::*;

    #[test]
    fn a_secret_without_a_certificate_is_still_warming() {
        let dump = sample();
        let text: Vec<String> = rows(&dump.secrets()).iter().map(|row| row.join(" ")).collect();
        assert_eq!(
            text,
            ["default Cert Chain WARMING - - - -", "ROOTCA CA WARMING - - - -"]
        );
    }

    #[test]
    fn a_certificate_tells_its_life() {
        let end = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(86_400);
        assert_eq!(date(end), "1970-01-02T00:00:00Z");
    }
}
