//! The fixture, and what makes a case one line.

mod answer;
mod custodia;
mod gateway;
mod pki;
mod raw;

pub(crate) use answer::Answer;
pub(crate) use custodia::{CUSTODIA_KEY, Custodia};
pub(crate) use gateway::{
    Executor, Form, Gateway, Managers, PASSWORD, Setup, Storage, USER, V0, basic,
};
pub(crate) use pki::{Pki, Signed};
pub(crate) use raw::in_time;

/// A host key, as hosts show it; its fingerprint is in [`WITH_BODY`].
pub(crate) const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

/// Every route, as it looks with a cluster `c1`, a host `10.0.0.1` that is its member, an operation `o1`,
/// a network `n1`, a container manager `k1`, a binding `b1` and a health check `w1`, and the methods it has.
pub(crate) const ROUTES: [(&str, &[&str]); 51] = [
    ("/api/v0/clusters", &["GET", "HEAD"]),
    ("/api/v0/cluster/c1", &["DELETE", "GET", "HEAD", "PUT"]),
    ("/api/v0/cluster/c1/hosts", &["GET", "HEAD", "PUT"]),
    ("/api/v0/cluster/c1/hosts/10.0.0.1", &["DELETE", "GET", "HEAD", "PUT"]),
    ("/api/v0/cluster/c1/restart", &["GET", "HEAD", "PUT"]),
    ("/api/v0/cluster/c1/upgrade", &["GET", "HEAD", "PUT"]),
    ("/api/v0/cluster/c1/deploy", &["GET", "HEAD", "PUT"]),
    ("/api/v0/cluster/c1/operations", &["GET", "HEAD"]),
    ("/api/v0/operation/o1", &["GET", "HEAD"]),
    ("/api/v0/operation/o1/events", &["GET", "HEAD"]),
    ("/api/v0/operation/o1/pause", &["POST"]),
    ("/api/v0/operation/o1/resume", &["POST"]),
    ("/api/v0/operation/o1/abort", &["POST"]),
    ("/api/v0/operation/o1/continue", &["POST"]),
    ("/api/v0/explain", &["GET", "HEAD"]),
    ("/api/v0/whoami", &["GET", "HEAD"]),
    ("/api/v0/healthchecks", &["GET", "HEAD"]),
    ("/api/v0/healthcheck/w1", &["DELETE", "GET", "HEAD", "PUT"]),
    ("/api/v0/backup", &["GET", "HEAD"]),
    ("/api/v0/bindings", &["GET", "HEAD"]),
    ("/api/v0/bindings/accept", &["POST"]),
    ("/api/v0/binding/b1", &["DELETE", "GET", "HEAD", "PUT"]),
    ("/api/v0/login", &["GET", "HEAD"]),
    ("/api/v0/explain/host/10.0.0.1", &["GET", "HEAD"]),
    ("/api/v0/explain/cluster/c1", &["GET", "HEAD"]),
    ("/api/v0/explain/operation/o1", &["GET", "HEAD"]),
    ("/api/v0/freeze", &["DELETE", "GET", "HEAD", "PUT"]),
    ("/api/v0/containermanagers", &["GET", "HEAD"]),
    ("/api/v0/containermanager/k1", &["DELETE", "GET", "HEAD", "PUT"]),
    ("/api/v0/hosts", &["GET", "HEAD"]),
    ("/api/v0/host", &["PUT"]),
    ("/api/v0/host/10.0.0.1", &["DELETE", "GET", "HEAD", "PUT"]),
    ("/api/v0/host/10.0.0.1/creds", &["GET", "HEAD", "PUT"]),
    ("/api/v0/host/10.0.0.1/status", &["GET", "HEAD"]),
    ("/api/v0/host/10.0.0.1/investigate", &["POST"]),
    ("/api/v0/host/10.0.0.1/hostkey", &["PUT"]),
    ("/api/v0/host/10.0.0.1/cordon", &["DELETE", "PUT"]),
    ("/api/v0/host/10.0.0.1/drain", &["POST"]),
    ("/api/v0/host/10.0.0.1/placement", &["GET", "HEAD", "PUT"]),
    ("/api/v0/publickey", &["GET", "HEAD"]),
    ("/api/v0/enrollments", &["GET", "HEAD", "POST"]),
    ("/api/v0/enrollment/e1", &["DELETE"]),
    ("/api/v0/tokens", &["GET", "HEAD", "POST"]),
    ("/api/v0/token/e1", &["DELETE"]),
    ("/api/v0/networks", &["GET", "HEAD"]),
    ("/api/v0/network/n1", &["DELETE", "GET", "HEAD", "PUT"]),
    ("/healthz", &["GET", "HEAD"]),
    ("/readyz", &["GET", "HEAD"]),
    ("/metrics", &["GET", "HEAD"]),
    ("/docs", &["GET", "HEAD"]),
    ("/api/v0/openapi.json", &["GET", "HEAD"]),
];

/// The routes there are with Custodia, besides.
pub(crate) const SECRET_ROUTES: [(&str, &[&str]); 2] = [
    ("/api/v0/secrets", &["GET", "HEAD"]),
    ("/api/v0/secrets/s1", &["DELETE", "GET", "HEAD", "POST", "PUT"]),
];

/// The routes that read a body: method, path, and what a fitting body has to hold.
pub(crate) const WITH_BODY: [(&str, &str, &str); 21] = [
    ("POST", "/api/v0/host/10.0.0.1/drain", "{}"),
    ("PUT", "/api/v0/cluster/c1", "{}"),
    ("PUT", "/api/v0/cluster/c2", "{}"),
    ("PUT", "/api/v0/cluster/c1/hosts", r#"{"old": ["10.0.0.1"], "new": []}"#),
    ("PUT", "/api/v0/cluster/c1/hosts/10.0.0.2", "{}"),
    ("PUT", "/api/v0/cluster/c1/restart", "{}"),
    ("PUT", "/api/v0/cluster/c1/upgrade", "{}"),
    ("PUT", "/api/v0/cluster/c1/deploy", r#"{"version": "7.2"}"#),
    ("PUT", "/api/v0/freeze", "{}"),
    ("PUT", "/api/v0/containermanager/k2", r#"{"type": "trivial"}"#),
    ("PUT", "/api/v0/host", r#"{"address": "10.0.0.3"}"#),
    ("PUT", "/api/v0/host/10.0.0.3", "{}"),
    ("PUT", "/api/v0/network/n2", "{}"),
    ("PUT", "/api/v0/healthcheck/w1", r#"{"command": "true"}"#),
    (
        "PUT",
        "/api/v0/binding/b1",
        r#"{"kind": "group", "subject": "corp:web", "role": "reader", "clusters": ["c1"]}"#,
    ),
    ("POST", "/api/v0/bindings/accept", r#"{"names": ["b1"]}"#),
    ("POST", "/api/v0/enrollments", "{}"),
    ("POST", "/api/v0/tokens", r#"{"name": "t1", "role": "reader", "clusters": ["c1"]}"#),
    ("POST", "/api/v0/host/10.0.0.1/investigate", "{}"),
    ("PUT", "/api/v0/host/10.0.0.1/placement", "{}"),
    (
        "PUT",
        "/api/v0/host/10.0.0.1/hostkey",
        r#"{"fingerprint": "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"}"#,
    ),
];
