//! `commctl user-data`: what cloud-init needs for hosts to register themselves at their first boot.

mod mime;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use self::mime::Part;
use super::{enroll, host, passhash};
use crate::args::{count, name};
use crate::config;
use crate::context::Context;
use crate::endpoint::{is_loopback, shown};
use crate::error::Error;
use crate::files::{WriteError, directory_of, read_text};
use crate::output;
use crate::pem;
use crate::text::printable;

/// What registers the host. Python, since that is what cloud-init is written in.
const PART_HANDLER: &str = include_str!("user_data/part_handler.py");

/// The cloud-config of the original, which does nothing.
const CLOUD_CONFIG: &str = "#cloud-config\n\nfinal_message: \"Finished booting\"\n";

/// What some clouds take at most, in bytes.
const LARGEST: usize = 16 << 10;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  commctl user-data -e https://10.0.0.9:8000 -c web --uses 20 -o web.userdata
  commctl user-data -e https://10.0.0.9:8000 -c web -r ops -C cloud-config.yaml -o web.userdata
  commctl user-data -e https://10.0.0.9:8000 -c web --token-file token.txt -o web.userdata
  commctl user-data -e https://10.0.0.9:8000 -c web -u enroller -p -o web.userdata

The file holds a token, which is made for it unless one is given: whoever can read it may register
hosts until that expires or is used up. With --username it holds that user's password instead, and
each host sends the server a private key. A certificate_authority of the configuration goes along,
and is all that the hosts trust.")]
pub(crate) struct UserData {
    /// Address of the server, as the new hosts reach it
    // Checked later: clap would show what is wrong with it, and that may be a password.
    #[arg(short, long, value_name = "URL")]
    endpoint: String,
    /// Cluster that the hosts join
    #[arg(short, long, value_parser = name)]
    cluster: Option<String>,
    /// Have the hosts log in to the server as this user, in place of a token
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// Ask for that user's password, as is the default with --username
    #[arg(short, long, requires = "username", conflicts_with = "password_file")]
    password: bool,
    /// File that holds that password (- for standard input)
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// User that the server logs in to the hosts as, made where there is none [default: root]
    #[arg(short, long, value_name = "USER", value_parser = remote_user)]
    remote_user: Option<String>,
    /// On the hosts: the private key that is sent with --username, made where there is none
    /// [default: `/root/.ssh/id_rsa`]
    #[arg(short, long, value_name = "PATH", value_parser = absolute)]
    ssh_key_path: Option<String>,
    /// On the hosts: where sshd reads the keys of that user [default: in that user's home]
    #[arg(short, long, value_name = "PATH", value_parser = absolute)]
    authorized_keys_path: Option<String>,
    /// A cloud-config of yours, which goes along
    #[arg(short = 'C', long, value_name = "FILE")]
    cloud_init: Option<PathBuf>,
    /// A token of `commctl enroll create`; others can see it here: better --token-file
    #[arg(long, conflicts_with_all = ["token_file", "username"])]
    token: Option<SecretString>,
    /// File that holds a token (- for standard input)
    #[arg(long, value_name = "FILE", conflicts_with = "username")]
    token_file: Option<PathBuf>,
    /// When the token that is made ends: seconds, a duration like `2h`, or a time
    #[arg(long, default_value = "24h", conflicts_with_all = GIVEN)]
    expires: String,
    /// How many hosts may register with the token that is made
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = count, conflicts_with_all = GIVEN)]
    uses: u32,
    /// Only from this network, with the token that is made; may be repeated [default: from anywhere]
    #[arg(long, value_name = "NETWORK", conflicts_with_all = GIVEN)]
    from: Vec<String>,
    /// Where to write it, readable by you alone [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    outfile: Option<PathBuf>,
}

/// With these no token is made.
const GIVEN: [&str; 3] = ["token", "token_file", "username"];

