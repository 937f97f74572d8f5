//! Who we are and whom we trust: certificates, and what QUIC's TLS is allowed to do.
//!
//! What must always hold: both sides show a certificate of the cluster's authority, and the side
//! that dials checks the other's name; TLS 1.3 only; nothing is sent before the handshake is done
//! (0-RTT data can be replayed) and nothing is resumed (a resumed session skips the look at the
//! certificate); peers agree on a version of our protocol or part.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Versions of the protocol, as ALPN names them, the preferred one first: this one and the one
/// before it.
pub const PROTOCOLS: [&[u8]; 2] = [b"isotherm/2", b"isotherm/1"];

/// What is wrong with an identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentityError {
    /// No certificate in it.
    #[error("there is no certificate in the PEM file")]
    NoCertificate,
    /// No key, or not one that can be used.
    #[error("there is no usable private key in the PEM file")]
    NoKey,
    /// The key is not that of the certificate.
    #[error("the private key is not that of the certificate")]
    OtherKey,
    /// No authority to trust.
    #[error("there is no certificate of an authority in the PEM file")]
    NoRoots,
}

/// A certificate, its key, and the authorities that are trusted.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The name in the certificate.
    name: String,
    pub(crate) server: Arc<QuicServerConfig>,
    pub(crate) client: Arc<QuicClientConfig>,
}

impl TlsIdentity {
    /// From PEM: our certificates (the own one first), the own one's key, the roots.
    pub fn from_pem(
        chain_pem: &[u8],
        key_pem: &[u8],
        roots_pem: &[u8],
    ) -> Result<TlsIdentity, IdentityError> {
        let certs = |pem, error| {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            read.ok().filter(|certs| !certs.is_empty()).ok_or(error)
        };
        let chain = certs(chain_pem, IdentityError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| IdentityError::NoKey)?;
        TlsIdentity::from_der(chain, key, certs(roots_pem, IdentityError::NoRoots)?)
    }

    /// From DER.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<TlsIdentity, IdentityError> {
        TlsIdentity::speaking(chain, key, roots, &PROTOCOLS)
    }

    /// As [`TlsIdentity::from_der`], with other versions of the protocol than this build's: for
    /// tests of what happens then.
    #[doc(hidden)]
    pub fn speaking(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: Vec<CertificateDer<'static>>,
        protocols: &[&[u8]],
    ) -> Result<TlsIdentity, IdentityError> {
        let name = chain.first().and_then(name_of).ok_or(IdentityError::NoCertificate)?;
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).map_err(|_| IdentityError::NoRoots)?;
        }
        let (provider, store) = (provider(), Arc::new(store));
        let alpn: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        let own_error = |error| match error {
            rustls::Error::InconsistentKeys(_) => IdentityError::OtherKey,
            _ => IdentityError::NoKey,
        };
        let tls13 = &[&rustls::version::TLS13];

        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&store), Arc::clone(&provider))
                .build()
                .map_err(|_| IdentityError::NoRoots)?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(tls13)
            .expect("the provider has TLS 1.3")
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(own_error)?;
        server.alpn_protocols.clone_from(&alpn);
        server.max_early_data_size = 0;
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});

        let servers = WebPkiServerVerifier::builder_with_provider(store, Arc::clone(&provider))
            .build()
            .map_err(|_| IdentityError::NoRoots)?;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(tls13)
            .expect("the provider has TLS 1.3")
            .with_webpki_verifier(servers)
            .with_client_auth_cert(chain, key)
            .map_err(own_error)?;
        client.alpn_protocols = alpn;
        client.enable_early_data = false;
        client.resumption = Resumption::disabled();

        let server = QuicServerConfig::try_from(server).expect("the provider has AES-128-GCM");
        let client = QuicClientConfig::try_from(client).expect("the provider has AES-128-GCM");
        Ok(TlsIdentity { name, server: Arc::new(server), client: Arc::new(client) })
    }

    /// The name that peers check.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// AES-128-GCM first: with AES instructions it is the fastest, and 256-bit keys protect against
/// nothing that threatens this traffic.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    })
}

/// The first name in a certificate. It was made by [`crate::Ca`], which puts the node's there.
pub(crate) fn name_of(cert: &CertificateDer<'static>) -> Option<String> {
    let cert = webpki::EndEntityCert::try_from(cert).ok()?;
    cert.valid_dns_names().next().map(String::from)
}

/// The identity of a node, shared by the endpoints of all its cores; it can be replaced while
/// they run.
pub struct Identities {
    current: Mutex<TlsIdentity>,
    generation: AtomicU64,
}

impl Identities {
    /// With a first identity.
    pub fn new(identity: TlsIdentity) -> Arc<Identities> {
        Arc::new(Identities { current: Mutex::new(identity), generation: AtomicU64::new(1) })
    }

    /// New handshakes use this one. Connections keep what they were made with until they are
    /// closed: see [`crate::quic::Quic::close_older_than`].
    pub fn replace(&self, identity: TlsIdentity) {
        *self.current.lock().expect("nobody panics with it") = identity;
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The current one.
    pub fn current(&self) -> TlsIdentity {
        self.current.lock().expect("nobody panics with it").clone()
    }

    /// Changes with each replacement.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}
