//! Hosts, how they are reached, and what is known about them beyond the documented record.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::{Address, Enrolled, FailureReason, Instance, Model, Restored, Stamp, ident};

/// Where a host is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never looked at: records of the original have it.
    #[default]
    #[serde(rename = "")]
    New,
    /// Being looked at for the first time, or again.
    Investigating,
    /// Being set up.
    Bootstrapping,
    /// Set up; no container manager has it.
    Disassociated,
    /// Set up, and its container manager has it.
    Active,
    /// Cannot be reached or set up: its [`HostState`] says why.
    Failed,
}

impl Status {
    /// Set up: fit to join a cluster and to be worked on.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Active | Self::Disassociated)
    }

    /// The investigator has work to do.
    pub fn is_under_investigation(self) -> bool {
        matches!(self, Self::New | Self::Investigating | Self::Bootstrapping)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::New => "",
            Self::Investigating => "investigating",
            Self::Bootstrapping => "bootstrapping",
            Self::Disassociated => "disassociated",
            Self::Active => "active",
            Self::Failed => "failed",
        })
    }
}

/// A host, as REST shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// IP address or name, canonical.
    #[schema(value_type = String)]
    pub address: Address,
    /// Where it is in its life.
    #[serde(default)]
    #[schema(required)]
    pub status: Status,
    /// Its operating system's name: `fedora`, `debian`, …; empty until it is known.
    #[serde(default)]
    #[schema(required)]
    pub os: String,
    /// Usable processors.
    #[serde(default)]
    #[schema(required)]
    pub cpus: u32,
    /// Memory in MiB.
    #[serde(default)]
    #[schema(required)]
    pub memory: u64,
    /// Bytes on real local file systems.
    #[serde(default)]
    #[schema(required)]
    pub space: u64,
    /// When it was last checked, whatever the result; empty before.
    #[serde(default)]
    #[schema(required, value_type = String)]
    pub last_check: Stamp,
    /// The store that keeps it; empty is the default one.
    #[serde(default)]
    #[schema(required)]
    pub source: String,
}

impl Model for Host {
    const TYPE: &'static str = "Host";
    const LIST_TYPE: &'static str = "Hosts";
    const ID: &'static str = "address";
    const PREFIX: &'static str = "/commissaire/hosts/";

    fn id(&self) -> &str {
        &self.address
    }

    fn validate(&self) -> Result<(), String> {
        if !self.last_check.is_empty() && !self.last_check.is_valid() {
            return Err(format!("last_check is no time: {:?}", self.last_check));
        }
        ident::address(&self.address)
    }

    fn validate_id(id: &str) -> Result<(), String> {
        ident::address(id)
    }
}

/// How a host is reached. Sealed before it reaches the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostCreds {
    /// The host.
    pub address: Address,
    /// The private key, base64 of its file; empty stands for the server's own key.
    #[serde(default, serialize_with = "expose")]
    pub ssh_priv_key: SecretString,
    /// Whom to log in as.
    #[serde(default = "root")]
    pub remote_user: String,
    /// The port of its sshd.
    #[serde(default = "ssh_port")]
    pub ssh_port: u16,
    /// The pinned host keys, one public-key line each; empty until the first log-in pins one.
    #[serde(default)]
    pub ssh_host_key: String,
}

// Credentials travel on the bus and are sealed in the store; they are written nowhere else.
fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn root() -> String {
    "root".to_owned()
}

fn ssh_port() -> u16 {
    22
}

impl HostCreds {
    /// The server's own key, `root`, port 22, no pinned host key yet.
    pub fn new(address: &str) -> Self {
        Self {
            address: address.into(),
            ssh_priv_key: SecretString::default(),
            remote_user: root(),
            ssh_port: ssh_port(),
            ssh_host_key: String::new(),
        }
    }
}

impl Model for HostCreds {
    const TYPE: &'static str = "HostCreds";
    const LIST_TYPE: &'static str = "HostCredsList";
    const ID: &'static str = "address";
    const PREFIX: &'static str = "/commissaire/secrets/hosts/";
    const SECRET: bool = true;

    fn id(&self) -> &str {
        &self.address
    }

    fn validate(&self) -> Result<(), String> {
        ident::remote_user(&self.remote_user)?;
        if self.ssh_port == 0 {
            return Err("ssh_port is 1 to 65535".to_owned());
        }
        ident::address(&self.address)
    }

    fn validate_id(id: &str) -> Result<(), String> {
        ident::address(id)
    }
}

/// How much of a set-up a host gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bootstrap {
    /// Everything the manual says.
    Full,
    /// The same, but only on a host that runs no kubelet and no container runtime yet and whose
    /// distribution has the packages.
    #[default]
    Auto,
    /// Nothing: only look.
    None,
}

/// A reboot that somebody saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reboot {
    /// When it was noticed.
    pub time: Stamp,
    /// The boot id before.
    pub before: String,
    /// The boot id after.
    pub after: String,
}

/// Checks of the watcher that failed for the same reason, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failing {
    /// The reason, in one stable word; empty for none.
    pub reason: String,
    /// How many.
    pub count: u32,
}

