//! What NVIDIA's management library says of a device: its load, its memory, the driver's version. The library is part of the
//! driver and is found at run time; without it nothing here is known, and nothing else is hurt.

use std::ffi::OsStr;
use std::sync::OnceLock;

use nvml_wrapper::Nvml;

use super::driver::Driver;

/// How busy a device is, by all processes of the machine. What the library does not say is `None`: a chip without an encoder
/// has no load of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utilisation {
    /// Of the last moments, the part in which a kernel ran.
    pub gpu_percent: Option<u32>,
    /// The load of the decoding engines.
    pub decode_percent: Option<u32>,
    /// The load of the encoding engines.
    pub encode_percent: Option<u32>,
    /// Device memory in use, in bytes.
    pub memory_used_bytes: Option<u64>,
}

/// The load of a device, by its number in the CUDA driver's order. `None` without a driver, a management library or that device.
pub fn utilisation(ordinal: u32) -> Option<Utilisation> {
    let listed = Driver::load().ok()?.list(ordinal).ok()?;
    // The library counts devices in another order.
    let device = library()?.device_by_pci_bus_id(listed.pci_bus_id).ok()?;
    Some(Utilisation {
        gpu_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        decode_percent: device
            .decoder_utilization()
            .ok()
            .map(|load| load.utilization),
        encode_percent: device
            .encoder_utilization()
            .ok()
            .map(|load| load.utilization),
        memory_used_bytes: device.memory_info().ok().map(|memory| memory.used),
    })
}

/// The driver's own version: `570.86.15`.
pub(crate) fn driver_version() -> Option<String> {
    library()?.sys_driver_version().ok()
}

/// Once it is found it stays; until then it is looked for each time, which costs a failed open of a file.
fn library() -> Option<&'static Nvml> {
    static LIBRARY: OnceLock<Nvml> = OnceLock::new();
    if let Some(library) = LIBRARY.get() {
        return Some(library);
    }
    // The name that the driver installs; without the number it is there only beside a development kit.
    let library = Nvml::builder()
        .lib_path(OsStr::new("libnvidia-ml.so.1"))
        .init()
        .ok()?;
    Some(LIBRARY.get_or_init(|| library))
}
