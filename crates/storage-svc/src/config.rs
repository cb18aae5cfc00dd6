//! The configuration: where records are kept, and what credentials are sealed with.

use std::path::{Path, PathBuf};

use model::MASK;
use runtime::config::{self, ConfigError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::accounts::Accounts;
use crate::store::Memory;

/// What the original writes before the name of a type.
const PREFIXES: [&str; 2] = ["commissaire.storage.", "commissaire_service.storage."];

/// What the storage service needs to know.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The stores, and which models each of them keeps; `None` when the configuration does not say.
    #[serde(default, deserialize_with = "one_or_many")]
    pub storage_handlers: Option<Vec<Handler>>,
    /// The key file that credentials are sealed with; made at the first start of an empty store.
    pub secret_key_file: PathBuf,
    /// The socket of a Custodia server that keeps credentials instead.
    #[serde(default)]
    pub custodia_socket_path: Option<PathBuf>,
    /// Whether the history in etcd is dropped; default `auto`.
    #[serde(default)]
    pub compaction: Compaction,
    /// What the accounts of the message broker may do; all may do everything where it is missing.
    #[serde(default)]
    pub accounts: Option<Accounts>,
    /// Where the configuration came from, for messages; empty where no file did.
    #[serde(skip)]
    pub path: PathBuf,
}

/// Whether this service compacts etcd.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compaction {
    /// Every hour, to an hour ago, unless etcd holds keys of others or is compacted by others.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// A store, and which models it keeps.
#[derive(Debug, Clone)]
pub struct Handler {
    /// Its name; hosts whose `source` this is are kept here.
    pub name: String,
    /// Where it is.
    pub backend: Backend,
    /// Patterns of model names, as in `fnmatch`. None at all: only hosts whose `source` it is.
    pub models: Vec<String>,
    /// The option that says where it is, for messages: "`server_url` in /etc/commissaire/storage.conf".
    pub origin: String,
}

/// A kind of store, and what it needs to know.
#[derive(Debug, Clone)]
pub enum Backend {
    /// etcd.
    Etcd(etcd_access::Options),
    /// One SQLite file.
    Sqlite(SqliteOptions),
    /// The memory of this process; no configuration names it.
    Memory(Memory),
}

/// Where a SQLite store is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteOptions {
    /// The file.
    pub path: PathBuf,
}

/// The name of the key file in the data directory, and of the credential that systemd hands over.
const SECRET_KEY: &str = "secret.key";

impl Config {
    /// Reads the fields of a configuration; `path` is for errors. Unless the configuration names another
    /// key file, it is `secret.key` in `data_dir`.
    ///
    /// # Errors
    /// Names the field that is wrong.
    pub fn parse(
        path: &Path,
        mut fields: Map<String, Value>,
        data_dir: &Path,
    ) -> Result<Self, ConfigError> {
        if !["secret_key_file", "secret-key-file"].iter().any(|name| fields.contains_key(*name)) {
            fields.insert("secret_key_file".to_owned(), json!(secret_key_in(data_dir)));
        }
        let config: Self = config::parse(path, fields)?;
        Ok(Self { path: path.to_owned(), ..config })
    }

    /// No store is named yet ([`Self::or_handler`]); credentials are sealed with the key in
    /// `secret_key_file`.
    pub fn new(secret_key_file: PathBuf) -> Self {
        Self {
            storage_handlers: None,
            secret_key_file,
            custodia_socket_path: None,
            compaction: Compaction::default(),
            accounts: None,
            path: PathBuf::new(),
        }
    }

    /// Everything in one SQLite file, credentials sealed with the key in `secret_key_file`.
    pub fn sqlite(database: PathBuf, secret_key_file: PathBuf) -> Self {
        Self::new(secret_key_file).or_handler(Handler::sqlite(database))
    }

    /// The same with `handler` for everything, if the configuration names no handlers.
    #[must_use]
    pub fn or_handler(mut self, handler: Handler) -> Self {
        self.storage_handlers.get_or_insert_with(|| vec![handler]);
        self
    }

