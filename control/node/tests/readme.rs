//! What the README tells operators who come from go-livepeer, as far as a program can hold it to that: our flags in its table are flags.

use std::process::Command;

#[test]
fn every_flag_of_the_table_for_go_livepeers_operators_is_one() {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let (_, section) = readme
        .split_once("\n## Coming from go-livepeer\n")
        .expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let help = Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(["orchestrator", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let known: Vec<&str> = help
        .split(|c: char| !is_of_flag(c))
        .filter(|word| word.starts_with("--"))
        .collect();
    let rows = section.lines().filter(|line| line.starts_with('|'));
    let ours = rows.filter_map(|row| row.split('|').nth(2));
    let flags: Vec<&str> = ours
        .flat_map(|cell| cell.split(|c: char| !is_of_flag(c)))
        .filter(|word| word.starts_with("--") && !word.trim_matches('-').is_empty())
        .collect();
    assert!(flags.len() > 40, "{flags:?}");
    for flag in flags {
        assert!(known.contains(&flag), "the README has {flag}:\n{help}");
    }
}

fn is_of_flag(c: char) -> bool {
    c.is_ascii_lowercase() || c == '-'
}
