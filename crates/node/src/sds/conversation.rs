//! One state-of-the-world stream, without any I/O.

use proto::envoy::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use proto::type_url::SECRET;
use tonic::Status;

use super::{Reaction, resources};
use crate::identity::Secrets;

/// More secrets than a proxy can want of one stream.
pub(super) const MAX_NAMES: usize = 64;

/// What one stream asked for and was told.
#[derive(Debug, Default)]
pub struct Conversation {
    names: Vec<String>,
    sent: String,
    nonce: u64,
}

impl Conversation {
    /// Hears a request; says what it meant and what to answer, if anything can be answered yet.
    pub fn hear(
        &mut self,
        request: DiscoveryRequest,
        secrets: &Secrets,
    ) -> Result<(Reaction, Option<DiscoveryResponse>), Status> {
        check_type(&request.type_url)?;
        check_names(&request.resource_names)?;
        if !request.response_nonce.is_empty() && request.response_nonce != self.nonce.to_string() {
            return Ok((Reaction::Stale, None));
        }
        if let Some(error) = request.error_detail {
            // The proxy's text speaks of certificates, never of the key's content.
            tracing::warn!(secrets = ?self.names, reason = error.message, "the proxy refuses a secret and keeps the one it had");
            return Ok((Reaction::Refused, None));
        }
        let accepted = !request.response_nonce.is_empty() && request.resource_names == self.names;
        if accepted {
            return Ok((Reaction::Accepted, None));
        }
        warn_unknown(&request.resource_names);
        self.names = request.resource_names;
        self.sent.clear();
        Ok((Reaction::Subscribed, self.update(secrets)))
    }

    /// What to send now that `secrets` are in force; nothing when the stream knows them, or when none it asked for exists yet.
    pub fn update(&mut self, secrets: &Secrets) -> Option<DiscoveryResponse> {
        let resources: Vec<_> = self
            .names
            .iter()
            .filter_map(|name| resources::resource(secrets, name))
            .collect();
        let version = resources
            .iter()
            .map(|resource| resource.version.as_str())
            .collect::<Vec<_>>()
            .join(",");
        if resources.is_empty() || version == self.sent {
            return None;
        }
        self.nonce += 1;
        self.sent.clone_from(&version);
        Some(DiscoveryResponse {
            version_info: version,
            resources: resources.into_iter().map(|resource| resource.any).collect(),
            type_url: SECRET.to_owned(),
            nonce: self.nonce.to_string(),
            ..Default::default()
        })
    }
}

pub(super) fn check_type(type_url: &str) -> Result<(), Status> {
    if type_url.is_empty() || type_url == SECRET {
        return Ok(());
    }
    let asked: String = type_url.chars().take(128).collect();
    Err(Status::invalid_argument(format!(
        "`{asked}` is not served here: this socket serves {SECRET} only"
    )))
}

pub(super) fn check_names(names: &[String]) -> Result<(), Status> {
    if names.len() <= MAX_NAMES && names.iter().all(|name| name.len() <= 1024) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "at most {MAX_NAMES} secrets may be asked for on one stream, with names of at most 1024 bytes"
    )))
}

/// A name that nobody will ever answer is the likeliest cause of a listener that never becomes active.
pub(super) fn warn_unknown(names: &[String]) {
    for name in names.iter().filter(|name| !resources::is_known(name)) {
        tracing::warn!(
            secret = name,
            "the proxy asks for a secret that the agent does not have: it has `default` and `ROOTCA`"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sds::service::tests::{certificate, request, roots};

    #[test]
    fn a_secret_that_exists_is_answered_and_acknowledged() {
        let secrets = Secrets {
            identity: Some(certificate("a")),
            roots: None,
        };
        let mut stream = Conversation::default();
        let (reaction, answer) = stream.hear(request(&["default"], ""), &secrets).unwrap();
        let answer = answer.unwrap();
        assert_eq!(
            (reaction, answer.resources.len(), answer.nonce.as_str()),
            (Reaction::Subscribed, 1, "1")
        );
        assert_eq!(
            stream.hear(request(&["default"], "1"), &secrets).unwrap(),
            (Reaction::Accepted, None)
        );
        assert_eq!(stream.update(&secrets), None, "nothing new");
    }

    #[test]
    fn a_stream_waits_for_the_first_certificate_and_hears_of_every_next() {
        let mut stream = Conversation::default();
        let (_, answer) = stream.hear(request(&["default"], ""), &Secrets::default()).unwrap();
        assert_eq!(answer, None);
        let first = Secrets {
            identity: Some(certificate("a")),
            roots: None,
        };
        let second = Secrets {
            identity: Some(certificate("a")),
            roots: None,
        };
        let one = stream.update(&first).unwrap();
        let two = stream.update(&second).unwrap();
        assert_ne!(one.version_info, two.version_info);
        assert_eq!(
            stream.hear(request(&["default"], "1"), &second).unwrap().0,
            Reaction::Stale
        );
        assert_eq!(
            stream.hear(request(&["default"], "2"), &second).unwrap().0,
            Reaction::Accepted
        );
    }

    #[test]
    fn a_refused_secret_is_not_sent_again_but_its_successor_is() {
        let mut stream = Conversation::default();
        let first = Secrets {
            identity: Some(certificate("a")),
            roots: None,
        };
        stream.hear(request(&["default"], ""), &first).unwrap();
        let mut refusal = request(&["default"], "1");
        refusal.error_detail = Some(Default::default());
        assert_eq!(stream.hear(refusal, &first).unwrap(), (Reaction::Refused, None));
        assert_eq!(stream.update(&first), None);
        assert!(
            stream
                .update(&Secrets {
                    identity: Some(certificate("a")),
                    roots: None
                })
                .is_some()
        );
    }

    #[test]
    fn one_stream_may_ask_for_both() {
        let mut stream = Conversation::default();
        let mut secrets = Secrets {
            identity: None,
            roots: Some(roots("r")),
        };
        let (_, answer) = stream.hear(request(&["default", "ROOTCA"], ""), &secrets).unwrap();
        assert_eq!(answer.unwrap().resources.len(), 1, "the roots need not wait");
        secrets.identity = Some(certificate("a"));
        assert_eq!(stream.update(&secrets).unwrap().resources.len(), 2);
        let (reaction, answer) = stream.hear(request(&["ROOTCA"], "2"), &secrets).unwrap();
        assert_eq!((reaction, answer.unwrap().resources.len()), (Reaction::Subscribed, 1));
    }

    #[test]
    fn what_this_socket_does_not_serve_is_refused_by_name() {
        let mut other = request(&["default"], "");
        other.type_url = proto::type_url::CLUSTER.into();
        let refusal = Conversation::default().hear(other, &Secrets::default()).unwrap_err();
        assert!(refusal.message().contains("Cluster"), "{refusal}");
        let many = vec!["x"; MAX_NAMES + 1];
        assert!(
            Conversation::default()
                .hear(request(&many, ""), &Secrets::default())
                .is_err()
        );
    }
}
