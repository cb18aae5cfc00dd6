//! The SHA-256 fingerprint of a certificate.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// How many of its hexadecimal digits an operator types.
pub(crate) const TYPED_DIGITS: usize = 8;

/// Of a certificate as DER; written as `openssl x509 -fingerprint -sha256` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Whether this is its beginning, or all of it.
    pub(crate) fn is_typed(&self, text: &str) -> bool {
        let (own, typed) = (digits(&self.to_string()), digits(text));
        [TYPED_DIGITS, own.len()].contains(&typed.len()) && own.starts_with(&typed)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    /// In either case, with or without colons and a prefix.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = digits(text);
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        {
            return Err(
                "a SHA-256 fingerprint has 64 hexadecimal digits, with or without colons: \
                        AB:CD:… or abcd…"
                    .to_owned(),
            );
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16)
                .map_err(|error| error.to_string())?;
        }
        Ok(Self(bytes))
    }
}

/// The digits alone, in lower case.
fn digits(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    let prefixes = ["sha256:", "sha256 fingerprint="];
    let digits = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(&text);
    digits.replace(':', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of no bytes at all, a known value.
    const EMPTY: &str = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:\
                         27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55";

    #[test]
    fn it_is_written_as_openssl_writes_it_and_read_in_each_form() {
        let fingerprint = Fingerprint::of(&[]);
        assert_eq!(fingerprint.to_string(), EMPTY);
        let bare = EMPTY.replace(':', "").to_lowercase();
        for text in [
            EMPTY.to_owned(),
            bare.clone(),
            bare.to_uppercase(),
            format!("SHA256:{bare}"),
            format!("sha256 Fingerprint={EMPTY}\n"),
        ] {
            assert_eq!(text.parse(), Ok(fingerprint), "{text}");
        }
        for text in ["", "E3", &bare[1..], &format!("{bare}00"), &bare.replace('e', "g"), "é"] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
        let signed = format!("+1{}", &bare[2..]);
        assert!(signed.parse::<Fingerprint>().is_err(), "a sign is not a digit");
    }

    #[test]
    fn eight_digits_or_all_of_them_are_typed() {
        let fingerprint = Fingerprint::of(&[]);
        for text in ["e3b0c442", "E3B0C442", "E3:B0:C4:42", " sha256:e3b0c442 ", EMPTY] {
            assert!(fingerprint.is_typed(text), "{text}");
        }
        for text in ["", "e3b0c44", "e3b0c4429", "e3b0c443", "b0c44298", &EMPTY[..92]] {
            assert!(!fingerprint.is_typed(text), "{text}");
        }
    }
}
