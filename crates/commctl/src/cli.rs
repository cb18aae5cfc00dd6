//! The command line around the commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::commands::{
    access, backup, cluster, container_manager, context, enroll, explain, freeze, health_check,
    host, login, logout, network, operations, passhash, shell, token, user_data, whoami,
};
use crate::config::ContextName;
use crate::context::Context;
use crate::error::Error;
use crate::output::Format;

/// With the commit and its date.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("COMMISSAIRE_COMMIT"), ")");

const EXAMPLES: &str = "\
Examples:
  commctl login https://10.0.0.9:8000
  commctl cluster create web
  commctl host publickey | ssh root@10.0.0.1 'cat >> .ssh/authorized_keys'
  commctl host create --cluster web --wait 10.0.0.1
  commctl cluster restart start --wait web
  commctl -o table host list
  commctl --context prod host list

Configuration (~/.commissaire.json), written by commctl login:
  {\"username\": \"a\", \"password\": \"a\", \"endpoint\": \"http://127.0.0.1:8000\"}

  endpoint               one address or a list, tried in order
  kubeconfig             file: log in as its current context's user does, also by exec plugins,
                         instead of username and password
  identity_provider      name: log in with the tokens of commctl login at this provider
  certificate_authority  PEM file: trust the server by this authority alone
  client_certificate     PEM file, with client_key: log in by certificate
  output                 how to print data: yaml, json, table, wide or name

  Keep the file to yourself (chmod 600), or leave the password out: commctl then asks for it.
  It is the context default; each other context NAME has a file like it, ~/.commissaire/NAME.json.

Exit status: 0 success; 1 the server refuses or finds nothing, or what was waited for failed;
2 wrong usage or configuration; 3 every endpoint, or the identity provider, is unreachable;
130 interrupted.";

/// Manages fleets of Linux hosts through a Commissaire server.
#[derive(Debug, Parser)]
#[command(name = "commctl", version = VERSION, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    // The short forms belong to this level alone, because commands give the letters meanings of
    // their own (`host create -c CLUSTER`). The long forms are global.
    /// `-c` before the first command
    #[arg(short = 'c', value_name = "FILE", env = "COMMCTL_CONFIG", hide = true)]
    config_before: Option<PathBuf>,

    /// `-o` before the first command
    #[arg(short = 'o', value_name = "FORMAT", hide = true)]
    output_before: Option<Format>,

    /// Configuration file; before the command also `-c`; or set `COMMCTL_CONFIG`
    /// [default: ~/.commissaire.json]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Global options")]
    config: Option<PathBuf>,

    /// Context: a server and a log-in there; or set `COMMCTL_CONTEXT`
    /// [default: the one of `commctl context use`, else `default`]
    #[arg(long, value_name = "NAME", global = true, help_heading = "Global options")]
    context: Option<ContextName>,

    /// How to print data; before the command also `-o`; or set `COMMCTL_OUTPUT`, or `output` in the configuration
    /// [default: table on a terminal, else yaml]
    #[arg(long, value_name = "FORMAT", global = true, help_heading = "Global options")]
    output: Option<Format>,

    /// Show times in tables in UTC, instead of how long ago they were
    #[arg(long, global = true, help_heading = "Global options")]
    utc: bool,

    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// Runs the command that was asked for.
    pub(crate) async fn run(self) -> Result<ExitCode, Error> {
        let context = Context::new(self.config(), self.context.clone(), self.output(), self.utc)?;
        let result = self.command.run(&context).await;
        context.finish().await;
        result.map_err(|error| context.explain(error))
    }

    /// The configuration file named on the command line or in the environment.
    fn config(&self) -> Option<PathBuf> {
        let before = self.config_before.as_ref().filter(|path| !path.as_os_str().is_empty());
        self.config.as_ref().or(before).cloned()
    }

    /// The output format, when one was asked for.
    fn output(&self) -> Option<Format> {
        self.output.or(self.output_before)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Log in to a server, and write the configuration: the first step
    Login(login::Login),
    /// Log out: revoke the tokens of an identity provider, and delete them, or the saved password
    Logout(logout::Logout),
    /// Show your name, role and groups on the server, and when the credentials expire
    #[command(after_help = "\
Examples:
  commctl whoami
  commctl -o json whoami | jq -r .role")]
    Whoami,
    /// List, choose and delete contexts: servers, and the log-ins there
    #[command(subcommand)]
    Context(context::Command),
    /// Create, show and delete clusters, and run operations on them
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Add, show and remove hosts, and put them into clusters
    #[command(subcommand)]
    Host(host::Command),
    /// Create, show and delete networks
    #[command(subcommand)]
    Network(network::Command),
    /// Create, show and delete container managers: Kubernetes and OpenShift
    #[command(subcommand, name = "container_manager", alias = "container-manager")]
    ContainerManager(container_manager::Command),
    /// Show and steer operations, running and past
    #[command(subcommand)]
    Operation(operations::Command),
    /// Show why a host, a cluster, an operation or the installation is in its state, and what to do
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Explain),
    /// Let no operation start a further host, whichever cluster it is of
    #[command(subcommand)]
    Freeze(freeze::Command),
    /// Back up all records of the server, without its keys
    Backup(backup::Backup),
    /// Bind users, groups and certificates to roles on clusters
    #[command(subcommand)]
    Access(access::Command),
    /// Create, show and delete health checks, which operators choose by their names
    #[command(subcommand)]
    HealthCheck(health_check::Command),
    /// Make, list and revoke tokens with which hosts register themselves
    #[command(subcommand)]
    Enroll(enroll::Command),
    /// Make, list and revoke API tokens, with which programs act for you
    #[command(subcommand)]
    Token(token::Command),
    /// Write a file for cloud-init with which new hosts register themselves at their first boot
    UserData(user_data::UserData),
    /// Make the hash of a password, for the server's users.json
    Passhash(passhash::Passhash),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  commctl completion bash > /etc/bash_completion.d/commctl
  commctl completion zsh > ~/.zfunc/_commctl
  commctl completion fish > ~/.config/fish/completions/commctl.fish")]
    Completion(shell::Completion),
    /// Write the man pages
    #[command(after_help = "Example:\n  commctl man /usr/local/share/man/man1")]
    Man(shell::Man),
}

