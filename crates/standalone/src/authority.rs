//! The authority of an installation that was given no certificate, and what it signs: clients that pin
//! the authority know the server, whatever its address becomes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use runtime::random;
use rustix::system::uname;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::data_dir::{DataDir, write_private};

/// How long the authority lives, in years: who pins it should not have to do that again.
const AUTHORITY_YEARS: i16 = 20;

/// How long a certificate lives, in days; when a third of it is left, a start makes a new one.
const CERTIFICATE_DAYS: i32 = 3 * 365;

/// A certificate, as far as it matters here.
#[derive(Debug, PartialEq)]
struct Seen {
    names: BTreeSet<String>,
    expires: Timestamp,
}

/// Makes the authority where there is none, and a certificate where there is none of that authority with all
/// these names, or it expires too soon. The authority's own certificate follows it: clients that do not know
/// the authority yet are shown it, and compare its fingerprint.
///
/// # Errors
/// When a file cannot be read or written, or is no authority.
pub fn certificate(data: &DataDir, listening: IpAddr, now: Timestamp) -> anyhow::Result<()> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let (issuer, authority) = authority(data, today)?;
    let names = names(listening).context("cannot tell this machine's addresses")?;
    let path = data.certificate();
    let chain = text_of(&path)?.map(|text| certificates(&text)).unwrap_or_default();
    if let [own, of_authority] = chain.as_slice()
        && *of_authority == authority
        && let Some(seen) = seen(own)
    {
        let least = (CERTIFICATE_DAYS / 3 * 24).hours();
        // Addresses of bridges and the like come and go: one that has gone does no harm in it.
        let lasts = now.checked_add(least).is_ok_and(|then| then < seen.expires);
        if lasts && seen.names.is_superset(&names) {
            return Ok(());
        }
    }
    tracing::info!(names = ?names, path = %path.display(), "making a certificate");
    let certificate = sign(&issuer, names, today).context("cannot make a certificate")?;
    write_private(&path, &format!("{certificate}{}", pem(&authority)))
}

/// The SHA-256 fingerprint of the authority whose certificate is in this PEM file, as
/// `openssl x509 -fingerprint -sha256` prints it.
///
/// # Errors
/// When the file cannot be read, or holds no certificate of an authority.
pub fn fingerprint(path: &Path) -> anyhow::Result<String> {
    let file = path.display();
    let text = std::fs::read(path).with_context(|| format!("cannot read {file}"))?;
    for der in CertificateDer::pem_slice_iter(&text) {
        let der = der.with_context(|| format!("{file} is not valid PEM"))?;
        let is_authority = parse_x509_certificate(&der).is_ok_and(|(_, certificate)| {
            certificate.is_ca() && certificate.subject().as_raw() == certificate.issuer().as_raw()
        });
        if is_authority {
            let digest = Sha256::digest(&der);
            let bytes: Vec<_> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
            return Ok(bytes.join(":"));
        }
    }
    bail!(
        "{file} holds no certificate of an authority, so clients have to know its authority already; where that \
         has a file of its own: openssl x509 -noout -fingerprint -sha256 -in FILE"
    )
}

/// The authority that is there, or a new one; and its certificate.
fn authority(
    data: &DataDir,
    today: Date,
) -> anyhow::Result<(Issuer<'static, KeyPair>, CertificateDer<'static>)> {
    let file = data.authority_key();
    let text = if let Some(text) = text_of(&file)? {
        text
    } else {
        let text = new_authority(today).context("cannot make an authority")?;
        // Key and certificate in one file: there is never one of them alone.
        write_private(&file, &text)?;
        text
    };
    let unusable = || format!("{} is no authority: restore it, or remove it", file.display());
    let key = KeyPair::from_pem(&text).with_context(unusable)?;
    let certificate = CertificateDer::from_pem_slice(text.as_bytes()).with_context(unusable)?;
    let public = data.authority();
    let published = text_of(&public)?.map(|text| certificates(&text)).unwrap_or_default();
    if published != [certificate.clone()] {
        write_private(&public, &pem(&certificate))?;
    }
    let issuer = Issuer::from_ca_cert_der(&certificate, key).with_context(unusable)?;
    Ok((issuer, certificate))
}

fn new_authority(today: Date) -> anyhow::Result<String> {
    // Two authorities of the same name are easily mistaken for each other.
    let name = format!("Commissaire authority {:08x}", u32::from_be_bytes(random::bytes()));
    let mut params = params(&name, today, today.checked_add(AUTHORITY_YEARS.years())?)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

fn sign(
    issuer: &Issuer<'_, KeyPair>,
    names: BTreeSet<String>,
    today: Date,
) -> anyhow::Result<String> {
    let until = today.checked_add(CERTIFICATE_DAYS.days())?;
    let mut params = params("Commissaire", today, until)?;
    params.subject_alt_names =
        CertificateParams::new(names.into_iter().collect::<Vec<_>>())?.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

fn params(name: &str, today: Date, until: Date) -> anyhow::Result<CertificateParams> {
    let time = |date: Date| {
        anyhow::Ok(date_time_ymd(
            date.year().into(),
            date.month().try_into()?,
            date.day().try_into()?,
        ))
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // Other machines' clocks may be behind.
    params.not_before = time(today.checked_sub(1.day())?)?;
    params.not_after = time(until)?;
    Ok(params)
}

/// What clients may call this machine.
fn names(listening: IpAddr) -> std::io::Result<BTreeSet<String>> {
    let mut addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    if listening.is_unspecified() {
        let all = if_addrs::get_if_addrs()?;
        addresses.extend(all.into_iter().filter(|at| !at.is_link_local()).map(|at| at.ip()));
    } else {
        addresses.push(listening);
    }
    let mut names: BTreeSet<_> = addresses.iter().map(ToString::to_string).collect();
    names.insert("localhost".to_owned());
    let host = uname().nodename().to_string_lossy().to_ascii_lowercase();
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if !host.is_empty() && host.bytes().all(in_host) {
        names.insert(host);
    }
    Ok(names)
}

fn seen(certificate: &CertificateDer<'_>) -> Option<Seen> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??.value.general_names.iter();
    let names = names.map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            _ => Some(IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
        },
        _ => None,
    });
    Some(Seen {
        names: names.collect::<Option<_>>()?,
        expires: Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?,
    })
}

/// The certificates of a PEM text; none where one of them is damaged.
fn certificates(text: &str) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_slice_iter(text.as_bytes());
    certificates.collect::<Result<_, _>>().unwrap_or_default()
}

