//! What a machine without an NVIDIA driver says, and how soon. On a machine that has one, `cuda_parity` says the rest.

use std::time::{Duration, Instant};

use gpu::cuda::Driver;
use gpu::{Cuda, Open, Unavailable, probe, utilisation};

const NO_DRIVER: &str = "no CUDA driver (libcuda.so.1 not found)";

fn has_driver() -> bool {
    let found = Driver::load();
    if found.is_ok() {
        println!("this machine has a CUDA driver, so there is nothing missing to look at");
    }
    found.is_ok()
}

#[test]
fn without_a_driver_the_reason_is_a_sentence() {
    if has_driver() {
        return;
    }
    let reason = Driver::load().map(|_| ()).unwrap_err();
    // The library may be there without a device behind it, as in some containers.
    let others = [
        "the CUDA driver has no device (CUDA_ERROR_NO_DEVICE)",
        "the CUDA driver ",
    ];
    let known = reason == NO_DRIVER || others.iter().any(|other| reason.starts_with(other));
    assert!(known, "{reason}");
    assert_eq!(
        Cuda::new(0).open().map(|_| ()),
        Err(Unavailable::Refused {
            backend: "cuda",
            reason
        })
    );
    assert_eq!(Cuda::new(7).name(), "cuda:7");
}

#[test]
fn without_a_driver_a_probe_is_quick_and_finds_the_cpu() {
    if has_driver() {
        return;
    }
    let since = Instant::now();
    let probed = probe();
    let took = since.elapsed();
    println!(
        "probed in {} us: {}",
        took.as_micros(),
        probed.driver.clone().unwrap_err()
    );
    // A few milliseconds; the rest is for machines that are busy with other tests.
    assert!(took < Duration::from_millis(250), "{took:?}");
    let ids: Vec<&str> = probed
        .devices
        .iter()
        .map(|device| device.id.as_str())
        .collect();
    assert_eq!(ids, ["cpu"]);
    assert_eq!(utilisation(0), None);
    assert_eq!(utilisation(u32::MAX), None);
}
