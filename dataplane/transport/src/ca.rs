//! The cluster's own certificate authority: bytes in, bytes out. Files are the caller's, who
//! writes keys with mode 0600.
//!
//! ```text
//! Ca::create ──> issue(node-1), issue(node-2), ...      roots_pem(): the authority
//!     │ rotate
//!     v
//! Ca (new key) ──> issue(...)                           roots_pem(): the new one and the old one
//!     │ forget_older, once every peer has a certificate of the new key
//!     v
//! Ca ──> ...                                            roots_pem(): the new one
//! ```
//!
//! What must always hold: the key of an authority leaves it only through [`Ca::key_pem`]; a
//! certificate is for both roles, because every node dials and is dialled; an authority can't
//! make further authorities (path length 0). While keys change, both roots are trusted, so no
//! order of restarts cuts peers off: first all get the new roots, then new certificates.
//!
//! Keys are ECDSA P-256 and come from the crypto library's own random numbers: chance that must
//! not be replayed.

use std::net::IpAddr;

use isotherm_seam::Wall;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};

/// How long an authority's own certificate holds.
const CA_DAYS: u32 = 3650;

/// Certificates hold from so long before they were made: clocks of a cluster differ.
const CLOCK_SKEW: Duration = Duration::hours(1);

/// Why there is no certificate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CaError {
    /// Not a name that a certificate can carry.
    #[error("{name:?} can't be the name of a node: use letters, digits, hyphens and dots")]
    Name {
        /// As given.
        name: String,
    },
    /// The bytes are not a certificate and its key.
    #[error("this is no PEM file of a certificate authority and its key")]
    Unreadable,
    /// Certificate and key are not of each other.
    #[error("the certificate of the authority was made with another key")]
    OtherKey,
    /// The crypto library failed.
    #[error("the crypto library could not make a key or a certificate")]
    Crypto,
}

/// An authority.
pub struct Ca {
    name: String,
    issuer: Issuer<'static, KeyPair>,
    cert_pem: String,
    /// Certificates of earlier keys that are still trusted, the latest first.
    older_pem: Vec<String>,
}

/// What a certificate is for.
#[derive(Clone, Debug)]
pub struct LeafRequest<'a> {
    /// The name that peers ask for ([`crate::PeerAddr::name`]).
    pub name: &'a str,
    /// Other names of the host.
    pub dns: &'a [String],
    /// Its addresses.
    pub ips: &'a [IpAddr],
    /// From when on,
    pub now: Wall,
    /// and for how long.
    pub days: u32,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate.
    pub cert_pem: String,
    /// Its key. For its owner's eyes only.
    pub key_pem: String,
}

impl Ca {
    /// A new authority of this name.
    pub fn create(name: &str, now: Wall) -> Result<Ca, CaError> {
        let key = KeyPair::generate().map_err(|_| CaError::Crypto)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(now, CA_DAYS)?;
        let cert = params.self_signed(&key).map_err(|_| CaError::Crypto)?;
        let issuer = Issuer::new(params, key);
        Ok(Ca { name: name.into(), issuer, cert_pem: cert.pem(), older_pem: Vec::new() })
    }

