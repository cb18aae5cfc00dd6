//! Non-resource paths: version, health checks and discovery.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::cluster::Cluster;
use crate::request::Request;
use crate::resource::{RESOURCES, Resource, Storage};

impl Cluster {
    pub(crate) fn path(&self, request: &Request, path: &str) -> Answer {
        let path = path.strip_suffix('/').filter(|rest| !rest.ends_with('/')).unwrap_or(path);
        if ![Method::GET, Method::HEAD].contains(&request.method) {
            return Answer::text(405, "405 method not allowed\n");
        }
        let parts: Vec<_> = path.split('/').skip(1).collect();
        match parts[..] {
            ["version"] => Answer::json(200, &version()),
            ["healthz" | "livez" | "readyz"] if self.is_store_unavailable => Answer::text(
                500,
                &format!(
                    "[+]ping ok\n[-]etcd failed: reason withheld\n{} check failed\n",
                    parts[0]
                ),
            ),
            [check @ ("healthz" | "livez" | "readyz")] => {
                let is_verbose = request.query.iter().any(|(name, _)| name == "verbose");
                let verbose = format!("[+]ping ok\n[+]etcd ok\n{check} check passed\n");
                Answer::text(200, if is_verbose { &verbose } else { "ok" })
            }
            ["api"] => {
                let address = json!({"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"});
                let body = json!({"kind": "APIVersions", "versions": ["v1"],
                    "serverAddressByClientCIDRs": [address]});
                Answer::json(200, &body)
            }
            ["api", "v1"] => Answer::json(200, &resources("", "v1")),
            ["apis"] => Answer::json(200, &groups()),
            ["apis", group, version] => Answer::json(200, &resources(group, version)),
            _ => Answer::text(404, "404 page not found\n"),
        }
    }
}

fn version() -> Value {
    json!({"major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35", "gitVersion": "v1.36.2",
        "gitCommit": "98b35193b2ac7a23a673325f5e9b830ecd5ba406", "gitTreeState": "clean",
        "buildDate": "2026-11-21T23:38:22Z", "goVersion": "go1.26.6", "compiler": "gc",
        "platform": "linux/amd64"})
}

fn groups() -> Value {
    let named = RESOURCES.iter().filter(|resource| !resource.group.is_empty());
    let groups: BTreeSet<_> = named.map(|resource| (resource.group, resource.version)).collect();
    let groups = groups.into_iter().map(|(group, version)| {
        let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
        json!({"name": group, "versions": [version], "preferredVersion": version})
    });
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>()})
}

fn resources(group: &str, version: &str) -> Value {
    let described = |resource: &Resource| {
        let verbs = match resource.storage {
            Storage::Review => json!(["create"]),
            _ => json!([
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch"
            ]),
        };
        let entry = |name: String, kind: &str, verbs: Value| {
            json!({"name": name, "singularName": kind.to_lowercase(), "kind": kind,
                "namespaced": resource.is_namespaced(), "verbs": verbs})
        };
        let mut entries = vec![entry(resource.plural.to_owned(), resource.kind, verbs)];
        for subresource in resource.subresources {
            let (kind, verbs) = match *subresource {
                "binding" => ("Binding", json!(["create"])),
                "eviction" => ("Eviction", json!(["create"])),
                "token" => ("TokenRequest", json!(["create"])),
                _ => (resource.kind, json!(["get", "patch", "update"])),
            };
            entries.push(entry(format!("{}/{subresource}", resource.plural), kind, verbs));
        }
        entries
    };
    let known = RESOURCES.iter().filter(|known| known.group == group && known.version == version);
    let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
        "resources": known.flat_map(described).collect::<Vec<_>>()})
}
