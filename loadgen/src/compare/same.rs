//! What two results must have in common before their figures are held against each other.
//!
//! Invariants:
//! - A difference that makes the comparison mean something else is refused, and named; never passed over.
//! - What the user chose to pass over is still told, beside the figures.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::outcome::{Outcome, SCHEMA};

/// Reads a result: the file, or `result.json` in the folder.
///
/// # Errors
/// There is none, or it is not one of ours.
pub fn read(path: &Path) -> Result<(PathBuf, Outcome), Failure> {
    let file = if path.is_dir() {
        path.join(FILE_NAME)
    } else {
        path.to_owned()
    };
    let wrong = |why: String| Failure::new(format!("{}: {why}", file.display()));
    let text = fs::read_to_string(&file).map_err(|error| wrong(error.to_string()))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| wrong(format!("not JSON: {error}")))?;
    match value.get("schema").and_then(serde_json::Value::as_str) {
        Some(SCHEMA) => {}
        Some(other) => {
            return Err(wrong(format!(
                "its schema is {other:?}, and this program reads {SCHEMA:?}; compare with the version that wrote it"
            )));
        }
        None => {
            return Err(wrong(
                "it names no schema, so it is not a result of this program".to_owned(),
            ));
        }
    }
    let outcome = serde_json::from_value(value)
        .map_err(|error| wrong(format!("not a whole result: {error}")))?;
    Ok((file, outcome))
}

/// What may be passed over.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed {
    /// Other machines.
    pub is_any_hardware: bool,
    /// Other settings.
    pub are_any_settings: bool,
    /// Figures that do not count.
    pub is_even_invalid: bool,
}

/// Whether two results can be compared; gives what was passed over because the user said so.
///
/// # Errors
/// They cannot: lists what differs, and how to compare them all the same.
pub fn check(before: &Outcome, after: &Outcome, allowed: Allowed) -> Result<Vec<String>, Failure> {
    if before.scenario != after.scenario || before.operation != after.operation {
        return Err(Failure::new(format!(
            "these are results of two kinds, {} ({}) and {} ({}); compare like with like",
            before.scenario, before.operation, after.scenario, after.operation
        )));
    }
    let mut passed_over = Vec::new();
    let mut refused = Vec::new();
    for (differences, is_allowed, flag) in [
        (
            hardware(before, after),
            allowed.is_any_hardware,
            "--any-hardware",
        ),
        (
            settings(before, after),
            allowed.are_any_settings,
            "--any-settings",
        ),
        (
            validity(before, after),
            allowed.is_even_invalid,
            "--even-invalid",
        ),
    ] {
        if is_allowed {
            passed_over.extend(differences);
        } else if !differences.is_empty() {
            refused.push(format!(
                "{} (compare all the same with {flag})",
                differences.join("; ")
            ));
        }
    }
    if refused.is_empty() {
        Ok(passed_over)
    } else {
        Err(Failure::new(format!(
            "these results cannot be compared:\n  {}",
            refused.join("\n  ")
        )))
    }
}

fn hardware(before: &Outcome, after: &Outcome) -> Vec<String> {
    let (before, after) = (&before.repro.machine, &after.repro.machine);
    before
        .hardware()
        .into_iter()
        .zip(after.hardware())
        .filter(|((_, before), (_, after))| before != after)
        .map(|((what, before), (_, after))| format!("{what}: {before:?} and {after:?}"))
        .collect()
}

fn settings(before: &Outcome, after: &Outcome) -> Vec<String> {
    let names: BTreeSet<&String> = before
        .settings
        .keys()
        .chain(after.settings.keys())
        .filter(|name| !NOT_THE_LOAD.contains(&name.as_str()))
        .collect();
    let told = |outcome: &Outcome, name: &String| {
        let value = outcome.settings.get(name);
        value.map_or("not set".to_owned(), ToString::to_string)
    };
    let mut differences: Vec<String> = names
        .into_iter()
        .filter(|name| before.settings.get(*name) != after.settings.get(*name))
        .map(|name| {
            let (before, after) = (told(before, name), told(after, name));
            format!("setting {name}: {before} and {after}")
        })
        .collect();
    // Each stream draws its own sizes and rates from the seed.
    if before.repro.seed != after.repro.seed {
        differences.push(format!(
            "seed: {} and {}",
            before.repro.seed, after.repro.seed
        ));
    }
    differences
}

fn validity(before: &Outcome, after: &Outcome) -> Vec<String> {
    [("the first", before), ("the second", after)]
        .into_iter()
        .filter(|(_, outcome)| !outcome.verdict.is_valid)
        .map(|(which, outcome)| {
            let why = outcome.verdict.reasons.join("; ");
            format!("the figures of {which} do not count: {why}")
        })
        .collect()
}

const FILE_NAME: &str = "result.json";
/// Where, how long and with what it is measured, rather than what is asked of the server.
const NOT_THE_LOAD: [&str; 14] = [
    "target",
    "ca",
    "server_pid",
    "warmup",
    "window",
    "cooldown",
    "drain",
    "threads",
    "cpu",
    "lateness_max",
    "budget",
    "out",
    "no_files",
    "prometheus",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::example;

    const ALL: Allowed = Allowed {
        is_any_hardware: true,
        are_any_settings: true,
        is_even_invalid: true,
    };

    #[test]
    fn what_differs_is_listed_and_can_be_passed_over() {
        let before = example::outcome();
        let mut after = example::outcome();
        assert!(
            check(&before, &after, Allowed::default())
                .unwrap()
                .is_empty()
        );
        after
            .settings
            .insert("target".to_owned(), "elsewhere".into());
        assert!(
            check(&before, &after, Allowed::default())
                .unwrap()
                .is_empty()
        );
        after.settings.insert("channels".to_owned(), 11.into());
        after.settings.insert("rate".to_owned(), 5.into());
        after.repro.seed = 9;
        after.repro.machine.cpu = "abacus".to_owned();
        after.verdict.is_valid = false;
        after.verdict.reasons = vec!["it was interrupted".to_owned()];
        let failure = check(&before, &after, Allowed::default())
            .unwrap_err()
            .to_string();
        for want in [
            "setting channels: 10 and 11",
            "setting rate: not set and 5",
            "seed: 0 and 9",
            "CPU: \"\" and \"abacus\"",
            "the second do not count: it was interrupted",
            "--any-hardware",
            "--any-settings",
            "--even-invalid",
        ] {
            assert!(failure.contains(want), "{want} in {failure}");
        }
        assert_eq!(check(&before, &after, ALL).unwrap().len(), 5);
    }

    #[test]
    fn another_scenario_is_never_compared() {
        let mut after = example::outcome();
        after.scenario = "live".to_owned();
        let failure = check(&example::outcome(), &after, ALL).unwrap_err();
        assert!(failure.to_string().contains("two kinds"));
    }
}
