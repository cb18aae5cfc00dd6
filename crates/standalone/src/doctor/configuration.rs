//! The configuration: whether a start would accept it, and whether the server can use the files that it names.

use std::io;
use std::path::{Path, PathBuf};

use daemons::Daemon;
use daemons::args::{CommonArgs, Invocation, SshArgs};
use daemons::config::Common;
use daemons::service::Service;
use http_gateway::auth::passwords::Passwords;
use http_gateway::auth::{Chain, PluginConfig};
use http_gateway::tls::Tls;
use runtime::error_text::chain;
use runtime::{Clock, Files, Lifecycle};
use serde_json::Map;

use super::report::{Check, Report};
use super::subject::{Form, NamedFile, Subject, Usage};
use crate::config::{self, Config};
use crate::{Args, data_dir};

const CHECK: Check = Check::Configuration;

/// The one process, with the configuration that a start with these arguments has. Where that is invalid, the other checks
/// go on with the defaults.
pub(super) fn one_process(args: &Args, report: &mut Report) -> anyhow::Result<Subject> {
    let data_dir = args.data_dir();
    let path = config::path(args);
    let config = match Config::load(args) {
        Ok(config) => {
            let finding = if args.config_file.is_some() || path.exists() {
                format!("{} is valid", path.display())
            } else {
                format!("{} does not exist: the defaults are used", path.display())
            };
            report.ok(CHECK, finding);
            config
        }
        Err(error) => {
            invalid(path, &error, report);
            Config::parse(path, Map::new())?
        }
    };
    let mut installation = Subject::new(Form::OneProcess, &data_dir);
    installation.data_dirs.insert(data_dir.clone());
    installation.key_dirs.insert(data_dir.clone());
    installation.run_dirs.insert(args.run_dir());
    let mut gateway = config.gateway;
    if gateway.authentication_plugins.is_empty() {
        let users = args.users.clone().unwrap_or_else(|| data_dir::users_in(&data_dir));
        // The first start makes the one in the data directory.
        if args.users.is_some() || users.exists() {
            gateway.authentication_plugins.push(config::users_file(&users));
        }
    }
    installation.add_gateway(gateway, config.own_certificate);
    installation.add_investigator(&config.investigator);
    installation.add_clusterexec(&config.clusterexec);
    installation.add_containermgr(&config.containermgr);
    let database = data_dir::database_in(&data_dir);
    let key = storage_svc::config::secret_key_in(&data_dir);
    installation.add_storage(storage_svc::Config::sqlite(database, key));
    Ok(installation)
}

/// The configuration files of daemons in a directory.
pub(super) fn daemon_files(folder: &Path) -> Vec<(Daemon, PathBuf)> {
    let file = |daemon: Daemon| (daemon, folder.join(format!("{}.conf", daemon.config())));
    Daemon::ALL.map(file).into_iter().filter(|(_, path)| path.exists()).collect()
}

/// The daemons whose configuration files these are. What an invalid one has is left out of the other checks.
pub(super) async fn daemons(files: &[(Daemon, PathBuf)], report: &mut Report) -> Subject {
    let mut installation: Option<Subject> = None;
    for (daemon, path) in files {
        let args = CommonArgs { config_file: Some(path.clone()), ..CommonArgs::default() };
        let parse = |common: &Common, fields| {
            let (args, ssh) = (args.clone(), SshArgs::default());
            let invocation = Invocation { common: args, server: None, storage: None, ssh };
            Service::parse(*daemon, common, fields, &invocation)
        };
        let loaded = Common::load(*daemon, &args).await;
        let loaded = loaded.and_then(|(common, fields)| Ok((parse(&common, fields)?, common)));
        let (service, common) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                invalid(path, &error, report);
                // Where only the way to the broker is invalid, the other checks go on.
                let read = Common::read(*daemon, &args).await;
                let read = read.and_then(|(common, fields)| Ok((parse(&common, fields)?, common)));
                if let Ok((service, common)) = read {
                    let new = || Subject::new(Form::Daemons, &common.data_dir);
                    add(installation.get_or_insert_with(new), &common, service);
                }
                continue;
            }
        };
        report.ok(CHECK, format!("{} is valid", common.path.display()));
        let new = || Subject::new(Form::Daemons, &common.data_dir);
        let installation = installation.get_or_insert_with(new);
        installation.add_bus(*daemon, common.amqp(*daemon), common.bus_uri_file.as_deref());
        add(installation, &common, service);
    }
    installation.unwrap_or_else(|| Subject::new(Form::Daemons, &Common::default().data_dir))
}

