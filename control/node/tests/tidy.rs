//! The house rules, checked and not remembered.
//!
//! Each test is one rule. A failure names the file and line, and what to do about it. Nothing outside cargo is asked.
//!
//! - The graph rules read `cargo metadata`: who names whom, and what comes with it.
//! - The source rules read the code of every member with its comments and strings blanked, so that prose is never a fault.

#[path = "tidy/graph.rs"]
mod graph;
#[path = "tidy/source.rs"]
mod source;

use graph::{Edge, Graph};
use source::{File, Scope};

/// Which of our packages may name which, by package name. A package that is not here may not exist.
const MAY_NAME: &[(&str, &[&str])] = &[
    (
        "engine",
        &[
            "trickle", "media", "ticket", "simd", "handoff", "gpu", "link",
        ],
    ),
    ("simd", &["ticket"]),
    ("gpu", &["handoff", "kernels"]),
    ("link", &["ticket", "handoff"]),
    (
        "control",
        &["ticket", "trickle", "media", "link", "proto", "abi"],
    ),
    ("millstream", &["engine", "control"]),
    ("loadgen", &["ticket", "proto"]),
    (
        "sim",
        &[
            "engine", "trickle", "media", "ticket", "handoff", "gpu", "link",
        ],
    ),
    ("benches", &[ANY]),
    ("trickle", &[]),
    ("media", &[]),
    ("ticket", &[]),
    ("handoff", &[]),
    ("kernels", &[]),
    ("proto", &[]),
    ("abi", &[]),
];
const ANY: &str = "*";

/// `no_std`, without `unsafe`, and without anything that asks the world.
const PURE: &[&str] = &["trickle", "media", "ticket", "kernels"];

/// What the control plane is made of, and the data plane never.
const CONTROL_ONLY: &[&str] = &["tokio", "tonic", "prost", "alloy"];

/// Roads to those that are a library's own affair: it brings a parser for files that we hand it, and nothing of ours speaks it.
/// An ONNX file is a protobuf message, and tract reads it with prost. And what compiles a library's C asks the world while it
/// builds, and is in nothing that was built.
const OWN_AFFAIR: &[[&str; 2]] = &[["tract-onnx", "prost"], ["cc", "libc"]];

/// Runtimes, loggers, chance and the operating system: what a pure crate must not reach, however indirectly.
const IMPURE: &[&str] = &[
    "async-std",
    "crossbeam-queue",
    "fastrand",
    "futures-executor",
    "getrandom",
    "glommio",
    "libc",
    "log",
    "mio",
    "nix",
    "rand",
    "rand_core",
    "rustix",
    "slog",
    "smol",
    "tokio",
    "tracing",
];

/// The crates that may say `unsafe`.
const MAY_BE_UNSAFE: &[&str] = &["engine/handoff/", "engine/gpu/", "engine/simd/"];

/// Who may read the environment and files, or end the process. Tests, examples and build scripts may as well.
const MAY_ASK_THE_WORLD: &[&str] = &[
    "control/node/",
    "loadgen/",
    "benches/",
    "engine/src/fatal.rs",
    "control/src/store.rs",
];

/// The only file of the engine that names its runtime.
const GLOMMIO_HOME: &str = "engine/src/shard/net.rs";

const FILE_LINES_MAX: usize = 800;
/// Files that are longer, and how long. They may shrink; when one is within the limit, its line goes.
const FILE_LINES_RATCHET: &[(&str, usize)] = &[];

#[test]
fn a_package_names_only_what_it_may() {
    let graph = Graph::load();
    let mut faults = Vec::new();
    for package in graph.members() {
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == package.name) else {
            faults.push(format!(
                "{}: `{}` is not in MAY_NAME of control/node/tests/tidy.rs; add it with what it may name",
                package.manifest, package.name
            ));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| graph.is_member(&dependency.name))
        {
            if allowed.contains(&ANY) || allowed.contains(&dependency.name.as_str()) {
                continue;
            }
            if dependency.edge == Edge::Dev {
                println!(
                    "note: the tests of {} name {}",
                    package.name, dependency.name
                );
            } else {
                faults.push(format!(
                    "{}: `{}` must not name `{}`; it may name {allowed:?}. Move what is needed to a crate that both may name",
                    package.manifest, package.name, dependency.name
                ));
            }
        }
    }
    verdict("who may name whom", &faults);
}

