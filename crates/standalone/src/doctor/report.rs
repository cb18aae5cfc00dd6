//! Findings, and how they are printed.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// It works now; it is unsafe, or will fail.
    Warning,
    /// It does not work.
    Error,
}

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Check {
    Configuration,
    Permissions,
    Store,
    Versions,
    Keys,
    Broker,
    Clock,
    Ansible,
    Certificates,
    Backup,
    Disk,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configuration => "configuration",
            Self::Permissions => "permissions",
            Self::Store => "store",
            Self::Versions => "versions",
            Self::Keys => "keys",
            Self::Broker => "broker",
            Self::Clock => "clock",
            Self::Ansible => "ansible",
            Self::Certificates => "certificates",
            Self::Backup => "backup",
            Self::Disk => "disk",
        })
    }
}

/// One finding, as a script reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub check: Check,
    pub severity: Severity,
    /// What was found.
    #[serde(rename = "finding")]
    pub text: String,
    /// A command or a setting; `None` where nothing is to be done.
    pub remedy: Option<String>,
}

/// The findings, in the order of the checks.
#[derive(Debug, Default)]
pub(super) struct Report(pub(super) Vec<Finding>);

impl Report {
    pub(super) fn ok(&mut self, check: Check, finding: impl Into<String>) {
        let text = one_line(&finding.into());
        self.0.push(Finding { check, severity: Severity::Ok, text, remedy: None });
    }

    pub(super) fn warning(
        &mut self,
        check: Check,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problem(check, Severity::Warning, &finding.into(), remedy.into());
    }

    pub(super) fn error(
        &mut self,
        check: Check,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problem(check, Severity::Error, &finding.into(), remedy.into());
    }

    pub(super) fn problem(&mut self, check: Check, severity: Severity, text: &str, remedy: String) {
        self.0.push(Finding { check, severity, text: one_line(text), remedy: Some(remedy) });
    }

    /// Whether anything does not work.
    pub(super) fn has_errors(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.severity == severity).count()
    }

    /// For people: the problems, with `verbose` all findings, and a line of counts.
    pub(super) fn text(&self, verbose: bool) -> Result<String, fmt::Error> {
        let mut text = String::new();
        for Finding { check, severity, text: finding, remedy } in &self.0 {
            let severity = match severity {
                Severity::Ok if !verbose => continue,
                Severity::Ok => "ok",
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            writeln!(text, "{severity}: {check}: {finding}")?;
            if let Some(remedy) = remedy {
                writeln!(text, "  remedy: {remedy}")?;
            }
        }
        let plural = |count: usize, word: &str| match count {
            1 => format!("1 {word}"),
            count => format!("{count} {word}s"),
        };
        let [errors, warnings, passed] =
            [Severity::Error, Severity::Warning, Severity::Ok].map(|one| self.count(one));
        let (errors, warnings) = (plural(errors, "error"), plural(warnings, "warning"));
        writeln!(text, "{errors}, {warnings}, {passed} ok")?;
        Ok(text)
    }
}

/// What programs and services report may have several lines.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
impl Report {
    /// The problems, each as `SEVERITY: FINDING; REMEDY`.
    pub(super) fn problems(&self) -> Vec<String> {
        let problems = self.0.iter().filter(|finding| finding.severity > Severity::Ok);
        problems
            .map(|Finding { severity, text, remedy, .. }| {
                format!("{severity:?}: {text}; {}", remedy.as_deref().unwrap())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.ok(Check::Configuration, "/etc/commissaire/one-process.conf is valid");
        report.warning(Check::Disk, "4 % of the file system are free", "free some space");
        report.error(Check::Keys, "id_ed25519 is\nmissing\n", "restore it from a backup");
        report
    }

    #[test]
    fn problems_are_printed_with_their_remedies_and_a_line_of_counts() {
        insta::assert_snapshot!(report().text(false).unwrap(), @r"
        warning: disk: 4 % of the file system are free
          remedy: free some space
        error: keys: id_ed25519 is; missing
          remedy: restore it from a backup
        1 error, 1 warning, 1 ok
        ");
        let verbose = report().text(true).unwrap();
        assert!(verbose.starts_with("ok: configuration: /etc/commissaire/one-process.conf is"));
        assert_eq!(Report::default().text(false).unwrap(), "0 errors, 0 warnings, 0 ok\n");
        assert!(report().has_errors() && !Report::default().has_errors());
    }

    #[test]
    fn scripts_get_all_findings_as_a_list_of_objects() {
        let json = serde_json::to_value(report().0).unwrap();
        assert_eq!(
            json,
            serde_json::json!([
                {"check": "configuration", "severity": "ok",
                 "finding": "/etc/commissaire/one-process.conf is valid", "remedy": null},
                {"check": "disk", "severity": "warning",
                 "finding": "4 % of the file system are free", "remedy": "free some space"},
                {"check": "keys", "severity": "error",
                 "finding": "id_ed25519 is; missing", "remedy": "restore it from a backup"},
            ])
        );
    }
}
