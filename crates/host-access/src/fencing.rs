//! The claims of this installation to hosts, and why a host refuses one.
//!
//! The generation is in the record `Instance`. A process that runs notices within two seconds that it was raised: it is
//! read again before each effect, unless it was just read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::Result;
use bus::error::chain;
use model::{Instance, Restored, ServerKeys};
use secrecy::SecretString;
use storage_client::{StorageClient, queries};
use tokio::time::Instant;

use crate::deps::Deps;
use crate::error::AccessError;
use crate::generation::{Claim, ClaimMode, Fence, Mark, Refusal, signed_text};
use crate::hosts::Hosts;

/// How old the record may be on which a claim is based.
const FRESH: Duration = Duration::from_secs(2);

/// The claims of one process.
#[derive(Debug)]
pub struct Fencing {
    storage: StorageClient,
    hosts: Arc<dyn Hosts>,
    own_key: SecretString,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The record, and when it was requested.
    instance: Option<(Instant, Instance)>,
    /// The last mark that was signed.
    mark: Option<Mark>,
}

impl Fencing {
    /// No claim yet.
    pub fn new(deps: &Deps, storage: &StorageClient) -> Self {
        Self {
            storage: storage.clone(),
            hosts: Arc::clone(&deps.hosts),
            own_key: deps.own_key.clone(),
            known: Mutex::default(),
        }
    }

    // A std mutex: it is held for a few assignments and never across an await.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity of this installation as of two seconds ago, or later.
    ///
    /// # Errors
    /// When the storage service fails.
    pub async fn instance(&self) -> Result<Instance> {
        let known = self.known().instance.clone();
        if let Some((requested, instance)) = known
            && requested.elapsed() < FRESH
        {
            return Ok(instance);
        }
        let requested = Instant::now();
        let instance = queries::instance(&self.storage).await?;
        self.known().instance = Some((requested, instance.clone()));
        Ok(instance)
    }

    /// The claim of this installation to the hosts that it works on.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub async fn claim(&self, instance: &Instance) -> Result<Claim, AccessError> {
        let Instance { id, generation, generation_id, .. } = instance;
        let mode = if instance.takes_over() { ClaimMode::Take } else { ClaimMode::Keep };
        let is_same = |mark: &Mark| mark.generation == *generation && mark.id == *generation_id;
        let known = self.known().mark.clone().filter(is_same);
        let mark = if let Some(mark) = known {
            mark
        } else {
            let text = signed_text(id, *generation, generation_id);
            let signature = self.hosts.sign(&self.own_key, &text).await?;
            let mark = Mark { generation: *generation, id: generation_id.clone(), signature };
            self.known().mark = Some(mark.clone());
            mark
        };
        Ok(Claim { instance: id.clone(), mark, mode })
    }

    /// The error for a host that has refused a claim: a sentence with what to do. What the host says of other generations
    /// counts only if one of the server's own keys has signed it.
    ///
    /// # Errors
    /// When the storage service fails.
    pub async fn explain(&self, address: &str, refusal: &Refusal) -> Result<AccessError> {
        let instance = self.instance().await?;
        let is_foreign = |mark: &&Mark| mark.id != instance.generation_id;
        let foreign = refusal.marks.iter().filter(is_foreign).max_by_key(|mark| mark.generation);
        let trusted = match foreign {
            None => Trust::Trusted,
            Some(mark) => self.trust(&instance.id, mark).await?,
        };
        let is_later = |mark: &Mark| {
            mark.id == instance.generation_id && mark.generation > instance.generation
        };
        if refusal.marks.iter().any(is_later) {
            return Ok(AccessError::Fenced(put_back(address, &instance)));
        }
        Ok(AccessError::Fenced(sentence(address, &instance, refusal.fence, foreign, &trusted)))
    }

    /// Whether one of the server's own keys has signed a mark of this installation.
    ///
    /// # Errors
    /// When the storage service fails, or `ssh-keygen` cannot be run.
    pub async fn has_signed(&self, mark: &Mark) -> Result<bool> {
        let instance = self.instance().await?;
        match self.trust(&instance.id, mark).await? {
            Trust::Trusted => Ok(true),
            Trust::Forged => Ok(false),
            Trust::Unknown(why) => Err(bus::Error::internal(format!(
                "the signature of a mark cannot be verified: {why}"
            ))),
        }
    }

    async fn trust(&self, instance: &str, mark: &Mark) -> Result<Trust> {
        let text = signed_text(instance, mark.generation, &mark.id);
        let fingerprint = match self.hosts.signer(&text, &mark.signature).await {
            Ok(Some(fingerprint)) => fingerprint,
            Ok(None) => return Ok(Trust::Forged),
            Err(error) => return Ok(Trust::Unknown(chain(&error))),
        };
        let keys = self.storage.find::<ServerKeys>(ServerKeys::ALL).await?;
        let is_ours = keys.is_some_and(|keys| keys.record.fingerprints.contains(&fingerprint));
        Ok(if is_ours { Trust::Trusted } else { Trust::Forged })
    }
}

