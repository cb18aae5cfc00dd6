//! The services that a restore needs, for as long as it runs: storage, and the one that reaches container managers.

use anyhow::{Context as _, ensure};
use bus::{Bus, Context};
use host_access::server_keys::confirmed_key;
use host_access::{Ansible, Deps, RunDir, Ssh};
use runtime::lifecycle::GRACE;
use runtime::{Files, Lifecycle};
use storage_client::{StorageClient, lease};

use crate::args::Args;
use crate::installation::Installation;
use crate::takeover::Takeover;

/// See the module.
pub(super) struct Services {
    pub(super) bus: Bus,
    pub(super) storage: StorageClient,
    life: Lifecycle,
}

impl Services {
    /// Starts them on the stores of an installation.
    ///
    /// # Errors
    /// When a store cannot be opened.
    pub(super) async fn start(installation: &Installation) -> anyhow::Result<Self> {
        let (bus, life) = (Bus::memory(), Lifecycle::new());
        storage_svc::run(&bus, &installation.storage, &life)
            .await
            .context("cannot open the store")?;
        let config = installation.containermgr.clone();
        containermgr_svc::run(bus.clone(), config, Files::System, &life)
            .await
            .context("cannot start the container manager service")?;
        let storage = StorageClient::new(bus.clone(), Context::service("restore"));
        Ok(Self { bus, storage, life })
    }

    /// Takes the hosts over, although the installations with the ids `fenced` may be active.
    ///
    /// # Errors
    /// When another one is active, or a service fails.
    pub(super) async fn take_over(
        &self,
        args: &Args,
        installation: &Installation,
        fenced: &[String],
    ) -> anyhow::Result<()> {
        let own_key = confirmed_key(&self.storage, &installation.data_dir, false).await?;
        let run_dir = RunDir::create(&args.run_dir(), "takeover")?;
        let ssh = Ssh::new(run_dir, Ansible::new(None));
        let deps = Deps::over_ssh(self.bus.clone(), ssh, own_key, lease::TTL);
        let active_within = watcher_svc::active_within(&installation.watcher);
        let takeover = Takeover::new(deps, self.storage.clone(), active_within);
        let survey = takeover.survey().await?;
        eprintln!("{}", survey.text());
        let outcome = takeover.take(&survey, fenced).await?;
        eprintln!("{}", outcome.text());
        ensure!(
            outcome.refused.is_empty(),
            "{} hosts refuse to be taken over",
            outcome.refused.len()
        );
        Ok(())
    }

    /// Stops them: what they have written is in the stores.
    pub(super) async fn stop(self) {
        self.life.shutdown(GRACE).await;
    }
}
