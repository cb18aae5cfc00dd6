//! The claim to a host by itself, without a change that follows it: `playbooks/files/claim.sh`.

use std::time::Duration;

use super::SshSession;
use crate::error::{AccessError, detail};
use crate::generation::{Claim, Refusal, SeenMarks};

/// Timeout of a claim: a disk may be slow to write the first one.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The exit status of a host that refuses a claim.
const REFUSED: i32 = 77;

const SCRIPT: &str = include_str!("../../../../playbooks/files/claim.sh");

/// Marks the host, or confirms its mark; the answer of a host that refuses.
///
/// # Errors
/// When the host does not answer, or cannot be marked.
pub async fn claim(session: &SshSession, claim: &Claim) -> Result<Option<Refusal>, AccessError> {
    // The words of a claim need no quotes: it was parsed, or is made of identifiers and base64.
    let script = format!("{SCRIPT}\nclaim_host '' {claim}");
    let output = session.run_privileged(&script, TIMEOUT).await?;
    let remote = |detail| AccessError::Remote { address: session.address().to_owned(), detail };
    match output.status {
        0 => Ok(None),
        REFUSED => {
            let refusal = Refusal::find(&output.stdout);
            let unknown = || remote("it refuses the generation mark without a reason".to_owned());
            refusal.map(Some).ok_or_else(unknown)
        }
        status => Err(session.shell_problem(&output).unwrap_or_else(|| {
            let said = detail(&output.stderr);
            remote(format!(
                "it cannot be marked with the generation (exit status {status}): {said}"
            ))
        })),
    }
}

/// Prints the age of a mark in seconds, and the mark. Where it is: see `playbooks/files/claim.sh`.
const LOOK: &str = r#"
if [ "$(id -u)" = 0 ]; then units=/var/lib/commissaire/units; else units=$HOME/commissaire/units; fi
mark=$units/generation-INSTANCE
[ -e "$mark" ] || exit 0
echo "$(($(date +%s) - $(stat -c %Y "$mark")))"
head -c 16384 "$mark"
"#;

/// The mark of an installation, whose id is a name.
///
/// # Errors
/// When the host does not answer.
pub async fn marks(session: &SshSession, instance: &str) -> Result<SeenMarks, AccessError> {
    let refused = |detail| AccessError::Remote { address: session.address().to_owned(), detail };
    model::ident::name(instance).map_err(refused)?;
    let script = LOOK.replace("INSTANCE", instance);
    let output = session.run_privileged(&script, TIMEOUT).await?;
    if output.status != 0 {
        let said = detail(&output.stderr);
        let why =
            format!("its generation mark cannot be read (exit status {}): {said}", output.status);
        return Err(session.shell_problem(&output).unwrap_or_else(|| refused(why)));
    }
    Ok(SeenMarks::parse(&output.stdout))
}
