//! Reasons: why something failed, and why something waits. Each is declared here once, with all its words;
//! `docs/failures.md` is generated from these tables.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kind of object that a reason is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A host.
    Host,
    /// A cluster.
    Cluster,
    /// An operation over a cluster.
    Operation,
    /// The services, the broker and the stores as a whole.
    Installation,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Cluster => "cluster",
            Self::Operation => "operation",
            Self::Installation => "installation",
        })
    }
}

/// The words of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// One stable word for scripts.
    pub word: &'static str,
    /// The kind of object that it is about.
    pub subject: Subject,
    /// The cause: a predicate to the name of the object.
    pub cause: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// The event that ends it.
    pub ends: &'static str,
}

/// Declares an enum of reasons, each with its [`Words`].
macro_rules! reasons {
    (
        $(#[$meta:meta])* $name:ident
        $($subject:ident {
            $($variant:ident $word:literal: $cause:literal, $remedy:literal, $ends:literal;)*
        })*
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[doc = $cause] #[serde(rename = $word)] $variant,)*)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$($(Self::$variant,)*)*];

            /// Its words.
            pub const fn words(self) -> Words {
                match self {
                    $($(Self::$variant => Words {
                        word: $word,
                        subject: Subject::$subject,
                        cause: $cause,
                        remedy: $remedy,
                        ends: $ends,
                    },)*)*
                }
            }
        }
    };
}

