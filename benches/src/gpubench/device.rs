//! Which device is asked, and what a question needs of it beyond what every backend does.

use std::str::FromStr;
use std::time::Duration;

use gpu::stub::{Faults, Point, Stub};
use gpu::{Backend, Cpu, Cuda, CudaBackend, Fault, Frame, Open, Unavailable};

use super::report::Trouble;

/// How long a stream of a device may take to come to rest.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// A device as it is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The first CUDA device that can be used.
    Auto,
    /// This CUDA device.
    Cuda(u32),
    /// The CPU, to rehearse.
    Cpu,
    /// The stub, to rehearse.
    Stub,
}

/// A device that is there.
#[derive(Debug, Clone)]
pub enum Found {
    /// A CUDA device.
    Cuda(Cuda),
    /// The CPU.
    Cpu(Cpu),
    /// The stub.
    Stub(Stub),
}

/// A device that questions are put to.
pub trait Subject: Open + Clone {
    /// What lanes are started on.
    fn lanes_on(&self) -> engine::Device;

    /// Its number for the management library, where there is one.
    fn ordinal(&self) -> Option<u32> {
        None
    }

    /// Brings a picture to the host. False where pictures of this device cannot be looked at.
    ///
    /// # Errors
    /// When the device failed.
    fn read(
        backend: &Self::Backend,
        surface: &<Self::Backend as Backend>::Surface,
        frame: &mut Frame,
    ) -> Result<bool, Fault>;

    /// Waits until all that was asked for is done.
    ///
    /// # Errors
    /// When the device failed, or does not answer.
    fn settle(_backend: &Self::Backend) -> Result<(), Fault> {
        Ok(())
    }

    /// Makes the backend lose its device; how, in words. `None` where that cannot be.
    ///
    /// # Errors
    /// When it works on all the same.
    fn lose(&self, backend: &Self::Backend) -> Result<Option<&'static str>, String>;

    /// The way to lose it under lanes, where there is one.
    fn faults(&self) -> Option<Faults> {
        None
    }
}

// === impl Choice ===

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "stub" => Ok(Self::Stub),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "auto, cuda:N, cpu or stub".to_owned()),
        }
    }
}

impl Choice {
    /// Looks for it.
    ///
    /// # Errors
    /// [`Trouble::Absent`] with what is missing.
    pub fn find(self) -> Result<Found, Trouble> {
        match self {
            Self::Cpu => Ok(Found::Cpu(Cpu)),
            Self::Stub => Ok(Found::Stub(Stub::default())),
            Self::Cuda(ordinal) => {
                let device = Cuda::new(ordinal);
                match device.check() {
                    Ok(()) => Ok(Found::Cuda(device)),
                    Err(why) => Err(Trouble::Absent(format!("cuda:{ordinal}: {why}"))),
                }
            }
            Self::Auto => first_cuda(&gpu::probe()).map(|n| Found::Cuda(Cuda::new(n))),
        }
    }
}

fn first_cuda(probe: &gpu::Probe) -> Result<u32, Trouble> {
    let number = |device: &gpu::Device| device.id.strip_prefix("cuda:")?.parse().ok();
    if let Some(found) = probe.usable().find_map(number) {
        return Ok(found);
    }
    let trouble =
        |device: &gpu::Device| Some(format!("{}: {}", device.id, device.trouble.as_ref()?));
    let why = match &probe.driver {
        Err(why) => why.clone(),
        Ok(_) => {
            let troubles: Vec<String> = probe.devices.iter().filter_map(trouble).collect();
            match troubles.is_empty() {
                true => "the driver lists none".to_owned(),
                false => troubles.join("; "),
            }
        }
    };
    Err(Trouble::Absent(format!(
        "a CUDA device that can be used: {why}"
    )))
}

// === impl Found ===

impl Found {
    /// The first line of every report: what was measured, or that it was a rehearsal.
    pub fn about(&self) -> String {
        match self {
            Self::Cuda(device) => format!("measured on {}", device.name()),
            Self::Cpu(_) => "rehearsed on the CPU: no figure below is a GPU's".to_owned(),
            Self::Stub(_) => {
                "rehearsed on the stub, which is the CPU with the manners of a device: no figure below is a GPU's"
                    .to_owned()
            }
        }
    }

    /// Whether its figures count for nothing.
    pub const fn is_rehearsal(&self) -> bool {
        !matches!(self, Self::Cuda(_))
    }
}

// === what each can do ===

impl Subject for Cuda {
    fn lanes_on(&self) -> engine::Device {
        engine::Device::Cuda(self.ordinal().unwrap_or(0))
    }

    fn ordinal(&self) -> Option<u32> {
        self.name().strip_prefix("cuda:")?.parse().ok()
    }

    fn read(
        backend: &CudaBackend,
        surface: &gpu::cuda::Surface,
        frame: &mut Frame,
    ) -> Result<bool, Fault> {
        backend.download(surface, frame)?;
        Ok(true)
    }

    fn settle(backend: &CudaBackend) -> Result<(), Fault> {
        backend.stream().settle(SETTLE_MAX)
    }

