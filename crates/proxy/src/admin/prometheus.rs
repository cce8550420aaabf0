//! `/stats/prometheus`: Envoy's numbers under the names that Envoy gives them there, and the mesh's own `istio_*` metrics.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

use super::Pages;
use super::page::{Page, Query};
use super::statistics::{self, Statistic};

/// Lines of one metric, with its type.
#[derive(Default)]
struct Metric {
    is_counter: bool,
    lines: String,
}

pub(super) fn page(pages: &Rc<Pages>, query: &Query) -> Page {
    let filter = match query.regex("filter") {
        Ok(filter) => filter,
        Err(page) => return page,
    };
    let (all, used_only) = (query.has("all"), query.has("usedonly"));
    let inclusion = &pages.bootstrap.stats;
    let shared = pages.state.borrow().shared.clone();
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for statistic in statistics::all(&shared) {
        let name = statistic.dotted();
        let wanted = (all || inclusion.includes(&name)) && filter.as_ref().is_none_or(|filter| filter.is_match(&name));
        if wanted && (!used_only || statistic.value != 0) {
            add(&mut metrics, &statistic);
        }
    }
    let mut text = shared.mesh_metrics.render();
    for (name, metric) in &metrics {
        let kind = if metric.is_counter { "counter" } else { "gauge" };
        let _ = write!(text, "# TYPE {name} {kind}\n{}", metric.lines);
    }
    Page {
        content_type: "text/plain; version=0.0.4; charset=utf-8",
        ..Page::text(200, text)
    }
}

fn add(metrics: &mut BTreeMap<String, Metric>, statistic: &Statistic) {
    let (name, class) = response_class(statistic.name);
    let mut labels = Vec::new();
    if let Some(class) = class {
        labels.push(format!("response_code_class=\"{class}\""));
    }
    if let Some(instance) = &statistic.instance {
        labels.push(format!("{}=\"{}\"", statistic.family.label, escape(instance)));
    }
    let full = sanitize(&format!("envoy_{}_{name}", statistic.family.prefix));
    let metric = metrics.entry(full.clone()).or_default();
    metric.is_counter = statistic.is_counter;
    let labels = if labels.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", labels.join(","))
    };
    let _ = writeln!(metric.lines, "{full}{labels} {}", statistic.value);
}

/// `upstream_rq_2xx` is one metric with a label for the class.
fn response_class(name: &'static str) -> (&'static str, Option<&'static str>) {
    match name.rsplit_once('_') {
        Some((stem, class)) if class.len() == 3 && class.ends_with("xx") && stem.ends_with("_rq") => {
            (stem, Some(class))
        }
        _ => (name, None),
    }
}

fn sanitize(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
        .collect()
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::statistics::CLUSTER;

    #[test]
    fn names_and_labels_are_envoys() {
        let mut metrics = BTreeMap::new();
        let mut put = |name, value| {
            let statistic = Statistic {
                family: CLUSTER,
                instance: Some("outbound|80||a".into()),
                name,
                value,
                is_counter: true,
            };
            add(&mut metrics, &statistic);
        };
        put("upstream_rq_2xx", 3);
        put("upstream_rq_5xx", 1);
        put("upstream_cx_total", 2);
        assert_eq!(
            metrics["envoy_cluster_upstream_rq"].lines,
            "envoy_cluster_upstream_rq{response_code_class=\"2xx\",cluster_name=\"outbound|80||a\"} 3\n\
             envoy_cluster_upstream_rq{response_code_class=\"5xx\",cluster_name=\"outbound|80||a\"} 1\n"
        );
        assert!(metrics["envoy_cluster_upstream_cx_total"].lines.contains(" 2\n"));
    }
}
