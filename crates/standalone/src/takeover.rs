//! Taking the hosts over from a former installation: the generation is raised above those of all marks, and each host that
//! answers is marked with it. The watcher marks the others once they are back.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bus::error::chain;
use futures_util::{StreamExt as _, stream};
use host_access::credentials::target;
use host_access::{AccessError, Deps, Fencing, Mark, Session, Share};
use model::{Address, Host, HostCreds, HostState, Instance, abridged};
use storage_client::{StorageClient, Transaction};

/// Hosts that are connected to at a time.
const AT_A_TIME: usize = 32;

/// Timeout of a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// The most tries to save a record that others change.
const ATTEMPTS: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Takeover {
    deps: Deps,
    storage: StorageClient,
    fencing: Fencing,
    active_within: Duration,
}

/// Another installation that has marked hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// The highest generation in its marks.
    pub generation: u64,
    /// Whether a key of the server that is known here has signed them. If not, they are forged, or it has another key since.
    pub is_signed: bool,
    /// The number of hosts with its mark.
    pub hosts: usize,
    /// The shortest time since one of the marks was confirmed.
    pub confirmed: Duration,
}

/// What was seen on the hosts.
#[derive(Debug, Default)]
pub struct Survey {
    /// Other installations, by the ids of their generations, and by whether their marks are signed.
    pub former: BTreeMap<(String, bool), Former>,
    /// The hosts that answer.
    pub reached: Vec<Address>,
    /// Hosts that do not answer, and why.
    pub unreached: Vec<(Address, String)>,
    /// The highest generation that this installation has marked hosts with itself, before its records were put back.
    pub own: u64,
}

/// What a takeover has done.
#[derive(Debug)]
pub struct Outcome {
    /// The generation that has the hosts now.
    pub generation: u64,
    /// The number of hosts that are marked with it.
    pub marked: usize,
    /// Those that do not answer, and why.
    pub unreached: Vec<(Address, String)>,
    /// Those that refuse, and why.
    pub refused: Vec<(Address, String)>,
}

impl Takeover {
    /// In the store that answers on the bus of `deps`. An installation whose mark was confirmed within `active_within` runs.
    pub fn new(deps: Deps, storage: StorageClient, active_within: Duration) -> Self {
        Self { fencing: Fencing::new(&deps, &storage), deps, storage, active_within }
    }

    /// Looks at the marks of all hosts; nothing is changed.
    ///
    /// # Errors
    /// When the storage service fails, or a signature cannot be verified.
    pub async fn survey(&self) -> anyhow::Result<Survey> {
        let instance = self.fencing.instance().await?;
        let (mut survey, mut verified) = (Survey::default(), BTreeMap::new());
        for (address, seen) in
            self.on_each_host(async |session| session.marks(&instance.id).await).await?
        {
            let seen = match seen {
                Ok(seen) => seen,
                Err(error) => {
                    survey.unreached.push((address, error));
                    continue;
                }
            };
            survey.reached.push(address.clone());
            let confirmed = seen.confirmed.unwrap_or_default();
            for Mark { generation, id, signature } in seen.marks {
                let mark = Mark { generation, id: id.clone(), signature };
                // Most hosts have the same mark.
                let text = mark.to_string();
                let is_signed = match verified.get(&text) {
                    Some(is_signed) => *is_signed,
                    None => self.fencing.has_signed(&mark).await?,
                };
                verified.insert(text, is_signed);
                if id == instance.generation_id {
                    survey.own = if is_signed { survey.own.max(generation) } else { survey.own };
                    continue;
                }
                let former = Former { generation, is_signed, hosts: 0, confirmed };
                let former = survey.former.entry((id, is_signed)).or_insert(former);
                former.hosts += 1;
                former.generation = former.generation.max(generation);
                former.confirmed = former.confirmed.min(confirmed);
            }
        }
        Ok(survey)
    }

    /// Takes the hosts over, unless another installation is active whose id is not among `fenced`.
    ///
    /// # Errors
    /// When one is active; when the storage service fails.
    pub async fn take(&self, survey: &Survey, fenced: &[String]) -> anyhow::Result<Outcome> {
        let is_active = |((id, _), former): &(&(String, bool), &Former)| {
            former.confirmed < self.active_within && !fenced.contains(id)
        };
        if let Some(((id, _), former)) = survey.former.iter().find(is_active) {
            bail!(
                "nothing was taken over: generation {} ({id}) of this installation was active {} min ago on {} hosts. Stop \
                 it, so that it never runs again, and wait until {} min have passed, or, if it is certain that it has \
                 stopped, add --yes-fence {id}",
                former.generation,
                former.confirmed.as_secs() / 60,
                former.hosts,
                self.active_within.as_secs() / 60,
            );
        }
        if survey.reached.is_empty() && !survey.unreached.is_empty() {
            bail!(
                "nothing was taken over: none of {} hosts answers, so it is not known whether another installation has \
                 them ({}); see to the network, or to the server's SSH key, and try again",
                survey.unreached.len(),
                abridged(survey.unreached.iter().take(1).map(|(_, why)| why), ", ")
            );
        }
        let instance = self.raise(survey).await?;
        let claim = self.fencing.claim(&instance).await?;
        let claimed = self.on_each_host(async |session| session.claim(&claim).await).await?;
        let mut outcome = Outcome {
            generation: instance.generation,
            marked: 0,
            unreached: Vec::new(),
            refused: Vec::new(),
        };
        for (address, claimed) in claimed {
            match claimed {
                Ok(None) => {
                    self.note(&address, instance.generation).await?;
                    outcome.marked += 1;
                }
                Ok(Some(refusal)) => {
                    let why = self.fencing.explain(&address, &refusal).await?;
                    outcome.refused.push((address, why.to_string()));
                }
                Err(error) => outcome.unreached.push((address, error)),
            }
        }
        Ok(outcome)
    }