/// Whether a mark is by one of the server's own keys.
enum Trust {
    Trusted,
    Forged,
    /// Why it could not be verified.
    Unknown(String),
}

/// Its own mark on the host is later than its records.
fn put_back(address: &str, Instance { id, generation, generation_id, .. }: &Instance) -> String {
    format!(
        "{address} is fenced: this installation ({id}) has marked it in a later generation than {generation} \
         ({generation_id}), which its records have, so nothing was done to it. Either it has just taken its hosts over, and \
         the next try succeeds, or its records were put back to an earlier state: `commissaire restore --takeover`"
    )
}

fn sentence(
    address: &str,
    instance: &Instance,
    fence: Fence,
    foreign: Option<&Mark>,
    trust: &Trust,
) -> String {
    let Instance { id, generation, generation_id, restored, .. } = instance;
    let own = format!("generation {generation} ({generation_id})");
    let takeover = "`commissaire restore --takeover`";
    let again = format!(
        "`commctl host delete {address}` and registering it again replaces the mark of this host"
    );
    let other =
        foreign.map(|Mark { generation, id, .. }| format!("generation {generation} ({id})"));
    let other = other.as_deref().unwrap_or("another one");
    match (fence, trust) {
        (Fence::Damaged, _) => format!(
            "{address} is fenced: the mark on it that says which generation of this installation ({id}) has it cannot be \
             read, and nothing was done to it; find out who has damaged the file generation-{id}: {again}"
        ),
        (Fence::NotTakenOver, _) => {
            let Restored { at, taken_at, .. } = restored.clone().unwrap_or_default();
            format!(
                "{address} is fenced: this installation was restored at {at} from a backup of {taken_at} and has not taken \
                 over its hosts, so nothing was done to it; stop the former installation, then run {takeover}"
            )
        }
        (_, Trust::Forged) => format!(
            "{address} is fenced: the mark on it names {other} of this installation ({id}), and none of the server's own \
             keys has signed that, so it was forged or damaged; this is {own}, and nothing was done to it. Find out who has \
             written the file generation-{id} there: {again}"
        ),
        (_, Trust::Unknown(error)) => format!(
            "{address} is fenced: the mark on it names {other} of this installation ({id}), whose signature could not be \
             verified ({error}); this is {own}, and nothing was done to it. It is checked again in ten minutes"
        ),
        (Fence::Newer, Trust::Trusted) => format!(
            "{address} is fenced: {other} of this installation ({id}) has taken it over; this is {own}, and nothing was \
             done to it. Stop this installation, or, if this is the one to keep, stop the other one and run {takeover} here"
        ),
        (Fence::Contested, Trust::Trusted) => format!(
            "{address} is fenced: two installations claim it in the same generation, {own} and {other}, both restored from \
             backups of {id}; both leave it alone, and nothing was done to it. Stop one of them and run {takeover} in the \
             other one"
        ),
    }
}
