//! How a server is connected to: its address, and whose certificate is believed.
//!
//! As stock trickle peers do: no protocol is negotiated (no ALPN), so HTTP/1.1 is spoken, and no session is resumed, so each
//! connection pays for its whole handshake. Only for gRPC is HTTP/2 asked for, as gRPC's own clients do.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::socket::Socket;
use crate::failure::Failure;
use crate::target::{Target, Trust};

/// Makes connections to one server.
#[derive(Debug, Clone)]
pub struct Dialer {
    addr: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Dialer {
    /// For a target; its roots are read now.
    ///
    /// # Errors
    /// The roots cannot be read, or the host cannot be in a certificate.
    pub fn new(target: &Target) -> Result<Self, Failure> {
        Self::with_alpn(target, Vec::new())
    }

    /// The same, for HTTP/2: over TLS it is asked for, and whether it was agreed on is told by [`super::Net::has_agreed_on_h2`]. Without
    /// TLS whoever connects just speaks it.
    ///
    /// # Errors
    /// As [`Self::new`]'s.
    pub fn h2(target: &Target) -> Result<Self, Failure> {
        Self::with_alpn(target, vec![H2.to_vec()])
    }

    fn with_alpn(target: &Target, alpn: Vec<Vec<u8>>) -> Result<Self, Failure> {
        let tls = if target.is_tls {
            let name = ServerName::try_from(target.host.clone())
                .map_err(|error| Failure::new(format!("{}: {error}", target.host)))?;
            let mut config = config(&target.trust)?;
            config.alpn_protocols = alpn;
            Some((Arc::new(config), name))
        } else {
            None
        };
        Ok(Self {
            addr: target.addr,
            tls,
        })
    }

    /// Begins a connection.
    pub(super) fn dial(&self) -> io::Result<Socket> {
        let family = match self.addr {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let fd = rustix::net::socket_with(
            family,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )?;
        match rustix::net::connect(&fd, &self.addr) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        let tls = match &self.tls {
            Some((config, name)) => Some(
                ClientConnection::new(Arc::clone(config), name.clone())
                    .map_err(io::Error::other)?,
            ),
            None => None,
        };
        Ok(Socket::connecting(stream, tls))
    }
}

fn config(trust: &Trust) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(error.to_string()))?;
    let mut config = match trust {
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believer(provider)))
            .with_no_client_auth(),
        Trust::Roots(path) => {
            let wrong =
                |why: &dyn std::fmt::Display| Failure::new(format!("{}: {why}", path.display()));
            let mut roots = RootCertStore::empty();
            for root in CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))? {
                roots
                    .add(root.map_err(|e| wrong(&e))?)
                    .map_err(|e| wrong(&e))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"there is no certificate in it"));
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// HTTP/2's name in TLS.
pub(super) const H2: &[u8] = b"h2";

/// Believes any certificate: an orchestrator signs its own, and stock peers do not look. That whoever shows it also has its key
/// is checked all the same, so that a handshake costs what theirs cost.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
