//! The options of operations, as bodies hold them.

use model::{Options, ident, json};
use serde_json::{Map, Value};

use crate::params::spelling;

/// Options that are words: serde takes `{"word": null}` for one, too.
const WORDS: [&str; 2] = ["order", "reboot"];

/// The field beside the options.
const DRY_RUN: &str = "dry_run";

/// The options among the fields of a body. Other fields are ignored, as everywhere, except one that misspells
/// an option.
///
/// # Errors
/// A sentence that names the field.
pub(super) fn options(members: Map<String, Value>) -> Result<Options, String> {
    let fields: Vec<_> = Options::NAMES.into_iter().chain([DRY_RUN]).collect();
    let mut given = Map::new();
    for (name, value) in members {
        if Options::NAMES.contains(&name.as_str()) {
            if value.is_null() {
                return Err(format!("{name}: null is no value; leave it out for the default"));
            }
            if WORDS.contains(&name.as_str()) && !value.is_string() {
                return Err(format!("{name}: a word is expected"));
            }
            given.insert(name, value);
        } else if let Some(meant) = spelling::nearest(&name, &fields) {
            // Other bodies may hold any field of the API; here `host` for `hosts` would restart all of them.
            return Err(format!("{} Nothing was started.", spelling::question(&name, meant)));
        }
    }
    let mut options: Options = serde_path_to_error::deserialize(Value::Object(given))
        .map_err(|e| format!("{}: {}", e.path(), json::message(e.inner())))?;
    for host in options.hosts.iter_mut().flatten() {
        // What is no address stays, and is refused as it was given.
        if let Some(address) = ident::canonical_address(host) {
            *host = address.to_string();
        }
    }
    options.known().map_err(|unknown| format!("{unknown}. Nothing was started."))?;
    options.validate()?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use model::{Limit, Order, RebootWhen};
    use serde_json::json;

    use super::*;

    fn of(members: Value) -> Result<Options, String> {
        let Value::Object(members) = members else { panic!("no object") };
        options(members)
    }

    #[test]
    fn options_are_taken_and_the_rest_is_ignored() {
        let options = of(json!({
            "max_unavailable": "30%", "order": "least_recent", "reboot": "if-needed",
            "hosts": ["WEB.example", "10.0.0.1"], "soak": 5, "type": "x", "comment": null,
        }))
        .unwrap();
        assert_eq!(options.max_unavailable, Some(Limit::Percent(30)));
        assert_eq!(options.order, Some(Order::LeastRecent));
        assert_eq!(options.reboot, Some(RebootWhen::IfNeeded));
        assert_eq!(options.hosts.unwrap(), ["web.example", "10.0.0.1"]);
        assert_eq!(of(json!({})), Ok(Options::default()));
    }

    #[test]
    fn what_looks_like_an_option_is_none() {
        for (given, option) in [
            ("dry-run", "dry_run"),
            ("dryrun", "dry_run"),
            ("max_unavailible", "max_unavailable"),
            ("max-unavailable", "max_unavailable"),
            ("hots", "hosts"),
            ("soaks", "soak"),
            ("health-timout", "health_timeout"),
            ("if-neded", "if_needed"),
        ] {
            let error = of(json!({given: true})).unwrap_err();
            let expected =
                format!("unknown field {given:?}; did you mean {option:?}? Nothing was started.");
            assert_eq!(error, expected);
        }
        for ignored in ["type", "comment", "version"] {
            assert_eq!(of(json!({ignored: true})), Ok(Options::default()), "{ignored}");
        }
    }

    #[test]
    fn what_does_not_fit_names_its_member() {
        for (members, says) in [
            (json!({"max_unavailable": null}), "max_unavailable: null"),
            (json!({"max_unavailable": 0}), "max_unavailable: "),
            (json!({"max_unavailable": "101%"}), "max_unavailable: "),
            (json!({"max_unavailable": true}), "max_unavailable: "),
            (json!({"max_failures": -1}), "max_failures: "),
            (json!({"skip_unreachable": "true"}), "skip_unreachable: "),
            (json!({"soak": 1.5}), "soak: "),
            (json!({"soak": 100_000}), "soak: "),
            (json!({"order": {"name": null}}), "order: a word"),
            (json!({"order": "random"}), "order: unknown variant"),
            (json!({"reboot": true}), "reboot: a word"),
            (json!({"hosts": "10.0.0.1"}), "hosts: "),
            (json!({"hosts": ["a", 7]}), "hosts[1]: "),
            (json!({"hosts": ["../x"]}), "hosts: "),
            (json!({"hosts": []}), "hosts: "),
            (json!({"health_url": "http://a/"}), "health_url: "),
            (json!({"drain": "no"}), "drain: "),
            (json!({"drain": null}), "drain: null"),
            (json!({"drain": {"timeout": "1m"}}), "drain: timeout: "),
            (json!({"drain": {"timeout": 0}}), "drain.timeout: "),
            (json!({"drain": {"forse": true}}), "unknown option `drain.forse`"),
            (json!({"ready": {"settle": 100_000}}), "ready.settle: "),
            (json!({"ready": {"timeuot": 5}}), "unknown option `ready.timeuot`"),
        ] {
            let error = of(members.clone()).unwrap_err();
            assert!(error.starts_with(says), "{members}: {error}");
        }
    }
}
