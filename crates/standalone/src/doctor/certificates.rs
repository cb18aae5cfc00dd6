//! Certificates in files and in the options of container managers: whether they are valid now and for a while.

use std::path::Path;

use jiff::{Timestamp, ToSpan as _};
use model::ContainerManagerConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use storage_svc::Inspection;
use x509_parser::parse_x509_certificate;

use super::report::{Check, Report};
use super::subject::{Form, Subject, Usage};
use crate::data_dir;

const CHECK: Check = Check::Certificates;

/// How many hours before the end it is a problem: 30 days.
const SOON: i64 = 30 * 24;

/// How a certificate is renewed.
const RENEW: &str = "renew it, replace the file, and reload or restart the service that uses it";

/// A certificate, as far as it matters here.
#[derive(Debug)]
struct Certificate {
    subject: String,
    begins: Timestamp,
    ends: Timestamp,
}

/// Checks the certificates that the configuration and the records of container managers name.
pub(super) async fn check(
    installation: &Subject,
    now: Timestamp,
    inspection: Option<&Inspection>,
    report: &mut Report,
) {
    for file in installation.named.iter().filter(|file| file.usage == Usage::Certificates) {
        // That it cannot be used is reported by the check of the configuration.
        if installation.user.check_readable(&file.path).is_ok() {
            of_file(&file.path, &format!("`{}`", file.option), RENEW, now, report);
        }
    }
    if installation.form == Form::OneProcess {
        own(&installation.storage_dir, now, report);
    }
    if installation.reaches_managers
        && let Some(inspection) = inspection
    {
        match inspection.list::<ContainerManagerConfig>().await {
            Ok(managers) => managers.iter().for_each(|manager| of_manager(manager, now, report)),
            Err(error) => {
                let finding = format!("cannot read the container managers: {error}");
                report.warning(CHECK, finding, "start the store");
            }
        }
    }
}

/// The server's own authority and the certificate that it has signed, where a start has made them.
fn own(data_dir: &Path, now: Timestamp, report: &mut Report) {
    let certificate = data_dir.join(data_dir::CERTIFICATE);
    let authority = data_dir::authority_in(data_dir);
    for (path, remedy) in [
        (certificate, "restart the server, which makes a new one"),
        (
            authority,
            "remove ca-key.pem from the data directory and restart the server; clients then log in again (commctl login)",
        ),
    ] {
        if path.exists() {
            of_file(&path, "made by the server", remedy, now, report);
        }
    }
}

/// The files and the texts that the options of a container manager hold.
fn of_manager(manager: &ContainerManagerConfig, now: Timestamp, report: &mut Report) {
    let name = &manager.name;
    let option = |option: &str| manager.options.get(option).and_then(serde_json::Value::as_str);
    for path in ["certificate_path", "certificate_authority_path"] {
        if let Some(file) = option(path) {
            let used = format!("`{path}` of the container manager {name}");
            of_file(Path::new(file), &used, RENEW, now, report);
        }
    }
    for text in ["certificate_data", "certificate_authority_data"] {
        if let Some(pem) = option(text) {
            let used = format!("`{text}` of the container manager {name}");
            let remedy =
                "renew it, and change the container manager: commctl container_manager create";
            judge(&used, certificates(pem.as_bytes()), remedy, now, report);
        }
    }
}

fn of_file(path: &Path, used: &str, remedy: &str, now: Timestamp, report: &mut Report) {
    let used = format!("{} ({used})", path.display());
    match std::fs::read(path) {
        Ok(text) => judge(&used, certificates(&text), remedy, now, report),
        Err(error) => {
            let finding = format!("cannot read {used}: {error}");
            report.error(CHECK, finding, "put the file there, or make it readable for the server");
        }
    }
}

