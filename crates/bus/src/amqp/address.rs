//! The URI of the broker: checked before anything is tried, and never shown, for it holds a password.

use std::path::Path;

use lapin::types::ShortString;
use lapin::uri::{AMQPScheme, AMQPUri, SASLMechanism};

use super::ConnectError;
use model::ident::is_loopback;

/// Seconds between heartbeats where the URI does not say. lapin notices a silent broker after twice
/// that plus half of it: five seconds.
const HEARTBEAT: u16 = 2;

/// Bytes in a frame where the URI does not say. lapin keeps 32 frames either way in memory, all the time,
/// which with RabbitMQ's own 128 KiB would be more than all else that a daemon needs.
const FRAME_MAX: u32 = 16 << 10;

/// What the URI's query may say: what is not heeded must not look as if it were.
const PARAMETERS: [&str; 5] =
    ["heartbeat", "frame_max", "channel_max", "auth_mechanism", "cacertfile"];

const SCHEMES: [&str; 2] = ["amqp://", "amqps://"];

const FORM: &str = "amqp://USER:PASSWORD@HOST:PORT/VHOST";

/// Where the broker is, or a node of it, and how to log in there.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) uri: AMQPUri,
    /// The account that messages name as their sender; `None` where a certificate says who it is.
    pub(super) account: Option<ShortString>,
    /// Certificate authorities besides the platform's, as PEM.
    pub(super) authorities: Option<String>,
}

impl Address {
    /// The nodes of a broker, their URIs separated by `;`, which a password may hold too.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Self>, ConnectError> {
        let next = |at: &usize| SCHEMES.iter().any(|scheme| text[at + 1..].starts_with(scheme));
        let ends = text.match_indices(';').map(|(at, _)| at).filter(next);
        let mut starts = vec![0];
        starts.extend(ends.clone().map(|at| at + 1));
        let nodes = starts.into_iter().zip(ends.chain([text.len()]));
        nodes.map(|(start, end)| Self::parse(&text[start..end])).collect()
    }

    pub(super) fn parse(text: &str) -> Result<Self, ConnectError> {
        let invalid = |why: &str| ConnectError::Invalid { why: why.to_owned() };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid("it has no scheme"))?;
        if !matches!(scheme, "amqp" | "amqps") {
            return Err(ConnectError::Scheme { scheme: shown(scheme) });
        }
        check_parameters(text)?;
        // The parser's own words quote the URI, password and all.
        let mut uri = text.parse::<AMQPUri>().map_err(|_| invalid("a part of it is malformed"))?;
        if let Some(host) = bracketed_host(rest) {
            host.parse::<std::net::Ipv6Addr>().map_err(|_| invalid("its host is malformed"))?;
            host.clone_into(&mut uri.authority.host);
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        let authorities = parameter(text, "cacertfile").map(read_authorities).transpose()?;
        let is_named = authority(rest).contains('@');
        let by_certificate = uri.query.auth_mechanism == Some(SASLMechanism::External);
        let account =
            (is_named || !by_certificate).then(|| uri.authority.userinfo.username.clone());
        let account = account.map(ShortString::try_new).transpose();
        let account = account.map_err(|_| invalid("its user name is too long"))?;
        Ok(Self { uri, account, authorities })
    }

    /// Whether messages leave this machine without TLS.
    pub(super) fn is_plaintext(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQP && !is_loopback(&self.uri.authority.host)
    }

    /// For people: who is asked, without the password.
    pub(super) fn shown(&self) -> String {
        let (AMQPUri { scheme, vhost, .. }, at) = (&self.uri, &self.uri.authority);
        let host = if at.host.contains(':') { format!("[{}]", at.host) } else { at.host.clone() };
        format!("{scheme}://{}@{host}:{}, virtual host {vhost}", at.userinfo.username, at.port)
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

/// The scheme, if it is one: without `//` in its place anything could stand there.
fn shown(scheme: &str) -> String {
    let is_scheme = (1..=20).contains(&scheme.len())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if is_scheme { scheme.to_owned() } else { "that".to_owned() }
}

/// The host between brackets: the parser of the URI drops it, and would connect to this machine.
fn bracketed_host(rest: &str) -> Option<&str> {
    let host = authority(rest).rsplit('@').next()?;
    host.strip_prefix('[')?.split(']').next()
}

fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = text.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn parameter<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    parameters(text).find(|pair| pair.0 == name).map(|pair| pair.1)
}

fn check_parameters(text: &str) -> Result<(), ConnectError> {
    if parameters(text).all(|(name, _)| PARAMETERS.contains(&name)) {
        return Ok(());
    }
    let why = format!("only these parameters are known: {}", PARAMETERS.join(", "));
    Err(ConnectError::Invalid { why })
}

fn read_authorities(path: &str) -> Result<String, ConnectError> {
    let path = Path::new(path);
    std::fs::read_to_string(path)
        .map_err(|source| ConnectError::Authorities { path: path.to_owned(), source })
}

