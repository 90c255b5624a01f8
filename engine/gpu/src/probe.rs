//! What this build and this machine can do, for the start-up report.

use crate::cpu;

/// Every backend that a build could have, and whether this one has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// One entry a backend, the preferred first.
    pub devices: Vec<Device>,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its short name: `cuda`, `cpu`.
    pub name: &'static str,
    /// What it does the work with, or why it cannot.
    pub state: Result<String, &'static str>,
}

/// Looks at what there is. Nothing is started.
pub fn probe() -> Probe {
    let cuda = Device {
        name: "cuda",
        state: Err("this build has no CUDA backend"),
    };
    let cpu = Device {
        name: "cpu",
        state: Ok(format!(
            "{}, {}; {}",
            cpu::version(),
            cpu::notes(),
            cpu::wide()
        )),
    };
    Probe {
        devices: vec![cuda, cpu],
    }
}

impl Probe {
    /// The backends that can be used.
    pub fn available(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.state.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there_and_cuda_says_why_not() {
        let probe = probe();
        let names: Vec<_> = probe.available().map(|device| device.name).collect();
        assert_eq!(names, ["cpu"]);
        assert_eq!(
            probe.devices[0].state,
            Err("this build has no CUDA backend")
        );
        let cpu = probe.devices[1].state.clone().unwrap();
        assert!(cpu.starts_with("openh264 "), "{cpu}");
        assert!(
            cpu.contains("4:2:2, 4:0:0 and 10 bits by rust_h264 "),
            "{cpu}"
        );
    }
}
