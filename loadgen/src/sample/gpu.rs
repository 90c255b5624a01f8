//! The GPUs through NVML, which is loaded when there is a driver and is not needed otherwise.
//!
//! NVML tells how busy an engine was over its own last interval, a sixth of a second to a second; means over many looks are meant.

use std::sync::OnceLock;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use crate::outcome::GpuUse;

/// All GPUs of the machine.
#[derive(Debug)]
pub struct Gpus {
    nvml: Nvml,
    names: Vec<String>,
}

/// The GPUs, loaded once; or why there are none.
///
/// # Errors
/// No driver, no device, or no permission, in words.
pub fn gpus() -> Result<&'static Gpus, &'static str> {
    static GPUS: OnceLock<Result<Gpus, String>> = OnceLock::new();
    GPUS.get_or_init(Gpus::open)
        .as_ref()
        .map_err(String::as_str)
}

/// A line a GPU: model, memory, driver, engines; or one that says why there is none.
pub fn inventory() -> Vec<String> {
    match gpus() {
        Ok(gpus) => gpus.inventory(),
        Err(why) => vec![format!("none: {why}")],
    }
}

impl Gpus {
    fn open() -> Result<Self, String> {
        let nvml = Nvml::init().map_err(|error| match error {
            NvmlError::LibloadingError(_) => {
                "libnvidia-ml.so.1 cannot be loaded; there is no NVIDIA driver".to_owned()
            }
            other => other.to_string(),
        })?;
        let count = nvml.device_count().map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("NVML is there, but no device is".to_owned());
        }
        let names = (0..count)
            .map(|index| {
                nvml.device_by_index(index)
                    .and_then(|device| device.name())
                    .unwrap_or_else(|error| format!("not shown: {error}"))
            })
            .collect();
        Ok(Self { nvml, names })
    }

    /// What each is doing now.
    pub fn look(&self) -> Vec<GpuUse> {
        (0_u32..)
            .zip(&self.names)
            .map(|(index, name)| {
                let mut look = GpuUse {
                    index,
                    name: name.clone(),
                    ..GpuUse::default()
                };
                if let Ok(device) = self.nvml.device_by_index(index) {
                    look.sm_percent = device
                        .utilization_rates()
                        .ok()
                        .map(|rates| f64::from(rates.gpu));
                    look.decoder_percent = device
                        .decoder_utilization()
                        .ok()
                        .map(|info| f64::from(info.utilization));
                    look.encoder_percent = device
                        .encoder_utilization()
                        .ok()
                        .map(|info| f64::from(info.utilization));
                    look.memory_mib = device.memory_info().ok().map(|memory| memory.used >> 20);
                    look.watts = device
                        .power_usage()
                        .ok()
                        .map(|milliwatts| f64::from(milliwatts) / 1e3);
                }
                look
            })
            .collect()
    }

    fn inventory(&self) -> Vec<String> {
        let driver = self
            .nvml
            .sys_driver_version()
            .unwrap_or_else(|error| format!("not shown ({error})"));
        (0_u32..)
            .zip(&self.names)
            .map(|(index, name)| match self.nvml.device_by_index(index) {
                Ok(device) => {
                    let memory = device.memory_info().map_or_else(
                        |_| "memory not shown".to_owned(),
                        |memory| format!("{} MiB", memory.total >> 20),
                    );
                    format!("{name}, {memory}, driver {driver}, {}", engines(&device))
                }
                Err(error) => format!("{name}, not accessible: {error}"),
            })
            .collect()
    }
}

/// NVML counts engines of MIG devices only; of others it shows whether there are any.
fn engines(device: &Device<'_>) -> String {
    if let Ok(counts) = device.attributes() {
        return format!(
            "{} NVDEC, {} NVENC",
            counts.shared_decoder_count, counts.shared_encoder_count
        );
    }
    let is_there = |is_there| {
        if is_there {
            "there, count not shown"
        } else {
            "none shown"
        }
    };
    let encoder = device.encoder_capacity(nvml_wrapper::enum_wrappers::device::EncoderType::H264);
    format!(
        "NVDEC {}, NVENC {}",
        is_there(device.decoder_utilization().is_ok()),
        is_there(encoder.is_ok())
    )
}

/// The mean of each engine of each GPU over many looks; memory and power likewise. What was never told stays `None`.
pub fn means(looks: &[&[GpuUse]]) -> Vec<GpuUse> {
    let count = looks.iter().map(|gpus| gpus.len()).max().unwrap_or(0);
    (0..count)
        .map(|number| {
            let of_this: Vec<&GpuUse> = looks.iter().filter_map(|gpus| gpus.get(number)).collect();
            let mean_of =
                |pick: fn(&GpuUse) -> Option<f64>| mean(of_this.iter().copied().filter_map(pick));
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss
            )]
            // MiB, far from either end
            let memory_mib =
                mean_of(|gpu| gpu.memory_mib.map(|mib| mib as f64)).map(|mib| mib.round() as u64);
            GpuUse {
                index: of_this.first().map_or(0, |gpu| gpu.index),
                name: of_this
                    .first()
                    .map(|gpu| gpu.name.clone())
                    .unwrap_or_default(),
                sm_percent: mean_of(|gpu| gpu.sm_percent),
                decoder_percent: mean_of(|gpu| gpu.decoder_percent),
                encoder_percent: mean_of(|gpu| gpu.encoder_percent),
                memory_mib,
                watts: mean_of(|gpu| gpu.watts),
            }
        })
        .collect()
}

#[allow(clippy::cast_precision_loss)] // a count of seconds
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_gpus_says_so_in_one_line() {
        let lines = inventory();
        match gpus() {
            Ok(gpus) => assert_eq!(lines.len(), gpus.look().len()),
            Err(why) => assert_eq!(lines, [format!("none: {why}")]),
        }
    }

    #[test]
    fn means_leave_out_what_was_not_told() {
        let look = |sm, encoder| GpuUse {
            sm_percent: Some(sm),
            encoder_percent: encoder,
            memory_mib: Some(100),
            ..GpuUse::default()
        };
        let (a, b) = ([look(10.0, None)], [look(30.0, Some(4.0))]);
        let means = means(&[&a, &b, &[]]);
        assert_eq!(means.len(), 1);
        assert_eq!(means[0].sm_percent, Some(20.0));
        assert_eq!(means[0].encoder_percent, Some(4.0));
        assert_eq!(
            (means[0].decoder_percent, means[0].memory_mib),
            (None, Some(100))
        );
        assert!(super::means(&[]).is_empty());
    }
}