/// The form that a URI should have, for messages.
pub(super) fn form() -> &'static str {
    FORM
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr3t";

    #[test]
    fn what_a_uri_leaves_out_has_a_default() {
        for uri in ["amqp://localhost", "amqp://guest:guest@localhost:5672/%2f"] {
            let address = Address::parse(uri).unwrap();
            assert_eq!(address.shown(), "amqp://guest@localhost:5672, virtual host /");
            assert_eq!(address.uri.query.heartbeat, Some(HEARTBEAT));
        }
        let address = Address::parse("amqps://u:p@h/v?heartbeat=20").unwrap();
        assert_eq!(address.shown(), "amqps://u@h:5671, virtual host v");
        assert_eq!(address.uri.query.heartbeat, Some(20));
    }

    #[test]
    fn messages_name_the_user_of_the_uri_unless_a_certificate_says_who_it_is() {
        for (uri, account) in [
            ("amqp://localhost", Some("guest")),
            ("amqp://commissaire%2Dhttp:p@h", Some("commissaire-http")),
            ("amqps://h/v?auth_mechanism=external", None),
            ("amqps://c@h/v?auth_mechanism=external", Some("c")),
        ] {
            let address = Address::parse(uri).unwrap();
            assert_eq!(address.account.as_ref().map(ShortString::as_str), account, "{uri}");
        }
    }

    #[test]
    fn only_this_machine_is_reached_without_tls_in_safety() {
        for (uri, plaintext) in [
            ("amqp://localhost", false),
            ("amqp://u:p@127.0.0.1:1/v", false),
            ("amqp://[::1]", false),
            ("amqps://broker.example.com", false),
            ("amqp://broker.example.com", true),
            ("amqp://10.0.0.1", true),
            ("amqp://[2001:db8::7]", true),
            ("amqp://localhost.example.com", true),
        ] {
            assert_eq!(Address::parse(uri).unwrap().is_plaintext(), plaintext, "{uri}");
        }
    }

    #[test]
    fn nodes_of_a_broker_are_separated_by_semicolons() {
        let nodes = Address::parse_all("amqp://u:p@a/v;amqps://u:p@b/v").unwrap();
        let shown: Vec<_> = nodes.iter().map(Address::shown).collect();
        assert_eq!(shown, ["amqp://u@a:5672, virtual host v", "amqps://u@b:5671, virtual host v"]);
        let nodes = Address::parse_all("amqp://u:a;b@h").unwrap();
        assert_eq!(nodes[0].uri.authority.userinfo.password, "a;b");
    }

    #[test]
    fn numeric_hosts_are_kept() {
        let host = |uri| Address::parse(uri).unwrap().uri.authority.host;
        assert_eq!(host("amqp://192.0.2.7:1"), "192.0.2.7");
        assert_eq!(host("amqp://u:p@[2001:db8::7]:1/v"), "2001:db8::7");
        let address = Address::parse("amqp://[::1]").unwrap();
        assert_eq!(address.shown(), "amqp://guest@[::1]:5672, virtual host /");
        assert!(Address::parse("amqp://[nonsense]").is_err());
    }

    #[test]
    fn other_buses_are_refused_with_a_word_about_amqp() {
        let error = Address::parse(&format!("redis://:{SECRET}@localhost:6379/")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the bus speaks AMQP 0-9-1, not redis: give a URI of the form \
            amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps:// for TLS"
        );
    }

    #[test]
    fn no_error_shows_the_password() {
        for uri in [
            format!("redis://:{SECRET}@h"),
            format!("user:{SECRET}@host"),
            format!("user:{SECRET}@host://x"),
            format!("amqp:{SECRET}@host"),
            format!("amqp://u:{SECRET}@host:port/"),
            format!("amqp://u:{SECRET}@ho st/"),
            format!("amqp://u:{SECRET}@h/?heartbeat=x"),
            format!("amqp://u:{SECRET}@h/?{SECRET}=x"),
            format!("amqp://u:{SECRET}@[x]/"),
            format!("amqp://u:{SECRET}@h/%ff"),
        ] {
            let error = Address::parse(&uri).unwrap_err();
            let text = format!("{error:?} {}", crate::error::chain(&error));
            assert!(!text.contains(SECRET), "{text}");
        }
        let address = Address::parse(&format!("amqp://u:{SECRET}@h/")).unwrap();
        assert!(!format!("{address:?}").contains(SECRET));
    }

    #[test]
    fn authorities_are_read_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "PEM").unwrap();
        let path = file.path().display();
        let address = Address::parse(&format!("amqps://h/v?cacertfile={path}")).unwrap();
        assert_eq!(address.authorities.as_deref(), Some("PEM"));
        let error = Address::parse("amqps://h/v?cacertfile=/nowhere").unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }
}