    /// From what [`Ca::roots_pem`] and [`Ca::key_pem`] wrote. The first certificate is that of
    /// the key.
    pub fn load(name: &str, roots_pem: &str, key_pem: &str) -> Result<Ca, CaError> {
        let mut certs = split_pem(roots_pem)?.into_iter();
        let cert_pem = certs.next().ok_or(CaError::Unreadable)?;
        let key = KeyPair::from_pem(key_pem).map_err(|_| CaError::Unreadable)?;
        let der =
            CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|_| CaError::Unreadable)?;
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|_| CaError::Unreadable)?;
        // The anchor has the key without its outer frame.
        if !key.subject_public_key_info().ends_with(&anchor.subject_public_key_info) {
            return Err(CaError::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_pem(&cert_pem, key).map_err(|_| CaError::Unreadable)?;
        Ok(Ca { name: name.into(), issuer, cert_pem, older_pem: certs.collect() })
    }

    /// The certificates of all keys that peers should trust, as PEM: the current one first.
    pub fn roots_pem(&self) -> String {
        std::iter::once(&self.cert_pem).chain(&self.older_pem).map(String::as_str).collect()
    }

    /// The key, as PEM. Who has it is the cluster.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// An authority of the same name with a new key, whose roots contain the old ones too.
    pub fn rotate(&self, now: Wall) -> Result<Ca, CaError> {
        let mut next = Ca::create(&self.name, now)?;
        next.older_pem = std::iter::once(&self.cert_pem).chain(&self.older_pem).cloned().collect();
        Ok(next)
    }

    /// Ends the overlap: only the current key is trusted.
    pub fn forget_older(&mut self) {
        self.older_pem.clear();
    }

    /// Makes a certificate for both roles, with a key of its own.
    pub fn issue(&self, request: &LeafRequest<'_>) -> Result<Leaf, CaError> {
        let bad_name = || CaError::Name { name: request.name.into() };
        if request.name.parse::<IpAddr>().is_ok() {
            return Err(bad_name());
        }
        let mut params = CertificateParams::default();
        for name in std::iter::once(request.name).chain(request.dns.iter().map(String::as_str)) {
            rustls::pki_types::DnsName::try_from(name).map_err(|_| bad_name())?;
            let san = name.try_into().map_err(|_| bad_name())?;
            params.subject_alt_names.push(SanType::DnsName(san));
        }
        let ips = request.ips.iter().map(|&ip| SanType::IpAddress(ip));
        params.subject_alt_names.extend(ips);
        params.distinguished_name.push(DnType::CommonName, request.name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = validity(request.now, request.days)?;
        let key = KeyPair::generate().map_err(|_| CaError::Crypto)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(|_| CaError::Crypto)?;
        Ok(Leaf { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
}

fn validity(now: Wall, days: u32) -> Result<(OffsetDateTime, OffsetDateTime), CaError> {
    let now =
        OffsetDateTime::from_unix_timestamp_nanos(now.0.into()).map_err(|_| CaError::Crypto)?;
    Ok((now - CLOCK_SKEW, now + Duration::days(days.into())))
}

/// The certificates of a PEM file, each as a file of its own.
fn split_pem(text: &str) -> Result<Vec<String>, CaError> {
    const END: &str = "-----END CERTIFICATE-----";
    let mut certs = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(END) {
        let (cert, tail) = rest.split_at(end + END.len());
        CertificateDer::from_pem_slice(cert.as_bytes()).map_err(|_| CaError::Unreadable)?;
        certs.push(format!("{}\n", cert.trim_start()));
        rest = tail;
    }
    Ok(certs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_800_000_000_000_000_000);

    fn request(name: &str) -> LeafRequest<'_> {
        LeafRequest { name, dns: &[], ips: &[], now: NOW, days: 30 }
    }

    #[test]
    fn what_was_saved_is_loaded_and_goes_on() {
        let ca = Ca::create("test", NOW).unwrap();
        let next = ca.rotate(NOW).unwrap();
        let roots = next.roots_pem();
        assert_eq!(roots.matches("BEGIN CERTIFICATE").count(), 2);
        let mut loaded = Ca::load("test", &roots, &next.key_pem()).unwrap();
        assert_eq!(loaded.roots_pem(), roots);
        loaded.issue(&request("node-1")).unwrap();
        loaded.forget_older();
        assert_eq!(loaded.roots_pem().matches("BEGIN CERTIFICATE").count(), 1);
        let third = loaded.rotate(NOW).unwrap().rotate(NOW).unwrap();
        assert_eq!(third.roots_pem().matches("BEGIN CERTIFICATE").count(), 3);
    }

    #[test]
    fn a_key_of_another_authority_and_junk_are_refused() {
        let (a, b) = (Ca::create("a", NOW).unwrap(), Ca::create("a", NOW).unwrap());
        let load = |roots: &str, key: &str| Ca::load("a", roots, key).err().unwrap();
        assert_eq!(load(&a.roots_pem(), &b.key_pem()), CaError::OtherKey);
        assert_eq!(load("", &b.key_pem()), CaError::Unreadable);
        assert_eq!(load(&a.roots_pem(), "junk"), CaError::Unreadable);
        let cut = a.roots_pem().replacen('M', "", 40);
        assert_eq!(load(&cut, &a.key_pem()), CaError::Unreadable);
    }

    #[test]
    fn names_that_no_certificate_can_carry_are_refused() {
        let ca = Ca::create("test", NOW).unwrap();
        for name in ["", "two words", "10.0.0.1", "é", "-x"] {
            let error = ca.issue(&request(name)).err();
            assert_eq!(error, Some(CaError::Name { name: name.into() }), "{name:?}");
        }
        for name in ["node-1", "rack3.node-17", "n"] {
            ca.issue(&request(name)).unwrap();
        }
    }
}
