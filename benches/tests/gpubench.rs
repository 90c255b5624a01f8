//! `gpubench` as it is given: rehearsals of every question with tiny clips, and what it says where there is no card.
#![forbid(unsafe_code)]

use std::process::{Command, Output};

use gpu::{Cuda, Open};

const QUESTIONS: [&str; 6] = ["decode", "ceiling", "encode", "copies", "model", "recover"];

fn gpubench(args: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gpubench"))
        .args(args)
        .env_remove("MILLSTREAM_ONNXRUNTIME")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

fn rehearse(device: &str, question: &str) -> String {
    // Decoding is not repeated to fill its time: it needs enough, and takes no more than it does.
    let seconds = if question == "decode" { "60" } else { "0.4" };
    let tiny = ["--size", "64x64", "--seconds", seconds];
    let (output, said) = gpubench(&[&[question, "--device", device], &tiny[..]].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{question}: {said}\n{told}");
    said
}

/// The cells of the table whose head begins with this, a row each.
fn rows<'a>(said: &'a str, first_column: &str) -> Vec<Vec<&'a str>> {
    let head = format!("| {first_column} |");
    let cells = |line: &'a str| -> Vec<&'a str> {
        line.trim_matches('|').split('|').map(str::trim).collect()
    };
    said.lines()
        .skip_while(|line| !line.starts_with(&head))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

fn number(cell: &str) -> f64 {
    cell.parse().unwrap_or_else(|_| panic!("no number: {cell}"))
}

#[test]
fn every_question_runs_to_its_end_on_the_cpu_and_on_the_stub() {
    for device in ["cpu", "stub"] {
        for question in QUESTIONS {
            let said = rehearse(device, question);
            let first = said.lines().next().unwrap();
            assert!(first.starts_with("rehearsed on the "), "{first}");
            assert!(first.ends_with("no figure below is a GPU's"), "{first}");
            assert!(said.contains(&format!("### {question}\n")), "{said}");
            assert!(said.contains("\n| --- |"), "{question}: a table: {said}");
        }
    }
}

#[test]
fn decoding_on_the_cpu_is_what_the_cpu_decodes() {
    let said = rehearse("cpu", "decode");
    let rows = rows(&said, "clip");
    assert_eq!(rows.len(), 3, "{said}");
    assert_eq!(rows[0][..4], ["drawn 64x64", "30", "30", "∞ (identical)"]);
    assert_eq!(rows[1][1..4], ["60", "60", "∞ (identical)"], "4:2:2");
    assert_eq!(rows[2][1..3], ["none", "reads it not"], "H.265");
    assert_eq!(said.matches("**PASS**").count(), 2, "{said}");
    assert_eq!(said.matches("**not judged**").count(), 1, "{said}");
}

#[test]
fn a_file_takes_the_place_of_what_is_drawn() {
    let clip = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../control/node/assets/clip.ts"
    );
    let (output, said) = gpubench(&["decode", "--device", "cpu", "--clip", clip]);
    assert!(output.status.success(), "{said}");
    let rows = rows(&said, "clip");
    assert_eq!(rows.len(), 1, "{said}");
    assert_eq!(rows[0][1..4], ["120", "120", "∞ (identical)"]);
    let (output, said) = gpubench(&["decode", "--device", "cpu", "--clip", "/nowhere.ts"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not measured: /nowhere.ts: "), "{said}");
}

#[test]
fn the_ceiling_is_the_decoders_and_the_lanes_are_held_against_it() {
    let said = rehearse("stub", "ceiling");
    let (head, lanes) = said.split_at(said.rfind("| clip | sessions").expect("two tables"));
    let alone = rows(head, "clip");
    let decoders: Vec<f64> = alone.iter().map(|row| number(row[1])).collect();
    assert_eq!(decoders[..2], [1.0, 2.0], "{said}");
    assert!(alone.iter().all(|row| number(row[3]) > 0.0), "{said}");
    let best = alone.iter().map(|row| number(row[3])).fold(0.0, f64::max);
    for row in rows(lanes, "clip") {
        let (frames, percent) = (number(row[3]), number(row[4]));
        assert!(frames > 0.0, "{said}");
        let expected = frames / best * 100.0;
        assert!((percent - expected).abs() < 1.0 + expected / 50.0, "{said}");
    }
}

#[test]
fn a_stub_that_is_lost_comes_back_under_a_lane() {
    let said = rehearse("stub", "recover");
    assert_eq!(rows(&said, "round").len(), 3, "{said}");
    let lane = rows(&said, "a lane");
    assert!(lane[0][0].contains("device lost"), "{said}");
    assert!(number(lane[1][1]) >= number(lane[0][1]), "{said}");
}

#[test]
fn what_is_absent_is_one_line_and_status_77() {
    let (output, said) = gpubench(&["decode", "--device", "cuda:9"]);
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.starts_with("absent: cuda:9: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let library = "/nowhere/libonnxruntime.so";
    let (output, said) = gpubench(&["model", "--device", "cpu", "--onnxruntime", library]);
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("absent: ONNX Runtime at /nowhere"), "{said}");
    if Cuda::new(0).open().is_err() {
        let (output, said) = gpubench(&["recover"]);
        assert_eq!(output.status.code(), Some(77), "{said}");
        assert!(said.starts_with("absent: a CUDA device that can be used: "));
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
