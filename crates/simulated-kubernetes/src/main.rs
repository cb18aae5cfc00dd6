//! A Kubernetes API server that exists only in memory, as a process.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use simulated_kubernetes::{MASTERS, Pki, Settings, SimulatedKubernetes};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The part of the help about the control API.
const CONTROL: &str = r#"Objects are written through the Kubernetes API. The control API below /stand-in/ is for
the group system:masters; bodies are JSON:

  POST   /stand-in/nodes        {"name": "w1", "address": "10.0.0.1"}
                                also machine_id, boot_id, control_plane, allocatable
  PUT    /stand-in/kubelets/w1  {"up": false}
                                {"up": true, "boot_id": "b2", "delay_seconds": 5}
                                {"ready": false}, {"pod_start_seconds": 10}
  POST   /stand-in/users        {"token": "t", "name": "u", "groups": []}
  DELETE /stand-in/users/t      the token is rejected from then on (401)
  POST   /stand-in/faults       {"method": "PATCH", "path": "/api/v1/nodes",
                                 "path_contains": "w1", "user": "u", "requests": 1,
                                 "action": ACTION}
                                ACTION: "close-before", "close-after", "hang",
                                {"throttle": {"retry_after": 5}},
                                {"delay": {"secs": 1, "nanos": 0}},
                                {"answer": {"status": 502, "body": "…"}}
  DELETE /stand-in/faults
  PUT    /stand-in/state        {"api_unavailable": true}, {"store_unavailable": true}
  GET    /stand-in/state        {"start": "2026-12-01T10:00:00.5Z"}: effects are stamped relative to it
  POST   /stand-in/compact      older revisions are compacted (410)
  GET    /stand-in/effects      the log of effects, oldest first
  GET    /stand-in/requests     the number of requests by user

Example:

  simulated-kubernetes --state /tmp/k8s &
  curl --cacert /tmp/k8s/ca.pem -H "Authorization: Bearer $(cat /tmp/k8s/token)" \
       "$(cat /tmp/k8s/url)/api/v1/nodes""#;

/// Serves a simulated Kubernetes, for tests
///
/// The directory gets the certificate of the server's authority (ca.pem), a client certificate of an administrator
/// (admin.pem, admin-key.pem), a token of the same (token), and, once the server listens, its URL (url). SIGTERM ends
/// the server.
#[derive(Parser)]
#[command(version, after_help = CONTROL)]
struct Args {
    /// Directory for certificates, token and URL; it is created
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Address and port; port 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Seed of uids and generated names
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    fs::create_dir_all(&args.state)
        .with_context(|| format!("create directory {}", args.state.display()))?;
    let write = |name: &str, content: &str| {
        let path = args.state.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    };
    let pki = Pki::new().context("make the certificate authority")?;
    let (certificate, key) = pki.client("admin", &[MASTERS]).context("make a certificate")?;
    for (name, content) in [
        ("ca.pem", pki.authority_pem().as_str()),
        ("admin.pem", &certificate),
        ("admin-key.pem", &key),
        ("token", pki.token()),
    ] {
        write(name, content)?;
    }
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("listen on {}", args.listen))?;
    let url = format!("https://{}", listener.local_addr()?);
    #[expect(
        clippy::disallowed_methods,
        reason = "the start of the process; there is no Clock yet"
    )]
    let start = jiff::Timestamp::now();
    let kubernetes = SimulatedKubernetes::new(Settings { seed: args.seed, start });
    kubernetes.add_user(pki.token(), "admin", &[MASTERS]);
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    write("url", &url)?;
    tokio::select! {
        served = kubernetes.serve(listener, &pki) => served?,
        () = kubernetes.run() => {}
        _ = terminate.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}
