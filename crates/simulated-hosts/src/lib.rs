//! Hosts that exist only in memory: the second implementation of the port [`Hosts`], for tests and benches.
//!
//! They do what services rely on: listen, accept a pinned key, report boot id, facts and state, run commands, play
//! playbooks with their go-ahead, reboot, and fail in all the ways that [`Machine`] lists. Everything takes time on
//! tokio's clock only, so that in paused time a rollout of hours takes milliseconds, independent of the machine's load.
//!
//! No release binary contains this crate.
//!
//! # Layout
//!
//! - `machine`: one host: its behaviour, its power, its boots (pure, but for the time)
//! - `session`: a connection to one host
//! - `playbooks`: what playbooks do on it

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use host_access::{AccessError, Claim, Hosts, PlaybookError, Probe, Session, Target};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, sleep, sleep_until};

mod machine;
mod playbooks;
mod session;

pub use machine::{Apply, LogIn, Machine};
use session::SimulatedSession;

/// The server's own SSH key that signs what [`Hosts::signer`] of simulated hosts verifies.
pub const OWN_KEY: &str = "key";

/// The fingerprint of [`OWN_KEY`].
pub const FINGERPRINT: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// How long a packet takes to a host and back.
const ROUND_TRIP: Duration = Duration::from_millis(10);

/// Is called with the address of a host.
type Observer = Arc<dyn Fn(&str) + Send + Sync>;

/// Is called with the address of a host before each command on it; returns until when that has to wait, if so.
type ContactObserver = Arc<dyn Fn(&str) -> Option<Instant> + Send + Sync>;

/// Is called with each effect on a host, when it happens.
type EffectObserver = Arc<dyn Fn(&Effect) + Send + Sync>;

/// All simulated hosts; clones share them.
#[derive(Clone, Default)]
pub struct SimulatedHosts {
    machines: Arc<Mutex<BTreeMap<String, Machine>>>,
    commands: Arc<Mutex<Vec<RebootCommand>>>,
    observer: Option<Observer>,
    effects: Option<EffectObserver>,
    contacts: Option<ContactObserver>,
    /// The process that uses this handle.
    process: Arc<str>,
    is_severed: Arc<AtomicBool>,
}

/// A disruptive command that a host has received.
#[derive(Debug, Clone)]
pub struct Effect {
    /// The process whose handle it came through.
    pub process: Arc<str>,
    /// The address of the host.
    pub address: String,
    /// The unit of an upgrade or a deployment that has begun; `None` for a reboot.
    pub unit: Option<String>,
    /// Whether the host ignores it, and stays as it is.
    pub is_ignored: bool,
    /// The claim with which it was made; `None` for one without a go-ahead.
    pub claim: Option<Claim>,
    /// The boot id of the host.
    pub boot_id: String,
    /// The key of the host.
    pub host_key: String,
    /// The addresses of other hosts that were unavailable all the time since [`STALE`] earlier.
    pub unavailable: Vec<String>,
    /// The addresses of other hosts that are unavailable, each with the time since when.
    pub unavailable_since: Vec<(String, Instant)>,
}

/// How old the state of the hosts may be on which a disruptive command is based.
pub const STALE: Duration = Duration::from_millis(300);

/// A command to reboot that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebootCommand {
    /// When.
    pub at: Instant,
    /// The address of the host.
    pub address: String,
    /// The addresses of other hosts that were down at that moment.
    pub down: Vec<String>,
}

