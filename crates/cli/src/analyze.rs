//! `analyze`: what a directory of manifests says wrongly, before any mesh takes it.
//!
//! The files go through the same reading, validation and comparison as in a running mesh, and are then looked at as a whole, which a
//! mesh cannot do, since its files arrive one by one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use store::{Batch, ENVOY_ONLY, FileChange, Message, Settings, Store};

use crate::flags::{Analyze, AnalyzeFormat, DataPlane, Threshold};
use crate::output;

/// More than a manifest of a mesh ever has.
const MAX_FILE: u64 = 64 << 20;

/// What there is to print, and whether it is bad enough to fail.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) text: String,
    pub(crate) failed: bool,
}

pub(crate) fn run(flags: &Analyze) -> Result<Verdict, String> {
    let mut store = Store::new(Settings {
        root_namespace: flags.root_namespace.clone(),
        domain: flags.domain.clone(),
        ..Settings::default()
    });
    for (source, path) in flags.paths.iter().enumerate() {
        store.apply(read(source, path)?);
    }
    let mut messages = store.messages();
    messages.extend(store::check::as_a_whole(&store));
    messages.retain(|message| flags.data_plane == DataPlane::Native || message.code != ENVOY_ONLY);
    messages.sort_by(|a, b| (&a.file, a.line, &a.field).cmp(&(&b.file, b.line, &b.field)));
    let failed = messages.iter().any(|message| match flags.failure_threshold {
        Threshold::Error => message.is_error(),
        Threshold::Warning => true,
        Threshold::Never => false,
    });
    let text = match flags.output {
        AnalyzeFormat::Text => text(&messages, store.len()),
        AnalyzeFormat::Json => output::json(&value(&messages)),
        AnalyzeFormat::Yaml => output::yaml(&value(&messages)),
    };
    Ok(Verdict { text, failed })
}

fn read(source: usize, path: &Path) -> Result<Batch, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let metadata = path.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return store::dir::read_directory(source, path).map_err(failed);
    }
    if metadata.len() > MAX_FILE {
        return Err(format!(
            "{}: larger than {} MB, which no manifest is",
            path.display(),
            MAX_FILE >> 20
        ));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let file = FileChange::Content {
        source,
        file: PathBuf::from(path),
        text,
    };
    Ok(Batch {
        files: vec![file],
        sources: Vec::new(),
    })
}

fn severity(message: &Message) -> &'static str {
    if message.is_error() { "error" } else { "warning" }
}

fn text(messages: &[Message], objects: usize) -> String {
    let mut text = String::new();
    for message in messages {
        let _ = writeln!(text, "{} [{}] {message}", severity(message), message.code);
    }
    let errors = messages.iter().filter(|message| message.is_error()).count();
    let _ = match messages.len() {
        0 => writeln!(text, "{objects} objects: nothing to complain of"),
        all => writeln!(text, "{objects} objects: {errors} errors, {} warnings", all - errors),
    };
    text
}

fn value(messages: &[Message]) -> Value {
    let one = |message: &Message| {
        let object = message
            .object
            .as_ref()
            .map(|object| json!({ "kind": &*object.kind, "namespace": &*object.namespace, "name": &*object.name }));
        json!({
            "severity": severity(message),
            "code": message.code,
            "object": object,
            "file": message.file.as_ref().map(|file| file.display().to_string()),
            "line": message.line,
            "field": message.field,
            "text": message.text,
            "wayOut": message.way_out,
        })
    };
    messages.iter().map(one).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn analyze(files: &[(&str, &str)], more: &[&str]) -> Verdict {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).expect("written");
        }
        let path = directory.path().to_str().expect("a path");
        let words = [&["analyze", path], more].concat();
        run(&Analyze::try_parse_from(words).expect("flags")).expect("read")
    }

    const GOOD: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, name: http}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web, version: v1}}, spec: {containers: [{name: web, image: web}]}}
";

    #[test]
    fn what_is_right_is_not_complained_of() {
        let verdict = analyze(&[("web.yaml", GOOD)], &[]);
        assert_eq!(
            (verdict.text.as_str(), verdict.failed),
            ("2 objects: nothing to complain of\n", false)
        );
    }

    #[test]
    fn a_mistake_has_a_code_a_place_and_a_way_out() {
        let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  subsets:
  - name: v2
    labels: {version: v2}
";
        let files = [("web.yaml", GOOD), ("rule.yaml", rule)];
        let verdict = analyze(&files, &[]);
        assert!(
            verdict.text.contains("warning [empty-subset] ")
                && verdict.text.contains("rule.yaml:9: DestinationRule shop/web"),
            "{}",
            verdict.text
        );
        assert!(!verdict.failed);
        assert!(analyze(&files, &["--failure-threshold", "warning"]).failed);
        let json: Value = serde_json::from_str(&analyze(&files, &["-o", "json"]).text).expect("JSON");
        assert_eq!(
            (&json[0]["code"], &json[0]["line"]),
            (&json!("empty-subset"), &json!(9))
        );
    }

    #[test]
    fn a_file_that_is_no_yaml_fails() {
        let verdict = analyze(&[("broken.yaml", "a: [")], &[]);
        assert!(
            verdict.failed && verdict.text.starts_with("error ["),
            "{}",
            verdict.text
        );
    }
}
