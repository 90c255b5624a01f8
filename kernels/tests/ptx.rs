//! What is checked in as PTX is what its source compiles to, and every card that we mean can take it.
//!
//! `regenerate.py` does both, in a Python that has NVIDIA's compiler and assembler from PyPI: `MILLSTREAM_PYTHON_CUDA`, else
//! `.venv-cuda/bin/python` at the root of the repository, else `python3`. Without them this is skipped and says so, unless
//! `MILLSTREAM_REQUIRE_TOOLS` is set.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kernels::Kernel;

/// `regenerate.py --no-install` exits with this when a tool is missing.
const MISSING_STATUS: i32 = 3;

#[test]
fn what_is_checked_in_is_what_its_source_compiles_to() {
    let Some(output) = regenerate("--check") else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let count = Kernel::ALL.len();
    assert!(
        said.starts_with(&format!("{count} files are")),
        "{count} kernels, and: {said}"
    );
}

#[test]
fn every_card_takes_it_without_a_stack() {
    let Some(output) = regenerate("--assemble") else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    for kernel in Kernel::ALL {
        let is_row = |line: &str| line.split_whitespace().next() == Some(kernel.name());
        assert!(said.lines().any(is_row), "{kernel:?}: {said}");
    }
}

#[test]
fn every_source_is_in_the_table() {
    let names: BTreeSet<String> = Kernel::ALL.iter().map(|k| k.name().to_owned()).collect();
    for (folder, extension) in [("cu", "cu"), ("ptx", "ptx")] {
        let found: BTreeSet<String> = fs::read_dir(root().join(folder))
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|is| is == extension))
            .map(|path| path.file_stem().expect("a name").to_string_lossy().into())
            .collect();
        assert_eq!(found, names, "{folder}");
    }
}

/// Runs it; `None` when its tools are missing and none are required.
fn regenerate(argument: &str) -> Option<Output> {
    let own = root().join("../.venv-cuda/bin/python");
    let python = match env::var_os("MILLSTREAM_PYTHON_CUDA") {
        Some(python) => PathBuf::from(python),
        None if own.exists() => own,
        None => "python3".into(),
    };
    let output = Command::new(&python)
        .arg(root().join("regenerate.py"))
        .args([argument, "--no-install"])
        .output();
    let lacking = match &output {
        Err(error) => Some(format!("{}: {error}", python.display())),
        Ok(output) if output.status.code() == Some(MISSING_STATUS) => {
            Some(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
        Ok(_) => None,
    };
    if let Some(lacking) = lacking {
        let why = format!("{lacking}; install it with `python3 kernels/regenerate.py --install`");
        assert!(env::var_os("MILLSTREAM_REQUIRE_TOOLS").is_none(), "{why}");
        println!("SKIPPED: {why}");
        return None;
    }
    let output = output.expect("it ran");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
