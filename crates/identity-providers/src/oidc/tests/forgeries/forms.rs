//! The form of a token.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};
use serde_json::json;

use super::cases::Case;
use super::signatures::{part, with_part};
use crate::oidc::tests::support::{RSA, claims, decode};

const FORM: &str = "compact form";
const SIGNATURE: &str = "no signature, or one that is not in base64url";
const TOO_LONG: &str = "more than 16384 bytes";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = serializations();
    cases.extend(json());
    cases.extend(base64());
    cases
}

fn serializations() -> Vec<Case> {
    vec![
        Case::text("empty text", FORM, |_| String::new()),
        Case::text("dots alone", SIGNATURE, |_| "..".to_owned()),
        Case::text("two parts", FORM, |valid| valid.rsplit_once('.').unwrap().0.to_owned()),
        Case::text("two signatures", FORM, |valid| format!("{valid}.{}", part(valid, 2))),
        Case::text("four parts, the last one empty", SIGNATURE, |valid| format!("{valid}.")),
        Case::text("five parts", FORM, |valid| format!("{valid}.AAAA.AAAA")),
        Case::text("empty part in front", FORM, |valid| format!(".{valid}")),
        Case::text("two tokens", FORM, |valid| format!("{valid},{valid}")),
        Case::text("JSON serialization with two signatures", FORM, |valid| {
            let signature = json!({"protected": part(valid, 0), "signature": part(valid, 2)});
            json!({"payload": part(valid, 1), "signatures": [signature, signature]}).to_string()
        }),
        Case::text("flattened JSON serialization", FORM, |valid| {
            let [header, claims, signature] = [0, 1, 2].map(|number| part(valid, number));
            json!({"payload": claims, "protected": header, "signature": signature}).to_string()
        }),
        Case::text("authentication scheme in front", FORM, |valid| format!("Bearer {valid}")),
        Case::text("full-width dots", FORM, |valid| valid.replace('.', "\u{ff0e}")),
        Case::signed("17 KiB", TOO_LONG, |_, claims| claims["x"] = json!("x".repeat(12_500))),
    ]
}

/// Claims that parsers read differently, or not at all.
fn json() -> Vec<Case> {
    let header = RSA.header().to_string();
    let with = |claim: &str| claims().to_string().replacen('{', &format!("{{{claim},"), 1);
    let nested = |depth| format!("\"x\":{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut cases = Vec::new();
    for (name, reason, claims) in [
        ("claims are a list", FORM, "[]".to_owned()),
        ("claims are text", FORM, "\"ann\"".to_owned()),
        ("claims are null", FORM, "null".to_owned()),
        ("claims are empty", FORM, String::new()),
        ("claims with half of a surrogate pair", FORM, with("\"x\":\"\\ud800\"")),
        ("claims with a second object behind them", FORM, format!("{}{{}}", claims())),
        ("claims with NaN", FORM, with("\"x\":NaN")),
        ("claims with a number that no parser knows", FORM, with("\"exp\":1e999")),
        ("claims with a comment", FORM, with("/* */ \"x\":1")),
        ("duplicate exp", FORM, with("\"exp\":9999999999")),
        ("duplicate sub", FORM, with("\"sub\":\"root\"")),
        ("duplicate iss", FORM, with("\"iss\":\"https://evil.example.com\"")),
        ("duplicate aud with an escape", FORM, with("\"\\u0061ud\":\"commissaire\"")),
        ("duplicate field within a claim", FORM, with("\"x\":{\"y\":{\"a\":1,\"a\":1}}")),
        ("claims nested too deeply", FORM, with(&nested(16))),
        ("claims nested as deeply as 16 KiB allow", FORM, with(&nested(5_500))),
        ("claims nested more deeply", TOO_LONG, with(&nested(6_500))),
    ] {
        cases.push(Case::text(name, reason, |_| RSA.signed(&header, claims)));
    }
    cases.push(Case::text("claims are not UTF-8", FORM, |_| {
        let claims = with("\"x\":\"?\"").into_bytes();
        RSA.signed(
            &header,
            claims.iter().map(|b| if *b == b'?' { 0xff } else { *b }).collect::<Vec<_>>(),
        )
    }));
    cases
}

fn base64() -> Vec<Case> {
    // A part whose length needs no padding gets some all the same.
    let padded = |valid: &str, number| {
        let encoded = BASE64_URL_SAFE.encode(decode(part(valid, number)));
        let padding = if encoded.ends_with('=') { "" } else { "====" };
        with_part(valid, number, &format!("{encoded}{padding}"))
    };
    let flipped = |valid: &str, number| {
        let mut bytes = part(valid, number).to_owned().into_bytes();
        bytes[12] ^= 1;
        with_part(valid, number, &String::from_utf8(bytes).unwrap())
    };
    let mut cases = vec![
        Case::text("header with padding", FORM, |valid| padded(valid, 0)),
        Case::text("claims with padding", FORM, |valid| padded(valid, 1)),
        Case::text("signature with padding", SIGNATURE, |valid| padded(valid, 2)),
        Case::text("flipped bit in the header", "", |valid| flipped(valid, 0)),
        Case::text("flipped bit in the claims", "", |valid| flipped(valid, 1)),
        Case::text("flipped bit in the signature", "signature", |valid| flipped(valid, 2)),
        Case::text("signature in the standard alphabet", SIGNATURE, |valid| {
            let signature = BASE64_STANDARD_NO_PAD.encode(decode(part(valid, 2)));
            // That it has a character by which the alphabets differ is likely, but no more.
            let signature =
                if signature.contains(['+', '/']) { signature } else { "+".repeat(340) };
            with_part(valid, 2, &signature)
        }),
        Case::text("bits behind the last byte of the signature", SIGNATURE, |valid| {
            // 256 bytes end with a character that has four bits too many, which are zero: A, Q, g or w.
            let (rest, last) = valid.split_at(valid.len() - 1);
            let last = char::from(last.as_bytes()[0] + 1);
            format!("{rest}{last}")
        }),
        Case::text("NUL behind the signature", SIGNATURE, |valid| format!("{valid}\0")),
        Case::text("characters behind the signature", "signature", |valid| format!("{valid}AAAA")),
    ];
    for (name, space) in
        [("space", " "), ("line break", "\n"), ("tab", "\t"), ("no-break space", "\u{a0}")]
    {
        let within = |valid: &str| format!("{}{space}{}", &valid[..9], &valid[9..]);
        cases.extend([
            Case::text(&format!("{name} in front"), FORM, |valid| format!("{space}{valid}")),
            Case::text(&format!("{name} behind"), SIGNATURE, |valid| format!("{valid}{space}")),
            Case::text(&format!("{name} within the header"), FORM, within),
            Case::text(&format!("{name} in front of a dot"), FORM, |valid| {
                valid.replacen('.', &format!("{space}."), 1)
            }),
        ]);
    }
    cases
}
