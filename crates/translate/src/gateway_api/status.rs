//! What became of each object, as its `status` says it.

use std::collections::BTreeMap;

use model::kinds::gateway_api::{GROUP, ParentReference};
use model::mesh::{Condition, ConfigRef, ObjectStatus};
use serde_json::{Value, json};

use super::index::Index;
use super::listener::{Listener, Parent, is_ours};
use super::route::{Problem, Route};
use super::{CONTROLLER, Converted};

/// Gathered while routes are attached.
#[derive(Debug, Default)]
pub(super) struct Reports {
    routes: BTreeMap<ConfigRef, RouteReport>,
}

#[derive(Debug, Default)]
struct RouteReport {
    /// By position in the route's list of parents.
    parents: BTreeMap<usize, (Value, Condition)>,
    unresolved: Option<Condition>,
    unsupported: Option<Condition>,
    /// What no parent's status says.
    others: Vec<Condition>,
}

impl Reports {
    /// Whether a parent took the route.
    pub(super) fn accepted(&mut self, route: &Route<'_>, reference: usize, condition: Condition) {
        let parent = parent_ref(&route.parents[reference]);
        let report = self.report(route.object);
        report.parents.insert(reference, (parent, condition));
    }

    /// The first that is found counts.
    pub(super) fn unresolved(&mut self, route: &Route<'_>, problem: Problem) {
        let condition = Condition::fails("ResolvedRefs", problem.reason, problem.message, problem.way_out);
        self.report(route.object).unresolved.get_or_insert(condition);
    }

    pub(super) fn unsupported(&mut self, route: &Route<'_>, problem: Problem) {
        let condition = Condition::fails("Accepted", problem.reason, problem.message, problem.way_out);
        self.report(route.object).unsupported.get_or_insert(condition);
    }

    pub(super) fn problem(&mut self, object: &ConfigRef, condition: Condition) {
        self.report(object).others.push(condition);
    }

    fn report(&mut self, object: &ConfigRef) -> &mut RouteReport {
        self.routes.entry(object.clone()).or_default()
    }
}

/// The reference as it was written.
fn parent_ref(parent: &ParentReference) -> Value {
    let mut value = json!({"name": parent.name});
    let mut add = |key: &str, given: Option<Value>| {
        if let Some(given) = given {
            value[key] = given;
        }
    };
    let text = |text: &str| (!text.is_empty()).then(|| Value::from(text));
    add("group", parent.group.as_deref().map(Value::from));
    add("kind", text(&parent.kind));
    add("namespace", text(&parent.namespace));
    add("sectionName", text(&parent.section_name));
    add("port", parent.port.map(Value::from));
    value
}

/// The status of every object that was looked at.
pub(super) fn finish(index: &Index<'_>, parents: &[Parent<'_>], reports: Reports, converted: &mut Converted) {
    for class in &index.input.classes {
        if is_ours(index, class.name()) == Some(true) {
            let accepted = Condition::holds("Accepted", "Accepted");
            converted.statuses.push(ObjectStatus {
                object: class.reference.clone(),
                value: json!({"conditions": [accepted]}),
                problems: Vec::new(),
            });
        }
    }
    converted.statuses.extend(parents.iter().map(gateway));
    converted.statuses.extend(nobodys(index));
    converted
        .statuses
        .extend(reports.routes.into_iter().map(|(object, report)| report.finish(object)));
}

/// Gateways of a class that nobody has defined.
fn nobodys(index: &Index<'_>) -> impl Iterator<Item = ObjectStatus> {
    let unknown = index
        .input
        .gateways
        .iter()
        .filter(|object| is_ours(index, &object.spec.gateway_class_name).is_none());
    unknown.map(|object| ObjectStatus {
        object: object.reference.clone(),
        value: Value::Null,
        problems: vec![Condition::fails(
            "Accepted",
            "Pending",
            format!(
                "there is no GatewayClass {:?}: nobody serves it",
                object.spec.gateway_class_name
            ),
            "use gatewayClassName: istio, or add the class",
        )],
    })
}

