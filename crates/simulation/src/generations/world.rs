//! The hosts, and what was done to them: the truth, independent of marks and records.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::HostState;
use runtime::{Clock, random};
use simulated_hosts::{Effect, SimulatedHosts};
use tokio::time::{Instant, sleep};

use super::installation::Installation;
use super::minutes;

pub(super) const HOSTS: usize = 3;

/// The pause between two looks.
const LOOK: Duration = Duration::from_secs(15);

/// The share of the looks after which an operator restarts all hosts.
const RESTARTS: f64 = 0.05;

/// A generation with its id.
type Generation = (u64, String);

#[derive(Debug, Default)]
struct Touched {
    /// The generation that has reached each host, by an effect or by the records of its installation.
    reached: BTreeMap<String, Generation>,
    /// The generation of each effect on each host.
    effects: Vec<(String, u64)>,
    violations: Vec<String>,
}

impl Touched {
    fn reach(&mut self, address: &str, generation: Generation) {
        let before = self.reached.entry(address.to_owned()).or_default();
        if generation.0 > before.0 {
            *before = generation;
        }
    }

    /// An effect by a generation on a host that another one has, which is newer or of the same number, is a violation.
    fn effect(&mut self, effect: &Effect) {
        let address = &effect.address;
        let Some(claim) = &effect.claim else {
            self.violations.push(format!("{address}: an effect without a claim"));
            return;
        };
        let generation = (claim.mark.generation, claim.mark.id.clone());
        if let Some(reached) = self.reached.get(address)
            && (reached.0 > generation.0 || (reached.0 == generation.0 && *reached != generation))
        {
            self.violations.push(format!("{address}: touched by {generation:?} after {reached:?}"));
        }
        self.reach(address, generation);
        self.effects.push((address.clone(), claim.mark.generation));
    }
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) hosts: SimulatedHosts,
    pub(super) clock: Clock,
    pub(super) folder: tempfile::TempDir,
    touched: Arc<Mutex<Touched>>,
}

pub(super) fn address(number: usize) -> String {
    crate::scenario::address(number)
}

impl World {
    /// Hosts that are up.
    pub(super) fn new(seed: u64) -> Self {
        let touched = Arc::<Mutex<Touched>>::default();
        let observed = Arc::clone(&touched);
        let hosts = SimulatedHosts::default().with_effects(move |effect| {
            observed.lock().unwrap_or_else(PoisonError::into_inner).effect(effect);
        });
        for address in (0..HOSTS).map(address) {
            hosts.add(&address);
        }
        let clock = Clock::simulated("2026-11-28T12:00:00Z".parse().unwrap());
        Self { seed, hosts, clock, folder: tempfile::tempdir().unwrap(), touched }
    }

    fn touched(&self) -> MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power of some hosts for a while.
    pub(super) fn power_off_some(&self) {
        for number in 0..HOSTS {
            if random::fraction() < 0.4 {
                self.power_off(number, minutes(2, 8));
            }
        }
    }

    /// Cuts the power of a host for that time.
    pub(super) fn power_off(&self, number: usize, time: Duration) {
        let (hosts, address) = (self.hosts.clone(), address(number));
        hosts.power_off(&address);
        tokio::task::spawn_local(async move {
            sleep(time).await;
            hosts.power_on(&address);
        });
    }

    /// Lets time pass, with operators who restart all hosts again and again.
    pub(super) async fn run(&self, installations: &[&Installation], time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(LOOK).await;
            for installation in installations {
                self.note_reached(installation).await;
                if random::fraction() < RESTARTS {
                    installation.restart_all().await;
                }
            }
        }
    }

    /// Takes note of the hosts that have the mark of an installation, as its records say.
    async fn note_reached(&self, installation: &Installation) {
        let instance = installation.instance().await;
        for state in installation.storage.list::<HostState>().await.unwrap() {
            let HostState { address, generation, .. } = &state.record;
            if *generation == instance.generation {
                let generation = (*generation, instance.generation_id.clone());
                self.touched().reach(address, generation);
            }
        }
    }

    /// An operator registers a host again, with any installation: what was done to it before does not count.
    pub(super) fn forget(&self, number: usize) {
        self.touched().reached.remove(&address(number));
    }

    pub(super) fn assert_untouched_by(&self, generation: u64) {
        let touched = self.touched();
        assert!(touched.effects.iter().all(|effect| effect.1 != generation), "{touched:?}");
    }

    pub(super) fn is_touched_last_by(&self, number: usize, generation: u64) -> bool {
        let touched = self.touched();
        let mut of_host = touched.effects.iter().filter(|effect| effect.0 == address(number));
        of_host.next_back().is_some_and(|effect| effect.1 == generation)
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.touched().violations.clone()
    }
}