fn add(installation: &mut Subject, common: &Common, service: Service) {
    let reaches_hosts =
        matches!(service, Service::Investigator(_) | Service::Watcher(_) | Service::Clusterexec(_));
    if reaches_hosts {
        installation.key_dirs.insert(common.data_dir.clone());
        installation.run_dirs.insert(common.run_dir.clone());
    }
    installation.data_dirs.insert(common.data_dir.clone());
    match service {
        Service::Server(config, _) => installation.add_gateway(*config, false),
        Service::Storage(config) => {
            installation.storage_dir.clone_from(&common.data_dir);
            installation.add_storage(*config);
        }
        Service::Investigator(config) => installation.add_investigator(&config),
        Service::Clusterexec(config) => installation.add_clusterexec(&config),
        Service::Containermgr(config) => installation.add_containermgr(&config),
        Service::Watcher(_) => {}
    }
}

fn invalid(path: &Path, error: &anyhow::Error, report: &mut Report) {
    let finding = format!("a start with this configuration fails: {error:#}");
    report.error(CHECK, finding, format!("correct {} (docs/configuration.md)", path.display()));
}

/// Checks the files that the configuration names, and the authentication plugins.
pub(super) async fn check(installation: &Subject, report: &mut Report) {
    let before = report.0.len();
    for file in &installation.named {
        named(file, installation, report);
    }
    if report.0.len() == before && !installation.named.is_empty() {
        let count = installation.named.len();
        report.ok(CHECK, format!("all files that the configuration names can be used ({count})"));
    }
    if let Some(gateway) = &installation.gateway {
        tls(gateway, installation, report);
        authentication(&gateway.authentication_plugins, installation.form, report).await;
    }
}

/// Reads the key and the certificates as a start does; missing files are found otherwise, or are made at a start.
fn tls(gateway: &http_gateway::Config, installation: &Subject, report: &mut Report) {
    let Some(files) = gateway.tls_files() else { return };
    let clients = files.clients.iter().map(|(path, _)| path);
    let is_readable = |path: &PathBuf| installation.user.check_readable(path).is_ok();
    if !clients.chain([&files.pem]).all(is_readable) {
        return;
    }
    match Tls::load(files) {
        Ok(_) => report.ok(CHECK, "the key and the certificates for TLS can be used"),
        Err(error) => report.error(
            CHECK,
            format!("TLS cannot be served: {}", chain(&error)),
            "put the private key and the certificate that belongs to it into the file of `tls-pemfile`",
        ),
    }
}

fn named(file: &NamedFile, installation: &Subject, report: &mut Report) {
    let NamedFile { option, path, usage } = file;
    let usable = match usage {
        Usage::Read | Usage::Certificates => installation.user.check_readable(path),
        Usage::Socket => std::fs::metadata(path).map(drop),
        Usage::Written => match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // It is made at a start where it is missing.
            Some(folder) => std::fs::metadata(folder).map(drop),
            None => Ok(()),
        },
    };
    let Err(error) = usable else { return };
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => format!("put a file there, or correct `{option}`"),
        _ => format!("make it readable for the user id {}", installation.user.uid()),
    };
    let finding = format!("cannot use {} (`{option}`): {error}", path.display());
    report.error(CHECK, finding, remedy);
}

/// Sets the plugins up as a start does.
async fn authentication(plugins: &[PluginConfig], form: Form, report: &mut Report) {
    let command = match form {
        Form::OneProcess => "commissaire user add NAME",
        Form::Daemons => "commissaire-server user add NAME",
    };
    if plugins.is_empty() {
        match form {
            // The first start makes an administrator.
            Form::OneProcess => {}
            Form::Daemons => report.warning(
                CHECK,
                "no authentication plugin is configured: every request is rejected",
                "add `authentication-plugins` to commissaire.conf (docs/access.md)",
            ),
        }
        return;
    }
    let life = Lifecycle::new();
    let (passwords, clock) = (Passwords::default(), Clock::System);
    match Chain::new(plugins, passwords, Files::System, clock, &life).await {
        Ok(plugins) if plugins.has_users() => {
            report.ok(CHECK, "there are users who can log in");
        }
        Ok(_) => report.warning(CHECK, "there is no user who could log in", command),
        Err(error) => report.error(
            CHECK,
            format!("cannot set up `authentication-plugins`: {}", chain(&error)),
            "correct the plugin or its file (docs/access.md)",
        ),
    }
}

#[cfg(test)]
mod tests;
