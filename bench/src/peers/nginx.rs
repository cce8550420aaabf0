//! nginx: one worker, connections to the server kept, a request id added; HTTP/2 is passed on as gRPC, the only way it can.

use mesh_bench::tls::SERVER_NAME;

use super::{Start, text};
use crate::scenario::Protocol;

pub fn command(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    let file = start.folder.join("nginx.conf");
    std::fs::write(&file, configuration(start))?;
    let folder = text(&start.folder);
    Ok(vec!["nginx".into(), "-c".into(), text(&file), "-p".into(), folder])
}

fn configuration(start: &Start<'_>) -> String {
    let folder = text(&start.folder);
    let hop = &start.hop;
    let module = match hop.protocol {
        Protocol::Tcp => format!("load_module {};", start.bench.nginx_stream.display()),
        Protocol::Http1 | Protocol::Http2 => String::new(),
    };
    let body = match hop.protocol {
        Protocol::Tcp => stream(start),
        Protocol::Http1 | Protocol::Http2 => http(start),
    };
    format!(
        "{module}
daemon off;
user root;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log crit;
events {{ worker_connections 16384; }}
{body}
"
    )
}

fn stream(start: &Start<'_>) -> String {
    let (listen, upstream) = (start.hop.listen, start.hop.upstream);
    let ssl = if start.hop.tls_in { " ssl" } else { "" };
    let (inward, outward) = (server_tls(start), client_tls(start, "proxy"));
    let switch = if start.hop.tls_out { "proxy_ssl on;" } else { "" };
    format!(
        "stream {{
  upstream echo {{ server 127.0.0.1:{upstream}; }}
  server {{ listen 127.0.0.1:{listen}{ssl}; {inward} {switch} {outward} proxy_pass echo; tcp_nodelay on; }}
}}"
    )
}

fn http(start: &Start<'_>) -> String {
    let folder = text(&start.folder);
    let (listen, upstream) = (start.hop.listen, start.hop.upstream);
    let h2 = start.hop.protocol == Protocol::Http2;
    let ssl = if start.hop.tls_in { " ssl" } else { "" };
    let version = if h2 { " http2" } else { "" };
    let secure = if start.hop.tls_out { "s" } else { "" };
    let pass = if h2 {
        format!("grpc_pass grpc{secure}://echo; grpc_set_header x-request-id $request_id;")
    } else {
        format!(
            "proxy_pass http{secure}://echo; proxy_http_version 1.1; proxy_set_header Connection ''; \
             proxy_set_header Host $host; proxy_set_header x-request-id $request_id; \
             proxy_max_temp_file_size 0; proxy_request_buffering off;"
        )
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {folder}/{kind}; "))
        .collect();
    let (inward, outward) = (server_tls(start), client_tls(start, if h2 { "grpc" } else { "proxy" }));
    format!(
        "http {{
  {temporary}
  access_log off;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  http2_max_concurrent_streams 1000;
  upstream echo {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{listen} backlog=4096{ssl}{version};
    {inward}
    location / {{ {outward} {pass} }}
  }}
}}"
    )
}

fn server_tls(start: &Start<'_>) -> String {
    if !start.hop.tls_in {
        return String::new();
    }
    let certificates = start.certificates();
    let (chain, key) = (text(&certificates.chain("proxy")), text(&certificates.key("proxy")));
    let roots = text(&certificates.roots());
    format!(
        "ssl_certificate {chain}; ssl_certificate_key {key}; ssl_client_certificate {roots}; ssl_verify_client on; \
         ssl_session_tickets off; ssl_session_cache off; ssl_protocols TLSv1.3; ssl_ecdh_curve X25519;"
    )
}

fn client_tls(start: &Start<'_>, prefix: &str) -> String {
    if !start.hop.tls_out {
        return String::new();
    }
    let certificates = start.certificates();
    let (chain, key) = (text(&certificates.chain("proxy")), text(&certificates.key("proxy")));
    let roots = text(&certificates.roots());
    format!(
        "{prefix}_ssl_certificate {chain}; {prefix}_ssl_certificate_key {key}; {prefix}_ssl_trusted_certificate {roots}; \
         {prefix}_ssl_verify on; {prefix}_ssl_name {SERVER_NAME}; {prefix}_ssl_session_reuse off; {prefix}_ssl_protocols TLSv1.3;"
    )
}
