//! HAProxy: one thread, connections to the server reused, a request id added, as the others do.

use mesh_bench::tls::SERVER_NAME;

use super::{Start, text};
use crate::scenario::Protocol;

pub fn command(start: &Start<'_>, splice: bool) -> anyhow::Result<Vec<String>> {
    let (hop, certificates) = (&start.hop, start.certificates());
    let http = hop.protocol != Protocol::Tcp;
    let (own, roots) = (text(&certificates.both("proxy")), text(&certificates.roots()));
    let version = if hop.protocol == Protocol::Http2 {
        "h2"
    } else {
        "http/1.1"
    };
    let plain = if hop.protocol == Protocol::Http2 {
        " proto h2"
    } else {
        ""
    };
    let side = |tls: bool, options: &str| match (tls, http) {
        (true, true) => format!(" ssl crt {own} ca-file {roots} verify required {options} alpn {version}"),
        (true, false) => format!(" ssl crt {own} ca-file {roots} verify required {options}"),
        (false, true) => plain.to_owned(),
        (false, false) => String::new(),
    };
    let bind = side(hop.tls_in, "ssl-min-ver TLSv1.3 no-tls-tickets curves X25519");
    // The name it asks for is the one it checks.
    let server = side(
        hop.tls_out,
        &format!("ssl-min-ver TLSv1.3 no-ssl-reuse sni str({SERVER_NAME})"),
    );
    let mode = if http { "http" } else { "tcp" };
    let extra = match (http, splice) {
        (true, _) => "http-reuse always\n  unique-id-format %[uuid()]\n  unique-id-header x-request-id",
        (false, true) => "option splice-auto",
        (false, false) => "",
    };
    let (listen, upstream) = (hop.listen, hop.upstream);
    let configuration = format!(
        "global
  nbthread 1
  maxconn 6000
  tune.ssl.cachesize 0
  tune.h2.max-concurrent-streams 1000
defaults
  mode {mode}
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen bench
  bind 127.0.0.1:{listen} backlog 4096{bind}
  {extra}
  server echo 127.0.0.1:{upstream}{server}
"
    );
    let file = start.folder.join("haproxy.cfg");
    std::fs::write(&file, configuration)?;
    Ok(vec!["haproxy".into(), "-db".into(), "-f".into(), text(&file)])
}