impl RouteReport {
    fn finish(self, object: ConfigRef) -> ObjectStatus {
        let resolved = self
            .unresolved
            .clone()
            .unwrap_or_else(|| Condition::holds("ResolvedRefs", "ResolvedRefs"));
        let mut problems = self.others;
        let mut parents = Vec::new();
        for (parent, accepted) in self.parents.into_values() {
            let accepted = match &self.unsupported {
                Some(unsupported) if accepted.holds => unsupported.clone(),
                _ => accepted,
            };
            if !accepted.holds && !problems.contains(&accepted) {
                problems.push(accepted.clone());
            }
            parents.push(json!({
                "parentRef": parent,
                "controllerName": CONTROLLER,
                "conditions": [accepted, resolved],
            }));
        }
        problems.extend(self.unresolved);
        ObjectStatus {
            object,
            value: json!({"parents": parents}),
            problems,
        }
    }
}

fn gateway(parent: &Parent<'_>) -> ObjectStatus {
    let mut problems = Vec::new();
    let mut note = |condition: &Condition, bad: bool| {
        if bad {
            problems.push(condition.clone());
        }
    };
    let mut listeners = Vec::new();
    let mut programmed_any = false;
    for listener in &parent.listeners {
        let programmed = programmed(parent, listener);
        programmed_any |= programmed.holds;
        note(&listener.accepted, !listener.accepted.holds);
        note(&listener.conflicted, listener.conflicted.holds);
        note(&listener.resolved, !listener.resolved.holds);
        // Said already, where something else is the cause.
        note(
            &programmed,
            !programmed.holds && listener.is_served() && parent.workload.is_ok(),
        );
        let kinds: Vec<Value> = listener
            .kinds
            .iter()
            .map(|kind| json!({"group": GROUP, "kind": kind}))
            .collect();
        listeners.push(json!({
            "name": listener.spec.name,
            "supportedKinds": kinds,
            "attachedRoutes": listener.attached,
            "conditions": [listener.accepted, listener.conflicted, listener.resolved, programmed],
        }));
    }
    let open = parent.listeners.iter().filter(|listener| listener.is_open()).count();
    let accepted = match open {
        0 => Condition::fails(
            "Accepted",
            "ListenersNotValid",
            "no listener can be served",
            "see those of the listeners",
        ),
        open if open < parent.listeners.len() => Condition::holds("Accepted", "ListenersNotValid"),
        _ => Condition::holds("Accepted", "Accepted"),
    };
    let programmed = match &parent.workload {
        Err(reason) => reason.clone(),
        Ok(_) if programmed_any => Condition::holds("Programmed", "Programmed"),
        Ok(_) => Condition::fails(
            "Programmed",
            "Invalid",
            "no listener is served",
            "see those of the listeners",
        ),
    };
    note(&programmed, parent.workload.is_err());
    let addresses: Vec<Value> = parent
        .workload
        .iter()
        .map(|workload| json!({"type": "Hostname", "value": workload.host.as_str()}))
        .collect();
    ObjectStatus {
        object: parent.object.reference.clone(),
        value: json!({"addresses": addresses, "conditions": [accepted, programmed], "listeners": listeners}),
        problems,
    }
}

/// Whether the listener is open to clients.
fn programmed(parent: &Parent<'_>, listener: &Listener<'_>) -> Condition {
    let port = listener.spec.port;
    let reachable = parent
        .workload
        .as_ref()
        .is_ok_and(|workload| workload.ports.iter().any(|own| u32::from(*own) == port));
    match (&parent.workload, listener.is_served(), reachable) {
        (Ok(_), true, true) => Condition::holds("Programmed", "Programmed"),
        (Ok(workload), true, false) => Condition::fails(
            "Programmed",
            "Pending",
            format!(
                "listener {}: Service {} has no port {port}",
                listener.spec.name, workload.host
            ),
            "add the port to the Service, or use one that it has",
        ),
        _ => Condition::fails(
            "Programmed",
            "Invalid",
            format!("listener {} is not served", listener.spec.name),
            "",
        ),
    }
}
