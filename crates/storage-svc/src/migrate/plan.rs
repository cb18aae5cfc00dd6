//! What becomes of each record of the original. Nothing here is read or written.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Address, Cluster, ClusterHead, ClusterMember, ClusterName, ContainerManagerConfig, Host,
    HostCreds, Model as _, Network, ident, stamp,
};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::LeftOut;
use crate::kinds::Kind;
use crate::kinds::written;
use crate::split::{Beside, Parts, split};

/// A record to take over.
pub(super) struct Planned {
    pub(super) kind: &'static Kind,
    pub(super) key: String,
    pub(super) record: Box<RawValue>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Plan {
    /// In the order in which they are written: what others stand on comes first, so that a host never is
    /// there without its credentials.
    pub(super) records: Vec<Planned>,
    /// Hosts without credentials: their keys in the dump, and where their credentials belong.
    pub(super) bare: Vec<(String, String)>,
    pub(super) left_out: Vec<LeftOut>,
    /// The cluster of each member.
    members: BTreeMap<Address, ClusterName>,
}

/// The kinds that are taken over; they lie where they lay.
const KINDS: [&Kind; 4] = [
    &Kind::of::<Network>(),
    &Kind::of::<ContainerManagerConfig>(),
    &Kind::of::<Host>(),
    &Kind::of::<Cluster>(),
];

const CREDS: &Kind = &Kind::of::<HostCreds>();
const HEAD: &Kind = &Kind::of::<ClusterHead>();
const MEMBER: &Kind = &Kind::of::<ClusterMember>();

impl Planned {
    /// The documented type that it is counted as.
    pub(super) fn type_name(&self) -> &'static str {
        if self.kind.type_name == HEAD.type_name { Cluster::TYPE } else { self.kind.type_name }
    }
}

impl Plan {
    /// What becomes of the original's keys.
    pub(super) fn of(keys: &[(String, String)]) -> Self {
        let mut plan = Self::default();
        for kind in KINDS {
            for (key, value) in keys.iter().filter(|(key, _)| key.starts_with(kind.prefix)) {
                if let Err(why) = plan.add(kind, key, value) {
                    plan.leave_out(key, why);
                }
            }
        }
        for (key, _) in keys {
            if !KINDS.iter().any(|kind| key.starts_with(kind.prefix)) {
                let is_history = key.starts_with("/commissaire/cluster/");
                plan.leave_out(key, if is_history { HISTORY } else { UNKNOWN }.to_owned());
            }
        }
        plan
    }

    /// Adds the credentials of a bare host, found elsewhere.
    pub(super) fn add_creds(&mut self, old_key: &str, found: Option<&str>) {
        let creds = found.ok_or_else(|| NO_CREDS.to_owned()).and_then(|text| {
            let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
            if is_json { CREDS.check(text) } else { Err("its credentials are no JSON".to_owned()) }
        });
        match creds {
            Ok((key, record)) => self.records.insert(0, Planned { kind: CREDS, key, record }),
            Err(why) => self.leave_out(old_key, why),
        }
    }

    fn leave_out(&mut self, key: &str, why: String) {
        self.left_out.push(LeftOut { key: key.to_owned(), why });
    }

    /// Takes a record over, or says why not.
    fn add(&mut self, kind: &'static Kind, old_key: &str, value: &str) -> Result<(), String> {
        let mut members: Map<String, Value> =
            serde_json::from_str(value).map_err(|_| "it is not a JSON object".to_owned())?;
        let id = old_key.strip_prefix(kind.prefix).unwrap_or(old_key);
        if members.get(kind.id).and_then(Value::as_str).is_some_and(|own| own != id) {
            return Err(format!("its key and its `{}` differ", kind.id));
        }
        members.insert(kind.id.to_owned(), id.into());
        let creds = match kind.type_name {
            Host::TYPE => Some(host(&mut members)),
            Cluster::TYPE => {
                cluster(&mut members);
                None
            }
            _ => None,
        };
        let text = Value::Object(members).to_string();
        let Parts { key, record, beside } = split(kind, &text)?;
        if self.records.iter().any(|planned| planned.key == key) {
            return Err(format!("another record of the dump becomes {key} too"));
        }
        match creds {
            Some(Some(creds)) => {
                let checked = CREDS.check(&creds.to_string());
                let (key, record) = checked.map_err(|e| format!("credentials: {e}"))?;
                self.records.push(Planned { kind: CREDS, key, record });
            }
            Some(None) => {
                let address = key.strip_prefix(kind.prefix).unwrap_or_default();
                self.bare.push((old_key.to_owned(), HostCreds::key(address)));
            }
            None => {}
        }
        match beside {
            Beside::Members(cluster, hosts) => {
                self.records.push(Planned { kind: HEAD, key: key.clone(), record });
                return self.add_members(&key, &cluster, hosts);
            }
            Beside::Put(kind, key, record) => self.records.push(Planned { kind, key, record }),
            Beside::Nothing | Beside::Delete(..) => {}
        }
        self.records.push(Planned { kind, key, record });
        Ok(())
    }

