//! Tips in messages about a wrong command line.

use clap::CommandFactory as _;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::Cli;

/// The message with a tip of ours where there is one, and without the parser's own to pass an unknown option as a
/// value: it would become the name of a host or cluster.
pub(crate) fn with_tip(mut message: clap::Error) -> clap::Error {
    match tip(&message) {
        Some(tip) => {
            let tip = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
            message.insert(ContextKind::Suggested, tip);
        }
        None => {
            if let Some(ContextValue::StyledStrs(mut tips)) = message.remove(ContextKind::Suggested)
            {
                tips.retain(|tip| !tip.to_string().starts_with("to pass "));
                message.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
            }
        }
    }
    message
}

fn tip(message: &clap::Error) -> Option<String> {
    let usage = message.get(ContextKind::Usage)?.to_string();
    // The commands before the first option or argument: `Usage: commctl host ssh [OPTIONS] <ADDRESS>`.
    let words = usage.split_whitespace().skip_while(|word| *word != "commctl").skip(1);
    let commands: Vec<_> = words.take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
    match message.kind() {
        ErrorKind::UnknownArgument => match text(message, ContextKind::InvalidArg)? {
            "-o" => Some(
                "write '--output' for the output format here; '-o' stands before the first command"
                    .to_owned(),
            ),
            "-c" => Some(
                "write '--config' for the configuration file here; '-c' stands before the first command"
                    .to_owned(),
            ),
            option if commands == ["host", "ssh"] => Some(format!(
                "arguments of ssh stand behind the host: 'commctl host ssh HOST {option} …'"
            )),
            _ => None,
        },
        ErrorKind::InvalidSubcommand if !has_suggestion(message) => {
            let mut command = Cli::command();
            for name in &commands {
                command = command.find_subcommand(name)?.clone();
            }
            let names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
            let line = [&["commctl"], commands.as_slice()].concat().join(" ");
            Some(format!("after '{line}' stands one of {}", names.join(", ")))
        }
        _ => None,
    }
}

fn text(message: &clap::Error, kind: ContextKind) -> Option<&str> {
    match message.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

fn has_suggestion(message: &clap::Error) -> bool {
    match message.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) => !names.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn message(line: &str) -> String {
        with_tip(Cli::try_parse_from(line.split(' ')).unwrap_err()).render().to_string()
    }

    #[test]
    fn short_options_behind_a_command_are_explained() {
        for line in ["commctl cluster list -o json", "commctl host get 10.0.0.1 -ojson"] {
            let message = message(line);
            assert!(
                message.contains("tip: write '--output' for the output format here;"),
                "{message}"
            );
        }
        let message = message("commctl host list -c other.json");
        assert!(
            message.contains("tip: write '--config' for the configuration file here;"),
            "{message}"
        );
    }

    #[test]
    fn unknown_options_are_not_recommended_as_values() {
        let message = message("commctl host get --fromat json 10.0.0.1");
        assert!(!message.contains("tip:") && message.contains("<ADDRESS>"), "{message}");
    }

    #[test]
    fn commands_are_listed_where_none_is_similar() {
        let message = message("commctl cluster restart web");
        let tip = "tip: after 'commctl cluster restart' stands one of start, status, pause, resume, abort";
        assert!(message.contains(tip), "{message}");
        assert!(
            self::message("commctl clutser list").contains("similar subcommand exists: 'cluster'")
        );
    }
}
