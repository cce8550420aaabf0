//! Cipher suites of TLS 1.2 as configuration names them (`cipherSuites`). Those of TLS 1.3 are no matter of choice.

/// Which data planes have a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    Both,
    /// CBC, or key exchange by RSA.
    EnvoyOnly,
    /// Of neither, or no suite at all.
    Unknown,
}

const BOTH: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
];
const ENVOY_ONLY: [&str; 8] = [
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
];

/// Who has the suite of this name.
pub fn suite(name: &str) -> Suite {
    if BOTH.contains(&name) {
        Suite::Both
    } else if ENVOY_ONLY.contains(&name) {
        Suite::EnvoyOnly
    } else {
        Suite::Unknown
    }
}

/// The names of a list that mean something, each once, in its order.
pub fn known(list: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in list {
        if suite(name) != Suite::Unknown && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}
