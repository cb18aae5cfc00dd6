//! `commctl logout`

use clap::Args;

use crate::config::ConfigFile;
use crate::context::Context;
use crate::error::Error;
use crate::oidc::{TokenFile, Tokens};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  commctl logout
  commctl logout --context prod

It deletes the tokens of an identity provider, and revokes the refresh token there, if the provider
has an endpoint for that. It removes the password from the configuration; all else in it stays.")]
pub(crate) struct Logout {}

impl Logout {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        let mut file = ConfigFile::open_existing(context.source()?.clone())?;
        let is_logged_out = [delete_tokens(&file.tokens()).await?, delete_password(&mut file)?];
        if is_logged_out == [false; 2] {
            eprintln!("not logged in: nothing was deleted");
        }
        Ok(())
    }
}

/// Deletes the tokens of a configuration, and revokes them; false if there are none.
pub(super) async fn delete_tokens(tokens: &TokenFile) -> Result<bool, Error> {
    if !tokens.path().exists() {
        return Ok(false);
    }
    // Another commctl that refreshes them would write them again.
    let lock = tokens.lock().await?;
    let loaded = tokens.load();
    let is_deleted = tokens.delete()?;
    drop(lock);
    if let Ok(Some(loaded)) = loaded {
        revoke(&loaded).await;
    }
    if is_deleted {
        eprintln!("deleted the tokens in {}", tokens.path().display());
    }
    Ok(is_deleted)
}

/// Best effort: the tokens are deleted already.
async fn revoke(tokens: &Tokens) {
    let name = &tokens.provider.name;
    match tokens.revoke().await {
        Ok(true) => eprintln!("revoked the log-in at {name}"),
        Ok(false) => {
            let reason = if tokens.has_refresh_token() {
                "the provider has no endpoint for that"
            } else {
                "there is no refresh token"
            };
            let until = match tokens.expires() {
                Some(expires) => format!("is valid until {expires}"),
                None => "may be valid still".to_owned(),
            };
            eprintln!("the log-in at {name} was not revoked: {reason}; its token {until}");
        }
        Err(error) => {
            let error = Error::from(error).report();
            eprintln!(
                "warning: the log-in at {name} was not revoked, and may be valid until it expires: {error}"
            );
        }
    }
}

fn delete_password(file: &mut ConfigFile) -> Result<bool, Error> {
    let Some(username) = file.forget_password()? else { return Ok(false) };
    eprintln!("removed the password of {username:?} from {}", file.path.display());
    Ok(true)
}