reasons! {
    /// Why a host or an operation failed, or why a request for an operation is rejected.
    FailureReason
    Host {
        Unreachable "unreachable":
            "cannot be reached: nothing at its address and port answers as an SSH server",
            "check its power, its network and its sshd",
            "the next check that reaches it; an operator can have it checked at once with `commctl host investigate`";
        HostKeyChanged "host-key-changed":
            "shows another host key than the pinned one, so nothing is sent to it",
            "if it was reinstalled, compare the fingerprint on its console and accept the key with `commctl host accept-key`",
            "an operator accepts the key, or the host shows the pinned key again";
        AuthRefused "auth-refused":
            "refuses the log-in with the key and the user that are registered",
            "add the public key to the user's authorized_keys on the host, or register it again with the right key or user",
            "the next check whose log-in is accepted";
        Throttled "throttled":
            "rejects connections for the moment, because too many are open or its sshd penalizes this server",
            "wait; if it lasts, raise MaxStartups in its sshd_config",
            "the host accepts a connection; attempts continue with exponential back-off";
        NoSudo "no-sudo":
            "does not let the registered user become root without a password",
            "install sudo on it, and add a NOPASSWD rule for that user",
            "an investigation or an operation after the rule was added";
        NoShell "no-shell":
            "has given the registered user a shell that runs no commands",
            "give the user a shell with `usermod --shell /bin/sh`, or register the host again with another user",
            "an investigation with a user whose shell runs commands";
        DiskFull "disk-full":
            "has no space left on one of its file systems",
            "find the full file system with `df -h` on the host and free space on it",
            "another investigation or operation finds enough space";
        Timeout "timeout":
            "did not complete a step before its deadline",
            "look at its load, its disks and its network",
            "another investigation or operation completes the step in time";
        TooMuchOutput "too-much-output":
            "wrote more output to a command than is read",
            "find out on the host what writes so much, often a log-in script or a banner",
            "another investigation or operation stays within the limit";
        BadKey "bad-key":
            "cannot be logged in to: the private key registered for it is unusable",
            "register it again with an unencrypted private key in OpenSSH or PEM format",
            "an operator registers a usable key";
        Disconnected "disconnected":
            "lost the connection during a command",
            "check the network between this server and the host",
            "another investigation or operation keeps its connection";
        UnexpectedAnswer "unexpected-answer":
            "answered a command with something else than was asked for",
            "log in as the registered user and look for output of log-in scripts",
            "another investigation or operation gets the expected answer";
        InvalidTarget "invalid-target":
            "has an address, user or key in its records that cannot be used",
            "delete the host and register it again",
            "an operator registers it with usable values";
        ControllerError "controller-error":
            "could not be worked on because of a fault on the server itself",
            "look at the server's log, its free disk space and its limit of open files",
            "another investigation or operation after the fault was repaired";
        UnknownOs "unknown-os":
            "runs a distribution that is not supported",
            "see the list of supported distributions in the manual",
            "an investigation finds a supported distribution";
        NoFacts "no-facts":
            "does not report its processors, memory, file systems or boot id",
            "run the commands `cat /proc/meminfo` and `df` on it and see which fails",
            "an investigation reads all facts";
        BootstrapImpossible "bootstrap-impossible":
            "cannot be set up with the configured network",
            "complete the flannel settings of the investigator, or use a network of another type",
            "an investigation after the configuration was completed";
        AnsibleMissing "ansible-missing":
            "could not be worked on: the server has no ansible-playbook",
            "install ansible-core on the server",
            "another investigation or operation after it was installed";
        AnsibleTooOld "ansible-too-old":
            "could not be worked on: the server's ansible-core is too old",
            "upgrade ansible-core on the server",
            "another investigation or operation after the upgrade";
        PythonTooOld "python-too-old":
            "has a Python that the server's ansible-core does not support",
            "install a newer Python on the host, or an older ansible-core on the server",
            "an investigation finds a supported Python";
        NoPython "no-python":
            "has no Python 3, which playbooks need",
            "install the package python3 on it",
            "an investigation finds Python 3";
        BadVariable "bad-variable":
            "could not be worked on: a value for its playbook cannot be passed on",
            "correct the value that the message names",
            "another investigation or operation with a valid value";
        PlaybookFailed "playbook-failed":
            "failed at a task of its playbook",
            "repair what the task's message names on the host",
            "another investigation or operation runs the playbook to its end";
        PlaybookBroken "playbook-broken":
            "got no result from ansible-playbook, which ended early on the server",
            "run `ansible-playbook --version` on the server as the service's user",
            "another investigation or operation gets a result";
        OutOfMemory "out-of-memory":
            "made ansible-playbook exceed its memory limit on the server",
            "find out what the host answers with, or raise `playbook-memory`",
            "another investigation or operation stays within the limit of memory";
        NotBack "not-back":
            "did not answer after its reboot before the deadline",
            "look at its console; when it answers, continue the operation with `commctl operation continue`",
            "the host answers with another boot id: for 24 hours it is checked, and becomes done (late)";
        NotRestarted "not-restarted":
            "still runs the boot from before its reboot",
            "look on it with `systemctl list-jobs` for what holds the shutdown up",
            "the host reboots after all: for 24 hours it is checked, and becomes done (late)";
        NotSettled "not-settled":
            "did not stay up for the settle time, or its start did not complete",
            "look at its console and at `systemctl list-jobs`",
            "an investigation after it was repaired";
        UnitsFailed "units-failed":
            "has systemd units that failed since its reboot, which the option `strict_units` forbids",
            "look at them with `systemctl status` on the host",
            "an investigation after the units were repaired";
        Unhealthy "unhealthy":
            "did not pass the health check of the operation in time",
            "run the health command or request the health URL by hand",
            "an investigation after it was repaired; the check runs again in the next operation";
        NotBooted "not-booted":
            "was restarted, but has not booted the deployed version",
            "look on it with `rpm-ostree status` for the default deployment",
            "another deployment boots the version";
        NotOstree "not-ostree":
            "is no OSTree host, so no version can be deployed on it",
            "take it out of the cluster, or use an upgrade",
            "an investigation finds an OSTree host";
        GoAheadLate "go-ahead-late":
            "received its go-ahead too late ten times in succession, so its command did not run",
            "see whether the connection or the server is overloaded",
            "another operation gives the go-ahead in time";
        Fenced "fenced":
            "is fenced: another generation of this installation has taken it over or claims it too, or this one may not take it over",
            "decide which installation keeps the host: stop the other one, or let this one take its hosts over with `commissaire restore --takeover`",
            "a check finds the mark of this installation on the host: it looks every ten minutes; registering the host again overwrites the mark";
        Deleted "deleted":
            "was deleted while an operation worked on it",
            "look at the host, since a step may have been under way",
            "an operator registers it again";
        ManagerRefuses "container-manager-refuses":
            "is rejected by its container manager",
            "correct what the container manager's answer names, then let the host join its cluster again",
            "the container manager accepts it when it joins again";
        ManagerUnavailable "container-manager-unavailable":
            "is not registered with its container manager, which does not answer",
            "check the container manager and its address in the configuration",
            "the container manager answers: it is asked again with each check";
        NodeUnknown "node-unknown":
            "runs a kubelet, and no node of its Kubernetes has its address or its name",
            "see `kubectl get nodes -o wide`: the node has to have the address under which the host is registered",
            "an operation finds the node of the host";
        NodeAmbiguous "node-ambiguous":
            "has an address that more than one node of its Kubernetes has",
            "delete the node objects whose machines do not exist any more with `kubectl delete node`",
            "an operation finds one node for the host";
        AnotherMachine "node-is-another-machine":
            "is another machine than the node with its address: neither the machine id nor the boot id is the same",
            "see whether the address was given to another machine, and delete the node or the host that does not exist any more",
            "an operation finds the machine of the host behind the node";
        NodeNotReady "node-not-ready":
            "is back after its reboot, and its node did not become ready in Kubernetes in time",
            "look at the kubelet on it with `journalctl --unit kubelet`, then uncordon the node with `commctl host uncordon`",
            "another operation sees the node ready";
        KubernetesDenied "kubernetes-denied":
            "has a node that the account of its container manager may not read or change",
            "give the account the rights in conf/kubernetes/rbac.yaml, or register the container manager with another token",
            "another operation has the rights";
        DrainTimeout "drain-timeout":
            "was not rebooted, because its node could not be drained in time",
            "see to the pods that the message names, or raise `drain.timeout`",
            "another operation drains the node";
        Internal "internal":
            "could not be worked on because of a defect of this software",
            "report the message from the server's log",
            "another investigation or operation";
    }
    Operation {
        Aborted "aborted":
            "was aborted by an operator",
            "continue it with `commctl operation continue` when its remaining hosts are to be done",
            "another operation of the cluster";
        HostsFailed "hosts-failed":
            "ended with failed hosts",
            "repair the failed hosts, then continue it with `commctl operation continue --retry-failed`",
            "another operation covers the failed and skipped hosts";
        LostAfter "lost-after":
            "failed because a host that was done is down at its end",
            "look at the named hosts, since they came back and then failed",
            "another operation finds all its hosts up at its end";
        InProcess "in-process":
            "is rejected because another operation of the cluster is in process",
            "wait for its end, or abort it with `commctl operation abort`",
            "the operation in process ends";
        BudgetUsedUp "budget-used-up":
            "is rejected because unavailable hosts use the disruption budget up",
            "bring them back, take them out of the cluster, or raise `max_unavailable`",
            "fewer hosts are unavailable than the budget allows";
        ControllerIsMember "controller-is-member":
            "is rejected because the machine of the executor is a member of the cluster",
            "use the option `include_self`, or name the other hosts with the option `hosts`",
            "a request with one of these options";
        NoneReachable "none-reachable":
            "is rejected because none of its hosts can be reached",
            "check the network between this server and the cluster",
            "at least one of the hosts can be reached";
        QuorumTooSmall "quorum-too-small":
            "is rejected because a quorum group has no majority without one of its members",
            "add hosts to the group, or take the named host out of it with `commctl host place`",
            "the group has three members or more";
        PodsBlock "pods-block":
            "is rejected because pods block the drain of nodes",
            "see to the named pods, use the option `drain.force`, or postpone these hosts with `drain.check: later`",
            "no pod blocks a drain";
        KubernetesUnavailable "kubernetes-unavailable":
            "is rejected because the container manager of the cluster does not say which nodes its hosts are",
            "see to what the message names, or use the option `drain: false` without Kubernetes",
            "the container manager lists its nodes";
        ClusterIsChanging "cluster-is-changing":
            "is rejected because the members of the cluster are being changed, or it is being deleted",
            "wait until `commctl explain` of the cluster shows no change",
            "the change of the cluster ends";
    }
}

