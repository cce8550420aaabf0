//! What users get wrong: each mistake is named with its object, its place, the rule and the way out, and what is right goes on serving.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::client::eventually;
use mesh_tests::mesh::{meltemi, root};
use mesh_tests::{DataPlane, Directory, Mesh, Request, sync};

const ECHO: &str = env!("CARGO_BIN_EXE_mesh-echo");
const LIMIT: Duration = Duration::from_secs(5);

struct Mistake {
    what: &'static str,
    file: &'static str,
    text: &'static str,
    /// In one message: the object, file and line, the rule, the way out.
    says: &'static [&'static str],
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        what: "wrong YAML",
        file: "syntax.yaml",
        text: "apiVersion: v1\nkind: Service\nmetadata: {name: broken\nspec:\n  ports: []\n",
        says: &["error: ", "syntax.yaml:", "check indentation, quotes and colons"],
    },
    Mistake {
        what: "an unknown kind",
        file: "kind.yaml",
        text: "apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: kind}\nspec: {}\n",
        says: &[
            "error: ",
            "kind.yaml:2",
            "there is no kind \"VirtualServise\"",
            "\"VirtualService\" was probably meant",
        ],
    },
    Mistake {
        what: "an unknown field",
        file: "field.yaml",
        text: "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: field}\nspec:\n  host: client\n  trafficPolizy: {}\n",
        says: &[
            "warning: ",
            "field.yaml:6",
            "DestinationRule default/field",
            "trafficPolizy",
            "write trafficPolicy",
        ],
    },
    Mistake {
        what: "a wrong type",
        file: "type.yaml",
        text: "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: type}\nspec:\n  hosts: [client]\n  http:\n  - route:\n    - destination: {host: client}\n      weight: many\n",
        says: &[
            "error: ",
            "type.yaml:9",
            "VirtualService default/type",
            "weight",
            "write the number without quotes",
        ],
    },
    Mistake {
        what: "two Services with one name",
        file: "twice.yaml",
        text: "apiVersion: v1\nkind: Service\nmetadata: {name: client, namespace: default}\nspec:\n  ports: [{name: http, port: 99}]\n",
        says: &[
            "error: ",
            "twice.yaml:",
            "Service default/client",
            "apps.yaml:",
            "which counts",
            "rename or remove one of the two",
        ],
    },
    Mistake {
        what: "a route to a missing subset",
        file: "subset.yaml",
        text: "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: subset}\nspec:\n  hosts: [client]\n  http:\n  - route:\n    - destination: {host: echo, subset: v9}\n",
        says: &[
            "warning: ",
            "subset.yaml:8",
            "VirtualService default/subset",
            "no DestinationRule defines subset \"v9\" of echo.default.svc.cluster.local",
            "(\"v1\" was probably meant)",
        ],
    },
];

const ROUTE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: default}
spec:
  hosts: [echo]
  http:
  - route:
    - destination: {host: echo, subset: @VERSION@}
";

fn route(version: &str) -> String {
    ROUTE.replace("@VERSION@", version)
}

/// One message, wherever it stands in the output, holds all parts.
fn said(output: &str, mistake: &Mistake) -> Result<()> {
    let found = output
        .lines()
        .any(|line| mistake.says.iter().all(|part| line.contains(part)));
    ensure!(found, "{}: no line with {:?} in:\n{output}", mistake.what, mistake.says);
    Ok(())
}

async fn version(mesh: &Mesh) -> Result<String> {
    let through = SocketAddr::new(mesh.pod("client")?.address, 15002);
    let reply = Request::get("echo", "/").through_proxy().send(through).await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    Ok(reply.header("x-version").unwrap_or_default().to_owned())
}

