use axum::http::HeaderValue;
use proptest::prelude::*;

use super::*;

const PROXY: &str = "192.0.2.1";

fn proxies() -> Networks {
    vec![PROXY.to_owned(), "192.0.2.128/25".to_owned(), "2001:db8::/32".to_owned()]
        .try_into()
        .unwrap()
}

fn from(peer: &str, lines: &[(&'static str, &str)]) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    client(peer.parse().unwrap(), &headers, &proxies()).to_string()
}

#[test]
fn only_a_trusted_proxy_is_believed() {
    let header = ("x-forwarded-for", "10.0.0.7");
    assert_eq!(from("192.0.2.2", &[header]), "192.0.2.2");
    assert_eq!(from("::ffff:192.0.2.1", &[header]), "10.0.0.7");
    assert_eq!(from(PROXY, &[]), PROXY);
}

#[test]
fn the_rightmost_address_that_is_no_proxys_counts() {
    for (list, client) in [
        ("10.0.0.7", "10.0.0.7"),
        ("10.0.0.6, 10.0.0.7", "10.0.0.7"),
        ("10.0.0.7, 192.0.2.200", "10.0.0.7"),
        ("10.0.0.7,2001:db8::1,[2001:db8::2]:80", "10.0.0.7"),
        ("10.0.0.6, 10.0.0.7:4711", "10.0.0.7"),
        ("10.0.0.6, [2001:db9::1]", "2001:db9::1"),
        ("10.0.0.6, ::ffff:10.0.0.7", "10.0.0.7"),
        // What cannot be read ends the search.
        ("10.0.0.7, unknown", PROXY),
        ("10.0.0.7, unknown, 192.0.2.200", PROXY),
        ("10.0.0.7,", PROXY),
        ("192.0.2.200, 192.0.2.201", PROXY),
        ("", PROXY),
    ] {
        assert_eq!(from(PROXY, &[("x-forwarded-for", list)]), client, "{list}");
    }
}

#[test]
fn forwarded_is_understood_as_its_rfc_has_it() {
    for (list, client) in [
        ("for=10.0.0.7", "10.0.0.7"),
        ("For=\"10.0.0.7:4711\";proto=https", "10.0.0.7"),
        ("by=192.0.2.1; for=\"[2001:db9::1]:80\" ;host=\"a,b;c\"", "2001:db9::1"),
        ("for=10.0.0.6, for=10.0.0.7, for=192.0.2.200", "10.0.0.7"),
        ("for=10.0.0.7, for=_hidden", PROXY),
        ("for=10.0.0.7, proto=https", PROXY),
        ("for=10.0.0.7;for=10.0.0.8", PROXY),
        // A quote that a client has left open takes in what the proxy adds.
        ("for=10.0.0.7;x=\", for=10.0.0.8", PROXY),
        ("for=10.0.0.7;x=\", for=\"[2001:db9::8]\";y=\"", PROXY),
        ("for=\"10.0.0.7\\\"\", for=10.0.0.8", PROXY),
    ] {
        assert_eq!(from(PROXY, &[("forwarded", list)]), client, "{list}");
    }
}

#[test]
fn headers_that_disagree_are_not_believed() {
    let (theirs, ours) = (("forwarded", "for=10.0.0.6"), ("x-forwarded-for", "10.0.0.7"));
    assert_eq!(from(PROXY, &[theirs, ours]), PROXY);
    assert_eq!(from(PROXY, &[("forwarded", "for=10.0.0.7"), ours]), "10.0.0.7");
    assert_eq!(from(PROXY, &[("forwarded", "nonsense"), ours]), PROXY);
    let lines = [("x-forwarded-for", "10.0.0.6"), ours];
    assert_eq!(from(PROXY, &lines), "10.0.0.7");
}

/// What a client may send, as far as a header can hold it.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("for=".to_owned()),
        Just("\"".to_owned()),
        Just(",".to_owned()),
        Just(";".to_owned()),
        Just("[".to_owned()),
        Just("\\".to_owned()),
        Just("10.0.0.6".to_owned()),
        Just(PROXY.to_owned()),
        Just("2001:db9::6".to_owned()),
        "[ -~]{0,8}",
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    /// The proxy adds the real client, to the same line or in one of its own: whatever stands before,
    /// the answer is that client or the proxy.
    #[test]
    fn what_a_client_sends_never_wins(
        sent in hostile(),
        other in hostile(),
        own_line in any::<bool>(),
        rfc in any::<bool>(),
        with_other in any::<bool>(),
    ) {
        let (name, added) = if rfc {
            ("forwarded", "for=10.0.0.7;proto=https")
        } else {
            ("x-forwarded-for", "10.0.0.7")
        };
        let joined = format!("{sent}, {added}");
        let mut lines = if own_line { vec![(name, &*sent), (name, added)] } else { vec![(name, &*joined)] };
        if with_other {
            lines.push((if rfc { "x-forwarded-for" } else { "forwarded" }, &*other));
        }
        let found = from(PROXY, &lines);
        prop_assert!(found == "10.0.0.7" || found == PROXY, "{found}");
    }

    #[test]
    fn no_bytes_make_it_panic(
        start in hostile(), bytes in prop::collection::vec(0x80_u8.., 0..3), end in hostile(), rfc in any::<bool>(),
    ) {
        let name = if rfc { header::FORWARDED } else { X_FORWARDED_FOR };
        let value = [start.as_bytes(), &bytes, end.as_bytes()].concat();
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_bytes(&value).unwrap())]);
        client(PROXY.parse().unwrap(), &headers, &proxies());
    }
}
