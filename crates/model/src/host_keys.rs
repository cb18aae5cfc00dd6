//! SSH host keys as text, and their fingerprints. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

/// The host-key algorithms that are accepted: what current OpenSSH servers have, without DSA.
const ALGORITHMS: &[&str] = &[
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Why a text is not a list of host keys.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostKeyError {
    /// There is no key in it.
    #[error("no host key given: expected lines such as `ssh-ed25519 AAAA…`")]
    Empty,
    /// A line lacks its second word.
    #[error("line {line} is not a public key: expected `algorithm base64 [comment]`")]
    NotAKey {
        /// Which line, from 1.
        line: usize,
    },
    /// A line's algorithm is not known.
    #[error("line {line} has the unknown algorithm {algorithm:?}; known are {}", ALGORITHMS.join(", "))]
    UnknownAlgorithm {
        /// Which line, from 1.
        line: usize,
        /// Its first word.
        algorithm: String,
    },
    /// A line's base64 does not decode, or holds a key of another algorithm.
    #[error("the key data in line {line} does not hold a key of the type the line names")]
    BadData {
        /// Which line, from 1.
        line: usize,
    },
}

/// The keys in a user's input, one a line as `algorithm base64`, comments dropped.
///
/// # Errors
/// When there is none, or a line is not a public key of a known algorithm.
pub fn parse_host_keys(text: &str) -> Result<Vec<String>, HostKeyError> {
    let mut keys = Vec::new();
    for (number, text) in text.lines().enumerate() {
        let text = text.trim();
        if !text.is_empty() && !text.starts_with('#') {
            let key = parse_line(text, number + 1)?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    if keys.is_empty() { Err(HostKeyError::Empty) } else { Ok(keys) }
}

fn parse_line(text: &str, line: usize) -> Result<String, HostKeyError> {
    let mut words = text.split_ascii_whitespace();
    let (Some(algorithm), Some(data)) = (words.next(), words.next()) else {
        return Err(HostKeyError::NotAKey { line });
    };
    if !ALGORITHMS.contains(&algorithm) {
        let algorithm = algorithm.chars().take(40).collect();
        return Err(HostKeyError::UnknownAlgorithm { line, algorithm });
    }
    let blob = STANDARD.decode(data).map_err(|_| HostKeyError::BadData { line })?;
    if inner_type(&blob) != Some(algorithm.as_bytes()) {
        return Err(HostKeyError::BadData { line });
    }
    Ok(format!("{algorithm} {data}"))
}

/// The type a key blob says it has: its first string, followed by something.
fn inner_type(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (rest.len() > length).then(|| &rest[..length])
}

/// The fingerprint of a public-key line as OpenSSH writes it, `SHA256:…`.
pub fn fingerprint(public_key_line: &str) -> Option<String> {
    let data = public_key_line.split_ascii_whitespace().nth(1)?;
    let blob = STANDARD.decode(data).ok()?;
    Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[test]
    fn the_fingerprint_is_what_openssh_prints() {
        // GitHub's published key and fingerprint.
        assert_eq!(
            fingerprint(ED25519).as_deref(),
            Some("SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU")
        );
        assert_eq!(fingerprint("ssh-ed25519"), None);
    }

    #[test]
    fn comments_and_repetitions_are_dropped() {
        let text = format!("# web\n{ED25519} root@web\n\n  {ED25519}\n");
        assert_eq!(parse_host_keys(&text), Ok(vec![ED25519.to_owned()]));
    }

    #[test]
    fn what_is_not_a_key_is_named_by_its_line() {
        let data = ED25519.split(' ').nth(1).unwrap();
        assert_eq!(parse_host_keys("\n"), Err(HostKeyError::Empty));
        assert_eq!(parse_host_keys("\nssh-ed25519"), Err(HostKeyError::NotAKey { line: 2 }));
        assert_eq!(
            parse_host_keys(&format!("ssh-rsa {data}")),
            Err(HostKeyError::BadData { line: 1 })
        );
        assert_eq!(parse_host_keys("ssh-ed25519 AAAA"), Err(HostKeyError::BadData { line: 1 }));
        assert!(matches!(
            parse_host_keys(&format!("ssh-dss {data}")),
            Err(HostKeyError::UnknownAlgorithm { line: 1, .. })
        ));
    }

    proptest! {
        #[test]
        fn only_a_key_of_the_type_that_its_line_names_is_taken(
            (named, inner) in prop_oneof![
                (select(ALGORITHMS), select(ALGORITHMS)),
                select(ALGORITHMS).prop_map(|algorithm| (algorithm, algorithm)),
            ],
            surplus in prop_oneof![4 => Just(0), 1 => -2..3, 1 => any::<i32>()],
            key in prop::collection::vec(any::<u8>(), 0..80),
            comment in "( \\PC{0,20})?",
        ) {
            let length = u32::try_from(inner.len()).unwrap().wrapping_add_signed(surplus);
            let data = STANDARD.encode([&length.to_be_bytes(), inner.as_bytes(), &key].concat());
            let line = format!("{named} {data}");
            let fits = named == inner && surplus == 0 && !key.is_empty();
            let parsed = parse_host_keys(&format!("{line}{comment}"));
            prop_assert_eq!(parsed, if fits { Ok(vec![line.clone()]) } else { Err(HostKeyError::BadData { line: 1 }) });
            prop_assert_eq!(fingerprint(&line).map(|text| text.len()), Some("SHA256:".len() + 43));
        }

        #[test]
        fn no_text_panics(text in "\\PC*", data in "(ssh-(rsa|ed25519) [A-Za-z0-9+/]{0,80}={0,2}\n){0,3}") {
            let _ = (parse_host_keys(&text), parse_host_keys(&data), fingerprint(&text));
        }
    }
}