impl Command {
    async fn run(self, context: &Context) -> Result<ExitCode, Error> {
        match self {
            Self::Cluster(command) => command.run(context).await,
            Self::Host(command) => return command.run(context).await,
            Self::Network(command) => command.run(context).await,
            Self::ContainerManager(command) => command.run(context).await,
            Self::Operation(command) => command.run(context).await,
            Self::Explain(command) => command.run(context).await,
            Self::Freeze(command) => command.run(context).await,
            Self::Backup(command) => command.run(context).await,
            Self::Access(command) => command.run(context).await,
            Self::HealthCheck(command) => command.run(context).await,
            Self::Enroll(command) => command.run(context).await,
            Self::Token(command) => command.run(context).await,
            Self::UserData(command) => command.run(context).await,
            Self::Login(command) => command.run(context).await,
            Self::Logout(command) => command.run(context).await,
            Self::Whoami => whoami::run(context).await,
            Self::Context(command) => command.run(context).await,
            Self::Passhash(command) => command.run(),
            Self::Completion(command) => command.run(&mut Cli::command()),
            Self::Man(command) => command.run(Cli::command()),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_short_forms_mean_something_else_behind_a_command() {
        let cli = Cli::try_parse_from(
            "commctl -c a.json -o json host create -c web 10.0.0.1 --output table".split(' '),
        )
        .unwrap();
        assert_eq!(cli.config(), Some(PathBuf::from("a.json")));
        assert_eq!(cli.output(), Some(Format::Table));
        let Command::Host(host::Command::Create(create)) = &cli.command else {
            panic!("not host create: {cli:?}")
        };
        assert_eq!(create.cluster.as_deref(), Some("web"));
    }

    #[test]
    fn the_long_forms_stand_anywhere() {
        for line in [
            "commctl --config a.json cluster restart status c1",
            "commctl cluster --config a.json restart status c1",
            "commctl cluster restart --config a.json status c1",
            "commctl cluster restart status c1 --config a.json",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.config(), Some(PathBuf::from("a.json")), "{line}");
        }
        assert!(Cli::try_parse_from("commctl cluster -c a.json list".split(' ')).is_err());
    }
}