impl Failing {
    /// One more.
    pub fn note(&mut self, reason: &str) {
        if self.reason != reason {
            *self = Self { reason: reason.to_owned(), count: 0 };
        }
        self.count = self.count.saturating_add(1);
    }
}

/// What is known about a host beyond the documented record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostState {
    /// The host.
    pub address: Address,
    /// Why it is `failed`, in one stable word (`unreachable`, `host-key-changed`, …).
    #[serde(default)]
    pub reason: String,
    /// The same as a sentence for an operator; for a healthy host what was, or was not, set up.
    #[serde(default)]
    pub detail: String,
    /// When it failed for this reason; empty when it has not failed, and in records of older versions.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub failed_at: Stamp,
    /// The key that it showed instead of the pinned one, when that is why it failed.
    #[serde(default)]
    pub seen_host_key: String,
    /// The status from before it failed.
    #[serde(default)]
    pub previous_status: Status,
    /// Its last checks, where those failed.
    #[serde(default)]
    pub failing: Failing,
    /// Its boot id when it was last seen.
    #[serde(default)]
    pub boot_id: String,
    /// Its machine id when it was last investigated; empty if it has none, and in records of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub machine_id: String,
    /// Whether it ran a kubelet then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runs_kubelet: bool,
    /// Services that rebooted it by themselves then, such as `unattended-upgrades`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rebooters: Vec<String>,
    /// How much of a set-up was asked for.
    #[serde(default)]
    pub bootstrap: Bootstrap,
    /// A set-up of ours was begun on it: what runs there is ours.
    #[serde(default)]
    pub set_up: bool,
    /// The other addresses it said it has.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// Its last ten reboots, the newest last.
    #[serde(default)]
    pub reboots: Vec<Reboot>,
    /// When each kind of operation was last done to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operations: BTreeMap<String, Stamp>,
    /// How it was registered, if it registered itself with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled: Option<Enrolled>,
    /// When it was registered; empty in records of older versions.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub registered_at: Stamp,
    /// The generation of this installation whose mark was last confirmed on the host; 0 if none was.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u64,
}

/// Whether a number is left out of a record.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl HostState {
    /// How many reboots are remembered.
    const REBOOTS: usize = 10;

    /// The reason of a host that is set up, but that its container manager refuses: that does not heal
    /// by itself.
    pub const MANAGER_REFUSES: &str = FailureReason::ManagerRefuses.word();

    /// The reason of a host that is set up, but whose container manager does not answer: it is asked
    /// again.
    pub const MANAGER_UNAVAILABLE: &str = FailureReason::ManagerUnavailable.word();

    /// Forgets why its container manager did not have it; false when that was not so.
    pub fn registered(&mut self) -> bool {
        let was_kept_out =
            [Self::MANAGER_REFUSES, Self::MANAGER_UNAVAILABLE].contains(&self.reason.as_str());
        if was_kept_out {
            self.clear_failure();
        }
        was_kept_out
    }

    /// The reason of a host that cannot be reached: it heals by itself.
    pub const UNREACHABLE: &str = FailureReason::Unreachable.word();

    /// The reason of a host that refuses our log-ins: it heals by itself, too.
    pub const AUTH_REFUSED: &str = FailureReason::AuthRefused.word();

    /// The reason of a host that another generation of this installation has taken over, or claims: it ends when a check
    /// finds the mark of this generation on the host.
    pub const FENCED: &str = FailureReason::Fenced.word();

    /// Whether the host was registered with this installation as it is, and not before it was restored from a backup, and
    /// has no mark of it yet: its first mark replaces older ones of others.
    pub fn is_new_in(&self, instance: &Instance) -> bool {
        let is_newer = |restored: &Restored| {
            // By the clock of the machine that took the backup, and by that of the one that has restored it.
            self.registered_at > restored.taken_at && self.registered_at > restored.at
        };
        self.generation == 0
            && !self.registered_at.is_empty()
            && instance.restored.as_ref().is_none_or(is_newer)
    }

    /// Whether a failure for this reason ends by itself, at the next check that succeeds.
    pub fn heals(reason: &str) -> bool {
        [Self::UNREACHABLE, Self::AUTH_REFUSED].contains(&reason)
    }

    /// Makes `host` a failed one. The status from before is kept, however often it fails.
    pub fn fail(&mut self, host: &mut Host, reason: &str, detail: String, seen_host_key: &str) {
        if host.status != Status::Failed {
            self.previous_status = host.status;
        }
        if host.status != Status::Failed || self.reason != reason {
            // Every caller notes its time as the last check before.
            self.failed_at = host.last_check.clone();
        }
        host.status = Status::Failed;
        reason.clone_into(&mut self.reason);
        self.detail = detail;
        seen_host_key.clone_into(&mut self.seen_host_key);
    }

    /// Ends a failure: the host has the status from before it, or is investigated where it was never set up.
    pub fn recover(&mut self, host: &mut Host) {
        self.clear_failure();
        let known = Some(self.previous_status).filter(|status| status.is_ready());
        host.status = known.unwrap_or(Status::Investigating);
    }

    /// Forgets why the host failed.
    pub fn clear_failure(&mut self) {
        self.reason.clear();
        self.detail.clear();
        self.failed_at = Stamp::default();
    }

    /// Notes the boot id that was just seen at `time`, and a reboot when it is another one. So the host
    /// was reached: no check of it is failing any more.
    pub fn saw_boot(&mut self, time: &Stamp, boot_id: &str) {
        self.failing = Failing::default();
        if !self.boot_id.is_empty() && self.boot_id != boot_id {
            let before = self.boot_id.clone();
            self.reboots.push(Reboot { time: time.clone(), before, after: boot_id.to_owned() });
            let surplus = self.reboots.len().saturating_sub(Self::REBOOTS);
            self.reboots.drain(..surplus);
        }
        boot_id.clone_into(&mut self.boot_id);
    }
}