#[test]
fn the_data_plane_comes_without_the_control_plane() {
    let graph = Graph::load();
    let data_plane = ["engine", "link", "handoff", "gpu", "simd"]
        .iter()
        .chain(PURE);
    verdict(
        "the data plane without tokio, tonic, prost and alloy",
        &reached(&graph, data_plane, CONTROL_ONLY),
    );
}

#[test]
fn a_pure_crate_reaches_no_runtime_logger_or_rng() {
    verdict(
        "pure crates ask the world for nothing",
        &reached(&Graph::load(), PURE.iter(), IMPURE),
    );
}

#[test]
fn only_the_engine_names_glommio() {
    let graph = Graph::load();
    let mut faults = Vec::new();
    for package in graph.members().filter(|package| package.name != "engine") {
        if package
            .dependencies
            .iter()
            .any(|dependency| dependency.name == "glommio")
        {
            faults.push(format!(
                "{}: only `engine` names glommio; speak to it through `link`",
                package.manifest
            ));
        }
    }
    for file in source::files()
        .iter()
        .filter(|file| file.is_under("engine/src/") && file.path != GLOMMIO_HOME)
    {
        for line in file.lines_with(Scope::All, |line| line.contains("glommio::")) {
            faults.push(format!(
                "{}:{line}: only {GLOMMIO_HOME} names glommio; add what is missing there",
                file.path
            ));
        }
    }
    verdict("the runtime in one file", &faults);
}

#[test]
fn a_pure_crate_says_that_it_is() {
    let mut faults = Vec::new();
    for package in Graph::load()
        .members()
        .filter(|package| PURE.contains(&package.name.as_str()))
    {
        let root = format!("{}/src/lib.rs", package.folder);
        let Some(file) = source::files().iter().find(|file| file.path == root) else {
            faults.push(format!("{root}: a pure crate is a library; there is none"));
            continue;
        };
        if file
            .lines_with(Scope::All, |line| line.trim() == "#![no_std]")
            .is_empty()
        {
            faults.push(format!(
                "{root}: write `#![no_std]`, and `extern crate alloc` for what it needs"
            ));
        }
    }
    verdict("pure crates are no_std", &faults);
}

#[test]
fn unsafe_is_forbidden_outside_its_three_crates() {
    let mut faults = Vec::new();
    let files = || {
        source::files()
            .iter()
            .filter(|file| !MAY_BE_UNSAFE.iter().any(|home| file.is_under(home)))
    };
    for file in files() {
        for line in file.lines_with(Scope::All, |line| source::has_word(line, "unsafe")) {
            faults.push(format!(
                "{}:{line}: unsafe lives in {MAY_BE_UNSAFE:?}; move it there, behind a safe name",
                file.path
            ));
        }
    }
    for file in files().filter(|file| file.is_crate_root()) {
        if file
            .lines_with(Scope::All, |line| line.trim() == "#![forbid(unsafe_code)]")
            .is_empty()
        {
            faults.push(format!(
                "{}: write `#![forbid(unsafe_code)]` under its module comment",
                file.path
            ));
        }
    }
    verdict("unsafe in three crates", &faults);
}

#[test]
fn libraries_do_not_ask_the_world() {
    let mut faults = Vec::new();
    let is_exempt =
        |file: &File| file.is_test() || MAY_ASK_THE_WORLD.iter().any(|home| file.is_under(home));
    for file in source::files()
        .iter()
        .filter(|file| !is_exempt(file) && !file.path.ends_with("/build.rs"))
    {
        for line in file.lines_naming_std("env") {
            faults.push(format!(
                "{}:{line}: a library reads no environment; take the value as an argument",
                file.path
            ));
        }
        for line in file.lines_naming_std("fs") {
            faults.push(format!(
                "{}:{line}: a library opens no files; take the bytes, or let control/node do it",
                file.path
            ));
        }
        for line in file.lines_with(Scope::NotTests, |line| line.contains("process::exit")) {
            faults.push(format!(
                "{}:{line}: a library does not end the process; return an error",
                file.path
            ));
        }
    }
    verdict("no environment, files or exits in libraries", &faults);
}

#[test]
fn every_member_takes_the_shared_lints() {
    let mut faults = Vec::new();
    for package in Graph::load().members() {
        let lints = package
            .toml
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        if lints.and_then(toml::Value::as_bool) != Some(true) {
            faults.push(format!(
                "{}: write `[lints]` and `workspace = true`",
                package.manifest
            ));
        }
    }
    verdict("shared lints", &faults);
}