    /// A kernel that does wrong cannot be launched from safe code. The context is marked as one that a call has said to be lost,
    /// which is what decides how it is thrown away.
    fn lose(&self, backend: &CudaBackend) -> Result<Option<&'static str>, String> {
        backend.context().note(Fault::Lost {
            call: "gpubench",
            name: "a loss that was asked for",
        });
        match backend.context().make_current() {
            Err(fault) if fault.is_lost() => Ok(Some(
                "its context is marked as lost and thrown away as such; what an illegal address does to it first is measured by the test `cuda_parity`",
            )),
            other => Err(format!("marked as lost, the context answers {other:?}")),
        }
    }
}

impl Subject for Cpu {
    fn lanes_on(&self) -> engine::Device {
        engine::Device::Cpu
    }

    fn read(_: &Self, surface: &Frame, frame: &mut Frame) -> Result<bool, Fault> {
        frame.clone_from(surface);
        Ok(true)
    }

    fn lose(&self, _: &Self) -> Result<Option<&'static str>, String> {
        Ok(None)
    }
}

impl Subject for Stub {
    fn lanes_on(&self) -> engine::Device {
        engine::Device::Stub(self.clone())
    }

    /// Its surfaces are closed to everybody else.
    fn read(_: &gpu::stub::Opened, _: &gpu::stub::Surface, _: &mut Frame) -> Result<bool, Fault> {
        Ok(false)
    }

    fn lose(&self, backend: &gpu::stub::Opened) -> Result<Option<&'static str>, String> {
        Stub::faults(self).fail_next(Point::Surface, LOST);
        match backend.surface() {
            Err(fault) if fault.is_lost() => Ok(Some("it was told to fail as a lost device does")),
            other => Err(format!("told to be lost, it answers {other:?}")),
        }
    }

    fn faults(&self) -> Option<Faults> {
        Some(Stub::faults(self))
    }
}

/// What a lost device says.
pub(super) const LOST: Fault = Fault::Lost {
    call: "stubLaunch",
    name: "STUB_ERROR_ILLEGAL_ADDRESS",
};

/// Opens a backend.
///
/// # Errors
/// [`Trouble::Failed`]: the device was found, so it should open.
pub(super) fn open<S: Subject>(subject: &S) -> Result<S::Backend, Trouble> {
    subject.open().map_err(|why: Unavailable| {
        Trouble::Failed(format!("{} does not open: {why}", subject.name()))
    })
}

/// Whether the chip's own engine does this step, as the backend's name tells.
pub(super) fn has_engine(backend: &impl Backend, engine: &str) -> bool {
    backend.name().contains(&format!(": {engine}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_by_its_name() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("cuda:3".parse(), Ok(Choice::Cuda(3)));
        assert_eq!("stub".parse(), Ok(Choice::Stub));
        for wrong in ["", "cuda", "cuda:", "cuda:-1", "cuda:x", "CPU", "gpu"] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_is_said_and_what_is_there_is_found() {
        let device = |id: &str, trouble: Option<&str>| gpu::Device {
            id: id.to_owned(),
            name: String::new(),
            compute: None,
            memory_total_bytes: None,
            memory_free_bytes: None,
            decode: Vec::new(),
            encode: Vec::new(),
            decode_engines: None,
            encode_engines: None,
            trouble: trouble.map(str::to_owned),
            notes: Vec::new(),
        };
        let none = gpu::Probe {
            driver: Err("no CUDA driver (libcuda.so.1 not found)".to_owned()),
            devices: vec![device("cpu", None)],
        };
        let told = first_cuda(&none).unwrap_err().to_string();
        assert_eq!(
            told,
            "absent: a CUDA device that can be used: no CUDA driver (libcuda.so.1 not found)"
        );
        let driver = gpu::Driver {
            version: None,
            cuda: 12080,
            nvdec: Ok(()),
            nvenc: Ok("12.1".to_owned()),
        };
        let mut some = gpu::Probe {
            driver: Ok(driver),
            devices: vec![device("cuda:0", Some("lost")), device("cpu", None)],
        };
        let told = first_cuda(&some).unwrap_err().to_string();
        assert!(told.ends_with("cuda:0: lost"), "{told}");
        some.devices.insert(1, device("cuda:1", None));
        assert_eq!(first_cuda(&some), Ok(1));
    }

    #[test]
    fn only_a_card_counts() {
        assert!(Found::Cpu(Cpu).is_rehearsal() && Found::Stub(Stub::default()).is_rehearsal());
        let card = Found::Cuda(Cuda::new(2));
        assert!(!card.is_rehearsal());
        assert_eq!(card.about(), "measured on cuda:2");
        assert_eq!(Subject::ordinal(&Cuda::new(2)), Some(2));
    }

    #[test]
    fn the_stub_is_lost_when_it_is_told_to_be() {
        let stub = Stub::default();
        let backend = stub.open().unwrap();
        assert!(stub.lose(&backend).unwrap().is_some());
        assert!(backend.surface().is_err());
        assert_eq!(Cpu.lose(&Cpu), Ok(None));
    }
}