impl UserData {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        // All that can be wrong here, before anything is made there.
        let endpoint = config::endpoint(&self.endpoint)?;
        let cloud_config = self.cloud_init.as_deref().map_or(Ok(CLOUD_CONFIG.to_owned()), read)?;
        let authority = authority(context, &endpoint)?;
        let outfile = self.outfile.as_deref().map(Outfile::open).transpose()?;
        self.warn(&endpoint);
        let mut host = self.parameters(&endpoint);
        if let Some(pem) = authority {
            host.insert("certificate_authority".to_owned(), json!(pem));
        }
        match &self.username {
            Some(user) => {
                host.insert("username".to_owned(), json!(user));
                let password = self.password(user)?;
                host.insert("password".to_owned(), json!(password.expose_secret()));
            }
            None => self.add_token(context, &mut host).await?,
        }
        let parameters = format!("{:#}\n", Value::Object(host));
        // The handler first: cloud-init hands out parts in their order, and drops what nobody handles yet.
        let text = mime::multipart(&[
            Part { kind: "cloud-config", name: "cloud-config.txt", text: &cloud_config },
            Part { kind: "part-handler", name: "part-handler.py", text: PART_HANDLER },
            Part { kind: "x-commissaire-host", name: "commissaire.txt", text: &parameters },
        ]);
        if text.len() > LARGEST {
            let size = text.len();
            eprintln!(
                "warning: these are {size} bytes, and some clouds take {LARGEST} at most: cloud-init also reads \
                 what gzip has compressed"
            );
        }
        match outfile {
            Some(outfile) => Ok(outfile.write(&text)?),
            None => output::write(&text),
        }
    }

    /// What is told to the handler without asking anybody.
    fn parameters(&self, endpoint: &Url) -> Map<String, Value> {
        let mut host = Map::from_iter([("endpoint".to_owned(), json!(shown(endpoint)))]);
        for (member, value) in [
            ("cluster", &self.cluster),
            ("remote_user", &self.remote_user),
            ("ssh_key_path", &self.ssh_key_path),
            ("authorized_keys_path", &self.authorized_keys_path),
        ] {
            if let Some(value) = value {
                host.insert(member.to_owned(), json!(value));
            }
        }
        host
    }

    fn warn(&self, endpoint: &Url) {
        if endpoint.scheme() == "http" {
            eprintln!("warning: over http anybody on the way can read what the hosts send");
        }
        if is_loopback(endpoint) {
            eprintln!("warning: the hosts would look for {endpoint} on themselves");
        }
        if self.ssh_key_path.is_some() && self.username.is_none() {
            eprintln!("warning: with a token no private key is sent: --ssh-key-path is not needed");
        }
    }

    fn password(&self, user: &str) -> Result<SecretString, Error> {
        let password = match &self.password_file {
            Some(file) => passhash::from_file(file)?,
            None if !std::io::stderr().is_terminal() => {
                return Err(Error::Usage(
                    "there is no terminal to ask on; give the password with --password-file FILE or \
                     --password-file -"
                        .to_owned(),
                ));
            }
            None => passhash::prompt(&format!("Password of {user}: "))?.into(),
        };
        if password.expose_secret().is_empty() {
            return Err(Error::Usage("the password is empty".to_owned()));
        }
        Ok(password)
    }

    /// The token, and the server's public key, which its holder could not read.
    async fn add_token(
        &self,
        context: &Context,
        host: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        let given = self.given_token()?;
        let client = context.client()?;
        let answer = client.get(&["publickey"]).await?;
        host.insert("public_key".to_owned(), json!(host::one_key(&answer)?));
        let token = if let Some(token) = given {
            token
        } else {
            let cluster = self.cluster.as_deref();
            let body = enroll::request(cluster, &self.expires, self.uses, &self.from);
            let made = client.post(&["enrollments"], &body).await?;
            let text = |member| printable(made[member].as_str().unwrap_or("?"));
            eprintln!(
                "a token for {} made, until {} UTC; to revoke it: commctl enroll revoke {}",
                if self.uses == 1 { "one host".to_owned() } else { format!("{} hosts", self.uses) },
                text("expires"),
                text("id"),
            );
            enroll::token(&made)?.into()
        };
        host.insert("token".to_owned(), json!(token.expose_secret()));
        Ok(())
    }

    fn given_token(&self) -> Result<Option<SecretString>, Error> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(file)) => passhash::from_file(file)?,
            (None, None) => return Ok(None),
        };
        let text = token.expose_secret();
        if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(Error::Usage("that is no token of `commctl enroll create`".to_owned()));
        }
        Ok(Some(token))
    }
}

/// Where the file is written: there in the end as a whole, or not at all.
enum Outfile {
    Regular(NamedTempFile, PathBuf),
    /// A pipe, a device.
    Special(std::fs::File, PathBuf),
}

impl Outfile {
    fn open(path: &Path) -> Result<Self, WriteError> {
        let failed = |source| WriteError { path: path.to_owned(), source };
        if path.exists() && !path.is_file() {
            let file = std::fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
            return Ok(Self::Special(file, path.to_owned()));
        }
        // Of mode 0600: it holds a secret.
        let file = NamedTempFile::new_in(directory_of(path)).map_err(failed)?;
        Ok(Self::Regular(file, path.to_owned()))
    }

    fn write(self, text: &str) -> Result<(), WriteError> {
        let (written, path) = match self {
            Self::Special(mut file, path) => (file.write_all(text.as_bytes()), path),
            Self::Regular(mut file, path) => {
                let written = file.write_all(text.as_bytes());
                (written.and_then(|()| Ok(file.persist(&path).map(drop)?)), path)
            }
        };
        written.map_err(|source| WriteError { path, source })
    }
}

/// A cloud-config of the operator's.
fn read(path: &Path) -> Result<String, Error> {
    let text = read_text(path)?;
    if text.starts_with("#cloud-config") {
        return Ok(text);
    }
    Err(Error::Usage(format!(
        "{} is no cloud-config: the first line of one is #cloud-config",
        path.display()
    )))
}

/// The certificates that are configured, and nothing else that their file may hold.
fn authority(context: &Context, endpoint: &Url) -> Result<Option<String>, Error> {
    if endpoint.scheme() != "https" {
        return Ok(None);
    }
    let Some(path) = config::certificate_authority(context.source()?)? else {
        return Ok(None);
    };
    let certificates = pem::certificates(&read_text(&path)?)
        .map_err(|error| Error::Usage(format!("{} is not in PEM: {error}", path.display())))?;
    if certificates.is_empty() {
        return Err(Error::Usage(format!("{} holds no certificate", path.display())));
    }
    Ok(Some(certificates.iter().map(pem::to_pem).collect()))
}

/// A user's name, as the server takes it.
fn remote_user(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if first && text.len() <= 32 && text.chars().all(good) {
        return Ok(text.to_owned());
    }
    Err("a user's name has up to 32 of A-Z a-z 0-9 _ . - and begins with a letter or _".to_owned())
}

/// A path on the new hosts.
fn absolute(text: &str) -> Result<String, String> {
    if text.starts_with('/') && !text.ends_with('/') && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err("the path of a file on the new hosts begins with /".to_owned())
}
