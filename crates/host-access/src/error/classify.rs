//! From what `ssh` logged to what is wrong. Pure; OpenSSH has no other interface for it.

use super::AccessError;
use model::host_keys::fingerprint;

/// What was being connected to, for the error's text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) address: &'a str,
    pub(crate) port: u16,
    pub(crate) user: &'a str,
    pub(crate) host_keys: &'a [String],
}

/// The most of `ssh`'s words that are kept.
const DETAIL_LIMIT: usize = 400;

const BAD_KEY: &[&str] =
    &["invalid format", "error in libcrypto", "incorrect passphrase", "Permissions 0"];
const KEY_CHANGED: &[&str] = &[
    "REMOTE HOST IDENTIFICATION HAS CHANGED",
    "Host key verification failed",
    "no matching host key type",
];
const AUTH_REFUSED: &[&str] = &["Permission denied (", "Too many authentication failures"];
const TIMED_OUT: &[&str] = &["timed out", "not an SSH server", "invalid characters"];
const THROTTLED: &[&str] = &[
    "kex_exchange_identification",
    "ssh_exchange_identification",
    "banner exchange",
    "Exceeded MaxStartups",
    "Not allowed at this time",
];

/// Classifies a connection that failed, by what `ssh` logged.
///
/// The order matters: a key that does not load also ends in "Permission denied", and a banner
/// exchange that timed out is a silent host rather than a busy one.
pub(crate) fn classify(subject: Subject<'_>, log: &str) -> AccessError {
    let says = |words: &[&str]| words.iter().any(|word| log.contains(word));
    let address = subject.address.to_owned();
    let detail = detail(log);
    if says(KEY_CHANGED) {
        let seen_fingerprint =
            seen_fingerprint(log).unwrap_or_else(|| "a key of another type or none".to_owned());
        let pinned_fingerprints =
            subject.host_keys.iter().filter_map(|key| fingerprint(key)).collect();
        AccessError::KeyChanged { address, pinned_fingerprints, seen_fingerprint, seen_key: None }
    } else if says(BAD_KEY) {
        AccessError::BadKey { address, detail }
    } else if says(AUTH_REFUSED) {
        AccessError::AuthRefused { address, user: subject.user.to_owned(), detail }
    } else if says(THROTTLED) && !says(TIMED_OUT) {
        AccessError::Throttled { address, detail }
    } else {
        AccessError::Unreachable { address, port: subject.port, detail }
    }
}

/// The fingerprint in "The fingerprint for the ED25519 key sent by the remote host is\nSHA256:…".
fn seen_fingerprint(log: &str) -> Option<String> {
    let (_, after) = log.split_once("key sent by the remote host is")?;
    let word = after.split_whitespace().next()?;
    let word = word.trim_end_matches('.');
    word.starts_with("SHA256:").then(|| word.to_owned())
}

/// The last words of the log, fit for a terminal and a record: the host chose some of them.
pub(crate) fn detail(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Warning: Permanently added"))
        .collect();
    let text = lines[lines.len().saturating_sub(2)..].join("; ");
    let text: String =
        text.chars().filter(|letter| !letter.is_control()).take(DETAIL_LIMIT).collect();
    if text.is_empty() { "ssh gave no reason".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(log: &str) -> &'static str {
        let subject = Subject { address: "10.0.0.1", port: 22, user: "root", host_keys: &[] };
        classify(subject, log).reason().word()
    }

    #[test]
    fn every_known_message_has_its_reason() {
        for (log, expected) in [
            ("ssh: connect to host 10.0.0.1 port 22: Connection refused\r\n", "unreachable"),
            ("ssh: connect to host 10.0.0.1 port 22: No route to host\r\n", "unreachable"),
            ("ssh: connect to host 10.0.0.1 port 22: Connection timed out\r\n", "unreachable"),
            ("ssh: Could not resolve hostname x: Name or service not known\r\n", "unreachable"),
            ("Connection timed out during banner exchange\r\n", "unreachable"),
            ("Connection closed by 10.0.0.1 port 22\r\n", "unreachable"),
            ("root@10.0.0.1: Permission denied (publickey).\r\n", "auth-refused"),
            (
                "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\r\n",
                "auth-refused",
            ),
            ("kex_exchange_identification: read: Connection reset by peer\r\n", "throttled"),
            ("kex_exchange_identification: Connection closed by remote host\r\n", "throttled"),
            ("banner exchange: Connection to 10.0.0.1 port 22: Broken pipe\r\n", "throttled"),
            (
                "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 10.0.0.1 port 22",
                "throttled",
            ),
            (
                "Load key \"/x/key\": invalid format\r\nroot@10.0.0.1: Permission denied (publickey).\r\n",
                "bad-key",
            ),
            (
                "Load key \"/x/key\": error in libcrypto\r\nroot@x: Permission denied (publickey).\r\n",
                "bad-key",
            ),
            ("Host key verification failed.\r\n", "host-key-changed"),
            (
                "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-rsa\r\n",
                "host-key-changed",
            ),
            ("", "unreachable"),
        ] {
            assert_eq!(reason(log), expected, "{log}");
        }
    }

    #[test]
    fn the_seen_fingerprint_is_read_from_the_warning() {
        let log = "The fingerprint for the ED25519 key sent by the remote host is\r\nSHA256:abc+/d.\r\nPlease contact your system administrator.";
        assert_eq!(seen_fingerprint(log).as_deref(), Some("SHA256:abc+/d"));
    }

    #[test]
    fn details_hold_no_control_characters() {
        assert_eq!(detail("one\r\n\u{1b}[2Jtwo\r\nthree\r\n"), "[2Jtwo; three");
    }
}
