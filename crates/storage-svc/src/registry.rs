//! Which store keeps which models: the configured patterns, resolved and checked. Nothing here is opened.

use std::collections::BTreeMap;

use etcd_access::OptionsError;
use glob::Pattern;
use model::{Host, Model as _};

use crate::config::{Backend, Handler};
use crate::kinds::Kind;

/// Why the configured handlers cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Two handlers have one name.
    #[error("two store handlers are named {0:?}: give each a `name` of its own")]
    DuplicateName(String),
    /// An etcd cannot be reached as a handler says.
    #[error("the store handler {handler:?} is wrong")]
    Etcd {
        /// The handler.
        handler: String,
        /// What is wrong.
        source: OptionsError,
    },
    /// A pattern is none.
    #[error("the store handler {handler:?} has the pattern {pattern:?}, which is none: {why}")]
    BadPattern {
        /// The handler.
        handler: String,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A pattern fits no model.
    #[error("the store handler {handler:?} has the pattern {pattern:?}, which fits no model: there are {}", names().join(", "))]
    NoMatch {
        /// The handler.
        handler: String,
        /// The pattern.
        pattern: String,
    },
    /// Two handlers want the same model.
    #[error(
        "the model {model} is assigned to the store handlers {first:?} and {second:?}: only Host may have several"
    )]
    AssignedTwice {
        /// The model.
        model: &'static str,
        /// The one that had it already.
        first: String,
        /// The other one.
        second: String,
    },
    /// Nobody keeps a model.
    #[error("no store handler takes the models {}: add them to the `models` of one", .0.join(", "))]
    Unassigned(Vec<&'static str>),
}

/// Which handlers keep which model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignments(BTreeMap<&'static str, Vec<usize>>);

impl Assignments {
    /// Resolves the patterns of `handlers`.
    ///
    /// # Errors
    /// [`RegistryError`], naming the culprit.
    pub fn of(handlers: &[Handler]) -> Result<Self, RegistryError> {
        let mut assigned: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, handler) in handlers.iter().enumerate() {
            if handlers[..index].iter().any(|other| other.name == handler.name) {
                return Err(RegistryError::DuplicateName(handler.name.clone()));
            }
            if let Backend::Etcd(options) = &handler.backend {
                let wrong = |source| RegistryError::Etcd { handler: handler.name.clone(), source };
                options.validate().map_err(wrong)?;
            }
            for model in matched(handler)? {
                let keepers = assigned.entry(model).or_default();
                if let Some(first) = keepers.first()
                    && model != Host::TYPE
                {
                    let (first, second) = (handlers[*first].name.clone(), handler.name.clone());
                    return Err(RegistryError::AssignedTwice { model, first, second });
                }
                keepers.push(index);
            }
        }
        let missing: Vec<_> = names().into_iter().filter(|m| !assigned.contains_key(m)).collect();
        if !missing.is_empty() {
            return Err(RegistryError::Unassigned(missing));
        }
        // Never the default, wherever they stand in the list.
        let sources = (0..handlers.len()).filter(|index| handlers[*index].models.is_empty());
        assigned.entry(Host::TYPE).or_default().extend(sources);
        Ok(Self(assigned))
    }

    /// The handlers that keep `kind`, as indexes into the configured list: the first is the default,
    /// the others are sources of hosts.
    pub fn keepers(&self, kind: &Kind) -> &[usize] {
        self.0.get(kind.part_of).map_or(&[], Vec::as_slice)
    }

    /// The models that a handler keeps, sorted.
    pub fn models(&self, handler: usize) -> Vec<&'static str> {
        let keeps = self.0.iter().filter(|(_, keepers)| keepers.contains(&handler));
        keeps.map(|(model, _)| *model).collect()
    }
}

