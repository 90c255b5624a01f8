//! Which device processes frames: what was asked for, held against what there is.
//!
//! Invariants:
//! - What was named is used or refused. Only `auto` falls back, and the report says from what and why.
//! - The choice is made once, from one probe, before anything starts.

use std::fmt;

use control::orchestrator::Gpu;
use engine::probe::{Codec, Device, Probe};

use crate::failure::{Failure, Reason};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Wanted {
    /// A CUDA device when one can be used, and the CPU otherwise.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device: the one with this number, or the first that can be used.
    Cuda(Option<u32>),
}

impl Wanted {
    /// Reads `auto`, `cpu`, `cuda` or `cuda:N`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(None)),
            _ => ordinal(text)
                .map(|ordinal| Self::Cuda(Some(ordinal)))
                .ok_or_else(|| "it can be auto, cpu, cuda, or cuda:N such as cuda:0".to_owned()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(ordinal)) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// What is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// The CPU.
    Cpu,
    /// The CUDA device with this number.
    Cuda(u32),
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// The choice, and what the operator is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceChoice {
    pub(crate) wanted: Wanted,
    pub(crate) chosen: Chosen,
    /// Whether the device both decodes and encodes what sessions are made of, so that the CPU has no step to do.
    pub(crate) does_all_steps: bool,
    /// For the start-up report: first which device and why, then what does which step.
    pub(crate) lines: Vec<String>,
    /// The device as gateways are told of it; none for the CPU.
    pub(crate) gpus: Vec<Gpu>,
}

impl DeviceChoice {
    /// Holds a wish against what a probe found.
    pub(crate) fn make(wanted: Wanted, probe: &Probe) -> Result<Self, Failure> {
        let device = match wanted {
            Wanted::Cpu => None,
            Wanted::Auto => probe.usable().find(|device| ordinal(&device.id).is_some()),
            Wanted::Cuda(wish) => Some(cuda(wish, probe).map_err(|why| cannot_use(wanted, why))?),
        };
        let (chosen, lines) = match device {
            Some(device) => (
                Chosen::Cuda(ordinal(&device.id).unwrap_or(0)),
                cuda_lines(device),
            ),
            None => (Chosen::Cpu, cpu_lines(wanted, probe)),
        };
        Ok(Self {
            wanted,
            chosen,
            does_all_steps: device.is_some_and(|device| {
                let steps = steps(device);
                [steps.decode, steps.encode]
                    .iter()
                    .all(|step| *step == device.id)
            }),
            lines,
            gpus: device.map(gpu).into_iter().collect(),
        })
    }

    /// The choice as the engine takes it.
    pub(crate) fn for_engine(&self) -> engine::Device {
        match self.chosen {
            Chosen::Cpu => engine::Device::Cpu,
            Chosen::Cuda(ordinal) => engine::Device::Cuda(ordinal),
        }
    }
}

fn gpu(device: &Device) -> Gpu {
    let compute = device.compute.unwrap_or(0);
    Gpu {
        id: device.id.clone(),
        name: device.name.clone(),
        compute: (compute / 10, compute % 10),
        memory_bytes: (
            device.memory_free_bytes.unwrap_or(0),
            device.memory_total_bytes.unwrap_or(0),
        ),
    }
}

/// Why no CUDA device is used, in a line that ends with what is used instead.
pub(crate) fn fallback(probe: &Probe) -> String {
    format!("{}; using CPU", no_cuda(probe))
}

/// What does which step when `device` is used: the device itself, or the CPU for what it lacks.
pub(crate) fn steps(device: &Device) -> Steps<'_> {
    let on = |has_it: bool| if has_it { device.id.as_str() } else { "cpu" };
    Steps {
        decode: on(!device.decode.is_empty()),
        filters: &device.id,
        // Sessions are encoded as H.264.
        encode: on(device.encode.iter().any(|it| it.codec == Codec::H264)),
    }
}

/// A device's id for each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps<'a> {
    pub(crate) decode: &'a str,
    pub(crate) filters: &'a str,
    pub(crate) encode: &'a str,
}

