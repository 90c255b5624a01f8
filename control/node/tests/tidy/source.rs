//! Every Rust file of the workspace, and its code without comments, strings and, when wanted, tests.
//!
//! Blanking keeps every line where it was, so a fault is reported where an editor finds it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One Rust file.
pub(crate) struct File {
    /// From the root, with slashes.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// With comments, strings and characters blanked.
    code: String,
    /// Likewise, and with the items under `#[cfg(test)]` blanked.
    code_without_tests: String,
}

/// Which code to look at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope {
    All,
    NotTests,
}

/// What a generator wrote; `proto/tests/generated.rs` holds it to what it was generated from.
const GENERATED: &str = "proto/src/net.rs";

/// Every Rust file below the root, in order. Hidden folders and build outputs are not ours.
pub(crate) fn files() -> &'static [File] {
    static FILES: OnceLock<Vec<File>> = OnceLock::new();
    FILES.get_or_init(|| {
        let mut paths = BTreeSet::new();
        for folder in [
            "engine", "control", "proto", "kernels", "abi", "benches", "loadgen",
        ] {
            collect(&root().join(folder), &mut paths);
        }
        paths
            .iter()
            .filter(|path| relative(path) != GENERATED)
            .map(|path| File::new(relative(path), fs::read_to_string(path).unwrap()))
            .collect()
    })
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// A file's text, by its path from the root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A path from the root, with slashes.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Whether a word stands in a line by itself and not within another.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
    })
}

impl File {
    fn new(path: String, text: String) -> Self {
        let code = blank_prose(&text);
        let code_without_tests = blank_tests(&code);
        Self {
            path,
            text,
            code,
            code_without_tests,
        }
    }

    /// Whether it is this file, or in this folder when that ends with a slash.
    pub(crate) fn is_under(&self, path: &str) -> bool {
        if path.ends_with('/') {
            self.path.starts_with(path)
        } else {
            self.path == path
        }
    }

    /// Whether all of it is tests or examples.
    pub(crate) fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| matches!(part, "tests" | "tests.rs" | "examples"))
    }

    /// Whether a crate that ships begins here.
    pub(crate) fn is_crate_root(&self) -> bool {
        self.path.ends_with("/src/lib.rs")
            || self.path.ends_with("/src/main.rs")
            || self.path.contains("/src/bin/")
    }

    /// Numbers of the lines of code that `is_so`.
    pub(crate) fn lines_with(&self, scope: Scope, is_so: impl Fn(&str) -> bool) -> Vec<usize> {
        let code = match scope {
            Scope::All => &self.code,
            Scope::NotTests => &self.code_without_tests,
        };
        (1..)
            .zip(code.lines())
            .filter(|(_, line)| is_so(line))
            .map(|(number, _)| number)
            .collect()
    }

    /// Numbers of the lines, outside tests, that name a module of `std`: in a path, or in a braced `use`.
    pub(crate) fn lines_naming_std(&self, module: &str) -> Vec<usize> {
        let direct = format!("std::{module}");
        let mut lines = self.lines_with(Scope::NotTests, |line| has_word(line, &direct));
        let code = &self.code_without_tests;
        for (at, opening) in code.match_indices("std::{") {
            let group = braced(&code[at + opening.len() - 1..]);
            let mut depth = 0;
            let mut first_level = String::new();
            for c in group.chars() {
                depth += i32::from(c == '{');
                first_level.push(if depth <= 1 { c } else { ' ' });
                depth -= i32::from(c == '}');
            }
            if has_word(&first_level, module) {
                lines.push(code[..at].lines().count());
            }
        }
        lines
    }
}

fn collect(folder: &Path, into: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            collect(&path, into);
        } else if name.ends_with(".rs") {
            into.insert(path);
        }
    }
}

/// From an opening brace to the one that closes it.
fn braced(code: &str) -> &str {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return &code[..=at];
        }
    }
    code
}

