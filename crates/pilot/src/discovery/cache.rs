//! All classes, by type and key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use translate::ResourceType;

use super::class::Class;

#[derive(Debug, Default)]
pub(crate) struct Cache {
    classes: Mutex<HashMap<(ResourceType, String), Arc<Class>>>,
}

// === impl Cache ===

impl Cache {
    pub(super) fn class(&self, ty: ResourceType, key: String) -> Arc<Class> {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        classes
            .entry((ty, key))
            .or_insert_with(|| Arc::new(Class::new(ty)))
            .clone()
    }

    /// Drops the classes that no connected proxy belongs to.
    pub(super) fn forget_unused(&self) {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        classes.retain(|_, class| Arc::strong_count(class) > 1);
    }

    /// Classes of each type, for `/debug`.
    pub(crate) fn sizes(&self) -> HashMap<ResourceType, usize> {
        let classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sizes = HashMap::new();
        for (ty, _) in classes.keys() {
            *sizes.entry(*ty).or_default() += 1;
        }
        sizes
    }
}
