//! `millstream gateway probe`, as the binary itself does it: what it prints, what it signs, and its exit statuses.

#[path = "../../tests/peer/mod.rs"]
mod peer;

use std::path::PathBuf;
use std::process::{Command, Output};

use control::payment::keystore::{self, Cost};
use control::ticket::sender::LocalKey;
use control::ticket::signature::signer_of_text;
use control::world::System;
use peer::{H2, Over, Peer, Reply, answers, info};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const EDGES: &str = "builtin/edges";
const NODE_VERSION: &str = "0.9.1";

fn probe(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    let command = command.args(["gateway", "probe"]).args(args);
    command.env_remove("MILLSTREAM_ETH_KEYSTORE_PATH");
    command.env_remove("MILLSTREAM_ETH_PASSWORD");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Peers, and the threads on which they run meanwhile.
struct World {
    runtime: Runtime,
}

impl World {
    fn new() -> Self {
        Self {
            runtime: Runtime::new().unwrap(),
        }
    }

    fn peer(&self, over: Over, reply: Reply) -> Peer {
        self.runtime.block_on(Peer::start(over, reply))
    }
}

/// A directory that is gone after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("millstream-gateway-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_compatible_orchestrator_is_shown_and_the_status_is_0() {
    let world = World::new();
    let fit = world.peer(H2, answers(info(EDGES, NODE_VERSION)));
    let told = probe(&["--model", EDGES, &fit.url()]);
    let out = text(&told.stdout);
    assert_eq!(told.status.code(), Some(0), "{out}{}", text(&told.stderr));
    assert!(!out.contains('\x1b'), "plain when piped: {out}");
    for part in [
        fit.url().as_str(),
        "0x1111111111111111111111111111111111111111",
        "  compatible\n",
        "  work at   https://video.example.net:8935\n",
        "  price     1200/7 wei a pixel\n",
        "  can       the usual 15, Live video to video\n",
        "  model     builtin/edges: warm, 3 idle, 1 in use\n",
        "\n1 of 1 orchestrator compatible with live-video-to-video with builtin/edges\n",
        ", a key made for this run\n",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    // Every run has a key of its own, and signs with it.
    probe(&[&fit.url()]);
    let heard = fit.heard();
    assert_eq!(heard.len(), 2);
    assert_ne!(heard[0].address, heard[1].address);
    for asked in heard {
        let address = control::ticket::Address::from_wire(&asked.address);
        let signer = signer_of_text(address.checksummed().as_bytes(), &asked.sig);
        assert_eq!(signer, Ok(address));
    }
}

#[test]
fn without_a_compatible_one_the_status_is_1_and_each_has_a_reason() {
    let world = World::new();
    let other = world.peer(Over::Plain, answers(info("onnx/denoise", NODE_VERSION)));
    let full = world.peer(H2, Reply::Refuse("OrchestratorCapped"));
    let silent = world.peer(Over::Plain, Reply::Silence);
    let urls = [other.url(), full.url(), silent.url()];
    let urls = urls.each_ref().map(String::as_str);
    let told = probe(&[&["--model", EDGES, "--timeout", "2"], &urls[..]].concat());
    let out = text(&told.stdout);
    assert_eq!(told.status.code(), Some(1), "{out}");
    for part in [
        "  incompatible\n  why       does not offer builtin/edges for Live video to video\n",
        "  failed\n  why       refused: OrchestratorCapped\n",
        "  failed\n  why       no answer within 2 s\n",
        "\n0 of 3 orchestrators compatible with ",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert_eq!(
        text(&told.stderr),
        "millstream: no orchestrator is compatible\n  why: 3 orchestrators asked, and none would get the job\n  \
         fix: a row `why` tells what is in the way of each\n"
    );
}

#[test]
fn the_json_is_read_by_programs() {
    let world = World::new();
    let fit = world.peer(Over::Plain, answers(info(EDGES, NODE_VERSION)));
    let full = world.peer(Over::Plain, Reply::Refuse("OrchestratorCapped"));
    let told = probe(&["--json", "--offchain", &full.url(), &fit.url()]);
    assert_eq!(told.status.code(), Some(0), "one of two");
    let value: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(value["schema"], "millstream.probe/1");
    assert_eq!(value["pipeline"], "live-video-to-video");
    assert_eq!(
        (&value["model"], &value["signer"], &value["signer_address"]),
        (&Value::Null, &json!("nobody"), &Value::Null)
    );
    let [refusing, fitting] = &value["orchestrators"].as_array().unwrap()[..] else {
        panic!("two rows: {value}");
    };
    assert_eq!(refusing["error"], "refused: OrchestratorCapped");
    assert_eq!(
        (&fitting["uri"], &fitting["compatible"], &fitting["price"]),
        (
            &json!(fit.url()),
            &json!(true),
            &json!({ "wei": 1200, "pixels": 7 })
        )
    );
    assert!(fitting["call_ms"].as_f64().unwrap() > 0.0);
    // Off-chain: nobody, unsigned.
    let heard = &fit.heard()[0];
    assert_eq!((&heard.address[..], heard.sig.len()), (&[0; 20][..], 0));
}

#[test]
fn a_keystore_signs() {
    let world = World::new();
    let fit = world.peer(Over::Plain, answers(info(EDGES, NODE_VERSION)));
    let scratch = Scratch::new("keystore");
    let key = keystore::encrypt(&[9; 32], b"open sesame", Cost::Light, &System).unwrap();
    let key = scratch.file("key.json", &key);
    let address = LocalKey::new([9; 32]).unwrap().address();
    let file = scratch.file("password", "open sesame\n");
    for password in ["open sesame", &file] {
        let args = [
            "--eth-keystore-path",
            &key,
            "--eth-password",
            password,
            &fit.url(),
        ];
        let told = probe(&args);
        let (out, why) = (text(&told.stdout), text(&told.stderr));
        assert_eq!(told.status.code(), Some(0), "{out}{why}");
        let line = format!("asked as {address}, of the keystore\n");
        assert!(out.ends_with(&line), "{out}");
        assert!(!out.contains("sesame") && !why.contains("sesame"));
    }
    for asked in fit.heard() {
        assert_eq!(asked.address, address.0);
        let signer = signer_of_text(address.checksummed().as_bytes(), &asked.sig);
        assert_eq!(signer, Ok(address));
    }
    let asked = fit.heard().len();
    for (path, password) in [
        (key.as_str(), "open barley"),
        ("/nowhere/key.json", "open sesame"),
        (&file, "open sesame"),
    ] {
        let args = [
            "--eth-keystore-path",
            path,
            "--eth-password",
            password,
            &fit.url(),
        ];
        let told = probe(&args);
        let why = text(&told.stderr);
        assert_eq!(told.status.code(), Some(2), "{why}");
        assert!(
            why.contains(&format!("the keystore {path} cannot be opened")),
            "{why}"
        );
        assert!(why.contains("fix: give --eth-keystore-path"), "{why}");
    }
    assert_eq!(fit.heard().len(), asked, "nobody is asked meanwhile");
}

#[test]
fn what_is_not_understood_is_said_with_status_2() {
    for (args, part) in [
        (&[][..], "<URL>"),
        (&["ftp://x"], "the scheme is https or http"),
        (&["x", "y z"], "is no address of an orchestrator"),
        (&["--model", "", "x"], "--model"),
        (&["--timeout", "0", "x"], "--timeout"),
        (&["--eth-keystore-path", "key", "x"], "--eth-password"),
        (
            &[
                "--offchain",
                "--eth-keystore-path",
                "key",
                "--eth-password",
                "p",
                "x",
            ],
            "--offchain",
        ),
    ] {
        let told = probe(args);
        let why = text(&told.stderr);
        assert_eq!(told.status.code(), Some(2), "{args:?}: {why}");
        assert!(why.contains(part), "{args:?}: {why}");
    }
}

#[test]
fn the_help_teaches() {
    let told = probe(&["--help"]);
    let out = text(&told.stdout);
    for part in ["Examples:", "Exit status: 0 when", "verdict", "--offchain"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert_eq!(told.status.code(), Some(0));
}