/// A certificate as PEM.
fn pem(certificate: &CertificateDer<'_>) -> String {
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    // 48 bytes are a line of 64 characters.
    for line in certificate.chunks(48) {
        BASE64.encode_string(line, &mut text);
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// None: there is no such file.
fn text_of(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow!(error).context(format!("cannot read {}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn made(data: &DataDir, listening: IpAddr, now: Timestamp) -> [String; 3] {
        certificate(data, listening, now).unwrap();
        [data.authority_key(), data.authority(), data.certificate()]
            .map(|path| std::fs::read_to_string(path).unwrap())
    }

    #[test]
    fn what_is_there_stays_and_a_certificate_is_made_when_it_has_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let first = made(&data, LOOPBACK, now());
        assert_eq!(made(&data, LOOPBACK, now() + (365 * 24).hours()), first);

        let other = made(&data, "192.0.2.1".parse().unwrap(), now());
        assert_eq!(other[..2], first[..2], "the authority is the same");
        let seen = |text: &str| seen(&certificates(text)[0]).unwrap();
        let names = seen(&other[2]).names;
        assert!(["localhost", "127.0.0.1", "::1", "192.0.2.1"].iter().all(|n| names.contains(*n)));
        assert_eq!(made(&data, LOOPBACK, now()), other, "an address that went changes nothing");

        let later = made(&data, LOOPBACK, now() + (2 * 366 * 24).hours());
        assert_eq!(later[..2], first[..2]);
        assert!(seen(&later[2]).expires > seen(&first[2]).expires);
    }

    #[test]
    fn the_authority_follows_the_certificate_and_has_its_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let [_, authority, chain] = made(&data, LOOPBACK, now());
        assert!(chain.ends_with(&authority));
        // The digest of the bytes that clients get.
        let base64: String = authority.lines().filter(|line| !line.starts_with("---")).collect();
        let der = BASE64.decode(base64).unwrap();
        let printed = fingerprint(&data.authority()).unwrap();
        let bytes: Vec<_> =
            printed.split(':').map(|d| u8::from_str_radix(d, 16).unwrap()).collect();
        assert_eq!(bytes, Sha256::digest(der).to_vec());
        assert_eq!(fingerprint(&data.certificate()).unwrap(), printed);

        // As a version wrote it that sent no authority.
        let alone = chain.strip_suffix(&authority).unwrap();
        std::fs::write(data.certificate(), alone).unwrap();
        let error = fingerprint(&data.certificate()).unwrap_err().to_string();
        assert!(error.contains("holds no certificate of an authority"), "{error}");
        assert!(made(&data, LOOPBACK, now())[2].ends_with(&authority));
    }

    #[test]
    fn files_with_comments_and_other_line_ends_stay() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let [key, authority, chain] = made(&data, LOOPBACK, now());
        let edited = |text: String| format!("ours\r\n{}", text.replace('\n', "\r\n"));
        let edited = [key, edited(authority), edited(chain)];
        std::fs::write(data.authority(), &edited[1]).unwrap();
        std::fs::write(data.certificate(), &edited[2]).unwrap();
        assert_eq!(made(&data, LOOPBACK, now()), edited);
    }

    #[test]
    fn another_authority_signs_anew_and_the_public_part_follows() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let first = made(&data, LOOPBACK, now());
        std::fs::remove_file(data.authority_key()).unwrap();
        let second = made(&data, LOOPBACK, now());
        assert!((0..3).all(|file| first[file] != second[file]));
        assert!(second[0].ends_with(&second[1]) && !second[1].contains("PRIVATE"));
    }

    #[test]
    fn what_is_no_authority_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        std::fs::write(data.authority_key(), "precious").unwrap();
        let error = certificate(&data, LOOPBACK, now()).unwrap_err().to_string();
        assert!(error.contains("restore it"), "{error}");
        assert_eq!(std::fs::read_to_string(data.authority_key()).unwrap(), "precious");
    }

    #[test]
    fn where_all_addresses_are_listened_on_all_are_in_it() {
        let all = names(Ipv4Addr::UNSPECIFIED.into()).unwrap();
        assert!(all.is_superset(&names(LOOPBACK).unwrap()));
        assert!(!all.contains("0.0.0.0"));
    }
}
