//! Signatures with SSH keys, as `ssh-keygen` makes and verifies them (the format SSHSIG): with every type of key that can
//! log in.

use std::fs::File;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::process::Command;

use crate::error::{AccessError, detail};
use crate::local;
use crate::run_dir::RunDir;
use crate::session::write_private;

/// What signatures are for: one for another purpose is not accepted.
const NAMESPACE: &str = "commissaire-generation";

/// Timeout of `ssh-keygen`.
const TIMEOUT: Duration = Duration::from_secs(10);

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// Signs `text` with a private key; the signature is one word of base64.
pub(crate) async fn sign(
    run_dir: &RunDir,
    key: &SecretString,
    text: &str,
) -> Result<String, AccessError> {
    let directory = run_dir.subdirectory()?;
    let (key_file, text_file) = (directory.path().join("key"), directory.path().join("text"));
    write_private(&key_file, &[key.expose_secret().trim_end(), "\n"])?;
    write_private(&text_file, &[text])?;
    // A key in PEM does not have its public half in it.
    let mut command = local::command("ssh-keygen");
    command.args(["-y", "-P", "", "-f"]).arg(&key_file).stdin(Stdio::null());
    let public = succeeded(run(&mut command).await?)?;
    write_private(&key_file.with_extension("pub"), &[&String::from_utf8_lossy(&public.stdout)])?;
    let mut command = keygen("sign");
    succeeded(run(command.arg("-f").arg(&key_file).arg(&text_file)).await?)?;
    let armored = std::fs::read_to_string(text_file.with_extension("sig"))
        .map_err(AccessError::io("read the signature that ssh-keygen has made"))?;
    Ok(armored.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect())
}

/// The fingerprint of the key that has made a signature over `text`; `None` if it is not one.
pub(crate) async fn signer(
    run_dir: &RunDir,
    text: &str,
    signature: &str,
) -> Result<Option<String>, AccessError> {
    let directory = run_dir.subdirectory()?;
    let (text_file, file) = (directory.path().join("text"), directory.path().join("text.sig"));
    write_private(&text_file, &[text])?;
    write_private(&file, &[BEGIN, "\n", signature, "\n", END, "\n"])?;
    let mut command = keygen("check-novalidate");
    command.arg("-s").arg(&file).stdin(open(&text_file)?);
    let output = run(&mut command).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let fingerprint = said.split_whitespace().find(|word| word.starts_with("SHA256:"));
    Ok(fingerprint.filter(|_| output.status.success()).map(str::to_owned))
}

fn succeeded(output: Output) -> Result<Output, AccessError> {
    if output.status.success() {
        return Ok(output);
    }
    let said = detail(&String::from_utf8_lossy(&output.stderr));
    Err(AccessError::io("sign with the server's own SSH key")(std::io::Error::other(said)))
}

fn open(path: &Path) -> Result<File, AccessError> {
    File::open(path).map_err(AccessError::io(format!("open {}", path.display())))
}

fn keygen(action: &str) -> Command {
    let mut command = local::command("ssh-keygen");
    command.args(["-Y", action, "-n", NAMESPACE]).stdin(Stdio::null());
    command
}

async fn run(command: &mut Command) -> Result<Output, AccessError> {
    let ended = tokio::time::timeout(TIMEOUT, command.output()).await;
    let late = |_| Err(std::io::Error::other("it does not end"));
    ended.unwrap_or_else(late).map_err(AccessError::io("run ssh-keygen"))
}

#[cfg(test)]
mod tests {
    use std::process::Command as Blocking;

    use model::host_keys::fingerprint;

    use super::*;

    #[tokio::test]
    async fn signature_names_its_key_and_covers_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::create(&folder.path().join("run"), "test").unwrap();
        // An operator may have put another key than one of ours in the place of the server's own.
        for (number, options) in
            [&["ed25519"][..], &["rsa", "-m", "PEM"], &["ecdsa"]].into_iter().enumerate()
        {
            let path = folder.path().join(number.to_string());
            let mut make = Blocking::new("ssh-keygen");
            make.args(["-q", "-N", "", "-t"]).args(options).arg("-f").arg(&path);
            assert!(make.status().unwrap().success());
            let key = SecretString::from(std::fs::read_to_string(&path).unwrap());
            let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();

            let signature = sign(&run_dir, &key, "text\n").await.unwrap();
            assert!(!signature.contains(char::is_whitespace), "{signature}");
            let signer =
                async |text, signature: &str| signer(&run_dir, text, signature).await.unwrap();
            assert_eq!(signer("text\n", &signature).await, fingerprint(&public), "{options:?}");
            assert_eq!(signer("text", &signature).await, None);
            let shortened = &signature[..signature.len() - 8];
            assert_eq!(signer("text\n", shortened).await, None);
        }
        assert!(sign(&run_dir, &"no key".into(), "text").await.is_err());
    }
}
