//! `/debug`: what can be asked.

use axum::response::Html;

const PAGES: &[(&str, &str)] = &[
    ("syncz", "every proxy: what was sent to it and what it acknowledged"),
    ("adsz", "every connection in full, with what proxies refuse and why"),
    ("config_dump?proxyID=POD.NAMESPACE", "the configuration of one proxy"),
    ("cdsz", "clusters of every proxy"),
    ("edsz", "all endpoints, as proxies get them"),
    ("registryz", "services"),
    ("endpointz?brief=1", "endpoints by service port"),
    ("endpointShardz", "endpoints by service"),
    ("workloadz", "workloads by address"),
    (
        "authenticationz?proxyID=POD.NAMESPACE",
        "whether that proxy and the services it dials agree about mutual TLS",
    ),
    ("configz", "configuration objects, with their file and line"),
    ("origin?kind=&namespace=&name=", "where an object was written"),
    (
        "status",
        "whether objects are valid, and what is wrong with those that are not",
    ),
    (
        "push_status",
        "the last change, and what of the configuration has no effect",
    ),
];

pub(super) async fn page() -> Html<String> {
    let items = PAGES
        .iter()
        .map(|(path, text)| format!("<li><a href=\"/debug/{path}\">{path}</a>: {text}</li>\n"));
    let list: String = items.collect();
    Html(format!(
        "<!doctype html><title>pilot</title><h1>pilot</h1>\n<ul>\n{list}</ul>\n"
    ))
}
