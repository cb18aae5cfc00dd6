//! Comparison of responses of two servers, up to a consistent mapping of uids, names and revisions.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

/// Times that the recorded server set begin so; others came from requests, and have to be equal.
const RECORDED_IN: &str = "2026-11-2";

/// Marks texts that the recorder cut.
const CUT: char = '…';

/// Maximum list length in the recording; the recorder cut longer lists.
const KEPT: usize = 6;

/// The mapping from recorded uids, names and revisions to those of the stand-in.
#[derive(Debug)]
pub(super) struct Comparison {
    /// Renamed objects: recorded tokens contain the original names.
    renamed: Vec<(&'static str, &'static str)>,
    texts: BTreeMap<String, String>,
    revisions: BTreeMap<u64, u64>,
    /// Revisions of objects: those of the stand-in with the recorded ones.
    objects: BTreeMap<u64, u64>,
}

impl Comparison {
    pub(super) fn new(renamed: &[(&'static str, &'static str)]) -> Self {
        let (texts, revisions, objects) = Default::default();
        Self { renamed: renamed.to_vec(), texts, revisions, objects }
    }

    /// A request with our uids, names, revisions and tokens.
    pub(super) fn translated(&self, request: &Value) -> Value {
        match request {
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| {
                    let revision = value.as_str().filter(|_| name == "resourceVersion");
                    let ours = revision.map(|revision| Value::from(self.revision(revision)));
                    (name.clone(), ours.unwrap_or_else(|| self.translated(value)))
                });
                Value::Object(fields.collect())
            }
            Value::Array(elements) => elements.iter().map(|value| self.translated(value)).collect(),
            Value::String(text) => self.substituted(text).into(),
            other => other.clone(),
        }
    }

    /// A path with our names, revisions and tokens.
    pub(super) fn translated_path(&self, path: &str) -> String {
        let path = self.substituted(path);
        let Some((before, rest)) = path.split_once("resourceVersion=") else { return path };
        let end = rest.find('&').unwrap_or(rest.len());
        format!("{before}resourceVersion={}{}", self.revision(&rest[..end]), &rest[end..])
    }

    fn revision(&self, recorded: &str) -> String {
        let known = recorded.parse().ok().and_then(|number: u64| self.revisions.get(&number));
        known.map_or_else(|| recorded.to_owned(), ToString::to_string)
    }

    fn substituted(&self, text: &str) -> String {
        let known = self.texts.iter();
        known.fold(text.to_owned(), |text, (recorded, ours)| text.replace(recorded, ours))
    }

    fn learn(&mut self, recorded: &str, ours: &str) -> Result<(), String> {
        match self.texts.get(recorded) {
            Some(known) if known != ours => Err(format!("{ours} instead of {known}")),
            None if self.texts.values().any(|known| known == ours) => {
                Err(format!("{ours} appears twice"))
            }
            _ => {
                self.texts.insert(recorded.to_owned(), ours.to_owned());
                Ok(())
            }
        }
    }

    /// Adds a pair of revisions; the mapping has to be a monotone function.
    fn learn_revision(&mut self, recorded: &str, ours: &str) -> Result<(), String> {
        let numbers = (recorded.parse::<u64>(), ours.parse::<u64>());
        let (Ok(recorded), Ok(ours)) = numbers else {
            return Err(format!("revision {ours} for {recorded}"));
        };
        let known = self.revisions.get(&recorded).copied();
        let before = self.revisions.range(..recorded).next_back().map(|(_, ours)| *ours);
        let after = self.revisions.range(recorded + 1..).next().map(|(_, ours)| *ours);
        let fits = known.is_none_or(|known| known == ours)
            && before.is_none_or(|before| before <= ours)
            && after.is_none_or(|after| after >= ours);
        if !fits {
            return Err(format!(
                "revision {ours} for {recorded}: known {known:?}, {before:?} before, {after:?} after"
            ));
        }
        self.revisions.insert(recorded, ours);
        Ok(())
    }

    /// Adds a pair of revisions of an object: writes that changed it are the same ones on both servers.
    fn learn_object_revision(&mut self, recorded: &str, ours: &str) -> Result<(), String> {
        self.learn_revision(recorded, ours)?;
        let (Ok(recorded), Ok(ours)) = (recorded.parse(), ours.parse()) else { return Ok(()) };
        match self.objects.insert(ours, recorded) {
            Some(known) if known != recorded => {
                Err(format!("revision {ours} for {recorded} and for {known}"))
            }
            _ => Ok(()),
        }
    }

    /// Compares a recorded response with ours.
    pub(super) fn compare_response(
        &mut self,
        recorded: &Value,
        ours: &Value,
    ) -> Result<(), String> {
        let (mut recorded, mut ours) = (recorded.clone(), ours.clone());
        // The revision of a list is not that of an object.
        if recorded["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) {
            let revision =
                |list: &mut Value| list["metadata"]["resourceVersion"].take().to_string();
            let (wanted, found) = (revision(&mut recorded), revision(&mut ours));
            self.learn_revision(wanted.trim_matches('"'), found.trim_matches('"'))?;
        }
        self.compare("", &recorded, &ours)
    }

    /// Compares a recorded value with ours; `field` is the path of both.
    fn compare(&mut self, field: &str, recorded: &Value, ours: &Value) -> Result<(), String> {
        match (recorded, ours) {
            (Value::Object(wanted), Value::Object(found)) => {
                // The recorder removed it.
                let keys = |fields: &serde_json::Map<String, Value>| {
                    let keys = fields.keys().filter(|key| *key != "managedFields").cloned();
                    keys.collect::<Vec<_>>()
                };
                if let (Some(name), Some(ours)) = (wanted.get("name"), found.get("name"))
                    && wanted.contains_key("generateName")
                {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    self.learn(&text(name), &text(ours))?;
                }
                let (mut names, mut ours) = (keys(wanted), keys(found));
                // Some keys are names.
                names = names.iter().map(|name| self.substituted(name)).collect();
                names.sort();
                ours.sort();
                if names != ours {
                    return Err(format!("{field}: fields {ours:?} instead of {names:?}"));
                }
                for (name, value) in wanted.iter().filter(|(name, _)| *name != "managedFields") {
                    let inner = format!("{field}.{name}");
                    self.compare_field(&inner, name, value, &found[&self.substituted(name)])?;
                }
                Ok(())
            }
            (Value::Array(wanted), Value::Array(found))
                if wanted.len() == found.len().min(KEPT) =>
            {
                for (index, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                    self.compare(&format!("{field}[{index}]"), wanted, found)?;
                }
                Ok(())
            }
            (Value::String(wanted), Value::String(found)) => {
                self.compare_text(field, wanted, found)
            }
            _ if recorded == ours => Ok(()),
            _ => Err(format!("{field}: {ours} instead of {recorded}")),
        }
    }

    fn compare_field(
        &mut self,
        field: &str,
        name: &str,
        recorded: &Value,
        ours: &Value,
    ) -> Result<(), String> {
        let (Some(wanted), Some(found)) = (recorded.as_str(), ours.as_str()) else {
            return self.compare(field, recorded, ours);
        };
        let result = match name {
            "uid" => self.learn(wanted, found),
            "resourceVersion" => self.learn_object_revision(wanted, found),
            "continue" => self.compare_token(wanted, found),
            "token" | "serverAddress" => Ok(()),
            _ => return self.compare_text(field, wanted, found),
        };
        result.map_err(|error| format!("{field}: {error}"))
    }

    fn compare_token(&mut self, recorded: &str, ours: &str) -> Result<(), String> {
        let decoded = |token: &str| -> Value {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
            serde_json::from_slice(&bytes).unwrap_or_default()
        };
        let (wanted, found) = (decoded(recorded), decoded(ours));
        if wanted["rv"] == -1 || found["rv"] == -1 {
            self.compare("rv", &wanted["rv"], &found["rv"])?;
        } else {
            self.learn_revision(&wanted["rv"].to_string(), &found["rv"].to_string())?;
        }
        let start = wanted["start"].as_str().unwrap_or_default().to_owned();
        let start = self.renamed.iter().fold(start, |start, (from, to)| start.replace(from, to));
        self.compare("start", &start.into(), &found["start"])?;
        self.compare("v", &wanted["v"], &found["v"])?;
        self.texts.insert(recorded.to_owned(), ours.to_owned());
        Ok(())
    }

    fn compare_text(&self, field: &str, recorded: &str, ours: &str) -> Result<(), String> {
        let is_time = |text: &str| text.parse::<jiff::Timestamp>().is_ok();
        if recorded.starts_with(RECORDED_IN) && is_time(recorded) && is_time(ours) {
            return Ok(());
        }
        if recorded.starts_with("JTI=") && ours.starts_with("JTI=") {
            return Ok(());
        }
        let mut wanted = self.substituted(recorded);
        let mut found = ours.to_owned();
        // The server quotes the whole object in the order of its own fields, and the recorder cut it.
        if let Some(at) = wanted.find("Invalid value: \"{") {
            wanted.truncate(at);
            wanted.push(CUT);
        }
        if wanted.to_lowercase().contains("resource version") || wanted.contains("ResourceVersion")
        {
            let inverse =
                self.revisions.iter().map(|(recorded, ours)| (*ours, *recorded)).collect();
            let same = self.revisions.keys().map(|recorded| (*recorded, *recorded)).collect();
            wanted = with_revisions(&wanted, &same);
            found = with_revisions(&found, &inverse);
        }
        let is_equal = match wanted.strip_suffix(CUT) {
            Some(start) => found.starts_with(start),
            None => wanted == found,
        };
        if is_equal { Ok(()) } else { Err(format!("{field}: {found:?} instead of {wanted:?}")) }
    }
}

/// The text with known numbers as recorded revisions, and unknown ones as `#`.
fn with_revisions(text: &str, revisions: &BTreeMap<u64, u64>) -> String {
    let mut result = String::new();
    let mut digits = String::new();
    for character in text.chars().chain(['\0']) {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        if let Ok(number) = digits.parse() {
            result.push_str(&revisions.get(&number).map_or("#".to_owned(), |r| format!("r{r}")));
        }
        digits.clear();
        result.push(character);
    }
    result
}
