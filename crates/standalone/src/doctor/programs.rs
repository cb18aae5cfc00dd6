//! Programs of this machine that the doctor or the services run.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// How long a program may take to say its version.
const LIMIT: Duration = Duration::from_secs(30);

/// What a program prints, on standard output and standard error.
///
/// # Errors
/// A sentence that says why there is no such text.
pub(super) async fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let ended = timeout(LIMIT, command.output()).await;
    let ended =
        ended.map_err(|_| format!("{program} does not end within {} s", LIMIT.as_secs()))?;
    let output = ended.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{program} is not installed"),
        _ => format!("cannot run {program}: {error}"),
    })?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{program} failed ({}): {text}", output.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_missing_or_fails_is_named() {
        assert_eq!(output("sh", &["-c", "echo a; echo b >&2"]).await.unwrap(), "a\nb");
        let missing = output("commissaire-no-such-program", &[]).await.unwrap_err();
        assert_eq!(missing, "commissaire-no-such-program is not installed");
        let failed = output("sh", &["-c", "echo no >&2; exit 3"]).await.unwrap_err();
        assert!(failed.contains("exit status: 3") && failed.ends_with(": no"), "{failed}");
    }
}