    /// The handlers in use: the configured ones, or else etcd for everything. What they do not say about
    /// etcd is taken from the environment (`ETCD_MACHINES` and so on).
    pub fn handlers(&self) -> Vec<Handler> {
        let default = || vec![Handler::etcd(etcd_access::Options::default())];
        let mut handlers = self.storage_handlers.clone().unwrap_or_else(default);
        for handler in &mut handlers {
            let mut option = "`path`";
            if let Backend::Etcd(options) = &mut handler.backend {
                let is_configured = !options.server_url.is_empty();
                *options = std::mem::take(options).merged_with_env();
                option = match options.server_url.as_slice() {
                    [] => "the default of `server_url`",
                    _ if is_configured => "`server_url`",
                    _ => "ETCD_MACHINES of the environment, as there is no `server_url`",
                };
            }
            if !self.path.as_os_str().is_empty() {
                handler.origin = format!("{option} in {}", self.path.display());
            }
        }
        handlers
    }

    /// The key file in use: the one that systemd hands over (`LoadCredential=secret.key`) comes first.
    pub fn key_file(&self) -> PathBuf {
        runtime::config::key_file(SECRET_KEY, &self.secret_key_file)
    }
}

/// The key file in a data directory.
pub fn secret_key_in(data_dir: &Path) -> PathBuf {
    data_dir.join(SECRET_KEY)
}

impl Handler {
    /// An etcd for all models.
    pub fn etcd(options: etcd_access::Options) -> Self {
        Self::of_everything(Backend::Etcd(options))
    }

    /// A SQLite file for all models.
    pub fn sqlite(path: PathBuf) -> Self {
        Self::of_everything(Backend::Sqlite(SqliteOptions { path }))
    }

    /// This memory, for tests.
    pub fn memory(memory: Memory) -> Self {
        Self::of_everything(Backend::Memory(memory))
    }

    fn of_everything(backend: Backend) -> Self {
        Self {
            name: backend.kind().to_owned(),
            backend,
            models: everything(),
            origin: String::new(),
        }
    }

    /// For people: the store, and the option that says where it is.
    pub fn place(&self) -> String {
        let place = match &self.backend {
            Backend::Etcd(options) => format!("etcd at {}", options.shown()),
            Backend::Sqlite(SqliteOptions { path }) => format!("the database {}", path.display()),
            Backend::Memory(_) => return "the store in memory".to_owned(),
        };
        if self.origin.is_empty() { place } else { format!("{place} ({})", self.origin) }
    }

    /// Its configuration, for people: secrets are masked.
    pub fn shown(&self) -> Value {
        let mut members = self.backend.shown();
        members.insert("name".to_owned(), json!(self.name));
        members.insert("models".to_owned(), json!(self.models));
        Value::Object(members)
    }
}

