//! Compiles our own .proto files without `protoc`, and, for who needs JSON of any Envoy message, a descriptor set from the files that
//! the `envoy-types` package ships.

#[path = "build/schema.rs"]
mod schema;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let files = protox::compile(
        ["istio/auth.proto", "istio/nds.proto", "meltemi/origins.proto"],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        // In an order that does not change, so that equal tables have equal bytes.
        .btree_map(".istio.networking.nds")
        .compile_fds(files)?;
    if env::var_os("CARGO_FEATURE_DESCRIPTORS").is_some() {
        let set = protox::compile(ENVOY_FILES, envoy_folders()?)?;
        fs::write(out.join("envoy.binpb"), prost::Message::encode_to_vec(&set))?;
    }
    if env::var_os("CARGO_FEATURE_SCHEMA").is_some() {
        schema::write(&envoy_folders()?, &out.join("envoy.schema"))?;
    }
    Ok(())
}

/// What `config_dump` can hold: every message that our own pilot sends, and the dump itself.
const ENVOY_FILES: &[&str] = &[
    "envoy/admin/v3/config_dump.proto",
    "envoy/admin/v3/config_dump_shared.proto",
    "envoy/admin/v3/clusters.proto",
    "envoy/admin/v3/listeners.proto",
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/clusters/dns/v3/dns_cluster.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/grpc_stats/v3/config.proto",
    "envoy/extensions/filters/http/grpc_web/v3/grpc_web.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/jwt_authn/v3/config.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/sni_cluster/v3/sni_cluster.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/secret.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/discovery/v3/discovery.proto",
];

/// The folders of .proto files inside the `envoy-types` package that this build uses.
fn envoy_folders() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let cargo = env::var_os("CARGO").ok_or("CARGO is not set")?;
    let manifest =
        Path::new(&env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?).join("Cargo.toml");
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--format-version=1", "--manifest-path"])
        .arg(manifest)
        .output()?;
    let metadata = String::from_utf8(output.stdout)?;
    let path = metadata
        .split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|path| path.contains("/envoy-types-"))
        .ok_or("cargo metadata names no envoy-types package")?;
    let folder = Path::new(path).parent().ok_or("a manifest has a folder")?.join("proto");
    let roots = [
        "data-plane-api",
        "googleapis",
        "protoc-gen-validate",
        "xds",
        "cel-spec/proto",
        "opentelemetry-proto",
        "client_model",
    ];
    Ok(roots.map(|root| folder.join(root)).to_vec())
}