    /// A host is in one cluster at most: the first one keeps it.
    fn add_members(
        &mut self,
        of: &str,
        cluster: &ClusterName,
        hosts: Vec<Address>,
    ) -> Result<(), String> {
        for address in hosts {
            if let Some(first) = self.members.get(&address) {
                let why = format!("its member {address:?} is left out: it is in {first:?} already");
                self.leave_out(of, why);
                continue;
            }
            let key = ClusterMember::key(&address);
            self.members.insert(address.clone(), cluster.clone());
            let member = ClusterMember { address, cluster: cluster.clone() };
            self.records.push(Planned { kind: MEMBER, key, record: written(&member)? });
        }
        Ok(())
    }
}

const HISTORY: &str = "past operations are not taken over";
const UNKNOWN: &str = "it is not a record that is kept here";
const NO_CREDS: &str =
    "the host is taken over, but its credentials are not in the dump: save them again";

/// Makes a host of today of one of the original; returns its credentials, if it has any.
fn host(members: &mut Map<String, Value>) -> Option<Value> {
    canonical(members, "address");
    let key = members.remove("ssh_priv_key");
    let user = members.remove("remote_user").filter(|user| *user != json!(""));
    // Python leaves the fraction out when it is nothing.
    if let Some(Value::String(stamp)) = members.get_mut("last_check")
        && !stamp::is_stamp(stamp)
    {
        let whole = format!("{stamp}.000000");
        *stamp = if stamp::is_stamp(&whole) { whole } else { String::new() };
    }
    let mut creds = json!({"address": members.get("address"), "ssh_priv_key": key?});
    if let Some(user) = user {
        creds["remote_user"] = user;
    }
    Some(creds)
}

/// Makes a cluster of today of one of the original.
fn cluster(members: &mut Map<String, Value>) {
    for name in ["network", "container_manager"] {
        if members.get(name).is_some_and(|value| value.is_null() || *value == json!("")) {
            members.remove(name);
        }
    }
    if let Some(Value::Array(hosts)) = members.get_mut("hostset") {
        let address = |host: &Value| {
            let text = host.as_str()?;
            Some(ident::canonical_address(text).unwrap_or_else(|| text.into()))
        };
        let sorted: Option<BTreeSet<_>> = hosts.iter().map(address).collect();
        // What is no text stays for the check to name.
        if let Some(sorted) = sorted {
            *hosts = sorted.iter().map(|address| Value::from(address.as_str())).collect();
        }
    }
}