impl fmt::Display for Steps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            decode,
            filters,
            encode,
        } = self;
        write!(
            f,
            "decode on {decode}, filters on {filters}, encode on {encode}"
        )
    }
}

/// The number of a CUDA device, from what it is called.
fn ordinal(id: &str) -> Option<u32> {
    let digits = id.strip_prefix("cuda:")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// The CUDA device that is meant, or why it cannot be had.
fn cuda(wish: Option<u32>, probe: &Probe) -> Result<&Device, String> {
    let Some(wish) = wish else {
        return probe
            .usable()
            .find(|device| ordinal(&device.id).is_some())
            .ok_or_else(|| no_cuda(probe));
    };
    let mut all = probe.devices.iter();
    match all.find(|device| ordinal(&device.id) == Some(wish)) {
        Some(device) => match &device.trouble {
            None => Ok(device),
            Some(why) => Err(why.clone()),
        },
        None if probe.driver.is_err() => Err(no_cuda(probe)),
        None => {
            let ids: Vec<&str> = probe.devices.iter().map(|device| &*device.id).collect();
            Err(format!("the devices here are {}", ids.join(", ")))
        }
    }
}

/// Why there is no CUDA device that can be used.
fn no_cuda(probe: &Probe) -> String {
    if let Err(why) = &probe.driver {
        return why.clone();
    }
    let troubles: Vec<String> = probe
        .devices
        .iter()
        .filter(|device| ordinal(&device.id).is_some())
        .filter_map(|device| Some(format!("{}: {}", device.id, device.trouble.as_ref()?)))
        .collect();
    match troubles.is_empty() {
        true => "the CUDA driver shows no device".to_owned(),
        false => troubles.join("; "),
    }
}

fn cannot_use(wanted: Wanted, why: String) -> Failure {
    Failure::new(
        Reason::Usage,
        format!("device `{wanted}` cannot be used"),
        why,
        "give --device auto or --device cpu, or mend what is named; `millstream devices` shows what there is",
    )
}

fn cuda_lines(device: &Device) -> Vec<String> {
    let first = format!("{}, {}", device.id, device.name);
    [first, steps(device).to_string()]
        .into_iter()
        .chain(device.notes.iter().cloned())
        .collect()
}

fn cpu_lines(wanted: Wanted, probe: &Probe) -> Vec<String> {
    let first = match wanted {
        Wanted::Cpu => "cpu, as asked".to_owned(),
        Wanted::Auto | Wanted::Cuda(_) => fallback(probe),
    };
    let cpu = probe.devices.iter().find(|device| device.id == "cpu");
    let about = cpu.into_iter().flat_map(|cpu| {
        let first = format!("decode and encode by {}", cpu.name);
        [first].into_iter().chain(cpu.notes.iter().cloned())
    });
    [first].into_iter().chain(about).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use engine::probe::{Ability, Driver};

    use super::*;

    pub(crate) const NO_DRIVER: &str = "no CUDA driver (libcuda.so.1 not found)";

    fn h264(bits_max: u8) -> Ability {
        Ability {
            codec: Codec::H264,
            width_max: 4_096,
            height_max: 2_304,
            bits_max,
        }
    }

    pub(crate) fn cpu() -> Device {
        Device {
            id: "cpu".to_owned(),
            name: "openh264 2.6".to_owned(),
            compute: None,
            memory_total_bytes: None,
            memory_free_bytes: None,
            decode: vec![h264(10)],
            encode: vec![h264(8)],
            decode_engines: None,
            encode_engines: None,
            trouble: None,
            notes: vec!["built with assembly".to_owned()],
        }
    }

    /// A chip that decodes and does not encode.
    pub(crate) fn h200(ordinal: u32) -> Device {
        Device {
            id: format!("cuda:{ordinal}"),
            name: "NVIDIA H200".to_owned(),
            compute: Some(90),
            memory_total_bytes: Some(140 << 30),
            memory_free_bytes: Some(139 << 30),
            decode: vec![h264(8)],
            encode: vec![],
            decode_engines: Some(7),
            encode_engines: Some(0),
            trouble: None,
            notes: vec!["it has no NVENC".to_owned()],
        }
    }

    pub(crate) fn bare() -> Probe {
        Probe {
            driver: Err(NO_DRIVER.to_owned()),
            devices: vec![cpu()],
        }
    }

    pub(crate) fn rich() -> Probe {
        let driver = Driver {
            version: Some("570.86.15".to_owned()),
            cuda: 12_080,
            nvdec: Ok(()),
            nvenc: Err("libnvidia-encode.so.1 not found".to_owned()),
        };
        Probe {
            driver: Ok(driver),
            devices: vec![h200(0), h200(1), cpu()],
        }
    }

    fn why(wanted: Wanted, probe: &Probe) -> String {
        let failure = DeviceChoice::make(wanted, probe).unwrap_err();
        assert_eq!(failure.status(), 2);
        failure.to_string()
    }

    #[test]
    fn a_wish_is_read_and_written_alike() {
        for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:12"] {
            assert_eq!(Wanted::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "gpu",
            "CUDA",
            "cuda:",
            "cuda:+1",
            "cuda:-1",
            "cuda:x",
            "cuda:99999999999",
        ] {
            assert!(Wanted::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn auto_takes_a_device_that_works_and_falls_back_aloud() {
        let choice = DeviceChoice::make(Wanted::Auto, &bare()).unwrap();
        assert_eq!(choice.chosen, Chosen::Cpu);
        assert_eq!(
            choice.lines[0],
            "no CUDA driver (libcuda.so.1 not found); using CPU"
        );
        assert_eq!(choice.lines[1], "decode and encode by openh264 2.6");
        assert!(matches!(choice.for_engine(), engine::Device::Cpu));

        let choice = DeviceChoice::make(Wanted::Auto, &rich()).unwrap();
        assert_eq!(choice.chosen, Chosen::Cuda(0));
        assert!(!choice.does_all_steps, "an H200 has no NVENC");
        assert_eq!(
            choice.lines,
            [
                "cuda:0, NVIDIA H200",
                "decode on cuda:0, filters on cuda:0, encode on cpu",
                "it has no NVENC"
            ]
        );

        let mut ill = rich();
        ill.devices[0].trouble = Some("too old".to_owned());
        let choice = DeviceChoice::make(Wanted::Auto, &ill).unwrap();
        assert_eq!(choice.chosen, Chosen::Cuda(1), "the first that works");
        ill.devices[1].trouble = Some("too old, too".to_owned());
        let choice = DeviceChoice::make(Wanted::Auto, &ill).unwrap();
        assert_eq!(
            choice.lines[0],
            "cuda:0: too old; cuda:1: too old, too; using CPU"
        );
    }

    #[test]
    fn the_cpu_can_be_had_beside_any_gpu() {
        let choice = DeviceChoice::make(Wanted::Cpu, &rich()).unwrap();
        assert_eq!(
            (choice.chosen, &*choice.lines[0]),
            (Chosen::Cpu, "cpu, as asked")
        );
    }

    #[test]
    fn a_device_that_is_named_is_had_or_refused_with_its_reason() {
        let text = why(Wanted::Cuda(None), &bare());
        assert!(text.contains("device `cuda` cannot be used"), "{text}");
        assert!(text.contains(&format!("why: {NO_DRIVER}\n")), "{text}");
        assert!(text.contains("fix: give --device auto"), "{text}");
        assert!(why(Wanted::Cuda(Some(0)), &bare()).contains(NO_DRIVER));
        let text = why(Wanted::Cuda(Some(7)), &rich());
        assert!(
            text.contains("the devices here are cuda:0, cuda:1, cpu"),
            "{text}"
        );
        let mut ill = rich();
        ill.devices[1].trouble = Some("too old".to_owned());
        assert!(why(Wanted::Cuda(Some(1)), &ill).contains("why: too old\n"));
        let mut empty = rich();
        empty.devices = vec![cpu()];
        assert!(why(Wanted::Cuda(None), &empty).contains("the CUDA driver shows no device"));

        let choice = DeviceChoice::make(Wanted::Cuda(Some(1)), &rich()).unwrap();
        assert_eq!(choice.chosen, Chosen::Cuda(1));
        assert!(matches!(choice.for_engine(), engine::Device::Cuda(1)));
    }
}
