//! `millstream ticket`, as the binary itself does it: what it prints, and its exit statuses.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/node.rs"]
mod node;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gateway::{Client, Gateway};
use node::{Node, PAID_HALF_WIN};
use serde_json::{Value, json};

const VECTORS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../engine/ticket/tests/ticket-vectors.json"
);

fn ticket(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.arg("ticket").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file or a directory that is gone after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("millstream-tickets-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn of(name: &str, content: &str) -> Self {
        let scratch = Self::new(name);
        std::fs::write(&scratch.0, content).unwrap();
        scratch
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn vectors() -> Value {
    serde_json::from_slice(&std::fs::read(VECTORS).unwrap()).unwrap()
}

#[test]
fn every_vector_is_checked_and_a_line_says_so() {
    let told = ticket(&["check", VECTORS]);
    let out = text(&told.stdout);
    assert_eq!(told.status.code(), Some(0), "{out}{}", text(&told.stderr));
    let file = vectors();
    for list in ["vectors", "signature_vectors"] {
        for vector in file[list].as_array().unwrap() {
            let name = vector["name"].as_str().unwrap();
            let has_it = |line: &str| line.starts_with("ok ") && line.contains(name);
            assert!(out.lines().any(has_it), "{name}: {out}");
        }
    }
    assert!(out.contains("\n25 of 25 vectors agree"), "{out}");
    for verifier in ["reference", "known sender"] {
        assert!(out.contains(verifier), "{verifier}: {out}");
    }
}

#[test]
fn one_wrong_expectation_is_found_wherever_it_is() {
    let flip = |value: &mut Value| {
        let text = value.as_str().unwrap().to_owned();
        let last = if text.ends_with('0') { "1" } else { "0" };
        *value = json!(format!("{}{last}", &text[..text.len() - 1]));
    };
    let mut recovered = vectors();
    let accepts = &mut recovered["signature_vectors"][0]["contract_accepts"];
    *accepts = json!(!accepts.as_bool().unwrap());
    let mut hashed = vectors();
    flip(&mut hashed["vectors"][3]["expected"]["ticket_hash"]);
    let mut signed = vectors();
    flip(&mut signed["vectors"][1]["inputs"]["sender"]);
    for (name, damaged) in [
        ("contract", recovered),
        ("hash", hashed),
        ("sender", signed),
    ] {
        let file = Scratch::of(name, &damaged.to_string());
        let told = ticket(&["check", file.path()]);
        let (out, why) = (text(&told.stdout), text(&told.stderr));
        assert_eq!(told.status.code(), Some(1), "{name}: {out}{why}");
        let failed = out.lines().filter(|line| line.starts_with("FAIL"));
        assert_eq!(failed.count(), 1, "{name}: {out}");
        assert!(out.contains("\n24 of 25 vectors agree"), "{name}: {out}");
    }
}

#[test]
fn what_is_no_file_of_vectors_is_said_to_be_none() {
    let prose = Scratch::of("prose", "tickets are cheap");
    let empty = Scratch::of("empty", "{\"vectors\": []}");
    for file in [prose.path(), empty.path(), "/nowhere/vectors.json"] {
        let told = ticket(&["check", file]);
        assert_eq!(told.status.code(), Some(2), "{file}");
        let why = text(&told.stderr);
        assert!(why.contains("is no file of vectors"), "{file}: {why}");
        assert!(why.contains("fix: "), "{file}: {why}");
    }
}

#[test]
fn the_ledger_of_a_running_node_is_shown() {
    let args = [
        &["--service-addr", "http://127.0.0.1:0"][..],
        &PAID_HALF_WIN,
    ]
    .concat();
    let node = Node::start("ledger", &args);
    let mut client = Client::connect(node.addr);
    let mut gateway = Gateway::new(9, "shown");
    gateway.refresh(&mut client);
    let payment = gateway.payment(40);
    assert_eq!(client.pay(&payment, &gateway).status, 200);
    let dir = node.dir.to_str().unwrap();
    let told = ticket(&["ledger", "--data-dir", dir, "--json"]);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    let shown: Value = serde_json::from_slice(&told.stdout).unwrap();
    let account = &shown["accounts"][0];
    assert_eq!(account["sender"], gateway.address().to_string());
    assert_eq!(account["account"], "shown");
    assert_eq!(
        (&account["price_wei"], &shown["commitments"]),
        (&json!(1_200), &json!(1))
    );
    // Half of 16 gwei, 40 times.
    assert_eq!(account["credit_wei"], "320000000000");
    let winners = shown["winners"].as_u64().unwrap();
    assert!(
        (1..40).contains(&winners),
        "half of 40 should win: {winners}"
    );
    assert_eq!(shown["winners_open"], winners);

    let told = ticket(&["ledger", "--data-dir", dir]);
    let out = text(&told.stdout);
    assert_eq!(told.status.code(), Some(0));
    let row = out.lines().find(|line| line.contains("shown")).unwrap();
    assert!(row.starts_with(&gateway.address().to_string()), "{out}");
    assert!(out.contains(&format!("{winners} winning tickets")), "{out}");
}

#[test]
fn without_a_record_there_is_nothing_to_show() {
    let none = Scratch::new("none");
    let damaged = Scratch::new("damaged");
    std::fs::create_dir_all(&damaged.0).unwrap();
    let file = damaged.0.join("millstream.sqlite3");
    std::fs::write(file, "this is no database, however long it may be").unwrap();
    for dir in [Path::new(none.path()), Path::new(damaged.path())] {
        let told = ticket(&["ledger", "--data-dir", dir.to_str().unwrap()]);
        assert_eq!(told.status.code(), Some(17), "{}", dir.display());
        let why = text(&told.stderr);
        assert!(
            why.contains("there is no record of payments to show"),
            "{why}"
        );
    }
}
