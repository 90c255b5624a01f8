//! `millstream devices` as the binary says it, and the same words where a device is chosen.

use std::process::{Command, Output};

use serde_json::Value;

/// What a machine without a driver is told.
const ABSENT: &str = "no CUDA driver (libcuda.so.1 not found)";

fn millstream(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(args)
        .env_clear()
        .env("HOME", "/home/mill")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn probed() -> Value {
    let output = millstream(&["devices", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Why there is no CUDA here; `None`, and a line that says so, on a machine that has a driver.
fn absence(probe: &Value) -> Option<String> {
    let Some(why) = probe["cuda"]["trouble"].as_str() else {
        println!("this machine has a CUDA driver: what is said without one is not looked at");
        return None;
    };
    assert_eq!(why, ABSENT);
    Some(why.to_owned())
}

#[test]
fn without_a_driver_it_is_one_line_and_then_the_cpu() {
    let probe = probed();
    let output = millstream(&["devices"]);
    assert_eq!(output.status.code(), Some(0));
    let text = said(&output);
    assert!(!text.contains('\x1b'), "plain when piped");
    if let Some(why) = absence(&probe) {
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(&*format!("cuda  {why}; using CPU")));
        assert_eq!(lines.next(), Some(""));
        assert!(
            lines.next().unwrap().starts_with("cpu   openh264 "),
            "{text}"
        );
        assert_eq!(probe["preferred"], "cpu");
    }
    for row in [
        "  decode   H.264 up to ",
        "  encode   H.264 up to ",
        "  runs     decode on ",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(row)),
            "{row}: {text}"
        );
    }
}

#[test]
fn json_names_its_layout_and_every_device() {
    let probe = probed();
    assert_eq!(probe["schema"], "millstream.devices/1");
    let devices = probe["devices"].as_array().unwrap();
    let cpu = devices.last().unwrap();
    assert_eq!((&cpu["id"], &cpu["usable"]), (&"cpu".into(), &true.into()));
    assert_eq!(cpu["encode"][0]["codec"], "H.264");
    assert_eq!(cpu["runs"]["filters"], "cpu");
    assert!(cpu["memory_total_bytes"].is_null());
    let preferred = &probe["preferred"];
    assert!(devices.iter().any(|device| &device["id"] == preferred));
}

#[test]
fn help_teaches() {
    let help = said(&millstream(&["devices", "--help"]));
    for part in [
        "compute capability",
        "without NVENC",
        "--json",
        "millstream.devices/1",
        "Exit status",
    ] {
        assert!(help.contains(part), "{part} is not in\n{help}");
    }
}

#[test]
fn a_gpu_that_is_not_there_is_refused_with_reason_and_remedy() {
    let Some(why) = absence(&probed()) else {
        return;
    };
    for command in ["orchestrator", "demo"] {
        for device in ["cuda", "cuda:0"] {
            let output = millstream(&[command, "--device", device]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert_eq!(
                said,
                format!(
                    "millstream: device `{device}` cannot be used\n  why: {why}\n  fix: give --device auto or \
                     --device cpu, or mend what is named; `millstream devices` shows what there is\n"
                )
            );
        }
    }
}