async fn always(mesh: &Mesh, wanted: &str) -> Result<()> {
    for _ in 0..10 {
        let seen = version(mesh).await?;
        ensure!(seen == wanted, "{seen} answers instead of {wanted}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_explained_while_the_rest_serves() -> Result<()> {
    let directory = Directory::echo(ECHO)?;
    directory.write("route.yaml", &route("v1"))?;
    let mesh = Mesh::up(directory.path(), DataPlane::Native, &[])?;
    sync::in_sync(&mesh).await?;
    for mistake in MISTAKES {
        ensure!(
            !mesh.output().contains(mistake.file),
            "{}: spoken of before it was there",
            mistake.what
        );
        directory.write(mistake.file, mistake.text)?;
        eventually(mistake.what, LIMIT, async || said(&mesh.output(), mistake)).await?;
        always(&mesh, "v1").await.context(mistake.what)?;
        directory.remove(mistake.file)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_starts_with_broken_files_among_good_ones() -> Result<()> {
    let directory = Directory::echo(ECHO)?;
    directory.write("route.yaml", &route("v2"))?;
    for mistake in MISTAKES {
        directory.write(mistake.file, mistake.text)?;
    }
    let mesh = Mesh::up(directory.path(), DataPlane::Native, &[])?;
    for mistake in MISTAKES {
        said(&mesh.output(), mistake)?;
    }
    always(&mesh, "v2").await?;
    let status = mesh.debug("/debug/status").await?.to_string();
    for mistake in MISTAKES {
        ensure!(
            status.contains(mistake.file),
            "{}: the control plane's status does not know of it",
            mistake.what
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_edit_keeps_the_last_good_state_until_it_is_repaired() -> Result<()> {
    let directory = Directory::echo(ECHO)?;
    directory.write("route.yaml", &route("v1"))?;
    let mesh = Mesh::up(directory.path(), DataPlane::Native, &[])?;
    always(&mesh, "v1").await?;
    let broken = [
        route("v2").replace("hosts: [echo]", "hosts: [echo"),
        route("v2").replace("http:", "http: 7"),
        String::new(),
    ];
    for text in &broken {
        directory.write("route.yaml", text)?;
        eventually("the broken edit is known", LIMIT, async || {
            let status = mesh.debug("/debug/status").await?;
            let of_objects = status["objects"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|object| object["messages"].as_array());
            let mut messages = of_objects.chain(status["messages"].as_array()).flatten();
            let of_file = |message: &serde_json::Value| {
                message["file"]
                    .as_str()
                    .is_some_and(|file| file.ends_with("/route.yaml"))
            };
            ensure!(messages.any(of_file), "{status}");
            let echo = |object: &&serde_json::Value| object["kind"] == "VirtualService" && object["name"] == "echo";
            let route = status["objects"]
                .as_array()
                .and_then(|objects| objects.iter().find(echo))
                .context("no status of the object")?;
            ensure!(route["inForce"] == "last-good", "{route}");
            Ok(())
        })
        .await
        .with_context(|| text.clone())?;
        always(&mesh, "v1").await.with_context(|| text.clone())?;
        sync::in_sync(&mesh).await?;
        directory.write("route.yaml", &route("v2"))?;
        eventually("the repair takes effect", LIMIT, async || always(&mesh, "v2").await)
            .await
            .with_context(|| text.clone())?;
        directory.write("route.yaml", &route("v1"))?;
        eventually("back to the beginning", LIMIT, async || always(&mesh, "v1").await).await?;
    }
    Ok(())
}

/// Starts `up` where it cannot start; what it says, in time.
fn refuses(arguments: &[&str]) -> Result<String> {
    let state = tempfile::Builder::new().prefix("mlt").rand_bytes(4).tempdir()?;
    let output = Command::new(meltemi())
        .arg("up")
        .args(arguments)
        .arg("--state-dir")
        .arg(state.path().join("s"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "it started: {text}");
    Ok(text)
}

fn holds(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "`{part}` is not in: {text}");
    }
    Ok(())
}

#[test]
fn ports_in_use_are_named_with_their_holder() -> Result<()> {
    let directory = Directory::bookinfo()?;
    let bookinfo = directory.path().display().to_string();
    let me = format!("pid {}", std::process::id());
    // Beside whatever mesh runs on this machine.
    let front = TcpListener::bind("127.0.0.1:0")?;
    let _pilot = TcpListener::bind("127.99.0.2:15010")?;
    let port = front.local_addr()?.port().to_string();
    let text = refuses(&[&bookinfo, "--subnet", "127.99.0.0/16", "--ingress-port", &port])?;
    let taken = format!("127.0.0.1:{port}");
    holds(
        &text,
        &[&taken, "the ingress gateway", "is in use", &me, "--ingress-port"],
    )?;
    holds(&text, &["127.99.0.2:15010", "pilot-discovery", "--subnet"])
}

#[test]
fn a_directory_that_is_not_there_is_named() -> Result<()> {
    let text = refuses(&["/no/such/directory"])?;
    holds(
        &text,
        &["/no/such/directory", "there is no such directory", "samples/bookinfo"],
    )?;
    let file = root().join("samples/bookinfo/bookinfo.yaml").display().to_string();
    let text = refuses(&[&file])?;
    holds(&text, &["bookinfo.yaml is a file", "give its directory"])
}