/// The models that a handler's patterns fit, each once.
fn matched(handler: &Handler) -> Result<Vec<&'static str>, RegistryError> {
    let mut models = Vec::new();
    for text in &handler.models {
        let named = || (handler.name.clone(), text.clone());
        let pattern = Pattern::new(text).map_err(|error| {
            let (handler, pattern) = named();
            RegistryError::BadPattern { handler, pattern, why: error.msg }
        })?;
        // The original's lists are models of their own: `Hosts` means `Host`.
        let fits =
            |kind: &&Kind| pattern.matches(kind.type_name) || pattern.matches(kind.list_type);
        let documented = Kind::all().filter(|kind| !kind.is_part());
        let before = models.len();
        models.extend(documented.filter(fits).map(|kind| kind.type_name));
        if models.len() == before {
            let (handler, pattern) = named();
            return Err(RegistryError::NoMatch { handler, pattern });
        }
    }
    models.sort_unstable();
    models.dedup();
    Ok(models)
}

/// The models that are assigned: parts of a record are kept with it.
fn names() -> Vec<&'static str> {
    Kind::all().filter(|kind| !kind.is_part()).map(|kind| kind.type_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Handlers by name and patterns.
    fn handlers(given: &[(&str, &[&str])]) -> Vec<Handler> {
        let handler = |(name, models): &(&str, &[&str])| Handler {
            name: (*name).to_owned(),
            models: models.iter().map(|pattern| (*pattern).to_owned()).collect(),
            ..Handler::sqlite("/x.db".into())
        };
        given.iter().map(handler).collect()
    }

    #[test]
    fn every_model_has_its_keepers() {
        let everything: &[&str] = &["*"];
        for (given, host, network) in [
            (&[("a", everything)][..], &[0][..], &[0][..]),
            (&[("a", everything), ("b", &["Host"])], &[0, 1], &[0]),
            (&[("a", &["[!N]*"]), ("b", &["Network?", "N*", "Host"])], &[0, 1], &[1]),
            (&[("a", &["Hosts"]), ("b", everything)], &[0, 1], &[1]),
            (&[("a", &["Host", "Hosts", "Host*"]), ("b", &["[!H]*", "HealthCheck"])], &[0], &[1]),
            (&[("a", &[]), ("b", everything)], &[1, 0], &[1]),
        ] {
            let assignments = Assignments::of(&handlers(given)).unwrap();
            let keepers = |model| assignments.keepers(Kind::named(model).unwrap());
            assert_eq!((keepers("Host"), keepers("Network")), (host, network), "{given:?}");
            for kind in Kind::all() {
                assert!(!assignments.keepers(kind).is_empty(), "{} of {given:?}", kind.type_name);
            }
        }
    }

    #[test]
    fn models_of_a_handler_are_listed() {
        let given = [("a", &["*"][..]), ("b", &["Host"])];
        let assignments = Assignments::of(&handlers(&given)).unwrap();
        let mut all = names();
        all.sort_unstable();
        assert_eq!(assignments.models(0), all);
        assert_eq!(assignments.models(1), ["Host"]);
    }

    #[test]
    fn the_culprit_is_named() {
        for (given, says) in [
            (&[("a", &["*"][..]), ("a", &["Host"])][..], &["named \"a\""][..]),
            (&[("a", &["*", "Hsot"])], &["\"a\"", "\"Hsot\"", "HostCreds"]),
            (&[("a", &["host"])], &["\"host\""]),
            (&[("a", &["[x"])], &["\"a\"", "\"[x\"", "range"]),
            (&[("a", &["*"]), ("b", &["Network"])], &["Network", "\"a\"", "\"b\""]),
            (&[("a", &["[!LO]*"])], &["Lease, Operation"]),
            (&[], &["Host", "Lease"]),
        ] {
            let error = Assignments::of(&handlers(given)).unwrap_err().to_string();
            assert!(says.iter().all(|text| error.contains(text)), "{error}");
        }
        let half =
            etcd_access::Options { certificate_path: Some("/x.pem".into()), ..Default::default() };
        let error = Assignments::of(&[Handler::etcd(half)]).unwrap_err();
        let error = bus::error::chain(&error);
        assert!(error.contains("\"etcd\"") && error.contains("`certificate_key_path`"), "{error}");
    }
}