fn judge(
    used: &str,
    found: Result<Vec<Certificate>, String>,
    remedy: &str,
    now: Timestamp,
    report: &mut Report,
) {
    let certificates = match found {
        Ok(certificates) => certificates,
        Err(why) => return report.error(CHECK, format!("{used}: {why}"), remedy),
    };
    let before = report.0.len();
    for Certificate { subject, begins, ends } in &certificates {
        let soon = now.checked_add(SOON.hours()).unwrap_or(Timestamp::MAX);
        let (shown, days) =
            (format!("{used}: the certificate of {subject}"), |until: &Timestamp| {
                until.duration_since(now).as_hours() / 24
            });
        if *ends <= now {
            report.error(CHECK, format!("{shown} has expired, at {ends}"), remedy);
        } else if *begins > now {
            let finding = format!("{shown} is not valid before {begins}");
            report.error(
                CHECK,
                finding,
                "set the clock of this machine, or use another certificate",
            );
        } else if *ends < soon {
            let finding = format!("{shown} expires in {} days, at {ends}", days(ends));
            report.warning(CHECK, finding, remedy);
        }
    }
    if report.0.len() == before
        && let Some(first) = certificates.iter().map(|certificate| certificate.ends).min()
    {
        report.ok(CHECK, format!("{used} is valid until {first}"));
    }
}

/// The certificates of a PEM text.
fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let mut found = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(|error| format!("it is not valid PEM: {error}"))?;
        let (_, certificate) = parse_x509_certificate(&der)
            .map_err(|_| "it holds a damaged certificate".to_owned())?;
        let time = |seconds| {
            Timestamp::from_second(seconds).map_err(|_| "it has an impossible date".to_owned())
        };
        let validity = certificate.validity();
        found.push(Certificate {
            subject: certificate.subject().to_string(),
            begins: time(validity.not_before.timestamp())?,
            ends: time(validity.not_after.timestamp())?,
        });
    }
    if found.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
    use serde_json::json;

    use super::*;

    /// Valid in December 2026 only.
    fn december() -> String {
        let mut params = CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "example.com");
        params.not_before = date_time_ymd(2026, 12, 1);
        params.not_after = date_time_ymd(2027, 2, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn problems(check: impl FnOnce(Timestamp, &mut Report), now: &str) -> Vec<String> {
        let mut report = Report::default();
        check(now.parse().unwrap(), &mut report);
        assert!(!report.0.is_empty());
        report.problems()
    }

    #[test]
    fn certificates_are_judged_by_their_dates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.pem");
        std::fs::write(&path, december()).unwrap();
        let at = |now| problems(|now, report| of_file(&path, "`x`", RENEW, now, report), now);
        assert_eq!(at("2026-12-15T00:00:00Z"), [""; 0]);
        let soon = at("2027-01-20T00:00:00Z");
        assert!(soon[0].starts_with("Warning: ") && soon[0].contains("in 12 days"), "{soon:?}");
        assert!(soon[0].contains("server.pem (`x`): the certificate of "), "{soon:?}");
        let expired = at("2027-02-01T00:00:01Z");
        assert!(
            expired[0].starts_with("Error: ") && expired[0].contains("has expired"),
            "{expired:?}"
        );
        let early = at("2026-11-30T00:00:00Z");
        assert!(early[0].contains("is not valid before 2026-12-01"), "{early:?}");
        for (text, why) in [
            ("", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        ] {
            std::fs::write(&path, text).unwrap();
            let broken = at("2026-12-15T00:00:00Z");
            assert!(broken[0].starts_with("Error: ") && broken[0].contains(why), "{broken:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(at("2026-12-15T00:00:00Z")[0].contains("cannot read"));
    }

    #[test]
    fn certificates_of_the_server_and_of_container_managers_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("server.pem"), december()).unwrap();
        let found = problems(|now, report| own(folder.path(), now, report), "2028-01-01T00:00:00Z");
        assert!(found[0].ends_with("; restart the server, which makes a new one"), "{found:?}");
        let manager = json!({
            "name": "prod", "type": "kubernetes",
            "options": {"server_url": "https://x", "certificate_data": december(), "certificate_path": "/no/such"},
        });
        let manager: ContainerManagerConfig = serde_json::from_value(manager).unwrap();
        let found =
            problems(|now, report| of_manager(&manager, now, report), "2028-01-01T00:00:00Z");
        assert!(found[0].contains("/no/such (`certificate_path` of the container manager prod)"));
        assert!(found[1].contains("`certificate_data` of the container manager prod: the cert"));
    }
}
