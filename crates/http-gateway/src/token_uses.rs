//! When API tokens were last used, exact to an hour; and the removal of tokens that have expired.

use std::time::Duration;

use bus::error::chain;
use bus::{Bus, Context};
use jiff::SignedDuration;
use model::{ApiToken, ApiTokenUse, Stamp};
use runtime::expiring::Expiring;
use runtime::{Clock, Lifecycle};
use storage_client::{StorageClient, Transaction};

/// The time of a use is written again after this time at the earliest.
const EXACT_TO: Duration = Duration::from_hours(1);

/// How long a token is kept after it has expired, for its owner to see why it is refused.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The most tokens that a sweep removes.
const SWEPT: usize = 500;

/// See the module.
#[derive(Debug)]
pub struct TokenUses {
    storage: StorageClient,
    clock: Clock,
    lifecycle: Lifecycle,
    /// The ids of tokens whose use this gateway has noted within the last hour.
    noted: Expiring<String, ()>,
}

impl TokenUses {
    /// Those that are kept in the store behind `bus`.
    pub fn new(bus: &Bus, clock: &Clock, lifecycle: &Lifecycle) -> Self {
        Self {
            storage: StorageClient::new(bus.clone(), Context::service("gateway")),
            clock: clock.clone(),
            lifecycle: lifecycle.clone(),
            noted: Expiring::new(ApiToken::MAX, EXACT_TO),
        }
    }

    /// Notes a use. It is written in the background, as best effort: no request waits for it.
    pub fn note(&self, id: &str) {
        if !self.is_due(id) {
            return;
        }
        let (storage, now, id) =
            (self.storage.clone(), Stamp::of(self.clock.wall()), id.to_owned());
        self.lifecycle.spawn("use of an API token", async move {
            if let Err(error) = write(&storage, &id, now).await {
                tracing::debug!(error = chain(&error), "the use of an API token is not written");
            }
        });
    }

    /// Whether this gateway has noted no use within the last hour.
    fn is_due(&self, id: &str) -> bool {
        let mut is_due = false;
        self.noted.get_or_insert_with(id.to_owned(), || is_due = true);
        is_due
    }
}

