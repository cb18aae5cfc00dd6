//! What a request read from the store, by its parameters and its answer. Pure.

use bus::{Error, Kind as ErrorKind};
use model::{Cluster, Model as _};
use serde_json::Value;
use storage_svc::kinds::Kind;

/// Records that were read at one moment: each key with its revision, `None` for a record that does not exist.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// All records with this prefix were read.
    pub(crate) prefix: Option<&'static str>,
    pub(crate) records: Vec<(String, Option<u64>)>,
}

/// The records that a request has read; `None` if it reads none, or reads without revisions.
pub(crate) fn read(key: &str, params: &Value, answer: Result<&Value, &Error>) -> Option<Read> {
    if params["revisions"] != true {
        return None;
    }
    let type_name = params["model_type_name"].as_str()?;
    // It is composed of several records, and its revision is that of the newest of them.
    if [Cluster::TYPE, Cluster::LIST_TYPE].contains(&type_name) {
        return None;
    }
    match (key, answer) {
        ("storage.list", Ok(answer)) => {
            let kind = Kind::listed_as(type_name).ok()?;
            let records = answer.as_array()?.iter();
            let records = records.map(|found| {
                let id = found["record"][kind.id].as_str()?;
                Some((kind.key(id).ok()?, found["revision"].as_u64()))
            });
            Some(Read { prefix: Some(kind.prefix), records: records.collect::<Option<_>>()? })
        }
        ("storage.get", answer) => {
            let kind = Kind::named(type_name).ok()?;
            let answer = match answer {
                Ok(answer) => answer.clone(),
                Err(error) if error.kind() == ErrorKind::NotFound => Value::Null,
                Err(_) => return None,
            };
            let (ids, found) = match &params["ids"] {
                Value::Array(ids) => (ids.clone(), answer.as_array()?.clone()),
                _ => (vec![params["model_json_data"][kind.id].clone()], vec![answer]),
            };
            let records = ids.iter().zip(found).map(|(id, found)| {
                Some((kind.key(id.as_str()?).ok()?, found["revision"].as_u64()))
            });
            Some(Read { prefix: None, records: records.collect::<Option<_>>()? })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(kind: &str, id: &str) -> String {
        Kind::named(kind).unwrap().key(id).unwrap()
    }

    #[test]
    fn records_are_read_with_their_revisions() {
        let params = json!({"model_type_name": "Host", "ids": ["a", "b"], "revisions": true});
        let answer = json!([{"record": {"address": "a"}, "revision": 7}, null]);
        let expected = vec![(key("Host", "a"), Some(7)), (key("Host", "b"), None)];
        let found = read("storage.get", &params, Ok(&answer)).unwrap();
        assert_eq!((found.prefix, found.records), (None, expected));

        let params = json!({"model_type_name": "Hosts", "revisions": true});
        let answer = json!([{"record": {"address": "a"}, "revision": 7}]);
        let found = read("storage.list", &params, Ok(&answer)).unwrap();
        assert_eq!(found.prefix, Some(Kind::named("Host").unwrap().prefix));
        assert_eq!(found.records, [(key("Host", "a"), Some(7))]);
    }

    #[test]
    fn clusters_are_not_compared_because_they_are_composed() {
        for type_name in ["Cluster", "Clusters"] {
            let params = json!({"model_type_name": type_name, "model_json_data": {"name": "c1"}, "revisions": true});
            let answer = json!([{"record": {"name": "c1"}, "revision": 7}]);
            assert_eq!(read("storage.list", &params, Ok(&answer)), None);
            assert_eq!(read("storage.get", &params, Ok(&answer[0])), None);
        }
    }

    #[test]
    fn record_that_is_not_found_does_not_exist_and_other_errors_say_nothing() {
        let params = json!({"model_type_name": "Host", "model_json_data": {"address": "a"}, "revisions": true});
        let missing = Error::new(ErrorKind::NotFound, "no host a");
        let found = read("storage.get", &params, Err(&missing)).unwrap();
        assert_eq!(found.records, [(key("Host", "a"), None)]);
        assert_eq!(read("storage.get", &params, Err(&Error::unavailable("away"))), None);
    }
}
