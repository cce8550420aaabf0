//! What there is to say about every object and file.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use model::kinds::catalog::Effect;
use model::kinds::shape::Finding;
use model::kinds::validate::Severity;
use model::mesh::ConfigRef;

use super::select::is_valid;
use super::{InForce, Status, Store};
use crate::message::{ENVOY_ONLY, ENVOY_ONLY_TEXT, Message, reference_text};
use crate::object::{Object, Origin, unknown_field};

/// Every object, by kind, namespace and name; a duplicate right after the one that counts.
pub(super) fn all(store: &Store) -> Vec<Status> {
    let mut cross: BTreeMap<ConfigRef, Vec<Message>> = BTreeMap::new();
    for message in store.cross_messages() {
        if let Some(object) = &message.object {
            cross.entry(object.clone()).or_default().push(message.clone());
        }
    }
    let broken_files: HashSet<&Path> = store
        .files
        .iter()
        .filter(|(_, file)| file.broken.is_some())
        .map(|((_, path), _)| path.as_path())
        .collect();
    let mut statuses = Vec::new();
    for object in store.live.values().flat_map(BTreeMap::values) {
        let reference = object.reference();
        if store.held.contains_key(&reference) {
            continue;
        }
        let mut messages = by_itself(object);
        messages.extend(cross.remove(&reference).unwrap_or_default());
        let is_lost = object
            .origin
            .file
            .as_deref()
            .is_some_and(|file| broken_files.contains(file));
        let in_force = if is_lost { InForce::LastGood } else { InForce::Current };
        statuses.push(status(object, in_force, object.generation, messages));
    }
    statuses.extend(store.held.iter().map(|(reference, held)| of_held(reference, held)));
    statuses.extend(
        store
            .duplicates
            .iter()
            .map(|(object, first)| of_duplicate(object, first)),
    );
    statuses.sort_by(|a, b| (&a.object, a.in_force as u8).cmp(&(&b.object, b.in_force as u8)));
    statuses
}

fn status(object: &Object, in_force: InForce, generation: u64, messages: Vec<Message>) -> Status {
    Status {
        object: object.reference(),
        api_version: Arc::clone(&object.api_version),
        origin: object.origin.clone(),
        valid: is_valid(object) && !messages.iter().any(Message::is_error),
        in_force,
        generation,
        messages,
    }
}

/// An object that is not in force as it stands, or stands nowhere any more.
fn of_held(reference: &ConfigRef, held: &super::Held) -> Status {
    let in_force = if held.last_good.is_some() {
        InForce::LastGood
    } else {
        InForce::Nothing
    };
    let generation = held.last_good.as_ref().map_or(0, |object| object.generation);
    let mut messages = held.current.as_deref().map(by_itself).unwrap_or_default();
    let shown = held.current.as_ref().or(held.last_good.as_ref());
    let origin = shown.map(|object| object.origin.clone()).unwrap_or_default();
    if let Some(last_good) = &held.last_good {
        let since = format!(
            "generation {} of it, the last good one, stays in force",
            last_good.generation
        );
        messages.push(message(
            shown,
            Severity::Warning,
            "last-good",
            "",
            since,
            "correct it, or remove it",
        ));
    }
    Status {
        object: reference.clone(),
        api_version: shown
            .map(|object| Arc::clone(&object.api_version))
            .unwrap_or_else(|| "".into()),
        origin,
        valid: false,
        in_force,
        generation,
        messages,
    }
}

fn of_duplicate(object: &Arc<Object>, first: &Origin) -> Status {
    let place = match &first.file {
        Some(file) => format!("{}:{}", file.display(), first.line),
        None => "another source".to_owned(),
    };
    let text = format!(
        "there is another {} at {place}, which counts; this one does not",
        reference_text(&object.reference())
    );
    let mut messages = by_itself(object);
    messages.push(message(
        Some(object),
        Severity::Error,
        "duplicate",
        "metadata.name",
        text,
        "rename or remove one of the two",
    ));
    status(object, InForce::Nothing, 0, messages)
}

