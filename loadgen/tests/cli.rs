//! The command line from outside: scenario files, remedies in errors, exit statuses.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use loadgen::settings::{Common, File};
use loadgen::{churn, handshake, live, search, tickets, trickle};

fn loadgen(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(args)
        .output()
        .expect("it starts")
}

#[test]
fn every_scenario_file_reads() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mut file = File::read(Some(&path)).unwrap();
        let names = ["trickle", "churn", "live", "tickets", "handshake"].into_iter();
        let scenarios = names.filter(|name| file.has(name)).count();
        assert_eq!(scenarios, 1, "{}: one scenario a file", path.display());
        file.take::<Common>("run").unwrap();
        file.take::<trickle::Options>("trickle").unwrap();
        file.take::<churn::Options>("churn").unwrap();
        file.take::<live::Options>("live").unwrap();
        file.take::<tickets::Options>("tickets").unwrap();
        file.take::<handshake::Options>("handshake").unwrap();
        let is_search = file.has("search");
        let options = file.take::<search::Options>("search").unwrap();
        if is_search {
            options.resolve("trickle").unwrap();
        }
        file.finish().unwrap();
        count += 1;
    }
    assert!(count >= 7, "{count} files");
}

#[test]
fn a_server_that_is_not_there_is_an_error_with_a_remedy() {
    // Bound and closed again: nobody listens there.
    let addr = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap();
    let target = format!("http://{addr}");
    let output = loadgen(&["trickle", "--target", &target, "--no-files"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("millstream orchestrator"), "{said}");
}

#[test]
fn a_budget_is_kept_before_anything_is_sent() {
    let output = loadgen(&[
        "trickle",
        "--target",
        "http://127.0.0.1:9",
        "--polite",
        "always",
        "--channels",
        "100",
        "--no-files",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("budget") || said.contains("sessions"),
        "{said}"
    );
    assert!(!said.contains("refused"), "it did connect: {said}");
}

#[test]
fn wrong_flags_are_told_from_what_could_not_run() {
    assert_eq!(
        loadgen(&["trickle", "--rate", "9..3"]).status.code(),
        Some(2)
    );
    assert_eq!(
        loadgen(&["compare", "/nowhere/a", "/nowhere/b"])
            .status
            .code(),
        Some(1)
    );
    let help = loadgen(&["trickle", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("--busy-poll"));
}
