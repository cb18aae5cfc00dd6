//! What there is to check, in either form, as the configuration has it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bus::amqp;
use daemons::Daemon;
use http_gateway::auth::PluginConfig;
use storage_svc::config::Backend;

use super::user::User;

/// What one of the two forms consists of on this machine.
#[derive(Debug)]
pub(super) struct Subject {
    /// Everything in one process, or the six daemons.
    pub form: Form,
    /// The user that the server runs as.
    pub user: User,
    pub data_dirs: BTreeSet<PathBuf>,
    pub run_dirs: BTreeSet<PathBuf>,
    /// The data directories whose `id_ed25519` is used to reach hosts.
    pub key_dirs: BTreeSet<PathBuf>,
    /// The storage service, where it runs on this machine.
    pub storage: Option<storage_svc::Config>,
    /// The data directory of the storage service.
    pub storage_dir: PathBuf,
    /// The gateway, where it runs on this machine.
    pub gateway: Option<http_gateway::Config>,
    /// Whether container managers are reached from this machine.
    pub reaches_managers: bool,
    /// Files that the configuration names by path.
    pub named: Vec<NamedFile>,
    /// Files outside of the data directory that other users may not read.
    pub private_files: BTreeSet<PathBuf>,
    /// The way of each daemon to the message broker.
    pub brokers: Vec<(Daemon, amqp::Options)>,
}

/// A form of Commissaire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Everything in one process.
    OneProcess,
    /// Daemons on a message broker.
    Daemons,
}

/// A file that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedFile {
    /// The option that names it.
    pub option: String,
    pub path: PathBuf,
    pub usage: Usage,
}

/// How a file is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// It is read, or listed.
    Read,
    /// It holds certificates.
    Certificates,
    /// A socket that is connected to.
    Socket,
    /// It is written; its directory has to exist.
    Written,
}

impl Subject {
    pub(super) fn new(form: Form, data_dir: &Path) -> Self {
        Self {
            form,
            user: User::owner_of(data_dir),
            data_dirs: BTreeSet::new(),
            run_dirs: BTreeSet::new(),
            key_dirs: BTreeSet::new(),
            storage: None,
            storage_dir: data_dir.to_owned(),
            gateway: None,
            reaches_managers: false,
            named: Vec::new(),
            private_files: BTreeSet::new(),
            brokers: Vec::new(),
        }
    }

    fn name(&mut self, option: impl Into<String>, path: Option<&Path>, usage: Usage) {
        if let Some(path) = path {
            let (option, path) = (option.into(), path.to_owned());
            self.named.push(NamedFile { option, path, usage });
        }
    }

    pub(super) fn add_gateway(&mut self, gateway: http_gateway::Config, own_certificate: bool) {
        let custodia = gateway.custodia_socket_path.as_deref();
        self.name("custodia-socket-path", custodia, Usage::Socket);
        self.name("audit-log", gateway.audit_log.as_deref(), Usage::Written);
        // The server's own certificate is made at a start.
        let pem = gateway.tls_pemfile.as_deref().filter(|_| !own_certificate);
        self.name("tls-pemfile", pem, Usage::Certificates);
        self.private_files.extend(pem.map(Path::to_owned));
        let clients = gateway.tls_clientverifyfile.as_deref();
        self.name("tls-clientverifyfile", clients, Usage::Certificates);
        for PluginConfig { name, options } in &gateway.authentication_plugins {
            for (option, value) in options {
                let plain = option.replace('-', "_");
                let usage = match plain.as_str() {
                    "certificate_authority_path" => Usage::Certificates,
                    "filepath" | "service_password_file" => Usage::Read,
                    _ => continue,
                };
                let path = value.as_str().map(Path::new);
                self.name(format!("{option} of {name}"), path, usage);
                if usage == Usage::Read {
                    self.private_files.extend(path.map(Path::to_owned));
                }
            }
        }
        self.gateway = Some(gateway);
    }

    pub(super) fn add_storage(&mut self, storage: storage_svc::Config) {
        let custodia = storage.custodia_socket_path.as_deref();
        self.name("custodia-socket-path", custodia, Usage::Socket);
        for handler in storage.handlers() {
            let Backend::Etcd(etcd) = &handler.backend else { continue };
            let of = |option: &str| format!("{option} of the store {:?}", handler.name);
            for (option, path, usage) in [
                ("certificate_path", &etcd.certificate_path, Usage::Certificates),
                ("certificate_ca_path", &etcd.certificate_ca_path, Usage::Certificates),
                ("certificate_key_path", &etcd.certificate_key_path, Usage::Read),
            ] {
                self.name(of(option), path.as_deref(), usage);
            }
            self.private_files.extend(etcd.certificate_key_path.clone());
        }
        self.storage = Some(storage);
    }

    pub(super) fn add_clusterexec(&mut self, config: &clusterexec_svc::Config) {
        self.name("webhook-secret-file", config.webhook_secret_file.as_deref(), Usage::Read);
        self.private_files.extend(config.webhook_secret_file.clone());
        self.name("playbook-path", config.playbook_path.as_deref(), Usage::Read);
    }

    pub(super) fn add_investigator(&mut self, config: &investigator_svc::Config) {
        self.name("playbook-path", config.playbook_path.as_deref(), Usage::Read);
    }

    pub(super) fn add_containermgr(&mut self, config: &containermgr_svc::Config) {
        self.name("credentials-directory", config.credentials_directory.as_deref(), Usage::Read);
        self.reaches_managers = true;
    }

    pub(super) fn add_bus(&mut self, daemon: Daemon, options: amqp::Options, file: Option<&Path>) {
        self.name("bus-uri-file", file, Usage::Read);
        self.private_files.extend(file.map(Path::to_owned));
        self.brokers.push((daemon, options));
    }
}
