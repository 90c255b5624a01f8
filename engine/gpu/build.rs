//! Learns what openh264 learned: whether there was an assembler to build its fast routines with.
//!
//! openh264 cannot be asked at run time. Its build script assembles when the target is x86, `OPENH264_NO_ASM` is
//! not set and `nasm` runs, and goes on in plain C++ when not; this is the same check, so that the program can say
//! which of the two it carries.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(openh264_assembly)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=OPENH264_NO_ASM");
    println!("cargo::rerun-if-env-changed=PATH");
    if assembles() {
        println!("cargo::rustc-cfg=openh264_assembly");
    }
}

fn assembles() -> bool {
    match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        // Assembled by the C compiler itself.
        Ok("arm" | "aarch64") => true,
        Ok("x86" | "x86_64") => {
            let wanted = env::var_os("OPENH264_NO_ASM").is_none();
            let version = || Command::new("nasm").arg("-v").output();
            wanted && version().is_ok_and(|output| output.status.success())
        }
        _ => false,
    }
}
