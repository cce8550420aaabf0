//! One incremental stream, without any I/O.

use std::collections::BTreeMap;

use proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use proto::type_url::SECRET;
use tonic::Status;

use super::conversation::{MAX_NAMES, check_names, check_type, warn_unknown};
use super::{Reaction, resources};
use crate::identity::Secrets;

/// What one incremental stream asked for, and the version of each secret that it was told.
#[derive(Debug, Default)]
pub struct DeltaConversation {
    known: BTreeMap<String, String>,
    nonce: u64,
}

impl DeltaConversation {
    /// Hears a request; says what it meant and what to answer.
    pub fn hear(
        &mut self,
        request: DeltaDiscoveryRequest,
        secrets: &Secrets,
    ) -> Result<(Reaction, Option<DeltaDiscoveryResponse>), Status> {
        check_type(&request.type_url)?;
        check_names(&request.resource_names_subscribe)?;
        let reaction = match &request.error_detail {
            Some(error) => {
                tracing::warn!(
                    reason = error.message,
                    "the proxy refuses a secret and keeps the one it had"
                );
                Reaction::Refused
            }
            None if !request.resource_names_subscribe.is_empty() => Reaction::Subscribed,
            None if request.response_nonce == self.nonce.to_string() => Reaction::Accepted,
            None => Reaction::Stale,
        };
        for name in &request.resource_names_unsubscribe {
            self.known.remove(name);
        }
        warn_unknown(&request.resource_names_subscribe);
        for name in request.resource_names_subscribe {
            // Asking again is asking for the content again, unless the stream is new and the proxy says what it kept.
            let version = request
                .initial_resource_versions
                .get(&name)
                .cloned()
                .unwrap_or_default();
            self.known.insert(name, version);
        }
        if self.known.len() > MAX_NAMES {
            return Err(Status::invalid_argument(format!(
                "at most {MAX_NAMES} secrets may be asked for on one stream"
            )));
        }
        Ok((reaction, self.update(secrets)))
    }

    /// The secrets that the stream does not know in their present version.
    pub fn update(&mut self, secrets: &Secrets) -> Option<DeltaDiscoveryResponse> {
        let mut fresh = Vec::new();
        for (name, known) in &mut self.known {
            let Some(resource) = resources::resource(secrets, name).filter(|resource| resource.version != *known)
            else {
                continue;
            };
            known.clone_from(&resource.version);
            fresh.push(Resource {
                name: name.clone(),
                version: resource.version,
                resource: Some(resource.any),
                ..Default::default()
            });
        }
        if fresh.is_empty() {
            return None;
        }
        self.nonce += 1;
        Some(DeltaDiscoveryResponse {
            resources: fresh,
            type_url: SECRET.to_owned(),
            nonce: self.nonce.to_string(),
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sds::service::tests::{certificate, roots};

    fn subscribe(names: &[&str]) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn only_what_changed_is_sent() {
        let mut secrets = Secrets {
            identity: Some(certificate("a")),
            roots: Some(roots("r")),
        };
        let mut stream = DeltaConversation::default();
        let (_, answer) = stream.hear(subscribe(&["default", "ROOTCA"]), &secrets).unwrap();
        assert_eq!(answer.unwrap().resources.len(), 2);
        let ack = DeltaDiscoveryRequest {
            response_nonce: "1".into(),
            ..Default::default()
        };
        assert_eq!(stream.hear(ack, &secrets).unwrap(), (Reaction::Accepted, None));
        secrets.identity = Some(certificate("a"));
        let pushed = stream.update(&secrets).unwrap();
        assert_eq!(
            pushed.resources.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
            ["default"]
        );
    }

    #[test]
    fn a_proxy_that_kept_its_secret_is_not_told_again() {
        let secrets = Secrets {
            identity: Some(certificate("a")),
            roots: None,
        };
        let mut request = subscribe(&["default"]);
        let version = secrets.identity.as_ref().unwrap().version();
        request.initial_resource_versions.insert("default".into(), version);
        assert_eq!(DeltaConversation::default().hear(request, &secrets).unwrap().1, None);
    }
}