fn canonical(members: &mut Map<String, Value>, name: &str) {
    if let Some(Value::String(address)) = members.get_mut(name)
        && let Some(canonical) = ident::canonical_address(address)
    {
        *address = canonical.to_string();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(records: &[(&str, Value)]) -> Plan {
        let mut keys: Vec<_> = records
            .iter()
            .map(|(key, value)| (format!("/commissaire/{key}"), value.to_string()))
            .collect();
        keys.sort();
        Plan::of(&keys)
    }

    /// The records that a record of the original becomes.
    fn all(key: &str, value: Value) -> Vec<Value> {
        let plan = plan(&[(key, value)]);
        assert_eq!(plan.left_out, []);
        plan.records.iter().map(Planned::value).collect()
    }

    impl Planned {
        fn value(&self) -> Value {
            serde_json::from_str(self.record.get()).unwrap()
        }
    }

    #[test]
    fn a_host_is_parted_from_its_credentials() {
        let host = json!({
            "address": "10.0.0.1", "status": "active", "os": "atomic", "cpus": 4, "memory": 2048,
            "space": 51_475_068, "last_check": "2016-11-28T22:10:11.851787", "source": "",
            "ssh_priv_key": "a2V5", "remote_user": "ops"});
        let plan = plan(&[("hosts/10.0.0.1", host.clone())]);
        let [creds, record] = plan.records.as_slice() else { panic!("two records") };
        assert_eq!(creds.key, "/commissaire/secrets/hosts/10.0.0.1");
        assert_eq!(
            (&creds.value()["ssh_priv_key"], &creds.value()["remote_user"]),
            (&json!("a2V5"), &json!("ops"))
        );
        let mut expected = host;
        expected
            .as_object_mut()
            .unwrap()
            .retain(|name, _| !["ssh_priv_key", "remote_user"].contains(&name.as_str()));
        assert_eq!(
            (record.key.as_str(), record.value()),
            ("/commissaire/hosts/10.0.0.1", expected)
        );
    }

    #[test]
    fn what_is_written_otherwise_today_is_adapted() {
        let host = |address: &str, stamp| {
            let key = format!("hosts/{address}");
            let plan = plan(&[(
                &key,
                json!({"address": address, "last_check": stamp, "ssh_priv_key": ""}),
            )]);
            plan.records[1].value()
        };
        assert_eq!(host("Web1.Example.com", "")["address"], "web1.example.com");
        let whole = host("a", "2016-11-28T22:10:11");
        assert_eq!(whole["last_check"], "2016-11-28T22:10:11.000000");
        assert_eq!(host("a", "never")["last_check"], "");

        let cluster = all(
            "clusters/c",
            json!({"name": "c", "status": "ok", "type": "kubernetes",
            "network": null, "container_manager": "", "hostset": ["b", "A", "b"]}),
        );
        let head =
            json!({"name": "c", "status": "ok", "network": "default", "container_manager": ""});
        let member = |address: &str| json!({"address": address, "cluster": "c"});
        assert_eq!(cluster, [head, member("a"), member("b")]);
        let network = all("networks/n", json!({"name": "n", "type": "flannel_etcd"}));
        assert_eq!(network, [json!({"name": "n", "type": "flannel_etcd", "options": {}})]);
    }

    #[test]
    fn a_token_of_a_container_manager_is_taken_out() {
        let options = json!({"server_url": "https://k", "token": "canary"});
        let plan = plan(&[(
            "container_managers/k",
            json!({"name": "k", "type": "openshift", "options": options}),
        )]);
        let [secret, config] = plan.records.as_slice() else { panic!("two records") };
        assert!(secret.kind.secret && secret.value()["options"]["token"] == "canary");
        assert!(!config.record.to_string().contains("canary"));
    }

    #[test]
    fn a_host_is_in_one_cluster() {
        let plan = plan(&[
            ("clusters/a", json!({"name": "a", "hostset": ["h1", "h2"]})),
            ("clusters/b", json!({"name": "b", "hostset": ["h2", "h3"]})),
        ]);
        let members =
            plan.records.iter().filter(|planned| planned.kind.type_name == "ClusterMember");
        let members: Vec<_> = members.map(|member| member.value()["cluster"].clone()).collect();
        assert_eq!(members, ["a", "a", "b"]);
        assert_eq!(plan.left_out[0].key, "/commissaire/clusters/b");
        assert!(plan.left_out[0].why.contains("\"h2\"") && plan.left_out[0].why.contains("\"a\""));
    }

    #[test]
    fn what_cannot_be_taken_over_is_left_out_and_hides_no_neighbour() {
        for (key, value, says) in [
            ("hosts/10.0.0.1", json!("text"), "not a JSON object"),
            ("hosts/10.0.0.1", json!({"address": "10.0.0.2"}), "differ"),
            ("hosts/10.0.0.1", json!({"address": "10.0.0.1", "status": "confused"}), "confused"),
            (
                "hosts/10.0.0.1",
                json!({"ssh_priv_key": "canary", "remote_user": "a b"}),
                "credentials: ",
            ),
            ("hosts/10.0.0.1", json!({"ssh_priv_key": ["canary"]}), "credentials: "),
            ("hosts/10.0.0.1/x", json!({}), "an address is"),
            ("clusters/c d", json!({}), "a name consists"),
            ("clusters/c", json!({"hostset": [7]}), "expected a string"),
            ("networks/n", json!({"type": "flannel_server"}), "options.address"),
            ("cluster/c/restart", json!({"name": "c", "status": "in_process"}), "past operations"),
            ("config/storage", json!({}), "not a record"),
        ] {
            let plan = plan(&[(key, value), ("networks/good", json!({"name": "good"}))]);
            assert_eq!(plan.records.len(), 1, "{key}");
            let [LeftOut { key: named, why }] = plan.left_out.as_slice() else { panic!("{key}") };
            assert_eq!(*named, format!("/commissaire/{key}"));
            assert!(why.contains(says) && !why.contains("canary"), "{why}");
        }
        let twice = plan(&[
            ("hosts/WEB", json!({"address": "WEB", "ssh_priv_key": ""})),
            ("hosts/web", json!({"address": "web", "ssh_priv_key": ""})),
        ]);
        assert_eq!((twice.records.len(), twice.left_out.len()), (2, 1));
    }

    #[test]
    fn a_host_without_credentials_is_taken_over_and_told() {
        let creds = json!({"address": "h", "ssh_priv_key": "a2V5"}).to_string();
        for (found, records, says) in [
            (None, 1, Some("save them again")),
            (Some("canary"), 1, Some("no JSON")),
            (Some(creds.as_str()), 2, None),
        ] {
            let mut plan = plan(&[("hosts/h", json!({"address": "h"}))]);
            let expected =
                ["/commissaire/hosts/h", "/commissaire/secrets/hosts/h"].map(String::from);
            assert_eq!(plan.bare, [expected.into()]);
            plan.add_creds("/commissaire/hosts/h", found);
            assert_eq!(plan.records.len(), records);
            let why = plan.left_out.first().map(|left_out| left_out.why.as_str());
            assert!(why.zip(says).is_none_or(|(why, says)| why.contains(says)), "{why:?}");
            assert_eq!(why.is_some(), says.is_some());
        }
    }
}