impl Backend {
    /// The name of the kind, as in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Etcd(_) => "etcd",
            Self::Sqlite(_) => "sqlite",
            Self::Memory(_) => "memory",
        }
    }

    fn of(kind: &str, members: Map<String, Value>) -> Result<Self, String> {
        let members = Value::Object(members);
        match kind {
            "etcd" => serde_json::from_value(members).map(Self::Etcd),
            "sqlite" => serde_json::from_value(members).map(Self::Sqlite),
            other => {
                return Err(format!(
                    "there is no store type {other:?}: `type` is \"etcd\" or \"sqlite\""
                ));
            }
        }
        .map_err(|e| e.to_string())
    }

    fn shown(&self) -> Map<String, Value> {
        let members = match self {
            Self::Etcd(options) => json!({
                "server_url": options.endpoints(),
                "certificate_path": options.certificate_path,
                "certificate_key_path": options.certificate_key_path,
                "certificate_ca_path": options.certificate_ca_path,
                "username": options.username,
                "password": options.password.as_ref().map(|_| MASK),
                "quota_backend_bytes": options.quota_backend_bytes,
                "insecure": options.insecure.then_some(true),
            }),
            Self::Sqlite(SqliteOptions { path }) => json!({"path": path}),
            Self::Memory(_) => json!({}),
        };
        match members {
            Value::Object(mut members) => {
                members.retain(|_, value| !value.is_null());
                members
            }
            _ => Map::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Handler {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Map::deserialize(deserializer)?;
        let mut text = |name: &str| match members.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
            Some(_) => Err(D::Error::custom(format!("a store handler's `{name}` is a text"))),
        };
        let (kind, name) = (text("type")?, text("name")?);
        let models = match members.remove("models") {
            None => everything(),
            Some(models) => serde_json::from_value(models).map_err(|_| {
                D::Error::custom("a store handler's `models` is a list of model names or patterns")
            })?,
        };
        let either = kind.as_deref().or(name.as_deref()).ok_or_else(|| {
            D::Error::custom("a store handler needs a `type`: \"etcd\" or \"sqlite\"")
        })?;
        let plain = PREFIXES.iter().find_map(|prefix| either.strip_prefix(prefix));
        let plain = plain.unwrap_or(either).to_owned();
        let name = name.filter(|_| kind.is_some()).unwrap_or_else(|| plain.clone());
        let backend = Backend::of(&plain, members).map_err(D::Error::custom)?;
        Ok(Self { name, backend, models, origin: String::new() })
    }
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// An object stands for a list of one.
fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Handler>>, D::Error> {
    let handlers = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        one @ Value::Object(_) => vec![one],
        Value::Array(many) => many,
        _ => return Err(D::Error::custom("`storage_handlers` is an object or a list of objects")),
    };
    let handler = |value| serde_json::from_value(value).map_err(D::Error::custom);
    let handlers = handlers.into_iter().map(handler).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(handlers).filter(|handlers| !handlers.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Permit;

    fn parsed(members: Value) -> Result<Config, String> {
        let Value::Object(members) = members else { panic!("an object") };
        let (path, data_dir) = (Path::new("storage.conf"), Path::new("/data"));
        Config::parse(path, members, data_dir).map_err(|e| e.to_string())
    }

    fn handlers(members: &Value) -> Result<Vec<Handler>, String> {
        parsed(json!({"storage-handlers": members})).map(|config| config.storage_handlers.unwrap())
    }

    #[test]
    fn type_and_name_stand_for_each_other() {
        for (given, name) in [
            (json!({"type": "sqlite"}), "sqlite"),
            (json!({"name": "sqlite"}), "sqlite"),
            (json!({"name": " ", "type": "sqlite"}), "sqlite"),
            (json!({"type": "sqlite", "name": "main"}), "main"),
            (json!({"type": "commissaire.storage.sqlite"}), "sqlite"),
            (json!({"name": "commissaire_service.storage.sqlite"}), "sqlite"),
            (json!({"type": "commissaire.storage.sqlite", "name": "a.b"}), "a.b"),
        ] {
            let mut members = given.clone();
            members["path"] = json!("/x.db");
            let handler = handlers(&members).unwrap().remove(0);
            assert_eq!(
                (handler.name.as_str(), handler.backend.kind()),
                (name, "sqlite"),
                "{given}"
            );
            assert_eq!(handler.models, ["*"]);
        }
    }

    #[test]
    fn an_object_stands_for_a_list_and_nothing_for_the_default() {
        let one = json!({"type": "sqlite", "path": "/x.db", "models": ["Host"]});
        assert_eq!(handlers(&one).unwrap()[0].models, ["Host"]);
        assert_eq!(handlers(&json!([one, {"name": "sqlite", "path": "/y.db"}])).unwrap().len(), 2);
        for nothing in
            [json!({}), json!({"storage_handlers": []}), json!({"storage-handlers": null})]
        {
            let config = parsed(nothing).unwrap();
            assert!(config.storage_handlers.is_none());
            let config = config.or_handler(Handler::sqlite("/x.db".into()));
            assert_eq!(config.handlers()[0].name, "sqlite");
        }
    }

    #[test]
    fn a_store_is_named_with_the_option_that_says_where_it_is() {
        let place = |handler| {
            let config = parsed(json!({"storage_handlers": handler})).unwrap();
            config.handlers()[0].place()
        };
        for (handler, expected) in [
            (
                json!({"type": "etcd", "server_url": ["https://a:2379", "https://u:s3cr3t@b:2379"]}),
                "etcd at https://a:2379,…@b:2379 (`server_url` in storage.conf)",
            ),
            (
                json!({"type": "etcd"}),
                "etcd at http://127.0.0.1:2379 (the default of `server_url` in storage.conf)",
            ),
            (
                json!({"type": "sqlite", "path": "/x.db"}),
                "the database /x.db (`path` in storage.conf)",
            ),
        ] {
            assert_eq!(place(handler), expected);
        }
    }

    #[test]
    fn compaction_is_automatic_or_off() {
        assert_eq!(parsed(json!({})).unwrap().compaction, Compaction::Auto);
        assert_eq!(parsed(json!({"compaction": "off"})).unwrap().compaction, Compaction::Off);
        let error = parsed(json!({"compaction": "hourly"})).unwrap_err();
        assert!(error.contains("`auto` or `off`"), "{error}");
        let handler = json!({"type": "etcd", "quota-backend-bytes": 8_589_934_592_u64});
        let shown = handlers(&handler).unwrap().remove(0).shown();
        assert_eq!(shown["quota_backend_bytes"], 8_589_934_592_u64);
    }

    #[test]
    fn names_of_accounts_keep_their_hyphens() {
        let table = json!({"accounts": {"commissaire-http": {"read": ["Host"]}}});
        let accounts = parsed(table).unwrap().accounts.unwrap();
        Permit::new(Some(&accounts), Some("commissaire-http")).unwrap();
        let error = parsed(json!({"accounts": {"x": {"raed": []}}})).unwrap_err();
        assert!(error.contains("did you mean `read`?"), "{error}");
    }

    #[test]
    fn the_key_file_is_in_the_data_directory_unless_another_is_named() {
        let key_file = |fields| parsed(fields).unwrap().secret_key_file;
        assert_eq!(key_file(json!({})), Path::new("/data/secret.key"));
        assert_eq!(key_file(json!({"secret-key-file": "/x"})), Path::new("/x"));
        assert_eq!(key_file(json!({"secret_key_file": "/x"})), Path::new("/x"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (members, says) in [
            (json!([{"type": "zookeeper"}]), "no store type \"zookeeper\""),
            (json!({"type": "my.own.sqlite", "path": "/x"}), "no store type \"my.own.sqlite\""),
            (json!({"name": "main"}), "no store type \"main\""),
            (json!({}), "needs a `type`"),
            (json!({"type": 7}), "`type` is a text"),
            (json!({"type": "sqlite"}), "missing field `path`"),
            (json!({"type": "sqlite", "paht": "/x"}), "did you mean `path`?"),
            (json!({"type": "etcd", "server-ulr": "http://a"}), "did you mean `server_url`?"),
            (json!({"type": "sqlite", "path": "/x", "models": "Host"}), "`models` is a list"),
            (json!("etcd"), "an object or a list of objects"),
        ] {
            let error = handlers(&members).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let error = parsed(json!({"secret-key-fiel": "/x"})).unwrap_err();
        assert!(error.contains("did you mean `secret_key_file`?"), "{error}");
    }

    #[test]
    fn what_is_shown_hides_the_password() {
        let given = json!({"type": "commissaire.storage.etcd", "server-url": "https://e:2379",
                           "username": "root", "password": "canary"});
        let handler = handlers(&given).unwrap().remove(0);
        let shown = json!({"name": "etcd", "models": ["*"], "server_url": ["https://e:2379"],
                           "username": "root", "password": MASK});
        assert_eq!(handler.shown(), shown);
        assert!(!format!("{handler:?}").contains("canary"));
    }
}