impl Model for HostState {
    const TYPE: &'static str = "HostState";
    const LIST_TYPE: &'static str = "HostStates";
    const ID: &'static str = "address";
    const PREFIX: &'static str = "/commissaire/host_state/";

    fn id(&self) -> &str {
        &self.address
    }

    fn validate(&self) -> Result<(), String> {
        self.addresses.iter().try_for_each(|address| ident::address(address))?;
        self.enrolled.as_ref().map_or(Ok(()), Enrolled::validate)?;
        ident::address(&self.address)
    }

    fn validate_id(id: &str) -> Result<(), String> {
        ident::address(id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_host_that_was_registered_after_a_restore_is_new() {
        let restored = Restored {
            at: "2026-12-02T12:00:00.000000".into(),
            taken_at: "2026-12-01T12:00:00.000000".into(),
            takes_over: true,
        };
        let first = Instance { generation: 1, ..Instance::default() };
        let second = Instance { generation: 2, restored: Some(restored), ..first.clone() };
        let state = |registered_at: &str, generation| HostState {
            registered_at: registered_at.into(),
            generation,
            ..HostState::default()
        };
        for (registered_at, generation, in_first, in_second) in [
            // A record of an older version.
            ("", 0, false, false),
            ("2026-12-01T11:00:00.000000", 0, true, false),
            ("2026-12-01T11:00:00.000000", 1, false, false),
            // The clock of the machine with the backup was ahead.
            ("2026-12-02T11:00:00.000000", 0, true, false),
            ("2026-12-02T13:00:00.000000", 0, true, true),
            ("2026-12-02T13:00:00.000000", 2, false, false),
        ] {
            let state = state(registered_at, generation);
            let is_new = (state.is_new_in(&first), state.is_new_in(&second));
            assert_eq!(is_new, (in_first, in_second), "{registered_at} {generation}");
        }
    }

    #[test]
    fn a_host_gets_its_defaults() {
        let host: Host = serde_json::from_value(json!({"address": "10.0.0.1"})).unwrap();
        assert_eq!(
            serde_json::to_value(host).unwrap(),
            json!({"address": "10.0.0.1", "status": "", "os": "", "cpus": 0, "memory": 0,
                   "space": 0, "last_check": "", "source": ""})
        );
    }

    #[test]
    fn credentials_do_not_show_their_key() {
        let creds: HostCreds = serde_json::from_value(
            json!({"address": "10.0.0.1", "ssh_priv_key": "canary", "remote_user": "ops"}),
        )
        .unwrap();
        assert!(!format!("{creds:?}").contains("canary"));
        assert_eq!(serde_json::to_value(&creds).unwrap()["ssh_priv_key"], "canary");
    }

    #[test]
    fn the_last_ten_reboots_are_kept() {
        let mut state = HostState::default();
        for boot in 0..13 {
            state.saw_boot(&"now".into(), &boot.to_string());
            state.saw_boot(&"now".into(), &boot.to_string());
        }
        assert_eq!(state.reboots.len(), 10);
        assert_eq!((state.reboots[9].before.as_str(), state.boot_id.as_str()), ("11", "12"));
    }

    #[test]
    fn a_host_that_fails_twice_keeps_the_status_from_before() {
        let mut host = Host { status: Status::Active, ..Host::default() };
        let mut state = HostState::default();
        state.fail(&mut host, HostState::UNREACHABLE, "gone".to_owned(), "");
        state.fail(&mut host, "host-key-changed", "another".to_owned(), "ssh-ed25519 AAAA");
        assert_eq!((host.status, state.previous_status), (Status::Failed, Status::Active));
        assert_eq!((state.reason.as_str(), state.detail.as_str()), ("host-key-changed", "another"));
        assert_eq!(state.seen_host_key, "ssh-ed25519 AAAA");
        state.recover(&mut host);
        assert_eq!((host.status, state.reason.as_str()), (Status::Active, ""));
        state.previous_status = Status::Bootstrapping;
        state.recover(&mut host);
        assert_eq!(host.status, Status::Investigating);
    }

    #[test]
    fn only_failures_of_the_same_kind_make_a_row() {
        let mut failing = Failing::default();
        for (reason, count) in [("unreachable", 1), ("unreachable", 2), ("auth-refused", 1)] {
            failing.note(reason);
            assert_eq!(failing, Failing { reason: reason.to_owned(), count });
        }
    }
}
