//! What is to be done to a host. Pure.

use host_access::{Facts, NetworkSetup, Os};
use model::{Bootstrap, Network, NetworkType};

use crate::config::Config;

/// What is to be done to a host.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing, and why: a sentence for the operator.
    Leave(String),
    /// The bootstrap playbook, for this network.
    SetUp(NetworkSetup),
}

/// Decides by what was asked for, the host's network, what was found on it, and whether a set-up of
/// ours was begun on it before (then what runs there is ours, and is finished).
pub fn decide(
    asked: Bootstrap,
    network: &Network,
    facts: &Facts,
    begun: bool,
    config: &Config,
) -> Plan {
    let setup = match network.kind {
        NetworkType::None => {
            return Plan::Leave(format!("the network {} needs nothing installed", network.name));
        }
        NetworkType::FlannelEtcd => NetworkSetup::FlannelEtcd(config.flannel_etcd()),
        NetworkType::FlannelServer => NetworkSetup::FlannelServer {
            address: network.server_address().unwrap_or_default().to_owned(),
        },
    };
    match asked {
        Bootstrap::None => Plan::Leave("nothing was installed, as asked".to_owned()),
        Bootstrap::Auto if !begun => match reason_to_leave(facts) {
            Some(reason) => Plan::Leave(format!(
                "nothing was installed: {reason}; register it with bootstrap \"full\" to set it up all the same"
            )),
            None => Plan::SetUp(setup),
        },
        Bootstrap::Auto | Bootstrap::Full => Plan::SetUp(setup),
    }
}

fn reason_to_leave(facts: &Facts) -> Option<String> {
    if facts.kubelet {
        return Some("a kubelet runs on it".to_owned());
    }
    if let Some(runtime) = &facts.container_runtime {
        return Some(format!("{runtime} runs on it"));
    }
    (!has_packages(facts)).then(|| format!("{} {} has no flannel package", facts.os, facts.version))
}

/// Whether the distribution has flannel and docker as packages, or in its tree.
fn has_packages(facts: &Facts) -> bool {
    let seven = facts.version == "7" || facts.version.starts_with("7.");
    match facts.os {
        Os::Fedora | Os::Atomic | Os::Opensuse => true,
        Os::Centos | Os::Rhel | Os::Redhat => facts.ostree || seven,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn facts(os: Os, version: &str) -> Facts {
        Facts {
            os,
            version: version.to_owned(),
            cpus: 1,
            memory_mib: 1,
            space: 1,
            boot_id: String::new(),
            machine_id: String::new(),
            rebooters: Vec::new(),
            ostree: false,
            container_runtime: None,
            kubelet: false,
            python: Some((3, 11)),
            machine: "x86_64".to_owned(),
        }
    }

    fn network(kind: NetworkType) -> Network {
        let options = Map::from_iter([("address".to_owned(), json!("10.0.0.1:8888"))]);
        Network { name: "n".to_owned(), kind, options }
    }

    fn decided(asked: Bootstrap, facts: &Facts, begun: bool) -> Plan {
        decide(asked, &network(NetworkType::FlannelServer), facts, begun, &Config::default())
    }

    #[test]
    fn full_sets_up_whatever_is_there_and_none_only_looks() {
        let busy = Facts { kubelet: true, ..facts(Os::Debian, "12") };
        let server = NetworkSetup::FlannelServer { address: "10.0.0.1:8888".to_owned() };
        assert_eq!(decided(Bootstrap::Full, &busy, false), Plan::SetUp(server));
        let fresh = facts(Os::Fedora, "41");
        assert!(matches!(decided(Bootstrap::None, &fresh, false), Plan::Leave(_)));
    }

    #[test]
    fn auto_leaves_a_host_that_is_in_use_or_has_no_packages() {
        let fresh = facts(Os::Fedora, "41");
        assert!(matches!(decided(Bootstrap::Auto, &fresh, false), Plan::SetUp(_)));
        assert!(matches!(
            decided(Bootstrap::Auto, &facts(Os::Centos, "7.9"), false),
            Plan::SetUp(_)
        ));
        let docker = Facts { container_runtime: Some("docker".to_owned()), ..fresh };
        for (left, why) in [
            (docker.clone(), "docker runs on it"),
            (Facts { kubelet: true, ..facts(Os::Fedora, "41") }, "a kubelet runs on it"),
            (facts(Os::Debian, "12"), "debian 12 has no flannel package"),
            (facts(Os::Rocky, "9.4"), "rocky 9.4 has no flannel package"),
        ] {
            match decided(Bootstrap::Auto, &left, false) {
                Plan::Leave(reason) => assert!(reason.contains(why), "{reason}"),
                other @ Plan::SetUp(_) => panic!("{other:?}"),
            }
        }
        // A set-up that was cut off after it had started docker is finished.
        assert!(matches!(decided(Bootstrap::Auto, &docker, true), Plan::SetUp(_)));
    }

    #[test]
    fn a_network_of_type_none_needs_nothing() {
        let plan = decide(
            Bootstrap::Full,
            &network(NetworkType::None),
            &facts(Os::Fedora, "41"),
            false,
            &Config::default(),
        );
        assert!(matches!(plan, Plan::Leave(_)));
    }
}