/// Of files and sources as a whole.
pub(super) fn of_files(store: &Store) -> Vec<Message> {
    let sources = store.broken_sources.values().map(|reason| Message {
        severity: Severity::Error,
        code: "source",
        object: None,
        file: None,
        line: 0,
        field: String::new(),
        text: reason.clone(),
        way_out: "what it held before stays in force until it is back".to_owned(),
    });
    let mut messages: Vec<Message> = sources.collect();
    for file in store.files.values() {
        messages.extend(file.broken.clone());
        messages.extend(file.errors.iter().map(|error| (*error.message).clone()));
    }
    messages.extend(store.mesh.messages().iter().cloned());
    messages
}

/// What checking an object by itself found, with lines.
fn by_itself(object: &Object) -> Vec<Message> {
    let mut messages = Vec::new();
    if object.entry.effect == Effect::Later {
        let text = format!("{} is not supported yet: it has no effect", object.kind);
        messages.push(message(
            Some(object),
            Severity::Warning,
            "no-effect",
            "kind",
            text,
            "docs/compatibility.md lists what is",
        ));
    }
    let report = &object.report;
    if let Some(wrong) = &report.wrong {
        let way_out = way_out_of(&wrong.message);
        messages.push(message(
            Some(object),
            Severity::Error,
            "wrong-value",
            &wrong.path,
            wrong.message.clone(),
            way_out,
        ));
    }
    messages.extend(report.issues.iter().map(|issue| {
        message(
            Some(object),
            issue.severity,
            "rule",
            &issue.path,
            issue.rule.clone(),
            &issue.way_out,
        )
    }));
    messages.extend(of_findings(
        object,
        &report.findings,
        object.entry.effect == Effect::Later,
    ));
    messages
}

fn of_findings(object: &Object, findings: &[Finding], silent: bool) -> Vec<Message> {
    let mut messages = Vec::new();
    for finding in findings {
        match finding {
            Finding::Unknown { path, field, nearest } => {
                let text = unknown_field(field, *nearest);
                let way_out = nearest.map_or_else(|| "remove it".to_owned(), |nearest| format!("write {nearest}"));
                messages.push(message(
                    Some(object),
                    Severity::Warning,
                    "unknown-field",
                    path,
                    text,
                    way_out,
                ));
            }
            // The kind as a whole has been reported already.
            Finding::Unsupported { .. } | Finding::EnvoyOnly { .. } if silent => {}
            Finding::EnvoyOnly { path, note } => {
                let text = ENVOY_ONLY_TEXT.to_owned();
                messages.push(message(Some(object), Severity::Warning, ENVOY_ONLY, path, text, *note));
            }
            Finding::Unsupported { path, note } => {
                let text = "is not supported yet: it has no effect".to_owned();
                messages.push(message(Some(object), Severity::Warning, "no-effect", path, text, *note));
            }
        }
    }
    messages
}

/// Typed reading says what is wrong; this adds what to do where that is not the same.
pub(crate) fn way_out_of(message: &str) -> &'static str {
    if message.contains("expected a string") {
        "write it in quotes"
    } else if message.contains("invalid type: string")
        && (message.contains("expected u") || message.contains("expected i"))
    {
        "write the number without quotes"
    } else if message.contains("expected a sequence") {
        "write a list: each item on a line of its own, after \"- \""
    } else if message.contains("expected a map") {
        "write key: value, without \"- \""
    } else if message.contains("expected a boolean") {
        "write true or false"
    } else {
        ""
    }
}

fn message<T: AsRef<Object>>(
    object: Option<&T>,
    severity: Severity,
    code: &'static str,
    field: &str,
    text: String,
    way_out: impl Into<String>,
) -> Message {
    let object = object.map(AsRef::as_ref);
    Message {
        severity,
        code,
        object: object.map(Object::reference),
        file: object.and_then(|object| object.origin.file.clone()),
        line: object.map_or(0, |object| {
            if field.is_empty() {
                object.origin.line
            } else {
                object.line(field)
            }
        }),
        field: field.to_owned(),
        text,
        way_out: way_out.into(),
    }
}
