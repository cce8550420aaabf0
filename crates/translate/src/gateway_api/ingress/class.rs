//! Which Ingresses are ours.

use model::kinds::ingress::Ingress;
use model::kinds::mesh_config::IngressControllerMode;
use model::mesh::Config;

use super::super::index::Index;

/// The annotation that named a class before the field did; it counts first.
const ANNOTATION: &str = "kubernetes.io/ingress.class";
const CONTROLLER: &str = "istio.io/ingress-controller";
/// On the IngressClass of Ingresses that name none.
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

pub(super) fn is_ours(index: &Index<'_>, object: &Config<Ingress>) -> bool {
    let mesh = &index.input.mesh;
    let mode = mesh.ingress_controller_mode;
    if mode == IngressControllerMode::Off {
        return false;
    }
    if let Some(class) = object.annotations.get(ANNOTATION) {
        return *class == mesh.ingress_class;
    }
    let classes = &index.input.ingress_classes;
    let named = object.spec.ingress_class_name.as_str();
    if named.is_empty() {
        let is_default = |annotation: Option<&String>| annotation.is_some_and(|value| value == "true");
        let default = classes.iter().find(|class| is_default(class.annotations.get(DEFAULT)));
        return match default {
            Some(class) => class.spec.controller == CONTROLLER,
            None => mode == IngressControllerMode::Default,
        };
    }
    match classes.iter().find(|class| class.name() == named) {
        Some(class) => class.spec.controller == CONTROLLER,
        // Where the object is not there, as on a laptop, the name says it.
        None => named == mesh.ingress_class,
    }
}
