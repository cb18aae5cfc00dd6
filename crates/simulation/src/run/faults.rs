//! What happens to replicas and hosts, and when it ends.

use std::time::Duration;

use jiff::SignedDuration;
use simulated_hosts::LogIn;
use tokio::time::Instant;

use super::World;
use super::register::OTHER_KEY;
use crate::processes::Ground;
use crate::scenario::{Happening, address};

/// The end of a fault of the host with this address.
pub(super) enum HostEnd {
    PowerOn(String),
    Reachable(String),
    AcceptsLogIns(String),
    Key(String),
    Fast(String),
}

impl World<'_> {
    pub(super) fn end_due(&mut self, now: Instant) {
        let (due, later) =
            std::mem::take(&mut self.host_ends).into_iter().partition(|(at, _)| *at <= now);
        self.host_ends = later;
        let due: Vec<(Instant, HostEnd)> = due;
        for (_, end) in due {
            self.end_fault(&end);
        }
    }

    fn end_fault(&self, end: &HostEnd) {
        let hosts = &self.processes.ground().hosts;
        match end {
            HostEnd::PowerOn(address) => {
                hosts.edit(address, |machine| {
                    machine.boot.get_or_insert(Duration::from_secs(20));
                });
                hosts.power_on(address);
            }
            HostEnd::Reachable(address) => {
                hosts.edit(address, |machine| machine.is_reachable = true);
            }
            HostEnd::AcceptsLogIns(address) => {
                hosts.edit(address, |machine| machine.log_in = LogIn::Accepted);
            }
            HostEnd::Key(address) => {
                hosts.edit(address, |machine| {
                    machine.host_key = machine.host_key.replace(OTHER_KEY, "");
                });
            }
            HostEnd::Fast(address) => {
                hosts.edit(address, |machine| machine.go_ahead_delay = Duration::ZERO);
            }
        }
    }

    pub(super) async fn carry_out(&mut self, happening: &Happening) -> anyhow::Result<()> {
        let now = Instant::now();
        if !matches!(happening, Happening::Request(_)) {
            self.trace.line("fault", &format!("{happening:?}"));
        }
        let Ground { network, hosts, clock, .. } = self.processes.ground();
        match happening {
            Happening::BrokerOutage(lasts) => network.broker_outage(*lasts),
            Happening::StoreOutage(lasts) => network.store_outage(*lasts),
            Happening::HostReboots(host) => hosts.reboot(&address(*host)),
            Happening::HostConnectionsLost(host) => hosts.cut(&address(*host)),
            Happening::ClockStep(seconds) => clock.advance(SignedDuration::from_secs(*seconds)),
            Happening::HostFails { host, down_for } => {
                hosts.power_off(&address(*host));
                if let Some(down_for) = down_for {
                    self.host_ends.push((now + *down_for, HostEnd::PowerOn(address(*host))));
                }
            }
            Happening::HostUnreachable { host, lasts } => {
                hosts.edit(&address(*host), |machine| machine.is_reachable = false);
                self.host_ends.push((now + *lasts, HostEnd::Reachable(address(*host))));
            }
            Happening::NetworkOutage { every, lasts } => {
                for host in (0..self.scenario.hosts.len()).step_by(*every) {
                    hosts.edit(&address(host), |machine| machine.is_reachable = false);
                    self.host_ends.push((now + *lasts, HostEnd::Reachable(address(host))));
                }
            }
            Happening::Stall { replica, lasts } => self.processes.stall(*replica, now + *lasts),
            Happening::HostRefuses { host, is_throttled, lasts } => {
                let log_in = if *is_throttled { LogIn::Throttled } else { LogIn::Refused };
                hosts.edit(&address(*host), |machine| machine.log_in = log_in);
                self.host_ends.push((now + *lasts, HostEnd::AcceptsLogIns(address(*host))));
            }
            Happening::HostKeyChanges { host, lasts } => {
                hosts.edit(&address(*host), |machine| machine.host_key.push_str(OTHER_KEY));
                hosts.cut(&address(*host));
                self.host_ends.push((now + *lasts, HostEnd::Key(address(*host))));
            }
            Happening::HostSlow { host, delay, lasts } => {
                hosts.edit(&address(*host), |machine| machine.go_ahead_delay = *delay);
                self.host_ends.push((now + *lasts, HostEnd::Fast(address(*host))));
            }
            Happening::Crash { replica, down_for } => {
                self.processes.crash(*replica);
                self.starts.insert(*replica, now + *down_for);
            }
            Happening::Stop { replica, down_for } => {
                self.processes.stop(*replica).await;
                self.starts.insert(*replica, now + *down_for);
            }
            Happening::Request(request) => self.send(request),
            Happening::Kubernetes(event) => {
                if let Some(kubernetes) = &self.processes.ground().kubernetes {
                    kubernetes.carry_out(event);
                }
            }
        }
        Ok(())
    }

    /// Ends all faults: replicas are started, hosts have power and let log in.
    pub(super) async fn heal(&mut self) -> anyhow::Result<()> {
        self.trace.line("fault", "all faults end");
        self.processes.ground().network.heal();
        for (_, end) in std::mem::take(&mut self.host_ends) {
            self.end_fault(&end);
        }
        for host in 0..self.scenario.hosts.len() {
            self.end_fault(&HostEnd::PowerOn(address(host)));
        }
        if let Some(kubernetes) = &self.processes.ground().kubernetes {
            kubernetes.heal();
        }
        for replica in self.scenario.replicas() {
            if !self.processes.is_running(replica) {
                self.starts.remove(&replica);
                self.processes.start(replica, &[]).await?;
            }
        }
        Ok(())
    }
}
