//! The options of operations, as bodies hold them.

use serde_json::{Map, Value};
use service_core::model::{Options, ident};

/// Options that are words: serde takes `{"word": null}` for one, too.
const WORDS: [&str; 2] = ["order", "reboot"];

/// So many edits make another word of it.
const FAR: usize = 3;

/// What else a body may hold that is not far from an option.
const OTHERS: [&str; 1] = ["dry_run"];

/// The options among the members of a body. Other members are ignored, as everywhere, but for those that
/// are nearly an option: a misspelt one must not be taken for none.
///
/// # Errors
/// A sentence that names the member.
pub(super) fn options(members: Map<String, Value>) -> Result<Options, String> {
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
        } else if let Some(nearest) = nearest(&name) {
            return Err(format!("{name}: the option {nearest} is called so; nothing was started"));
        }
    }
    let mut options: Options =
        serde_path_to_error::deserialize(Value::Object(given)).map_err(|e| {
            let (path, inner) = (e.path().to_string(), e.inner());
            format!("{path}: {inner}")
        })?;
    for host in options.hosts.iter_mut().flatten() {
        // What is no address stays, and is refused as it was given.
        *host = ident::canonical_address(host).unwrap_or_else(|| host.clone());
    }
    options.validate()?;
    Ok(options)
}

/// The option that a name is nearly, if it is.
fn nearest(name: &str) -> Option<&'static str> {
    let plain = name.replace('-', "_");
    let near = OTHERS.iter().chain(&Options::NAMES).map(|known| {
        let known: &'static str = known;
        (strsim::levenshtein(known, &plain), known)
    });
    near.filter(|(distance, _)| *distance < FAR).min().map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use service_core::model::{Limit, Order, RebootWhen};

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
            assert!(error.starts_with(given) && error.contains(option), "{error}");
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
        ] {
            let error = of(members.clone()).unwrap_err();
            assert!(error.starts_with(says), "{members}: {error}");
        }
    }
}
