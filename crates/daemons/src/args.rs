//! The command lines: what all daemons share, and what the gateway and the storage service add.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Command, FromArgMatches as _, Subcommand};
use http_gateway::auth::PluginConfig;
use runtime::telemetry::LogFormat;

use crate::{Daemon, users};

/// A command line, read.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// What every daemon takes.
    pub common: CommonArgs,
    /// What only the gateway takes.
    pub server: Option<ServerArgs>,
    /// What the storage service does instead of serving.
    pub storage: Option<StorageCommand>,
    /// What only the services that reach hosts take.
    pub ssh: SshArgs,
}

/// What the services that reach hosts take, and the one process.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct SshArgs {
    /// Add the SSH key in the data directory to the server's own keys, even though hosts are reached with
    /// another one; where the file is missing, make it. For one start: its public half must be in
    /// `authorized_keys` on the hosts
    #[arg(long)]
    pub accept_new_key: bool,
}

/// What every daemon takes.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonArgs {
    /// The configuration file, - for standard input [default: /etc/commissaire/NAME.conf, if it exists]
    #[arg(short, long, value_name = "PATH")]
    pub config_file: Option<PathBuf>,

    /// The topic exchange: installations that share a broker differ in it [default: commissaire]
    #[arg(long, value_name = "NAME")]
    pub bus_exchange: Option<String>,

    /// The broker, `amqp://HOST` or `amqps://HOST`; one with a password belongs into the configuration
    /// (bus-uri), where other users cannot see it [default: `amqp://127.0.0.1`]
    #[arg(long, value_name = "URI")]
    pub bus_uri: Option<String>,

    /// Log debug messages
    #[arg(long)]
    pub debug: bool,

    /// How a log line looks
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// What only the gateway takes.
#[derive(Debug, Clone, Default, Args)]
pub struct ServerArgs {
    /// Read no configuration file
    #[arg(long, visible_alias = "no-config", conflicts_with = "config_file")]
    pub no_config_file: bool,

    /// The address to listen on [default: 127.0.0.1]
    #[arg(short = 'i', long, value_name = "ADDRESS")]
    pub listen_interface: Option<IpAddr>,

    /// The port to listen on; 0 takes a free one [default: 8000]
    #[arg(short = 'p', long, value_name = "PORT")]
    pub listen_port: Option<u16>,

    /// Write the URL of the API into this file once it is served
    #[arg(long, value_name = "FILE")]
    pub address_file: Option<PathBuf>,

    /// Speak TLS, with the key and the chain of certificates in this file; read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub tls_pemfile: Option<PathBuf>,

    /// Talk only to clients that have a certificate of the authorities in this file
    #[arg(long, value_name = "FILE")]
    pub tls_clientverifyfile: Option<PathBuf>,

    /// Serve plain HTTP beyond loopback: for use behind a proxy that does TLS
    #[arg(long)]
    pub insecure_http: bool,

    /// Who may use the API
    #[command(flatten)]
    pub authentication: AuthenticationArgs,

    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<ServerCommand>,
}

/// What the gateway does instead of serving.
#[derive(Debug, Clone, Subcommand)]
pub enum ServerCommand {
    /// Add, change, remove and list users who log in with a password
    User(users::Args),
}

/// Who may use the API: what the gateway and the one process take.
#[derive(Debug, Clone, Default, Args)]
pub struct AuthenticationArgs {
    /// Who may use the API; may be repeated, is tried in order, before those of the configuration
    #[arg(long, value_name = "NAME:KEY=VALUE,...", value_parser = plugin)]
    pub authentication_plugin: Vec<PluginConfig>,

    /// An exact path that authenticates by itself; may be repeated
    #[arg(long, value_name = "PATH")]
    pub self_auth: Vec<String>,
}

impl AuthenticationArgs {
    /// Adds itself to the configuration.
    pub fn apply(&self, config: &mut http_gateway::Config) {
        let plugins = &mut config.authentication_plugins;
        plugins.splice(..0, self.authentication_plugin.iter().cloned());
        config.self_auths.extend_from_slice(&self.self_auth);
    }
}

/// What the storage service does instead of serving.
#[derive(Debug, Clone, Subcommand)]
pub enum StorageCommand {
    /// Take over the records of the original from a dump of etcd's v2 keys
    #[command(after_help = "The dump: curl 'http://ETCD:2379/v2/keys/commissaire?recursive=true'")]
    Migrate {
        /// The dump; standard input when left out
        file: Option<PathBuf>,
    },
    /// Change the key that credentials are encrypted with, and encrypt them anew; while no storage
    /// service runs
    Rekey,
}

impl Invocation {
    /// What the gateway does instead of serving.
    pub fn server_command(&self) -> Option<&ServerCommand> {
        self.server.as_ref()?.command.as_ref()
    }

    /// Reads the process's command line; where it is wrong, or asks for help, the process ends here.
    pub fn read(daemon: Daemon) -> Self {
        let matches = command(daemon).get_matches();
        let read = || {
            let storage = matches.subcommand_name().filter(|_| daemon == Daemon::Storage);
            let storage = storage.map(|_| StorageCommand::from_arg_matches(&matches));
            let server = (daemon == Daemon::Server).then(|| ServerArgs::from_arg_matches(&matches));
            Ok(Self {
                common: CommonArgs::from_arg_matches(&matches)?,
                server: server.transpose()?,
                storage: storage.transpose()?,
                ssh: if daemon.reaches_hosts() {
                    SshArgs::from_arg_matches(&matches)?
                } else {
                    SshArgs::default()
                },
            })
        };
        read().unwrap_or_else(|error: clap::Error| error.exit())
    }
}

/// The command line of a daemon.
pub fn command(daemon: Daemon) -> Command {
    let command = Command::new(daemon.program())
        .version(crate::VERSION)
        .about(daemon.about())
        .after_help(format!(
            "Configuration: /etc/commissaire/{0}.conf, or the key /commissaire/config/{0} of the etcd that \
             $ETCD_MACHINES names.\nSIGTERM finishes or hands over what is under way; SIGHUP reads the files \
             that the configuration names, and the log level, again.",
            daemon.config()
        ));
    let command = CommonArgs::augment_args(command);
    match daemon {
        Daemon::Server => ServerArgs::augment_args(command),
        Daemon::Storage => StorageCommand::augment_subcommands(command).subcommand_required(false),
        _ if daemon.reaches_hosts() => SshArgs::augment_args(command),
        _ => command,
    }
}

/// `NAME:key=value,key=value`; values may hold `:` and `=`.
fn plugin(text: &str) -> Result<PluginConfig, String> {
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    let option = |option: &str| {
        let (key, value) =
            option.split_once('=').ok_or_else(|| format!("{option:?} is not KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned().into()))
    };
    let options = options.split(',').filter(|option| !option.is_empty()).map(option);
    Ok(PluginConfig { name: name.to_owned(), options: options.collect::<Result<_, String>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_are_sound() {
        for daemon in Daemon::ALL {
            command(daemon).debug_assert();
        }
    }

    #[test]
    fn a_plugin_is_read_from_a_flag() {
        let read = plugin("httpbasicauth:filepath=/a:b=c,x=1").unwrap();
        assert_eq!(read.name, "httpbasicauth");
        assert_eq!(read.options["filepath"], "/a:b=c");
        assert_eq!(read.options["x"], "1");
        assert!(plugin("httpauthclientcert").unwrap().options.is_empty());
        assert!(plugin("a:b").unwrap_err().contains("KEY=VALUE"));
    }
}
