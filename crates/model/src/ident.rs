//! Names and addresses: the only parts of a key, a path or an option that come from outside.

use std::net::{IpAddr, Ipv6Addr};

use crate::Address;

/// The longest address: that of a DNS name.
const ADDRESS_MAX: usize = 253;

/// Checks a name: `[A-Za-z0-9_-]+`.
///
/// # Errors
/// A sentence that says what a name looks like.
pub fn name(text: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.len() <= ADDRESS_MAX && text.chars().all(fits) {
        Ok(())
    } else {
        Err("a name consists of letters, digits, '_' and '-'".to_owned())
    }
}

/// The canonical form of an address, so that one host has one record: IP literals in their shortest
/// form (v4-mapped ones as IPv4), names in lower case. `None` when it is no address.
pub fn canonical_address(text: &str) -> Option<Address> {
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        let text = v6.to_ipv4_mapped().map_or_else(|| v6.to_string(), |v4| v4.to_string());
        return Some(text.into());
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let first = text.chars().next()?;
    (first.is_ascii_alphanumeric() && text.len() <= ADDRESS_MAX && text.chars().all(fits))
        .then(|| text.to_ascii_lowercase().into())
}

/// Checks that an address is in its canonical form.
///
/// # Errors
/// A sentence that says what an address looks like.
pub fn address(text: &str) -> Result<(), String> {
    match canonical_address(text) {
        Some(canonical) if canonical == text => Ok(()),
        Some(canonical) => Err(format!("the address is not in its canonical form, {canonical}")),
        None => Err("an address is an IP address or a host name".to_owned()),
    }
}

/// Whether an address cannot be another machine: loopback and unspecified ones.
pub fn is_loopback(address: &str) -> bool {
    address == "localhost"
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// Checks a user name on a host: `[A-Za-z_][A-Za-z0-9_.-]{0,31}`.
///
/// # Errors
/// A sentence that says what a user name looks like.
pub fn remote_user(text: &str) -> Result<(), String> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if text.len() <= 32 && text.starts_with(first) && text.chars().all(rest) {
        Ok(())
    } else {
        Err("a remote user is a letter or '_', then at most 31 of letters, digits, '_', '.', '-'"
            .to_owned())
    }
}

/// Checks a version of a tree, by its name or its checksum: `[A-Za-z0-9][A-Za-z0-9._:+~-]*`.
///
/// # Errors
/// A sentence that says what a version looks like.
pub fn version(text: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:+~-".contains(c);
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if first && text.len() <= ADDRESS_MAX && text.chars().all(fits) {
        Ok(())
    } else {
        Err("a version is a letter or digit, then letters, digits, '.', '_', ':', '+', '~', '-'"
            .to_owned())
    }
}

/// Checks a lease's or an operation's identifier: [`name`] and [`address`] characters only.
///
/// # Errors
/// A sentence that says what an identifier looks like.
pub fn token(text: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if !text.is_empty() && text.len() <= ADDRESS_MAX + 32 && text.chars().all(fits) {
        Ok(())
    } else {
        Err("an identifier consists of letters, digits, '.', '_', '-' and ':'".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_host_has_one_address() {
        for (given, canonical) in [
            ("10.0.0.1", "10.0.0.1"),
            ("Web1.Example.COM", "web1.example.com"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(canonical_address(given).as_deref(), Some(canonical));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = "a".repeat(254);
        for bad in ["", "-oProxyCommand=x", ".", "a b", "a/b", "a%b", "ä", "a\n", "::g", &long] {
            assert_eq!(canonical_address(bad), None, "{bad}");
            assert!(address(bad).is_err());
        }
        assert!(address("UPPER").is_err());
    }

    /// Checks what is accepted, what is refused, and that `longest` characters are accepted and no more.
    #[track_caller]
    fn check(rule: fn(&str) -> Result<(), String>, longest: usize, good: &[&str], bad: &[&str]) {
        let (long, longer) = ("a".repeat(longest), "a".repeat(longest + 1));
        for good in good.iter().copied().chain(["a", "Z", "a0", &long]) {
            assert_eq!(rule(good), Ok(()), "{good:?}");
        }
        let always = [
            "", " ", "a b", " a", "a ", "a/b", "../a", "a\\", "a\n", "\0", "ä", "aä", "a%", "a@",
            "a*", "$a",
        ];
        for bad in bad.iter().copied().chain(always).chain([longer.as_str()]) {
            assert!(rule(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names() {
        check(name, 253, &["my-cluster_1", "-", "_", "0"], &["a.b", "a:b", "a+b", "a~b"]);
    }

    #[test]
    fn addresses() {
        let good = ["10.0.0.1", "::1", "2001:db8::1", "web_1.example-2.com", "a.", "a_", "a-"];
        let bad =
            [".a", "-a", "_a", ":a", "a:b", "a+b", "a~b", "[::1]", "::1%eth0", "::ffff:10.0.0.1"];
        check(|text| address(&text.to_ascii_lowercase()), 253, &good, &bad);
        assert_eq!(
            address("UPPER").unwrap_err(),
            "the address is not in its canonical form, upper"
        );
    }

    #[test]
    fn remote_users() {
        let bad = ["1a", "-l", ".a", "0", "a$", "a:b", "a+b", "a~b"];
        check(remote_user, 32, &["_apt.x-1", "_", "a_", "a.", "a-"], &bad);
    }

    #[test]
    fn versions() {
        let good = [
            "7.2.6",
            "1:2.0~rc1+deb-3_x",
            "0",
            "a.",
            "a_",
            "a:",
            "a+",
            "a~",
            "a-",
            "e3b0c44298fc1c14",
        ];
        let bad =
            [".a", "_a", ":a", "+a", "~a", "-a", "--reboot", "a=b", "a;b", "a,b", "a^b", "{{a}}"];
        check(version, 253, &good, &bad);
    }

    #[test]
    fn tokens() {
        let good = ["operation.web", "10.0.0.1", "2001:db8::1", "-", "_", ".", ":", "0"];
        check(token, 285, &good, &["a+b", "a~b", "a=b", "a;b", "a,b", "a[0]"]);
    }

    #[test]
    fn loopback_is_this_machine() {
        for this in
            ["localhost", "127.0.0.1", "127.8.0.1", "127.255.255.255", "::1", "0.0.0.0", "::"]
        {
            assert!(is_loopback(this), "{this}");
        }
        for other in [
            "10.0.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "0.0.0.1",
            "::2",
            "fe80::1",
            "web",
            "localhost.example.com",
            "",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    /// Texts that are addresses, or nearly.
    fn address_like() -> impl Strategy<Value = String> {
        prop_oneof![
            "[A-Za-z0-9._-]{0,40}",
            "[A-Za-z0-9:._/%-]{0,40}",
            any::<Ipv6Addr>().prop_map(|v6| v6.to_string().to_uppercase()),
            any::<std::net::Ipv4Addr>().prop_map(|v4| format!("::ffff:{v4}")),
            proptest::array::uniform8(0_u16..3)
                .prop_map(|groups| groups.map(|group| format!("000{group}")).join(":")),
        ]
    }

    proptest! {
        #[test]
        fn canonical_is_canonical(text in address_like()) {
            if let Some(canonical) = canonical_address(&text) {
                prop_assert_eq!(canonical_address(&canonical), Some(canonical.clone()));
                prop_assert!(address(&canonical).is_ok());
                prop_assert!(!canonical.starts_with('-') && !canonical.contains('/'));
            }
        }
    }
}
