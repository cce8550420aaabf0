//! Who sees what: `exportTo`, short host names, label selectors.

use std::collections::BTreeMap;

/// Whether an object of namespace `own` is seen from namespace `viewer`. An empty list falls back to the mesh's `default`.
pub(crate) fn exported(export_to: &[String], default: &[String], own: &str, viewer: &str) -> bool {
    let list = if export_to.is_empty() { default } else { export_to };
    list.iter().any(|entry| match entry.as_str() {
        "*" => true,
        "." => own == viewer,
        "~" => false,
        namespace => namespace == viewer,
    })
}

/// Whether `labels` have every label of `selector`.
pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_lists() {
        let list = |entries: &[&str]| entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>();
        let cases: [(&[&str], &[&str], &str, bool); 7] = [
            (&[], &["*"], "other", true),
            (&[], &["."], "other", false),
            (&["."], &["*"], "own", true),
            (&["."], &["*"], "other", false),
            (&["~"], &["*"], "own", false),
            (&["a", "other"], &["*"], "other", true),
            (&["a"], &["*"], "own", false),
        ];
        for (export_to, default, viewer, expected) in cases {
            let seen = exported(&list(export_to), &list(default), "own", viewer);
            assert_eq!(seen, expected, "{export_to:?} from {viewer}");
        }
    }
}
