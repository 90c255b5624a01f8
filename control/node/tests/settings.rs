//! Flags, environment and file, as the binary itself takes them.

use std::path::PathBuf;
use std::process::{Command, Output};

fn millstream(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command
        .args(args)
        .env_clear()
        .env("HOME", "/home/mill")
        .envs(env.iter().copied());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file that is gone after the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("millstream-{name}-{}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let file = File::new(
        "precedence",
        "max-sessions = 1\nsession-idle = 11\ndrain-timeout = 12\ntrickle-autocreate = true\n",
    );
    let output = millstream(
        &[
            "orchestrator",
            "--config",
            file.path(),
            "--print-config",
            "--max-sessions",
            "3",
            "--trickle-autocreate=false",
        ],
        &[
            ("MILLSTREAM_MAX_SESSIONS", "2"),
            ("MILLSTREAM_SESSION_IDLE", "22"),
        ],
    );
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for line in [
        "max-sessions = 3",
        "session-idle = 22",
        "drain-timeout = 12",
        "trickle-autocreate = false",
        "service-addr = \"https://127.0.0.1:8935\"",
        "http-addr = \"https://127.0.0.1:8935\"",
        "data-dir = \"/home/mill/.millstream\"",
        "device = \"auto\"",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line} is not in\n{printed}"
        );
    }
}

#[test]
fn the_file_itself_can_be_named_by_the_environment_and_a_switch_needs_no_value() {
    let file = File::new("named", "lanes = 7\n");
    let output = millstream(
        &["orchestrator", "--print-config", "--trickle-owner-delete"],
        &[
            ("MILLSTREAM_CONFIG", file.path()),
            ("MILLSTREAM_TRICKLE_AUTOCREATE", "true"),
        ],
    );
    let printed = text(&output.stdout);
    for line in [
        "lanes = 7",
        "trickle-owner-delete = true",
        "trickle-autocreate = true",
    ] {
        assert!(printed.contains(line), "{printed}{}", text(&output.stderr));
    }
}

#[test]
fn a_key_that_is_not_known_is_named_with_its_line() {
    let file = File::new("unknown", "lanes = 1\nlane-count = 2\n");
    let output = millstream(&["orchestrator", "--config", file.path()], &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("unknown field `lane-count`") && said.contains("line 2"),
        "{said}"
    );
    assert!(
        said.contains(file.path()) && said.contains("fix: "),
        "{said}"
    );
    let output = millstream(&["orchestrator", "--config", "/nowhere.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/nowhere.toml"));
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_starts() {
    for (args, reason) in [
        (
            &["orchestrator", "--cores", "4000"][..],
            "CPU 4000 is not among those",
        ),
        (
            &["orchestrator", "--service-addr", "gopher://x"],
            "the scheme is http or https",
        ),
        (
            &["orchestrator", "--log", "=="],
            "the log filter \"==\" is not understood",
        ),
        (
            &["orchestrator", "--device", "gpu"],
            "it can be auto, cpu, cuda, or cuda:N",
        ),
        (&["orchestrator", "--lanes", "many"], "invalid digit"),
        (&["orchestra"], "orchestrator"),
    ] {
        let output = millstream(args, &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(reason), "{args:?}: {said}");
    }
}

#[test]
fn help_teaches() {
    let output = millstream(&["orchestrator", "--help"], &[]);
    let help = text(&output.stdout);
    for part in [
        "Addresses:",
        "Machine:",
        "Trickle:",
        "Limits:",
        "Operation:",
        "--session-idle <SECONDS>",
        "--device <DEVICE>",
        "--models-dir <DIR>",
        "--page-memory-mib <MIB>",
        "MILLSTREAM_MAX_SESSIONS=N",
        "Examples:",
        "Exit status:",
    ] {
        assert!(help.contains(part), "{part} is not in\n{help}");
    }
    let output = millstream(&["config", "example"], &[]);
    let file = File::new("example", &text(&output.stdout));
    let output = millstream(
        &["orchestrator", "--config", file.path(), "--print-config"],
        &[],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
}
