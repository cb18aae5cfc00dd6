//! How records differ after a restore, so that the installation does nothing by itself and revives no rights.

use backup::Header;
use bus::{Error, Result};
use model::{
    ApiToken, Binding, CheckReport, CheckRoster, Enrollment, Freeze, Host, HostCreds, Instance,
    Lease, LeasePurpose, Model, Operation, OperationControl, OperationStatus, PendingWebhook,
    Restored, ServerKeys, Wanted, WriteProbe,
};
use runtime::random;
use serde::Serialize;
use serde_json::value::to_raw_value;

use super::plan::Planned;
use super::{Options, Paused, Report};
use crate::kinds::Kind;

/// Who paused and froze, in the records.
const BY: &str = OperationControl::BY_RESTORE;

/// Records of what a process was doing at the moment of the backup.
const MOMENTARY: [&str; 3] = [CheckReport::TYPE, CheckRoster::TYPE, WriteProbe::TYPE];

/// See the module.
pub(super) struct Afterwards {
    options: Options,
    /// As in the backup.
    instance: Instance,
    controls: Vec<OperationControl>,
    pub(super) report: Report,
}

impl Afterwards {
    pub(super) fn new(header: &Header, options: &Options) -> Self {
        let report = Report { taken_at: header.taken_at.clone(), ..Report::default() };
        // Backups of an installation without the record have the name of none.
        let instance = Instance {
            name: Instance::ALL.to_owned(),
            id: header.instance.clone(),
            generation: header.generation,
            ..Instance::default()
        };
        Self { options: options.clone(), instance, controls: Vec::new(), report }
    }

    /// The record as it is restored; `None` if it is not.
    ///
    /// # Errors
    /// A sentence, when it cannot be read.
    pub(super) fn record(
        &mut self,
        kind: &'static Kind,
        key: &str,
        text: &str,
    ) -> Result<Option<Planned>, String> {
        let mut source = None;
        let text = match kind.type_name {
            name if MOMENTARY.contains(&name) => {
                return Ok(self.leave_out(key, "it describes a process that is gone"));
            }
            // Those of operations in process are made from their records.
            Lease::TYPE => return Ok(self.leave_out(key, "the process that held it is gone")),
            PendingWebhook::TYPE => {
                self.report.webhooks.push(read::<PendingWebhook>(text)?.id().to_owned());
                return Ok(self.leave_out(key, "it may have been delivered after the backup"));
            }
            ApiToken::TYPE => {
                let mut token: ApiToken = read(text)?;
                self.report.tokens.push(format!("{}/{}", token.owner, token.name));
                token.voided_at = self.options.now.clone();
                written(&token)?
            }
            Enrollment::TYPE => {
                let mut enrollment: Enrollment = read(text)?;
                self.report.enrollments.push(enrollment.id.clone());
                enrollment.voided_at = self.options.now.clone();
                written(&enrollment)?
            }
            Binding::TYPE => {
                let mut binding: Binding = read(text)?;
                self.report.bindings.push(binding.name.clone());
                binding.pending = true;
                written(&binding)?
            }
            Instance::TYPE => {
                self.instance = read(text)?;
                return Ok(None);
            }
            Operation::TYPE => {
                let operation: Operation = read(text)?;
                if operation.status == OperationStatus::InProcess {
                    let (operation, cluster) = (operation.id, operation.cluster);
                    self.report.paused.push(Paused { operation, cluster });
                }
                text.to_owned()
            }
            OperationControl::TYPE => {
                self.controls.push(read(text)?);
                text.to_owned()
            }
            ServerKeys::TYPE => {
                let keys: ServerKeys = read(text)?;
                self.report.server_keys = keys.fingerprints.into_iter().collect();
                text.to_owned()
            }
            Host::TYPE => {
                source = Some(read::<Host>(text)?.source);
                text.to_owned()
            }
            _ => text.to_owned(),
        };
        self.count(kind);
        Ok(Some(Planned { kind, key: key.to_owned(), text, source }))
    }

    /// Notes a sealed record.
    pub(super) fn secret(&mut self, kind: &Kind, id: &str, is_host_key_pinned: bool) {
        self.count(kind);
        if kind.type_name == HostCreds::TYPE && is_host_key_pinned {
            self.report.pinned_hosts.push(id.to_owned());
        }
    }

    /// The records that a restore makes, in place of those of the backup under the same keys.
    ///
    /// # Errors
    /// When one cannot be written as JSON.
    pub(super) fn finish(mut self) -> Result<(Vec<Planned>, Report)> {
        let instance = self.instance();
        let Options { now, .. } = &self.options;
        let reason = format!("restored from a backup of {}", self.report.taken_at);
        let mut records = vec![
            planned(&Freeze {
                name: Freeze::ALL.to_owned(),
                by: BY.to_owned(),
                at: now.clone(),
                reason: format!("{reason}: see docs/backup.md before you lift it"),
                restored: true,
            })?,
            planned(&instance)?,
        ];
        for Paused { operation, cluster } in &self.report.paused {
            let aborted = |control: &&OperationControl| {
                control.id == *operation && control.wanted == Wanted::Abort
            };
            if self.controls.iter().find(aborted).is_none() {
                records.push(planned(&OperationControl {
                    id: operation.clone(),
                    wanted: Wanted::Pause,
                    by: BY.to_owned(),
                    at: now.clone(),
                    reason: format!("{reason}, and hosts may have moved on"),
                    code: String::new(),
                })?);
            }
            records.push(planned(&Lease {
                name: LeasePurpose::Operation(cluster).name(),
                operation: operation.clone(),
                ..Lease::default()
            })?);
        }
        Ok((records, self.report))
    }

    /// The identity of the restored installation.
    fn instance(&mut self) -> Instance {
        let Instance { name, id, generation, .. } = std::mem::take(&mut self.instance);
        let uuid = || random::uuid().to_string();
        let instance = Instance {
            name,
            id: if id.is_empty() { uuid() } else { id },
            generation: generation.max(1) + 1,
            generation_id: uuid(),
            restored: Some(Restored {
                at: self.options.now.clone(),
                taken_at: self.report.taken_at.clone(),
                takes_over: false,
            }),
        };
        self.report.instance.clone_from(&instance.id);
        self.report.generation = instance.generation;
        self.report.generation_id.clone_from(&instance.generation_id);
        instance
    }

    fn leave_out(&mut self, key: &str, why: &'static str) -> Option<Planned> {
        self.report.left_out.push((key.to_owned(), why));
        None
    }

    fn count(&mut self, kind: &Kind) {
        *self.report.restored.entry(kind.type_name.to_owned()).or_default() += 1;
    }
}

fn read<T: Model>(text: &str) -> Result<T, String> {
    crate::kinds::parse(text)
}

fn written(record: &impl Serialize) -> Result<String, String> {
    crate::kinds::written(record).map(|text| text.get().to_owned())
}

fn planned<T: Model>(record: &T) -> Result<Planned> {
    let kind = Kind::named(T::TYPE)?;
    let text = to_raw_value(record).map_err(|error| {
        Error::internal(format!("cannot write a {} as JSON", T::TYPE)).with_source(error)
    })?;
    let (key, text) = (kind.key(record.id())?, text.get().to_owned());
    Ok(Planned { kind, key, text, source: None })
}
