//! What a restore has done, for people and for scripts.

use std::fmt::Write as _;

use anyhow::Context as _;
use model::abridged;
use serde_json::json;
use storage_svc::restore::Report;

/// For people: what differs from the backup, and what to do about it.
pub(super) fn text(report: &Report, missing: &[String], done: &str) -> String {
    let mut text = String::new();
    let Report { instance, generation, taken_at, .. } = report;
    let records: u64 = report.restored.values().sum();
    let counts = report.restored.iter().map(|(kind, count)| format!("{count} {kind}"));
    let counts: Vec<_> = counts.collect();
    let mut line = |line: String| {
        // Writing to a text does not fail.
        let _ = writeln!(text, "{line}");
    };
    line(format!("{done} {records} records of the backup of {taken_at}: {}", counts.join(", ")));
    line(format!("installation {instance}, now generation {generation}"));
    if !missing.is_empty() {
        line("\nNot in the backup, or not restored:".to_owned());
        for sentence in missing {
            line(format!("  - {sentence}"));
        }
    }
    line("\nBefore you go on:".to_owned());
    line(
        "  - no host is changed before this installation takes them over: once the former one has stopped for good, \
         `commissaire restore --takeover`"
            .to_owned(),
    );
    line(
        "  - all operations are frozen: `commctl freeze off` when the points below are seen to"
            .to_owned(),
    );
    let paused = report
        .paused
        .iter()
        .map(|paused| format!("{} (cluster {})", paused.operation, paused.cluster));
    let sections = [
        (
            "operations are paused, since hosts may have moved on: see `commctl operation get ID`, then, after the takeover, resume or abort each",
            paused.collect::<Vec<_>>(),
        ),
        (
            "API tokens are void: have their owners create new ones (`commctl token create`)",
            report.tokens.clone(),
        ),
        (
            "enrollments are void: create new ones for hosts that still have to register (`commctl enroll create`)",
            report.enrollments.clone(),
        ),
        (
            "bindings give no rights before an administrator accepts them: `commctl access list`, then `commctl access accept`",
            report.bindings.clone(),
        ),
        (
            "hosts have a pinned SSH key as of the backup; one that was replaced since has to be accepted again",
            report.pinned_hosts.clone(),
        ),
        (
            "keys that hosts know the server by; after a later rotation they know another one",
            report.server_keys.clone(),
        ),
        ("events of webhooks are dropped", report.webhooks.clone()),
        ("credentials were moved to another address", report.moved_secrets.clone()),
    ];
    for (what, items) in sections {
        if !items.is_empty() {
            line(format!("  - {what} ({}): {}", items.len(), abridged(&items, ", ")));
        }
    }
    let damaged = report.left_out.iter().filter(|(_, why)| why.contains("damaged"));
    let damaged: Vec<_> = damaged.map(|(key, _)| key).collect();
    if !damaged.is_empty() {
        line(format!(
            "  - {} damaged records are left out: {}",
            damaged.len(),
            abridged(&damaged, ", ")
        ));
    }
    line(
        "  - what was revoked, deleted or rotated after the backup is as it was before: users, the server's SSH key, \
         certificates"
            .to_owned(),
    );
    text
}

/// For scripts.
pub(super) fn json(report: &Report, missing: &[String]) -> anyhow::Result<String> {
    let left_out = report.left_out.iter().map(|(key, why)| json!({"key": key, "reason": why}));
    let paused = report
        .paused
        .iter()
        .map(|paused| json!({"operation": paused.operation, "cluster": paused.cluster}));
    let value = json!({
        "taken_at": report.taken_at,
        "instance": report.instance,
        "generation": report.generation,
        "generation_id": report.generation_id,
        "restored": report.restored,
        "missing": missing,
        "paused_operations": paused.collect::<Vec<_>>(),
        "void_tokens": report.tokens,
        "void_enrollments": report.enrollments,
        "pending_bindings": report.bindings,
        "pinned_hosts": report.pinned_hosts,
        "server_keys": report.server_keys,
        "dropped_webhooks": report.webhooks,
        "moved_secrets": report.moved_secrets,
        "left_out": left_out.collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&value).context("cannot write the report as JSON")
}
