//! What this build and this machine can do, for the start-up report and `millstream devices`.
//!
//! Probing never fails and never panics: what is missing is a sentence that names it, in the words that an operator can
//! search for. Nothing is left running by it.

use crate::backend::Codec;
use crate::cpu;
use crate::cuda::{self, nvml};

pub use crate::cuda::nvml::{Utilisation, utilisation};

/// Every device that was looked for, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The CUDA driver, or why there is none: `no CUDA driver (libcuda.so.1 not found)`.
    pub driver: Result<Driver, String>,
    /// The CUDA devices in the driver's order, then the CPU, which is always there and last.
    pub devices: Vec<Device>,
}

/// The CUDA driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Its own version, as `nvidia-smi` shows it, where NVML says: `570.86.15`.
    pub version: Option<String>,
    /// The CUDA version that it speaks: 12080 is 12.8.
    pub cuda: i32,
    /// NVDEC's library, or why it cannot be used.
    pub nvdec: Result<(), String>,
    /// NVENC's library and the version of its interface, or why it cannot be used.
    pub nvenc: Result<String, String>,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What it is called on the command line: `cuda:0`, `cpu`.
    pub id: String,
    /// What it is: the product's name, or the CPU's codec library.
    pub name: String,
    /// Compute capability, times ten: 90 is 9.0. `None` for the CPU.
    pub compute: Option<u32>,
    /// Device memory in all, in bytes.
    pub memory_total_bytes: Option<u64>,
    /// Device memory that was free when it was probed.
    pub memory_free_bytes: Option<u64>,
    /// What it decodes itself; empty where the CPU does it.
    pub decode: Vec<Ability>,
    /// What it encodes itself; empty where the CPU does it.
    pub encode: Vec<Ability>,
    /// How many decoding engines it has, where that is known.
    pub decode_engines: Option<u32>,
    /// How many encoding engines it has, where that is known; 0 on chips such as the H100.
    pub encode_engines: Option<u32>,
    /// Why it cannot be used, when it cannot.
    pub trouble: Option<String>,
    /// What an operator should know: a step that runs elsewhere, a library that is missing.
    pub notes: Vec<String>,
}

/// One codec that a device decodes or encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ability {
    /// The codec.
    pub codec: Codec,
    /// The widest picture, in pixels.
    pub width_max: u32,
    /// The highest picture, in pixels.
    pub height_max: u32,
    /// Bits a sample: 8, 10 or 12 at most.
    pub bits_max: u8,
}

/// Looks at what there is. Nothing is left running, but the driver's and the management library stay loaded.
///
/// Without a driver this takes no time. With one, each device is opened and its kernels are compiled, which can take a second
/// the first time; the driver remembers them.
pub fn probe() -> Probe {
    let (driver, mut devices) = match cuda::Driver::load() {
        Err(reason) => (Err(reason), Vec::new()),
        Ok(loaded) => {
            let (mut driver, devices) = cuda::look::all(loaded);
            driver.version = nvml::driver_version();
            (Ok(driver), devices)
        }
    };
    devices.push(cpu::device());
    Probe { driver, devices }
}

impl Probe {
    /// The devices that can be used, the preferred first: a device before the CPU.
    pub fn usable(&self) -> impl Iterator<Item = &Device> {
        self.devices
            .iter()
            .filter(|device| device.trouble.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there_and_last() {
        let probe = probe();
        let cpu = probe.usable().last().unwrap();
        assert_eq!(cpu.id, "cpu");
        assert_eq!(cpu, probe.devices.last().unwrap());
        assert!(cpu.name.starts_with("openh264 "), "{cpu:?}");
        assert!(
            cpu.notes
                .iter()
                .any(|note| note.contains("4:2:2, 4:0:0 and 10 bits by rust_h264 ")),
            "{cpu:?}"
        );
        assert_eq!(cpu.decode[0].codec, Codec::H264);
    }
}