impl SimulatedHosts {
    /// The same hosts; `observer` is called with the address of each one before a log-in through this handle.
    #[must_use]
    pub fn observed(&self, observer: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Arc::new(observer)), ..self.clone() }
    }

    /// The same hosts; `observer` is called with each effect on them, and must not use them.
    #[must_use]
    pub fn with_effects(&self, observer: impl Fn(&Effect) + Send + Sync + 'static) -> Self {
        Self { effects: Some(Arc::new(observer)), ..self.clone() }
    }

    /// A handle to the same hosts that can be severed by itself.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self { is_severed: Arc::default(), ..self.clone() }
    }

    /// A handle for a process with this name, which is severed once `is_severed` is set. `contact` is called with the
    /// address of the host before each command that the process has a host carry out, and says until when it waits.
    #[must_use]
    pub fn handle_of(
        &self,
        process: &str,
        is_severed: Arc<AtomicBool>,
        contact: impl Fn(&str) -> Option<Instant> + Send + Sync + 'static,
    ) -> Self {
        let contacts: Option<ContactObserver> = Some(Arc::new(contact));
        Self { process: process.into(), contacts, is_severed, ..self.clone() }
    }

    /// From now on, nothing has an effect on hosts through this handle, as if its process had been killed.
    pub fn sever(&self) {
        self.is_severed.store(true, Ordering::SeqCst);
    }

    /// Adds a host that is up.
    pub fn add(&self, address: &str) {
        let mut machines = self.machines();
        let number = machines.len();
        machines.insert(address.to_owned(), Machine::new(number, Instant::now()));
    }

    /// Changes how a host behaves from now on.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn edit<T>(&self, address: &str, change: impl FnOnce(&mut Machine) -> T) -> T {
        self.with(address, change).expect("a simulated host")
    }

    /// Cuts the power of a host.
    pub fn power_off(&self, address: &str) {
        self.edit(address, Machine::power_off);
    }

    /// Starts a host whose power was cut.
    pub fn power_on(&self, address: &str) {
        self.edit(address, |machine| machine.power_on(Instant::now()));
    }

    /// Has a host reboot by itself.
    pub fn reboot(&self, address: &str) {
        self.edit(address, |machine| machine.reboot(Instant::now()));
    }

    /// Ends all connections to a host, which stays up.
    pub fn cut(&self, address: &str) {
        self.edit(address, Machine::cut);
    }

    /// The boot id of a host: of its latest boot, whether it is up or not.
    pub fn boot_id(&self, address: &str) -> String {
        self.edit(address, |machine| machine.boot_id().to_owned())
    }

    /// The commands to reboot that were carried out, oldest first.
    pub fn commands(&self) -> Vec<RebootCommand> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    // A std mutex: it is held for a few map operations and never across an await.
    fn machines(&self) -> MutexGuard<'_, BTreeMap<String, Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes the present state of a host; `None` when no host has that address.
    fn with<T>(&self, address: &str, access: impl FnOnce(&mut Machine) -> T) -> Option<T> {
        let mut machines = self.machines();
        let machine = machines.get_mut(address)?;
        let now = Instant::now();
        machine.advance_to(now);
        let result = access(machine);
        machine.note_availability(now);
        Some(result)
    }

    /// Reports an effect on a host to the observer.
    fn report(&self, address: &str, unit: Option<&str>, claim: Option<&Claim>) {
        let Some(observer) = &self.effects else { return };
        let now = Instant::now();
        let effect = {
            let mut machines = self.machines();
            for machine in machines.values_mut() {
                machine.advance_to(now);
            }
            let then = now.checked_sub(STALE).unwrap_or(now);
            let others = machines.iter().filter(|(other, _)| *other != address);
            let unavailable =
                others.clone().filter(|(_, machine)| !machine.was_available_since(then));
            let since = others
                .filter_map(|(other, machine)| Some((other.clone(), machine.unavailable_since()?)));
            let machine = &machines[address];
            Effect {
                process: Arc::clone(&self.process),
                address: address.to_owned(),
                unit: unit.map(str::to_owned),
                is_ignored: unit.is_none() && machine.ignores_commands,
                claim: claim.cloned(),
                boot_id: machine.boot_id().to_owned(),
                host_key: machine.host_key.clone(),
                unavailable: unavailable.map(|(other, _)| other.clone()).collect(),
                unavailable_since: since.collect(),
            }
        };
        observer(&effect);
    }

    /// Has a host reboot on command.
    fn command(&self, address: &str, claim: Option<&Claim>) {
        self.report(address, None, claim);
        let at = Instant::now();
        let mut machines = self.machines();
        for machine in machines.values_mut() {
            machine.advance_to(at);
        }
        let others =
            machines.iter().filter(|(other, machine)| *other != address && !machine.is_up());
        let down = others.map(|(other, _)| other.clone()).collect();
        if let Some(machine) = machines.get_mut(address) {
            machine.reboot_on_command(at);
        }
        let command = RebootCommand { at, address: address.to_owned(), down };
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
    }

    /// Reports a contact with a host; never returns once this handle is severed.
    async fn contact(&self, address: &str) {
        if let Some(contact) = &self.contacts
            && let Some(until) = contact(address)
        {
            sleep_until(until).await;
        }
        if self.is_severed.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for a connection to the SSH port of a host: false when it is refused.
    async fn reach(&self, address: &str, timeout: Duration) -> Option<bool> {
        let end = Instant::now() + timeout;
        sleep(ROUND_TRIP.min(timeout)).await;
        self.contact(address).await;
        let answers = self.with(address, |machine| machine.listens()).flatten();
        if answers.is_none() {
            sleep_until(end).await;
        }
        answers
    }
}