/// Blanks every item under `#[cfg(test)]`.
fn blank_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        let end = match item.find(['{', ';']) {
            Some(stop) if item[stop..].starts_with('{') => stop + braced(&item[stop..]).len(),
            Some(stop) => stop + 1,
            None => item.len(),
        };
        out.push_str(before);
        out.extend(item[..end].chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = &item[end..];
    }
    out + rest
}

/// Blanks comments, and the contents of strings and characters.
fn blank_prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let prose = prose_length(rest, out.chars().next_back());
        let taken = if prose > 0 { prose } else { c.len_utf8() };
        let (now, later) = rest.split_at(taken);
        out.extend(
            now.chars()
                .map(|c| if prose > 0 && c != '\n' { ' ' } else { c }),
        );
        rest = later;
    }
    out
}

/// How many bytes of prose `text` begins with: a comment, a string or a character; 0 when it begins with code.
fn prose_length(text: &str, before: Option<char>) -> usize {
    let is_word_before = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_length(text);
    }
    if text.starts_with('"') {
        return quoted_length(text, '"');
    }
    if let Some(contents) = text.strip_prefix('\'') {
        // A character, unless it is a lifetime or a label: those have no quote after one character.
        let mut chars = contents.chars();
        return match (chars.next(), chars.next()) {
            (Some('\\'), _) | (Some(_), Some('\'')) => quoted_length(text, '\''),
            _ => 0,
        };
    }
    if is_word_before {
        return 0;
    }
    let raw = text
        .strip_prefix('b')
        .or_else(|| text.strip_prefix('c'))
        .unwrap_or(text);
    let Some(hashes) = raw.strip_prefix('r') else {
        return 0;
    };
    let quote = hashes.trim_start_matches('#');
    let Some(contents) = quote.strip_prefix('"') else {
        return 0;
    };
    let end = format!("\"{}", "#".repeat(hashes.len() - quote.len()));
    let opening = text.len() - contents.len();
    contents
        .find(&end)
        .map_or(text.len(), |at| opening + at + end.len())
}

fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

#[test]
fn prose_is_blanked_and_code_is_not() {
    for (text, want) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ \n */ d", "a              \n    d"),
        (r#"f("x \" y") + g"#, r"f(        ) + g"),
        ("r#\"a \" b\"# + br\"c\"", "           +      "),
        (
            "fn f<'a>(x: &'a u8) { ('\"', '\\'', '{') }",
            "fn f<'a>(x: &'a u8) { (   ,     ,    ) }",
        ),
        (
            "'outer: loop { break 'outer }",
            "'outer: loop { break 'outer }",
        ),
        ("for r in r\"x\" {}", "for r in      {}"),
    ] {
        assert_eq!(blank_prose(text), want);
    }
}

#[test]
fn tests_are_blanked_to_their_last_brace() {
    let code = "a\n#[cfg(test)]\nmod tests {\n fn f() { b }\n}\nc\n#[cfg(test)]\nuse d;\ne";
    let left: Vec<&str> = blank_tests(code)
        .split_whitespace()
        .map(|word| ["a", "c", "e"].into_iter().find(|w| *w == word).unwrap())
        .collect();
    assert_eq!(left, ["a", "c", "e"]);
    assert_eq!(blank_tests(code).lines().count(), code.lines().count());
}

#[test]
fn modules_of_std_are_found_in_any_form() {
    let file = |text: &str| File::new("x.rs".into(), text.into());
    assert_eq!(
        file("use std::fs;\nfn f() { std::fs::read(p) }").lines_naming_std("fs"),
        [1, 2]
    );
    assert_eq!(
        file("\nuse std::{\n    fs::{self},\n    io,\n};").lines_naming_std("fs"),
        [2]
    );
    assert!(
        file("use std::{io::{fs}, os};\nuse my_std::fsx;")
            .lines_naming_std("fs")
            .is_empty()
    );
    assert!(
        file("#[cfg(test)]\nmod tests { use std::fs; }")
            .lines_naming_std("fs")
            .is_empty()
    );
}