reasons! {
    /// Why something waits, or is still under way.
    WaitReason
    Operation {
        Aborting "aborting":
            "is aborted, and ends when no host is under way",
            "wait: the step of a host that is under way cannot be undone",
            "the last host under way is done, skipped or failed";
        Paused "paused":
            "was paused by an operator",
            "resume it with `commctl operation resume`, or abort it",
            "an operator resumes or aborts it";
        UnexpectedReboot "unexpected-reboot":
            "was paused because a host that was done has rebooted by itself",
            "find out why that host has rebooted, then resume the operation with `commctl operation resume`",
            "an operator has looked at the host, and resumes or aborts the operation";
        BudgetTimeout "budget-timeout":
            "was paused because unavailable hosts have used the disruption budget up for too long",
            "bring the named hosts back or take them out of the cluster, then resume it with `commctl operation resume`",
            "an operator has seen to the unavailable hosts, and resumes or aborts it";
        AlarmTimeout "alarm-timeout":
            "was paused because an alarm has lasted for too long",
            "see to the cause of the alarm, then resume it; with `resume_after_alarm: auto` it is not paused",
            "an operator has seen to the alarm, and resumes or aborts it";
        DrainPaused "drain-paused":
            "was paused and waits for an operator",
            "see to what the message names for each host, then resume it with `commctl operation resume`",
            "an operator has seen to the hosts, and resumes or aborts it";
        Frozen "frozen":
            "starts no further host during the operator freeze",
            "end the freeze with `commctl freeze off`",
            "an operator ends the freeze";
        Alarm "alarm":
            "starts no further host during an alarm",
            "bring back the hosts that became unavailable at once: usually a switch, a firewall or a name server is the cause",
            "at most a third of the share that raised the alarm is unavailable for five minutes";
        Soak "soak":
            "waits for the end of the soak time between two hosts",
            "none: it continues by itself",
            "the soak time has passed";
        Budget "budget":
            "waits because unavailable hosts use the disruption budget up",
            "bring them back, or take them out of the cluster",
            "one of the unavailable hosts is available again";
        NodeBudget "node-budget":
            "waits because unavailable nodes use the budget of their Kubernetes up",
            "see to the named nodes, or wait for the other operations",
            "one of the named nodes is available again";
        ControlPlane "control-plane":
            "waits because another node of the control plane is unavailable",
            "see to the nodes or pods of the control plane that the message names",
            "all other nodes of the control plane are available";
        QuorumGroup "quorum-group":
            "waits because a quorum group would lose its majority",
            "see to the named hosts, or wait for the other operations",
            "enough of the named hosts are available again";
        NodesUnknown "nodes-unknown":
            "starts no further host because its container manager does not say which nodes are available",
            "see to what the message names: the API server, or the configuration of the container manager",
            "the container manager says which nodes are available";
        ExecutorAway "executor-away":
            "is in process, and no executor is running that carries it out",
            "start the service commissaire-clusterexec-service on a machine, and look at its log",
            "an executor starts and takes the operation over";
        HostsWait "hosts-wait":
            "waits for its hosts under way, each of which waits before its next command",
            "look at the reason of each host",
            "one of the hosts under way may go on";
        UnderWay "under-way":
            "works on its hosts",
            "none: look at the hosts for the step of each",
            "the hosts under way are done, skipped or failed";
    }
    Host {
        Turn "turn":
            "waits for its turn in an operation",
            "none: its turn comes when the hosts before it are done",
            "the rollout starts the host, or skips it";
        OthersUnderWay "others-under-way":
            "waits before its next command until other hosts of the operation are done",
            "none: the disruption budget admits it after them",
            "another host of the operation is done";
        HostGate "gate":
            "waits before its next command: its operation is paused or frozen, or an alarm concerns it",
            "look at the operation's own reason, and end the pause, the freeze or the alarm",
            "the operation may continue";
        HostBudget "host-budget":
            "waits before its next command because unavailable hosts use the disruption budget up",
            "bring the unavailable hosts back, or take them out of the cluster",
            "a place in the disruption budget is free";
        GoAheadMissed "go-ahead-missed":
            "did not get its go-ahead in time, and is asked again",
            "none: after ten attempts in succession the host fails",
            "a go-ahead arrives in time";
        Postponed "postponed":
            "has not finished its turn, which comes again after the other hosts",
            "see to what the message names",
            "the rollout starts the host again";
        Cordoning "cordoning":
            "is being cordoned in Kubernetes by an operation",
            "none: the operation drains the node next",
            "the API server has accepted the cordon";
        Draining "draining":
            "waits until the pods of its node are evicted",
            "none, unless it takes longer than usual: see to the pods on the node",
            "the last of the pods is gone, or the timeout of the drain ends";
        DrainBlocked "drain-blocked":
            "waits for pods on its node that cannot be evicted",
            "see to the pods and disruption budgets that the message names",
            "the pods are evicted, or the timeout of the drain ends";
        KubernetesAway "kubernetes-away":
            "waits for the API server of its Kubernetes",
            "check the API server and the container manager's configuration",
            "the API server answers in time, and accepts the credentials";
        NodeReturning "node-returning":
            "is back after its reboot, and its node has to be ready in Kubernetes",
            "look at the kubelet on it if that takes longer than usual",
            "the node stays ready with the new boot id, or the timeout ends";
        Uncordoning "uncordoning":
            "is being uncordoned in Kubernetes by an operation",
            "none: if the API server does not answer now, the node is uncordoned once it does",
            "the API server has accepted the change";
        WorkloadsReturning "workloads-returning":
            "is back, and its evicted pods are not all replaced yet",
            "none: the operation continues after ten minutes in any case",
            "the controllers of the pods have as many ready pods as before";
        PackageLock "package-lock":
            "waits for another program that holds its package lock",
            "let that program end, or stop it on the host",
            "the other program releases the lock";
        HealthCheck "health-check":
            "is back after its reboot, and does not pass the health check yet",
            "look at the service that the health check asks",
            "the health check passes, or its timeout ends";
        Probing "probing":
            "is logged in to by an operation, before anything is done to it",
            "none: the operation continues by itself",
            "its boot id is read and saved";
        Applying "applying":
            "is being upgraded or deployed on by an operation",
            "watch it on the host with `systemctl status 'commissaire-*'`",
            "the packages or the tree are in place";
        Rebooting "rebooting":
            "is about to be rebooted by an operation",
            "none: the operation asks it to reboot and then verifies it",
            "the host accepts the reboot command";
        Returning "returning":
            "reboots, and has to answer with another boot id",
            "look at its console if that takes longer than usual",
            "it answers with another boot id, or the timeout of the reboot ends";
        Settling "settling":
            "is back after its reboot, and has to stay up for the settle time",
            "none: it is done when the settle time has passed",
            "the settle time passes without another reboot";
        InvestigatorAway "investigator-away":
            "is to be investigated, and no investigator is running",
            "start the service commissaire-investigator-service, and look at its log",
            "an investigator starts and takes the host's investigation over";
        Unproven "unproven":
            "has registered itself, and has not proven yet that it owns its address",
            "see that the server can log in to it with the announced host key",
            "the server logs in to it; after its time to prove itself it is removed";
        Investigating "investigating":
            "is being investigated: the server logs in to it and reads its facts",
            "none: the investigation ends by itself",
            "the facts are read, or the log-in fails three times";
        Bootstrapping "bootstrapping":
            "is being set up by the bootstrap playbook",
            "none: the playbook ends by itself",
            "the playbook ends, or its timeout";
        ChecksFailing "checks-failing":
            "fails checks, but not often enough in succession to be marked as failed",
            "look at the host and at the network between it and the server",
            "a check succeeds, or one more fails";
        StatusHeld "status-held":
            "keeps its status although its checks fail, because an alarm concerns it",
            "see to the cause of the alarm, since many hosts became unavailable at once",
            "the alarm ends; then checks count again";
        WatcherAway "watcher-away":
            "is not checked, because no watcher is running",
            "start the service commissaire-watcher-service, and look at its log",
            "a watcher starts and checks the host";
    }
    Cluster {
        MembersChanging "members-changing":
            "is given other members, in several steps",
            "none: any gateway continues the change",
            "the last host has joined or left";
        Deleting "deleting":
            "is being deleted, in several steps",
            "none: any gateway continues the deletion",
            "its last member has left";
        MembersFailed "members-failed":
            "has failed members",
            "look at each of them with `commctl explain`",
            "no member is failed any more";
        Empty "empty":
            "has no members",
            "register a host with the name of the cluster",
            "the first host joins";
    }
    Installation {
        BrokerAway "broker-away":
            "cannot work: the message broker does not answer",
            "start the broker, and compare its address with `bus-uri` in the configuration",
            "the broker answers again; all services connect by themselves";
        StorageAway "storage-away":
            "cannot work: no storage service answers",
            "start the service commissaire-storage-service, and look in its log for its store",
            "a storage service answers";
        StoreAway "store-away":
            "cannot work: the store behind the storage service does not answer",
            "start etcd, or repair the disk of the SQLite database",
            "the store answers a read";
        StoreReadOnly "store-read-only":
            "cannot save anything: the store accepts no writes",
            "look in the log of the storage service: the quota of etcd or the disk may be used up",
            "the store accepts a write";
        AuditLogFailed "audit-log-failed":
            "rejects changes, because the audit log cannot be written",
            "free space on its disk, or correct `audit-log` in the configuration",
            "the audit log can be written";
        NoUsableUser "no-usable-user":
            "has no user who could log in",
            "add a user with `commctl passhash` to users.json",
            "a user with a usable password, key or certificate is configured";
        ServiceMissing "service-missing":
            "runs without one of its services",
            "start the named service, and look at its log",
            "a replica of the service answers";
        AlarmRaised "alarm-raised":
            "has an alarm: many hosts became unavailable at once",
            "look for a common cause, such as a switch, a firewall, a name server or a key that was removed everywhere",
            "most of the hosts have answered again for five minutes";
        NodeCordoned "node-cordoned":
            "has cordoned a node that is not uncordoned yet",
            "see to what the message names; if that does not uncordon the node, use `commctl host uncordon`",
            "the node is uncordoned or deleted";
        AllFrozen "all-frozen":
            "starts no further host in any operation, because an operator has set a freeze",
            "ask the operator who set it, and end it with `commctl freeze off`",
            "an operator lifts the freeze";
    }
}

