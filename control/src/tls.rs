//! The node's certificate and the TLS settings of its port.
//!
//! No go-livepeer peer verifies a certificate, so the node makes its own at every start, in the shape that go-livepeer
//! gives it; an operator who has a real one hands that in instead.
//!
//! Invariants:
//! - Generation is pure: time and chance come from [`World`], and the caller decides where the PEM texts go.
//! - ALPN always offers `h2` before `http/1.1`: gRPC clients refuse a server that does not.
//! - Sessions can be resumed, by ticket and by id: some clients open a connection a segment.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use p256::SecretKey;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::der::pem;
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::world::World;

/// How long a generated certificate holds, as in go-livepeer.
const VALIDITY: Duration = Duration::from_secs(8_765 * 3_600);
/// TLS sessions that can be resumed by id, for TLS 1.2 clients that take no ticket. About 200 bytes each.
const CACHED_SESSIONS: usize = 4_096;
/// A random 32-byte string is outside the curve's order once in 2^32 tries.
const KEY_TRIES: usize = 8;

/// Why there is no certificate, or no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The system gave no randomness.
    #[error("no randomness for a TLS key")]
    Randomness(#[source] io::Error),
    /// The host cannot stand in a certificate.
    #[error("`{0}` cannot be the name in a certificate; a host name is ASCII")]
    Host(String),
    /// Signing failed.
    #[error("the certificate could not be made: {0}")]
    Generate(String),
    /// The certificate file holds no certificate.
    #[error("the certificate file is not a PEM certificate chain: {0}")]
    Chain(String),
    /// The key file holds no private key.
    #[error("the key file is not a PEM private key: {0}")]
    Key(String),
    /// The two do not fit together.
    #[error("the certificate and the key do not go together")]
    Mismatch(#[source] rustls::Error),
}

/// A self-signed certificate and its key, both PEM.
pub struct SelfSigned {
    /// `CERTIFICATE`.
    pub cert_pem: String,
    /// `EC PRIVATE KEY` (SEC1).
    pub key_pem: String,
}

impl SelfSigned {
    /// Makes an ECDSA P-256 certificate for `host`.
    ///
    /// The host becomes the only DNS name, also when it is an IP literal: that is what go-livepeer does, and its peers
    /// compare nothing.
    ///
    /// # Errors
    /// Without randomness, or when `host` is not ASCII.
    pub fn generate(host: &str, world: &dyn World) -> Result<Self, TlsError> {
        let secret = secret_key(world)?;
        let pkcs8 = secret
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| TlsError::Generate(error.to_string()))?;
        let key_pem = sec1_pem(&secret)?;
        let signer =
            KeyPair::from_pem(&pkcs8).map_err(|error| TlsError::Generate(error.to_string()))?;

        let mut serial = [0; 16];
        world.fill(&mut serial).map_err(TlsError::Randomness)?;
        let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(world.unix_ms());
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = now;
        params.not_after = now + VALIDITY;
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let name = Ia5String::try_from(host).map_err(|_| TlsError::Host(host.to_owned()))?;
        params.subject_alt_names = vec![SanType::DnsName(name)];
        let cert = params
            .self_signed(&signer)
            .map_err(|error| TlsError::Generate(error.to_string()))?;
        Ok(Self {
            cert_pem: cert.pem(),
            key_pem,
        })
    }
}

/// The TLS settings of the port: TLS 1.2 and 1.3, ring, `h2` and `http/1.1`, resumption on, no client certificates.
///
/// # Errors
/// When either text is not what it should be, or the key is not the certificate's.
pub fn server_config(cert_chain_pem: &[u8], key_pem: &[u8]) -> Result<ServerConfig, TlsError> {
    let chain = chain(cert_chain_pem)?;
    let key =
        PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| TlsError::Key(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Mismatch)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Mismatch)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(TlsError::Mismatch)?;
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(CACHED_SESSIONS);
    Ok(config)
}

/// The SHA-256 of a chain's first certificate, as `openssl x509 -fingerprint -sha256` prints it.
///
/// # Errors
/// When the text holds no certificate.
pub fn fingerprint(cert_chain_pem: &[u8]) -> Result<String, TlsError> {
    let chain = chain(cert_chain_pem)?;
    let first = chain
        .first()
        .ok_or_else(|| TlsError::Chain("it is empty".to_owned()))?;
    let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .ok_or_else(|| TlsError::Generate("no SHA-256".to_owned()))?;
    let digest = suite.common.hash_provider.hash(first);
    let pairs: Vec<String> = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    Ok(pairs.join(":"))
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Chain(error.to_string()))?;
    match chain.is_empty() {
        true => Err(TlsError::Chain("it holds no certificate".to_owned())),
        false => Ok(chain),
    }
}

/// The key as Go and openssl write it: RFC 5915 with the curve and the public point, which the key's own encoder leaves
/// out and openssl then cannot read.
///
/// ```text
///   SEQUENCE { INTEGER 1, OCTET STRING secret, [0] { OID prime256v1 }, [1] { BIT STRING public point } }
/// ```
fn sec1_pem(secret: &SecretKey) -> Result<String, TlsError> {
    const HEAD: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
    const CURVE: [u8; 12] = [
        0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ];
    const POINT: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];
    let public = secret.public_key().to_encoded_point(false);
    let der = [
        &HEAD[..],
        &secret.to_bytes(),
        &CURVE,
        &POINT,
        public.as_bytes(),
    ]
    .concat();
    pem::encode_string("EC PRIVATE KEY", LineEnding::LF, &der)
        .map_err(|error| TlsError::Generate(error.to_string()))
}

fn secret_key(world: &dyn World) -> Result<SecretKey, TlsError> {
    for _ in 0..KEY_TRIES {
        let mut bytes = [0; 32];
        world.fill(&mut bytes).map_err(TlsError::Randomness)?;
        if let Ok(secret) = SecretKey::from_slice(&bytes) {
            return Ok(secret);
        }
    }
    Err(TlsError::Randomness(io::Error::other(
        "the random bytes are not random",
    )))
}
