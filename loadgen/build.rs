//! Writes the commit that this program is built from into it, so that every result can say which code measured.
//!
//! Outside a git checkout it is `unknown`, and nothing else changes.

use std::process::Command;

fn main() {
    let sha = git(&[
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude",
        "*",
    ]);
    println!(
        "cargo::rustc-env=LOADGEN_GIT_SHA={}",
        sha.as_deref().unwrap_or("unknown")
    );
    // A changed source makes it `-dirty` before git's index knows.
    for path in ["build.rs", "Cargo.toml", "src"] {
        println!("cargo::rerun-if-changed={path}");
    }
    // Asked for, since in a worktree they are not in `.git`. A file that is not there would make every build run this again.
    for name in ["HEAD", "index"] {
        let path = git(&["rev-parse", "--path-format=absolute", "--git-path", name]);
        if let Some(path) = path.filter(|path| std::path::Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// What git says, without touching the index, which would make the next build run this again.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("--no-optional-locks")
        .args(args)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.trim();
    (!line.is_empty() && !line.contains('\n')).then(|| line.to_owned())
}