    /// Raises the generation above those of all marks, and lets this installation take hosts over.
    async fn raise(&self, survey: &Survey) -> anyhow::Result<Instance> {
        let signed = survey.former.values().filter(|former| former.is_signed);
        let highest = signed.map(|former| former.generation).max().unwrap_or(0);
        for _ in 0..ATTEMPTS {
            let mut found = self.storage.get::<Instance>(Instance::ALL).await?;
            let instance = &mut found.record;
            let own = instance.generation;
            instance.generation = own.max(highest + 1);
            if survey.own > own {
                // Its records were put back to an earlier state, in which others may have been made since.
                instance.generation = instance.generation.max(survey.own + 1);
            }
            if let Some(restored) = &mut instance.restored {
                restored.takes_over = true;
            }
            match self.storage.transact(&Transaction::default().update(&found)?).await {
                Ok(_) => return Ok(found.record),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error).context("the generation is not raised"),
            }
        }
        bail!("the generation is not raised: others keep changing the record; try again")
    }

    /// Notes which generation has a host; a record that is gone is that of a deleted host.
    async fn note(&self, address: &Address, generation: u64) -> bus::Result<()> {
        let noted = self.storage.update::<HostState>(address, |state| {
            let is_new = state.generation != generation;
            state.generation = generation;
            Ok(is_new)
        });
        match noted.await {
            Err(error) if error.kind() == bus::Kind::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    /// Does something on each host, many at a time.
    async fn on_each_host<T>(
        &self,
        work: impl AsyncFn(&dyn Session) -> Result<T, AccessError>,
    ) -> anyhow::Result<Vec<(Address, Result<T, String>)>> {
        let hosts = self.storage.list::<Host>().await?;
        let work = &work;
        let each = hosts.into_iter().map(|found| async move {
            let address = found.record.address;
            let done = self.on_host(&address, work).await;
            anyhow::Ok((address, done?))
        });
        let mut done = stream::iter(each).buffer_unordered(AT_A_TIME);
        let mut all = Vec::new();
        while let Some(one) = done.next().await {
            all.push(one?);
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    }

    async fn on_host<T>(
        &self,
        address: &Address,
        work: impl AsyncFn(&dyn Session) -> Result<T, AccessError>,
    ) -> anyhow::Result<Result<T, String>> {
        let Some(creds) = self.storage.find::<HostCreds>(address).await? else {
            return Ok(Err("it has no credentials".to_owned()));
        };
        let Deps { hosts, ledger, own_key, .. } = &self.deps;
        let connected = async {
            let target = target(&creds.record, own_key)?;
            ledger.log_in(address, Share::Work, hosts.connect(&target, CONNECT)).await
        };
        let session = match connected.await {
            Ok(session) => session,
            Err(error) => return Ok(Err(chain(&error))),
        };
        let done = work(&*session).await.map_err(|error| chain(&error));
        session.close().await;
        Ok(done)
    }
}

impl Survey {
    /// For people.
    pub fn text(&self) -> String {
        let mut lines = vec![format!("{} hosts answer", self.reached.len())];
        for ((id, _), Former { generation, is_signed, hosts, confirmed }) in &self.former {
            let minutes = confirmed.as_secs() / 60;
            let unsigned = if *is_signed {
                ""
            } else {
                "; no key that is known here has signed it: it is forged, or the server's key was replaced after the backup"
            };
            lines.push(format!(
                "  {hosts} have the mark of generation {generation} ({id}), last confirmed {minutes} min ago{unsigned}"
            ));
        }
        lines.join("\n")
    }
}

impl Outcome {
    /// For people.
    pub fn text(&self) -> String {
        let Self { generation, marked, unreached, refused } = self;
        let mut lines = vec![format!("{marked} hosts belong to generation {generation} now")];
        for (hosts, what) in [
            (unreached, "were not reached; the watcher takes them over once they answer"),
            (refused, "refuse, and are not taken over"),
        ] {
            if !hosts.is_empty() {
                lines.push(format!("{} hosts {what}:", hosts.len()));
                lines.extend(hosts.iter().map(|(address, why)| format!("  {address}: {why}")));
            }
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests;
