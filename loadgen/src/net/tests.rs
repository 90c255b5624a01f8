//! The sockets against the kernel's own, plain and TLS.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::target::{Target, Trust};

#[test]
fn what_a_full_socket_does_not_take_arrives_later_and_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut theirs, _) = listener.accept().unwrap();
    let sent = noise(8_000_000);

    let mut net = Net::new().unwrap();
    let token = net.add(ours).unwrap();
    for part in sent.chunks(1_000_003) {
        let (head, tail) = part.split_at(part.len() / 3);
        net.send(token, &[head, tail]).unwrap();
    }
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).map(|_| got)
    });
    let mut events = Vec::new();
    while net.unsent(token) > 0 {
        net.wait(&mut events, Some(1_000)).unwrap();
        assert!(
            events
                .iter()
                .all(|event| event.token == token && event.writable)
        );
        net.flush(token).unwrap();
    }
    net.close(token);
    assert!(reader.join().unwrap().unwrap() == sent);
}

#[test]
fn what_is_sent_before_it_is_connected_comes_back_whole() {
    for is_tls in [false, true] {
        let (target, server) = echo(is_tls);
        let mut net = Net::new().unwrap();
        let token = net.connect(&Dialer::new(&target).unwrap()).unwrap();
        let sent = noise(3_000_000);
        net.send(token, &[&sent[..7], &sent[7..]]).unwrap();
        // Room for less than a TLS record, so that plaintext waits within TLS.
        let got = read_until(&mut net, token, sent.len(), 5_000);
        assert!(got == sent, "tls {is_tls}");
        assert!(net.is_open(token));
        net.close(token);
        server.join().unwrap();
    }
}

#[test]
fn a_connection_that_is_refused_is_told_and_classed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = target(&listener, false, Trust::Anyone);
    drop(listener);
    let mut net = Net::new().unwrap();
    let token = net.connect(&Dialer::new(&target).unwrap()).unwrap();
    let mut events = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        net.wait(&mut events, Some(100)).unwrap();
        match net.read(token, &mut [0; 16]) {
            Ok(None) if Instant::now() < deadline => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(net.class_of(token, &error), "connect");
}

#[test]
fn roots_that_do_not_vouch_for_the_server_are_not_fooled() {
    let roots = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let path = std::env::temp_dir().join(format!("loadgen-roots-{}.pem", std::process::id()));
    std::fs::write(&path, roots.cert.pem()).unwrap();
    let (mut target, server) = echo(true);
    target.trust = Trust::Roots(path.clone());
    let mut net = Net::new().unwrap();
    let token = net.connect(&Dialer::new(&target).unwrap()).unwrap();
    let mut events = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        net.wait(&mut events, Some(100)).unwrap();
        net.flush(token).unwrap();
        match net.read(token, &mut [0; 16]) {
            Ok(None) if Instant::now() < deadline => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(net.class_of(token, &error), "tls", "{error}");
    net.close(token);
    server.join().unwrap();
    std::fs::write(&path, "no certificate").unwrap();
    assert!(Dialer::new(&target).is_err());
    std::fs::remove_file(&path).unwrap();
}

/// Reads `count` bytes, `step` at a time.
fn read_until(net: &mut Net, token: Token, count: usize, step: usize) -> Vec<u8> {
    let (mut got, mut room, mut events) = (Vec::new(), vec![0; step], Vec::new());
    let deadline = Instant::now() + PATIENCE;
    while got.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} bytes", got.len());
        net.wait(&mut events, Some(1_000)).unwrap();
        for event in &events {
            if event.writable {
                net.flush(token).unwrap();
            }
            if event.readable
                && let Some(more) = net.read(token, &mut room).unwrap()
            {
                assert!(more > 0, "it ended after {} of {count} bytes", got.len());
                got.extend_from_slice(&room[..more]);
            }
        }
    }
    got
}

/// A server that takes one connection and returns what it gets.
fn echo(is_tls: bool) -> (Target, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = target(&listener, is_tls, Trust::Anyone);
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if is_tls {
            let connection = ServerConnection::new(server_config()).unwrap();
            pump(&mut StreamOwned::new(connection, stream));
        } else {
            pump(&mut stream);
        }
    });
    (target, server)
}

/// Until the client is gone, however it goes.
fn pump(stream: &mut (impl Read + Write)) {
    let mut buffer = vec![0; 40_000];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() || stream.flush().is_err() {
            return;
        }
    }
}

fn target(listener: &TcpListener, is_tls: bool, trust: Trust) -> Target {
    let scheme = if is_tls { "https" } else { "http" };
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    Target::resolve(&url, trust, String::new()).unwrap()
}

fn server_config() -> Arc<ServerConfig> {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

fn noise(bytes: u32) -> Vec<u8> {
    (0..bytes)
        .map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()[3])
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(20);
