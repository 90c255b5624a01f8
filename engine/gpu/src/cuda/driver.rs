//! The CUDA driver of this machine: whether there is one, and the devices that it lists.
//!
//! Looking for it costs a few failed opens of a file when there is none, so it is looked for again each time: a driver that was
//! not ready when the process started is found by the lane that opens its device later. One that was found stays.
#![allow(unsafe_code, reason = "the driver is a C library")]

use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUdevice};

use super::calls::{Calls, Status};
use super::status;
use crate::fault::Fault;

/// The CUDA version that is asked for, 12.0: the first whose driver reads the PTX that the kernels are in (ISA 8.0).
const CUDA_MIN: i32 = 12_000;

/// The CUDA driver, loaded and initialised.
#[derive(Clone, Copy)]
pub struct Driver {
    pub(super) calls: Calls,
    /// The CUDA version that it speaks: 12080 is 12.8.
    pub(super) cuda: i32,
}

/// A device before anything is made on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    /// Compute capability, times ten.
    pub(crate) compute: u32,
    pub(crate) memory_total_bytes: u64,
    /// As NVML asks for it: `00000000:65:00.0`. The two count devices in their own orders.
    pub(crate) pci_bus_id: String,
}

// === impl Driver ===

impl Driver {
    /// Finds the driver and initialises it.
    ///
    /// # Errors
    /// The reason in words: `no CUDA driver (libcuda.so.1 not found)`.
    pub fn load() -> Result<&'static Self, String> {
        static DRIVER: OnceLock<Driver> = OnceLock::new();
        if let Some(driver) = DRIVER.get() {
            return Ok(driver);
        }
        let driver = Self::find()?;
        Ok(DRIVER.get_or_init(|| driver))
    }

    fn find() -> Result<Self, String> {
        // SAFETY: opening the driver's library runs its initialisers, which any process may.
        if !unsafe { sys::is_culib_present() } {
            return Err("no CUDA driver (libcuda.so.1 not found)".to_owned());
        }
        let calls = Calls::load()
            .map_err(|symbol| format!("the CUDA driver is too old: it has no {symbol}"))?;
        Self::initialised(calls)
    }

    pub(super) fn initialised(calls: Calls) -> Result<Self, String> {
        // SAFETY: the flags must be zero, and it may be called any number of times.
        match unsafe { (calls.init)(0) } {
            status::SUCCESS => {}
            status::NO_DEVICE => {
                return Err("the CUDA driver has no device (CUDA_ERROR_NO_DEVICE)".to_owned());
            }
            other => {
                let name = status::name(other).unwrap_or("an error unknown to this build");
                return Err(format!(
                    "the CUDA driver does not start (cuInit: {name}, {other})"
                ));
            }
        }
        let mut driver = Self { calls, cuda: 0 };
        // SAFETY: it writes one int to a place that is one.
        let asked = unsafe { (calls.driver_get_version)(&mut driver.cuda) };
        driver
            .check("cuDriverGetVersion", asked)
            .map_err(|fault| fault.to_string())?;
        if driver.cuda < CUDA_MIN {
            return Err(format!(
                "the CUDA driver is too old: it speaks CUDA {} and {} is needed (driver 525 or later)",
                version(driver.cuda),
                version(CUDA_MIN)
            ));
        }
        Ok(driver)
    }

    /// How many devices it lists.
    pub(crate) fn devices(&self) -> Result<u32, Fault> {
        let mut count: c_int = 0;
        // SAFETY: it writes one int to a place that is one.
        let asked = unsafe { (self.calls.device_get_count)(&mut count) };
        self.check("cuDeviceGetCount", asked)?;
        Ok(count.max(0) as u32)
    }

    /// What it says of a device.
    pub(crate) fn list(&self, ordinal: u32) -> Result<Listed, Fault> {
        let device = self.device(ordinal)?;
        let name = self.text("cuDeviceGetName", self.calls.device_get_name, device)?;
        let pci_bus_id = self.text(
            "cuDeviceGetPCIBusId",
            self.calls.device_get_pci_bus_id,
            device,
        )?;
        let mut bytes = 0;
        // SAFETY: it writes one size to a place that is one.
        let asked = unsafe { (self.calls.device_total_mem)(&mut bytes, device) };
        self.check("cuDeviceTotalMem", asked)?;
        let major = self.attribute(
            device,
            sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
        )?;
        let minor = self.attribute(
            device,
            sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        )?;
        Ok(Listed {
            name,
            compute: (major * 10 + minor).max(0) as u32,
            memory_total_bytes: bytes as u64,
            pci_bus_id,
        })
    }

    /// The driver's handle of a device. It is a number and nothing is held by it.
    pub(super) fn device(&self, ordinal: u32) -> Result<CUdevice, Fault> {
        let mut device: CUdevice = 0;
        let ordinal = c_int::try_from(ordinal).unwrap_or(c_int::MAX);
        // SAFETY: it writes one handle to a place that is one.
        let asked = unsafe { (self.calls.device_get)(&mut device, ordinal) };
        self.check("cuDeviceGet", asked)?;
        Ok(device)
    }

    /// What a status means. A call that is about a context goes through `Context::check`, which remembers a loss.
    pub(super) fn check(&self, call: &'static str, status: Status) -> Result<(), Fault> {
        match status {
            status::SUCCESS => Ok(()),
            other => Err(status::fault(call, other, || self.status_name(other))),
        }
    }

    /// The driver's own name for a status that the table lacks.
    fn status_name(&self, status: Status) -> &'static str {
        let mut name: *const c_char = std::ptr::null();
        // SAFETY: it writes one pointer to a place that is one, null for a status that it does not know either.
        let asked = unsafe { (self.calls.get_error_name)(status, &mut name) };
        if asked != status::SUCCESS || name.is_null() {
            return "a status that the driver has no name for";
        }
        // SAFETY: the manual calls it the address of a null-terminated string; it lies in the library, which stays loaded.
        let name: &'static CStr = unsafe { CStr::from_ptr(name) };
        name.to_str().unwrap_or("a status with an unreadable name")
    }

    fn attribute(&self, device: CUdevice, which: sys::CUdevice_attribute) -> Result<i32, Fault> {
        let mut value: c_int = 0;
        // SAFETY: it writes one int to a place that is one.
        let asked = unsafe { (self.calls.device_get_attribute)(&mut value, which as u32, device) };
        self.check("cuDeviceGetAttribute", asked)?;
        Ok(value)
    }

    fn text(
        &self,
        call: &'static str,
        ask: unsafe extern "C" fn(*mut c_char, c_int, CUdevice) -> Status,
        device: CUdevice,
    ) -> Result<String, Fault> {
        let mut text = [0_u8; 128];
        // One byte less than there is: whatever the driver does, the last stays 0.
        // SAFETY: it writes no more than the length that it is given.
        let asked = unsafe { ask(text.as_mut_ptr().cast(), text.len() as c_int - 1, device) };
        self.check(call, asked)?;
        let text = CStr::from_bytes_until_nul(&text).unwrap_or_default();
        Ok(text.to_string_lossy().into_owned())
    }
}

/// 12080 is 12.8.
pub(crate) fn version(cuda: i32) -> String {
    format!("{}.{}", cuda / 1000, cuda % 1000 / 10)
}
