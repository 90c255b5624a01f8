//! The certificate as openssl and rustls see it.

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;

use control::gateway::anyone;
use control::tls::{self, SelfSigned};
use control::world::{System, World};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};

fn client(
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(anyone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Shakes hands in memory.
fn handshake(
    server: &Arc<rustls::ServerConfig>,
    client: &Arc<ClientConfig>,
) -> (ServerConnection, ClientConnection) {
    let name = ServerName::try_from("node.example").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            server.read_tls(&mut wire).unwrap();
        }
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
        }
        client.process_new_packets().unwrap();
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    (server, client)
}

#[test]
fn peers_shake_hands_in_both_versions_and_resume() {
    let made = SelfSigned::generate("node.example", &System).unwrap();
    let server = tls::server_config(made.cert_pem.as_bytes(), made.key_pem.as_bytes()).unwrap();
    let server = Arc::new(server);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = client(&[version], &[b"h2", b"http/1.1"]);
        let (_, first) = handshake(&server, &client);
        assert_eq!(first.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(first.protocol_version(), Some(version.version));
        assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
        let (_, second) = handshake(&server, &client);
        assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed));
    }
    let (_, plain) = handshake(&server, &client(rustls::ALL_VERSIONS, &[b"http/1.1"]));
    assert_eq!(plain.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (_, none) = handshake(&server, &client(rustls::ALL_VERSIONS, &[]));
    assert_eq!(none.alpn_protocol(), None);
}

#[test]
fn the_certificate_has_the_shape_of_go_livepeers() {
    // 2026-01-02 03:04:05 UTC
    struct Fixed;
    impl World for Fixed {
        fn unix_ms(&self) -> u64 {
            1_767_323_045_678
        }
        fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
            bytes.fill(0x11);
            Ok(())
        }
    }
    let made = SelfSigned::generate("127.0.0.1", &Fixed).unwrap();
    assert!(made.key_pem.starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
    assert!(made.cert_pem.starts_with("-----BEGIN CERTIFICATE-----"));
    let Some(text) = openssl(
        &["x509", "-noout", "-text", "-fingerprint", "-sha256"],
        &made.cert_pem,
    ) else {
        eprintln!("no openssl here; the certificate was not looked at");
        return;
    };
    for line in [
        "Version: 3",
        "11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11",
        "Signature Algorithm: ecdsa-with-SHA256",
        "Not Before: Jan  2 03:04:05 2026 GMT",
        "Not After : Jan  2 08:04:05 2027 GMT",
        "Public Key Algorithm: id-ecPublicKey",
        "ASN1 OID: prime256v1",
        "CA:TRUE",
        "Digital Signature, Certificate Sign",
        "TLS Web Server Authentication",
        "DNS:127.0.0.1",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(!text.contains("IP Address:"), "{text}");
    let subject = text
        .lines()
        .find(|line| line.trim_start().starts_with("Subject:"))
        .unwrap();
    assert_eq!(subject.trim(), "Subject:");
    assert!(
        text.contains(&tls::fingerprint(made.cert_pem.as_bytes()).unwrap()),
        "{text}"
    );
    let key = openssl(&["ec", "-noout", "-text"], &made.key_pem).unwrap();
    assert!(key.contains("prime256v1"), "{key}");
}

#[test]
fn two_certificates_differ_and_do_not_mix() {
    let (a, b) = (
        SelfSigned::generate("a", &System).unwrap(),
        SelfSigned::generate("a", &System).unwrap(),
    );
    assert_ne!(a.key_pem, b.key_pem);
    let mixed = tls::server_config(a.cert_pem.as_bytes(), b.key_pem.as_bytes());
    assert_eq!(
        mixed.unwrap_err().to_string(),
        "the certificate and the key do not go together"
    );
}

#[test]
fn texts_that_are_no_pem_are_refused() {
    let made = SelfSigned::generate("a", &System).unwrap();
    let (cert, key) = (made.cert_pem.as_bytes(), made.key_pem.as_bytes());
    let said = |cert, key| tls::server_config(cert, key).unwrap_err().to_string();
    assert!(said(b"", key).starts_with("the certificate file is not a PEM certificate chain"));
    assert!(said(cert, b"junk").starts_with("the key file is not a PEM private key"));
    assert!(said(key, cert).contains("not a PEM"));
    assert!(SelfSigned::generate("h\u{f6}st", &System).is_err());
}

fn openssl(args: &[&str], stdin: &str) -> Option<String> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    io::Write::write_all(&mut child.stdin.take()?, stdin.as_bytes()).ok()?;
    Some(String::from_utf8_lossy(&child.wait_with_output().ok()?.stdout).into_owned())
}
