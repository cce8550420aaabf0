//! Secrets whose content stands in files: they are read again when a file is another than it was.
//!
//! Files are looked at by their metadata, every few seconds and only where there is such a secret: certificates are renewed days
//! before they end, so seconds do not count, and a look works for renames, symbolic links that move and plain writes alike. What
//! is half written fails its check, and is read again at the next look, when it is another again.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{Secret as Message, secret::Type};
use xds::client::{Resource, decode};

/// How often files are looked at.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// Those that name files, by name.
#[derive(Default)]
pub(super) struct FileSecrets(BTreeMap<Arc<str>, Watched>);

struct Watched {
    resource: Resource,
    files: Vec<(String, Stamp)>,
}

/// Equal stamps: the same content, as far as metadata can tell. `None`: there is no such file.
type Stamp = Option<(u64, u64, i64, i64)>;

// === impl FileSecrets ===

impl FileSecrets {
    /// Keeps an eye on the files of a secret, whether or not they can be used now; on none if it names none.
    pub(super) fn note(&mut self, resource: &Resource) {
        let names = decode(&resource.body).map(names).unwrap_or_default();
        if names.is_empty() {
            self.0.remove(&resource.name);
            return;
        }
        let stamped = |name: String| {
            let stamp = stamp(&name);
            (name, stamp)
        };
        let watched = Watched {
            resource: resource.clone(),
            files: names.into_iter().map(stamped).collect(),
        };
        self.0.insert(resource.name.clone(), watched);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secrets whose files are not what they were at the last look.
    pub(super) fn changed(&mut self) -> Vec<Resource> {
        let mut changed = Vec::new();
        for watched in self.0.values_mut() {
            let mut differs = false;
            for (name, known) in &mut watched.files {
                let now = stamp(name);
                differs |= now != *known;
                *known = now;
            }
            if differs {
                changed.push(watched.resource.clone());
            }
        }
        changed
    }
}

fn stamp(file: &str) -> Stamp {
    let found = std::fs::metadata(file).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

fn names(message: Message) -> Vec<String> {
    let sources = match message.r#type {
        Some(Type::TlsCertificate(one)) => [one.certificate_chain, one.private_key],
        Some(Type::ValidationContext(one)) => [one.trusted_ca, one.crl],
        _ => [None, None],
    };
    let name = |source: DataSource| match source.specifier {
        Some(Specifier::Filename(name)) => Some(name),
        _ => None,
    };
    sources.into_iter().flatten().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use xds::client::{Client, Dialect, Interest};

    use super::*;

    fn secret(file: &str) -> Message {
        let source = Some(DataSource {
            specifier: Some(Specifier::Filename(file.to_owned())),
            ..Default::default()
        });
        let roots = proto::envoy::envoy::extensions::transport_sockets::tls::v3::CertificateValidationContext {
            trusted_ca: source,
            ..Default::default()
        };
        Message {
            name: "file-root:x".to_owned(),
            r#type: Some(Type::ValidationContext(roots)),
        }
    }

    /// As the control plane brings it.
    fn resource(message: &Message) -> Resource {
        let mut client = Client::new(Dialect::Sotw, Default::default());
        client.subscribe(proto::type_url::SECRET, Interest::Names(["file-root:x".into()].into()));
        let response = proto::envoy::envoy::service::discovery::v3::DiscoveryResponse {
            type_url: proto::type_url::SECRET.to_owned(),
            version_info: "1".to_owned(),
            nonce: "1".to_owned(),
            resources: vec![proto::any(proto::type_url::SECRET, message)],
            ..Default::default()
        };
        let update = client
            .receive(xds::client::Response::Sotw(response))
            .expect("an update");
        update.changed[0].clone()
    }

    #[test]
    fn a_secret_is_changed_when_its_file_is_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("roots.pem");
        let resource = resource(&secret(file.to_str().expect("text")));
        let mut secrets = FileSecrets::default();
        secrets.note(&resource);
        assert!(
            !secrets.is_empty() && secrets.changed().is_empty(),
            "missing, as before"
        );
        std::fs::write(&file, "one").expect("written");
        assert_eq!(secrets.changed().len(), 1);
        assert!(secrets.changed().is_empty());
        let other = folder.path().join("other.pem");
        std::fs::write(&other, "two").expect("written");
        std::fs::rename(&other, &file).expect("moved");
        assert_eq!(secrets.changed().len(), 1, "as long as the first, and another file");
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(secrets.changed().len(), 1);
        let inline = Message {
            r#type: None,
            ..secret("")
        };
        secrets.note(&self::resource(&inline));
        assert!(secrets.is_empty());
    }
}
