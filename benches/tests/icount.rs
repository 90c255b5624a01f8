//! The instruction counter, as it is called.

use std::process::{Command, Output};

fn icount(args: &[&str], path: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_icount"));
    command.args(args);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.output().unwrap()
}

#[test]
fn without_valgrind_it_says_what_to_install() {
    let output = icount(&["http/head-get"], Some("/nonexistent"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("apt-get install valgrind"), "{said}");
}

#[test]
fn it_counts_the_same_twice_and_compares() {
    let file = |name: &str| {
        let name = format!("icount-{name}-{}", std::process::id());
        std::env::temp_dir().join(name)
    };
    let (first, second) = (file("first"), file("second"));
    let (first_name, second_name) = (first.to_str().unwrap(), second.to_str().unwrap());
    let output = icount(&["http/head-get", "--out", first_name], None);
    let said = String::from_utf8(output.stderr).unwrap();
    if said.contains("apt-get install valgrind") {
        assert_eq!(output.status.code(), Some(1));
        println!("SKIPPED: valgrind is not installed");
        return;
    }
    assert!(output.status.success(), "{said}");
    let again = [
        "http/head-get",
        "--out",
        second_name,
        "--baseline",
        first_name,
        "--fail-above",
        "0",
    ];
    let output = icount(&again, None);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("+0.00 %"), "{said}");
    let text = std::fs::read_to_string(&first).unwrap();
    assert_eq!(text, std::fs::read_to_string(&second).unwrap());
    let line = text.lines().find(|line| line.starts_with("http/head-get"));
    let instructions = line.unwrap().split('\t').nth(1).unwrap();
    // A head has 64 bytes at the least, and each of them is looked at.
    assert!(instructions.parse::<u64>().unwrap() > 64 * 64, "{text}");
    for file in [first, second] {
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_unit_that_is_not_there_is_named_by_none() {
    let output = icount(&["no/such/unit"], None);
    assert_eq!(output.status.code(), Some(1));
    let output = icount(&["--list", "ts/"], None);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "ts/demux\nts/split\nts/mux\n");
}