/// Writes the time of a use, unless another gateway has done so within the last hour, or the token is gone.
async fn write(storage: &StorageClient, id: &str, now: Stamp) -> bus::Result<()> {
    let Some(token) = storage.find::<ApiToken>(id).await? else { return Ok(()) };
    let transaction = Transaction::default().check::<ApiToken>(id, Some(token.revision));
    let transaction = match storage.find::<ApiTokenUse>(id).await? {
        Some(known) if is_recent(&known.record.at, &now) => return Ok(()),
        Some(mut known) => {
            known.record.at = now;
            transaction.update(&known)?
        }
        None => transaction.create(&ApiTokenUse { id: id.to_owned(), at: now })?,
    };
    match storage.transact(&transaction).await {
        Err(error) if !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

/// Whether two times are less than an hour apart, by any clock.
fn is_recent(written: &Stamp, now: &Stamp) -> bool {
    match (written.timestamp(), now.timestamp()) {
        (Some(written), Some(now)) => now.duration_since(written).unsigned_abs() < EXACT_TO,
        _ => false,
    }
}

/// Removes tokens that have expired a week ago.
pub(crate) async fn sweep_once(storage: &StorageClient, clock: &Clock) -> bus::Result<()> {
    let expired = clock.wall() - KEPT;
    let all = storage.list::<ApiToken>().await?.into_iter();
    for old in all.filter(|token| token.record.is_over(expired)).take(SWEPT) {
        match storage.transact(&removal(&old.record.id, old.revision)).await {
            // It was revoked, or another gateway sweeps, too.
            Err(error) if error.is_conflict() => {}
            removed => drop(removed?),
        }
    }
    Ok(())
}

/// Removes a token, and with it when it was used.
pub(crate) fn removal(id: &str, revision: u64) -> Transaction {
    Transaction::default()
        .check::<ApiToken>(id, Some(revision))
        .delete::<ApiToken>(id)
        .delete::<ApiTokenUse>(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use storage_client::Revised;

    use super::*;

    async fn storage(lifecycle: &Lifecycle) -> (tempfile::TempDir, StorageClient) {
        let (bus, folder) = (Bus::memory(), tempfile::tempdir().unwrap());
        let path = |name: &str| folder.path().join(name);
        let config = storage_svc::Config::sqlite(path("store.db"), path("secret.key"));
        storage_svc::run(&bus, &config, lifecycle).await.unwrap();
        (folder, StorageClient::new(bus, Context::default()))
    }

    async fn save(storage: &StorageClient, id: &str, expires: &str) {
        let token = json!({"id": id, "name": id, "token_hash": "", "owner": "ann", "login": {"kind": "password"},
            "role": "reader", "clusters": ["*"], "expires": expires, "created_at": "2026-11-30T22:00:00.000000"});
        storage.save::<ApiToken>(&serde_json::from_value(token).unwrap()).await.unwrap();
    }

    async fn used(storage: &StorageClient, id: &str) -> Option<Revised<ApiTokenUse>> {
        storage.find(id).await.unwrap()
    }

    #[tokio::test]
    async fn use_is_written_once_an_hour_whichever_gateway_notes_it() {
        let lifecycle = Lifecycle::new();
        let (_folder, storage) = storage(&lifecycle).await;
        save(&storage, "a", "2026-12-30T22:00:00.000000").await;
        for (now, written) in [
            ("2026-11-30T22:00:00.000000", "2026-11-30T22:00:00.000000"),
            ("2026-11-30T22:59:59.000000", "2026-11-30T22:00:00.000000"),
            // The clock of another gateway is slow.
            ("2026-11-30T21:30:00.000000", "2026-11-30T22:00:00.000000"),
            ("2026-11-30T23:00:00.000000", "2026-11-30T23:00:00.000000"),
        ] {
            write(&storage, "a", now.into()).await.unwrap();
            assert_eq!(used(&storage, "a").await.unwrap().record.at, written, "{now}");
        }
        let token: Revised<ApiToken> = storage.get("a").await.unwrap();
        storage.transact(&removal("a", token.revision)).await.unwrap();
        write(&storage, "a", "2026-12-01T22:00:00.000000".into()).await.unwrap();
        assert_eq!(used(&storage, "a").await, None, "a use without its token");
    }

    #[tokio::test(start_paused = true)]
    async fn gateway_notes_a_use_once_an_hour() {
        let (bus, lifecycle) = (Bus::memory(), Lifecycle::new());
        let clock = Clock::simulated("2026-11-30T22:00:00Z".parse().unwrap());
        let uses = TokenUses::new(&bus, &clock, &lifecycle);
        for (id, is_due) in [("a", true), ("a", false), ("b", true), ("a", false)] {
            assert_eq!(uses.is_due(id), is_due, "{id}");
        }
        tokio::time::advance(EXACT_TO).await;
        assert!(uses.is_due("a"));
    }

    #[tokio::test]
    async fn sweep_removes_tokens_a_week_after_they_have_expired() {
        let lifecycle = Lifecycle::new();
        let (_folder, storage) = storage(&lifecycle).await;
        save(&storage, "a", "2026-12-01T22:00:00.000000").await;
        save(&storage, "b", "2026-12-01T22:00:01.000000").await;
        for id in ["a", "b"] {
            write(&storage, id, "2026-12-01T21:00:00.000000".into()).await.unwrap();
        }
        let clock = Clock::simulated("2026-12-08T22:00:00Z".parse().unwrap());
        sweep_once(&storage, &clock).await.unwrap();
        let left = storage.list::<ApiToken>().await.unwrap();
        assert_eq!(left.iter().map(|left| left.record.id.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(used(&storage, "a").await.is_none() && used(&storage, "b").await.is_some());
    }
}
