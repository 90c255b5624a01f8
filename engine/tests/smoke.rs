//! The engine starts, serves and stops.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

struct Nobody;
impl link::Control for Nobody {
    fn report(&self, report: link::Report) {
        println!("{report:?}");
    }
    fn visit(&self, visitor: link::Visitor) -> Result<(), link::Visitor> {
        Err(visitor)
    }
}

fn ask(addr: std::net::SocketAddr, text: &str) -> String {
    let mut s = TcpStream::connect(addr).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    s.write_all(text.as_bytes()).unwrap();
    let mut out = String::new();
    let _ = s.read_to_string(&mut out);
    out
}

#[test]
fn serves() {
    for cores in [vec![0], vec![0, 1]] {
        let config = engine::Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: None,
            cores,
            lanes: 1,
            trickle: engine::TrickleConfig {
                autocreate: true,
                ..Default::default()
            },
            limits: engine::Limits::default(),
        };
        let handle = engine::Engine::start(config, Arc::new(Nobody)).unwrap();
        let a = handle.local_addr();
        for name in ["a", "b", "c", "d"] {
            println!(
                "{}",
                ask(
                    a,
                    &format!(
                        "POST /ai/trickle/{name} HTTP/1.1\r\nExpect-Content: video/MP2T\r\nConnection: close\r\n\r\n"
                    )
                )
            );
            println!(
                "{}",
                ask(
                    a,
                    &format!(
                        "POST /ai/trickle/{name}/0 HTTP/1.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
                    )
                )
            );
            let got = ask(
                a,
                &format!("GET /ai/trickle/{name}/0 HTTP/1.1\r\nConnection: close\r\n\r\n"),
            );
            println!("{got}");
            assert!(got.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{got}");
        }
        println!("{}", ask(a, "GET / HTTP/1.1\r\n\r\n"));
        println!("{:?}", handle.metrics());
        handle.stop();
    }
}
