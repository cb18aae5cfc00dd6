use serde_json::json;

use super::*;

fn options(members: Value) -> Options {
    serde_json::from_value(members).unwrap()
}

fn variables(set: &[(&str, &str)]) -> Option<Options> {
    let find = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    Options::from_variables(find)
}

#[test]
fn urls_come_as_a_text_or_a_list() {
    let two = ["http://a:2379", "http://b:2379"];
    for members in [
        json!({"server_url": "http://a:2379, http://b:2379/"}),
        json!({"server_url": ["http://a:2379", "http://b:2379"]}),
    ] {
        assert_eq!(options(members).endpoints(), two);
    }
    assert_eq!(options(json!({})).endpoints(), [DEFAULT_URL]);
    for wrong in [json!({"server_url": 1}), json!({"server_url": [1]}), json!({"url": "x"})] {
        serde_json::from_value::<Options>(wrong).unwrap_err();
    }
}

#[test]
fn a_bad_url_is_named_without_its_secret() {
    for good in ["http://a", "https://a_b-c.d:1", "http://10.0.0.1:2379", "http://[::1]:2379"] {
        options(json!({"server_url": good, "insecure": true})).validate().unwrap();
    }
    for bad in
        ["a:2379", "ftp://a", "http://", "http://a:0", "http://a:x", "http://a/b", "http://[::x]"]
    {
        let error = options(json!({"server_url": bad})).validate().unwrap_err();
        assert!(error.to_string().contains(bad), "{error}");
    }
    let secret = options(json!({"server_url": "http://root:hunter2@a:2379"}));
    let error = secret.validate().unwrap_err();
    assert!(error.to_string().contains("belongs in `username`"), "{error}");
    assert!(!format!("{error} {error:?} {secret:?}").contains("hunter2"));
}

#[test]
fn another_machine_needs_https_or_insecure() {
    for here in ["http://localhost:2379", "http://127.0.0.1", "http://[::1]:1", "https://10.0.0.1"]
    {
        options(json!({"server_url": here})).validate().unwrap();
    }
    for url in [
        "http://10.0.0.1:2379",
        "http://etcd",
        "http://[2001:db8::1]:1",
        "http://localhost.example.com",
    ] {
        let refused = Err(OptionsError::Insecure { url: url.to_owned() });
        let both = json!({"server_url": ["http://localhost:2379", url]});
        assert_eq!(options(both.clone()).validate(), refused);
        let env = [("ETCD_MACHINES", url), ("ETCD_INSECURE", "true")];
        variables(&env).unwrap().validate().unwrap();
        assert_eq!(variables(&env[..1]).unwrap().validate(), refused);
        options(json!({})).merged_with(variables(&env)).validate().unwrap();
        // That of the environment is meant for its own URLs.
        assert_eq!(options(both).merged_with(variables(&env)).validate(), refused);
    }
}

#[test]
fn half_a_pair_is_refused_naming_the_missing_half() {
    for (given, missing) in [
        ("certificate_path", "certificate_key_path"),
        ("certificate_key_path", "certificate_path"),
        ("username", "password"),
        ("password", "username"),
    ] {
        let half = options(json!({"server_url": "https://a:2379", given: "x"}));
        assert_eq!(half.validate(), Err(OptionsError::Half { given, missing }));
    }
}

#[test]
fn certificates_need_https() {
    let url = "https://a,http://b:2379";
    let ca = options(json!({"server_url": url, "certificate_ca_path": "ca.pem", "insecure": true}));
    let (member, url) = ("certificate_ca_path", "http://b:2379".to_owned());
    assert_eq!(ca.validate(), Err(OptionsError::Plain { member, url }));
}

#[test]
fn a_password_shows_nowhere() {
    let error = serde_json::from_value::<Options>(json!({"password": 1_234_567})).unwrap_err();
    assert!(!error.to_string().contains("1234567"), "{error}");
    assert!(!format!("{:?}", options(json!({"password": "hunter2"}))).contains("hunter2"));
}

#[test]
fn the_environment_gives_options_when_it_names_machines() {
    assert!(variables(&[("ETCD_USERNAME", "u")]).is_none());
    assert!(variables(&[("ETCD_MACHINES", "")]).is_none());
    let all = variables(&[
        ("ETCD_MACHINES", "https://a:2379,https://b:2379"),
        ("ETCD_TLSPEM", "/c"),
        ("ETCD_TLSKEY", "/k"),
        ("ETCD_CACERT", "/ca"),
        ("ETCD_USERNAME", "u"),
        ("ETCD_PASSWORD", "p"),
    ])
    .unwrap();
    all.validate().unwrap();
    assert_eq!(all.server_url, ["https://a:2379", "https://b:2379"]);
    assert_eq!(all.certificate_path, Some("/c".into()));
    assert_eq!(all.certificate_key_path, Some("/k".into()));
    assert_eq!(all.certificate_ca_path, Some("/ca".into()));
    assert_eq!(all.username.as_deref(), Some("u"));
    assert_eq!(all.password.unwrap().expose_secret(), "p");
}

#[test]
fn a_handlers_own_options_win() {
    let env = || {
        variables(&[
            ("ETCD_MACHINES", "https://env:1"),
            ("ETCD_TLSPEM", "/c"),
            ("ETCD_TLSKEY", "/k"),
            ("ETCD_USERNAME", "u"),
            ("ETCD_PASSWORD", "p"),
        ])
    };
    let seeded = options(json!({})).merged_with(env());
    assert_eq!(seeded.endpoints(), ["https://env:1"]);
    seeded.validate().unwrap();

    let plain = options(json!({"server_url": "http://localhost:1"})).merged_with(env());
    assert_eq!(plain.endpoints(), ["http://localhost:1"]);
    assert_eq!(plain.certificate_path, None);
    assert_eq!(plain.username.as_deref(), Some("u"));
    plain.validate().unwrap();

    // The other half of a pair does not come from elsewhere.
    let half = json!({"certificate_path": "/own", "username": "own"});
    let half = options(half).merged_with(env());
    assert_eq!((half.certificate_key_path, half.password.is_none()), (None, true));
}