#[test]
fn versions_stand_in_the_root_manifest_alone() {
    let mut faults = Vec::new();
    for package in Graph::load().members() {
        for (name, dependency) in package.written_dependencies() {
            if dependency.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                faults.push(format!(
                    "{}: write `{name}.workspace = true`, and its version in the root manifest",
                    package.manifest
                ));
            }
        }
    }
    verdict("versions in one place", &faults);
}

#[test]
fn every_external_dependency_says_why_it_is_here() {
    let manifest = source::read("Cargo.toml");
    let mut faults = Vec::new();
    let mut is_within = false;
    for (number, line) in (1..).zip(manifest.lines()) {
        if line.starts_with('[') {
            is_within = line.trim() == "[workspace.dependencies]";
            continue;
        }
        let Some((name, value)) = line
            .split_once('=')
            .filter(|(name, _)| is_within && !name.trim_start().starts_with('#'))
        else {
            continue;
        };
        let (value, why) = value.rsplit_once('#').unwrap_or((value, ""));
        if value.contains("path =") {
            continue;
        }
        if why.trim().is_empty() {
            faults.push(format!(
                "Cargo.toml:{number}: say after a # why `{}` is here",
                name.trim()
            ));
        }
        if value.contains('*') || value.contains("git =") {
            faults.push(format!(
                "Cargo.toml:{number}: give `{}` a version from the registry",
                name.trim()
            ));
        }
    }
    verdict("every dependency with its reason", &faults);
}

#[test]
fn a_file_is_a_room_and_not_a_hall() {
    let mut faults = Vec::new();
    for file in source::files() {
        let lines = file.text.lines().count();
        let ratchet = FILE_LINES_RATCHET
            .iter()
            .find(|(path, _)| *path == file.path);
        match ratchet {
            Some(&(path, held)) if lines <= FILE_LINES_MAX => {
                faults.push(format!("{path}: {lines} lines; take it out of FILE_LINES_RATCHET, which holds it at {held}"));
            }
            Some(&(_, held)) if lines <= held => {
                println!("note: {} has {lines} lines, held at {held}", file.path)
            }
            _ if lines > FILE_LINES_MAX => {
                faults.push(format!(
                    "{}: {lines} lines; divide it by ideas, below {FILE_LINES_MAX}",
                    file.path
                ));
            }
            _ => {}
        }
    }
    verdict("short files", &faults);
}

#[test]
fn a_file_opens_with_what_it_is() {
    let untold = source::files()
        .iter()
        .filter(|file| !file.text.starts_with("//!"));
    let faults: Vec<String> = untold
        .map(|file| {
            format!(
                "{}:1: open with a `//!` comment: what it is, and its invariants",
                file.path
            )
        })
        .collect();
    verdict("a module comment in every file", &faults);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["X", "XX"].concat(),
    ];
    let mut faults = Vec::new();
    for file in source::files() {
        for (number, line) in (1..).zip(file.text.lines()) {
            if let Some(mark) = marks.iter().find(|mark| source::has_word(line, mark)) {
                faults.push(format!(
                    "{}:{number}: {mark}: do it, or write it down where work is kept",
                    file.path
                ));
            }
        }
        for line in file.lines_with(Scope::All, |line| line.contains("dbg!")) {
            faults.push(format!(
                "{}:{line}: take the debugging print out",
                file.path
            ));
        }
    }
    verdict("nothing left for later", &faults);
}

/// Who of `from` reaches any of `banned` through normal and build dependencies, and by which road.
fn reached<'a>(
    graph: &Graph,
    from: impl Iterator<Item = &'a &'a str>,
    banned: &[&str],
) -> Vec<String> {
    from.flat_map(|name| graph.roads(name, banned))
        .filter(|road| {
            let last: Vec<_> = road
                .iter()
                .rev()
                .take(2)
                .rev()
                .map(|step| name_of(step))
                .collect();
            !OWN_AFFAIR.iter().any(|own| last == own)
        })
        .map(|road| {
            format!(
                "{}: turn off the feature, or take the dependency out",
                road.join(" -> ")
            )
        })
        .collect()
}

/// Of `prost 0.11.9`.
fn name_of(step: &str) -> &str {
    step.split(' ').next().unwrap_or(step)
}

fn verdict(rule: &str, faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{rule}: {} to mend\n  {}\n",
        faults.len(),
        faults.join("\n  ")
    );
}
