//! What a scenario runs on: all services, with hosts.
//!
//! - [`simulated`]: in this process, in simulated time
//! - [`real`]: processes and booted hosts

pub(crate) mod real;
pub(crate) mod simulated;

use std::collections::BTreeMap;
use std::path::Path;

use http_gateway::Service;

use real::Real;
use simulated::Simulated;

/// Users, each with the role that it is named after, and the password of all of them.
const USERS: [&str; 5] = ["admin", "operator", "reader", "backup", "enroll"];
pub(crate) const PASSWORD: &str = "secret";

/// What scenarios are run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Form {
    /// One of each service, in simulated time.
    #[default]
    Single,
    /// Two of each service, in simulated time; requests alternate between the gateways.
    Replicated,
    /// A process for each service, RabbitMQ, etcd and booted hosts, in real time.
    Real,
}

/// A gateway, as requests reach it.
#[derive(Debug, Clone)]
pub(crate) enum Gateway {
    /// In this process.
    Service(Service),
    /// At this URL.
    Url(String),
}

/// What scenarios do to hosts in each form.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    PowerOff,
    PowerOn,
    /// The network is gone.
    CutOff,
    /// The network is back.
    Reconnect,
    Reboot,
}

/// The services, and what they work on.
#[derive(Debug)]
pub(crate) struct Fleet {
    ground: Ground,
    folder: tempfile::TempDir,
}

#[derive(Debug)]
enum Ground {
    Simulated(Box<Simulated>),
    Real(Box<Real>),
}

impl Fleet {
    pub(crate) async fn start(form: Form) -> Self {
        // A short path: control sockets are made below it.
        let folder = tempfile::Builder::new().prefix("f").tempdir().unwrap();
        let path = folder.path();
        let ground = match form {
            Form::Single => Ground::Simulated(Box::new(Simulated::start(1, path).await)),
            Form::Replicated => Ground::Simulated(Box::new(Simulated::start(2, path).await)),
            Form::Real => Ground::Real(Box::new(Real::start(path).await)),
        };
        Self { ground, folder }
    }

    /// A folder of its own.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// For what only simulated hosts do: a scenario that needs it cannot have the tag `real`.
    pub(crate) fn simulated(&self) -> &Simulated {
        match &self.ground {
            Ground::Simulated(simulated) => simulated,
            Ground::Real(_) => panic!("this needs simulated hosts: the scenario cannot be @real"),
        }
    }

    pub(crate) fn gateways(&self) -> Vec<Gateway> {
        match &self.ground {
            Ground::Simulated(simulated) => {
                simulated.gateways.iter().cloned().map(Gateway::Service).collect()
            }
            Ground::Real(real) => vec![Gateway::Url(real.url.clone())],
        }
    }

    /// The URL of each gateway, for `commctl`.
    pub(crate) async fn listen(&self) -> Vec<String> {
        match &self.ground {
            Ground::Simulated(simulated) => simulated.listen().await,
            Ground::Real(real) => vec![real.url.clone()],
        }
    }

    /// There is a host at this address.
    pub(crate) fn add_host(&self, address: &str) {
        match &self.ground {
            Ground::Simulated(simulated) => simulated.hosts.add(address),
            Ground::Real(_) => real::add_host(address),
        }
    }

    pub(crate) fn happens(&self, address: &str, event: Event) {
        match &self.ground {
            Ground::Simulated(simulated) => simulated.happens(address, event),
            Ground::Real(real) => real.happens(address, event),
        }
    }

    /// How often each host was rebooted by Commissaire.
    pub(crate) fn reboots(&self) -> BTreeMap<String, usize> {
        match &self.ground {
            Ground::Simulated(simulated) => simulated.reboots(),
            Ground::Real(real) => real.reboots(),
        }
    }

    /// The most hosts that were down at once because of Commissaire.
    pub(crate) fn most_down(&self) -> usize {
        match &self.ground {
            Ground::Simulated(simulated) => simulated.most_down(),
            Ground::Real(real) => real.most_down(),
        }
    }

    /// A text of a scenario, with the addresses of its hosts as they really are.
    pub(crate) fn to_hosts(&self, text: &str) -> String {
        match &self.ground {
            Ground::Simulated(_) => text.to_owned(),
            Ground::Real(_) => real::to_hosts(text),
        }
    }

    /// The opposite of [`Self::to_hosts`].
    pub(crate) fn to_scenario(&self, text: String) -> String {
        match &self.ground {
            Ground::Simulated(_) => text,
            Ground::Real(_) => real::to_scenario(&text),
        }
    }

    /// What the services have logged, where they are processes.
    pub(crate) fn log(&self) -> String {
        match &self.ground {
            Ground::Simulated(_) => String::new(),
            Ground::Real(real) => real.log(),
        }
    }
}