impl FailureReason {
    /// One stable word for records, events and scripts.
    pub const fn word(self) -> &'static str {
        self.words().word
    }

    /// The reason with this word; `None` for a word of another version.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.word() == word)
    }
}

impl WaitReason {
    /// One stable word for records, events and scripts.
    pub const fn word(self) -> &'static str {
        self.words().word
    }

    /// The reason with this word; `None` for a word of another version.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.word() == word)
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/failures.md");

    fn all() -> Vec<Words> {
        let failures = FailureReason::ALL.iter().map(|reason| reason.words());
        failures.chain(WaitReason::ALL.iter().map(|reason| reason.words())).collect()
    }

    #[test]
    fn there_are_sixty_reasons_and_no_two_are_alike() {
        let all = all();
        assert!(all.len() >= 60, "{}", all.len());
        for part in
            [|words: &Words| words.word, |words: &Words| words.cause, |words: &Words| words.ends]
        {
            let distinct: BTreeSet<_> = all.iter().map(part).collect();
            let all: Vec<_> = all.iter().map(part).collect();
            let twice = all.iter().filter(|text| all.iter().filter(|t| t == text).count() > 1);
            assert_eq!(distinct.len(), all.len(), "{:?}", twice.collect::<Vec<_>>());
        }
        let remedies: BTreeSet<_> = all.iter().map(|words| words.remedy).collect();
        assert_eq!(remedies.len(), all.len(), "remedies");
    }

    #[test]
    fn words_are_found_again_and_stable_in_json() {
        for reason in FailureReason::ALL {
            assert_eq!(FailureReason::from_word(reason.word()), Some(*reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
        }
        for reason in WaitReason::ALL {
            assert_eq!(WaitReason::from_word(reason.word()), Some(*reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
        }
        assert_eq!(FailureReason::from_word("of-another-version"), None);
    }

    fn page() -> String {
        let mut page = "# Reasons\n\nWhy something failed, or waits: the word stands in records, events and answers, `commctl explain \
                        [NAME or ID]` and\n`GET /api/v0/explain/{kind}/{id}` give the whole sentence. This page is generated from\n\
                        `model/src/reason.rs`.\n"
            .to_owned();
        let failures: Vec<_> = FailureReason::ALL.iter().map(|reason| reason.words()).collect();
        let waits: Vec<_> = WaitReason::ALL.iter().map(|reason| reason.words()).collect();
        for (title, reasons) in [("Failures", failures), ("Waits", waits)] {
            write!(
                page,
                "\n## {title}\n\n| word | cause | remedy | ends when |\n|---|---|---|---|\n"
            )
            .unwrap();
            for Words { word, subject, cause, remedy, ends } in reasons {
                let object = if subject == Subject::Operation { "an" } else { "a" };
                let object = match subject {
                    Subject::Installation => "the installation".to_owned(),
                    _ => format!("{object} {subject}"),
                };
                writeln!(page, "| `{word}` | {object} {cause} | {remedy} | {ends} |").unwrap();
            }
        }
        page
    }

    #[test]
    fn the_page_about_reasons_is_the_one_that_is_checked_in() {
        if std::env::var_os("COMMISSAIRE_TEST_UPDATE").is_some() {
            std::fs::write(PAGE, page()).unwrap();
        }
        let kept = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert!(
            kept == page(),
            "docs/failures.md is out of date: COMMISSAIRE_TEST_UPDATE=1 writes it again"
        );
    }
}