#[async_trait]
impl Hosts for SimulatedHosts {
    async fn connect(
        &self,
        target: &Target,
        timeout: Duration,
    ) -> Result<Box<dyn Session>, AccessError> {
        if let Some(observer) = &self.observer {
            observer(&target.address);
        }
        let (address, port) = (target.address.clone(), target.port);
        let unreachable = |detail: &str| {
            let (address, detail) = (address.clone(), detail.to_owned());
            Err(AccessError::Unreachable { address, port, detail })
        };
        let no_answer = format!("no answer within {timeout:?}");
        let end = Instant::now() + timeout;
        match self.reach(&target.address, timeout).await {
            None => return unreachable(&no_answer),
            Some(false) => return unreachable("connection refused"),
            Some(true) => {}
        }
        if self.with(&target.address, |machine| machine.log_in) == Some(LogIn::Silent) {
            sleep_until(end).await;
            return unreachable(&no_answer);
        }
        // The exchange of keys and the log-in.
        sleep(ROUND_TRIP * 3).await;
        let entered = self.with(&target.address, |machine| machine.accept_log_in(target));
        let connection = entered.unwrap_or(Err(AccessError::Disconnected { address }))?;
        Ok(Box::new(SimulatedSession::new(self.clone(), target, connection)))
    }

    async fn probe(&self, target: &Target, timeout: Duration) -> Result<Probe, AccessError> {
        let session = self.connect(target, timeout).await?;
        let boot_id = session.boot_id().await?;
        Ok(Probe { boot_id, host_keys: session.host_keys().to_vec() })
    }

    async fn is_port_open(&self, address: &str, _port: u16, timeout: Duration) -> bool {
        self.reach(address, timeout).await == Some(true)
    }

    async fn check_playbooks(&self, python: Option<(u32, u32)>) -> Result<(), PlaybookError> {
        python.map(drop).ok_or(PlaybookError::NoPython)
    }

    async fn sign(&self, own_key: &SecretString, text: &str) -> Result<String, AccessError> {
        Ok(signature(own_key.expose_secret(), text))
    }

    async fn signer(&self, text: &str, given: &str) -> Result<Option<String>, AccessError> {
        Ok((given == signature(OWN_KEY, text)).then(|| FINGERPRINT.to_owned()))
    }
}

/// A stand-in for a signature: a number that only the same key makes of the same text.
fn signature(key: &str, text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (key, text).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl fmt::Debug for SimulatedHosts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SimulatedHosts").field(&self.machines().len()).finish()
    }
}

#[cfg(test)]
mod tests;
