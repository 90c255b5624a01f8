//! A look at every device of the driver, for a probe: what it is, what it has, and what it does. Each is opened and given back.

use super::context::Context;
use super::driver::Driver;
use super::engines::{self, NVDEC, NVENC};
use super::launch::Kernels;
use crate::backend::Unavailable;
use crate::cpu;
use crate::probe::{self, Ability, Device};

/// The driver, but for its own version, and every device that it lists.
pub(crate) fn all(driver: &'static Driver) -> (probe::Driver, Vec<Device>) {
    let about = probe::Driver {
        version: None,
        cuda: driver.cuda,
        nvdec: engines::library("NVDEC", NVDEC.as_ref()).map(|_| ()),
        nvenc: engines::library("NVENC", NVENC.as_ref()),
    };
    let devices = driver.devices().unwrap_or(0);
    let devices = (0..devices).map(|ordinal| device(driver, ordinal, &about));
    let devices = devices.collect();
    (about, devices)
}

fn device(driver: &'static Driver, ordinal: u32, about: &probe::Driver) -> Device {
    let mut device = Device {
        id: format!("cuda:{ordinal}"),
        name: String::new(),
        compute: None,
        memory_total_bytes: None,
        memory_free_bytes: None,
        decode: Vec::new(),
        encode: Vec::new(),
        decode_engines: None,
        encode_engines: None,
        trouble: None,
        notes: Vec::new(),
    };
    match driver.list(ordinal) {
        Ok(listed) => {
            device.name = listed.name;
            device.compute = Some(listed.compute);
            device.memory_total_bytes = Some(listed.memory_total_bytes);
        }
        Err(fault) => device.trouble = Some(fault.to_string()),
    }
    if device.trouble.is_none()
        && let Err(reason) = open(driver, ordinal, about, &mut device)
    {
        device.trouble = Some(reason.to_string());
    }
    device
}

/// What is known only once a context is on the device, which is gone again after this.
fn open(
    driver: &'static Driver,
    ordinal: u32,
    about: &probe::Driver,
    device: &mut Device,
) -> Result<(), Unavailable> {
    let context = Context::create(driver, ordinal)?;
    device.memory_free_bytes = Some(context.memory()?.0);
    let kernels = Kernels::compile(&context)?;
    device.notes.push(format!(
        "{} kernels, compiled or found compiled in {} ms",
        kernels::Kernel::ALL.len(),
        kernels.compiled_in.as_millis()
    ));
    device.decode = engines::abilities(NVDEC.as_ref(), &context);
    device.encode = engines::abilities(NVENC.as_ref(), &context);
    let nvdec = about.nvdec.as_ref().err();
    if let Some(note) = elsewhere("decod", "NVDEC", nvdec, &device.decode) {
        device.notes.push(note);
    }
    let nvenc = about.nvenc.as_ref().err();
    if nvenc.is_none() {
        // The library was asked, and opened what it could.
        device.encode_engines = device.encode.is_empty().then_some(0);
    }
    if let Some(note) = elsewhere("encod", "NVENC", nvenc, &device.encode) {
        device.notes.push(note);
    }
    Ok(())
}

/// That a step runs on the CPU, and why, when the chip's engine does nothing of it.
fn elsewhere(
    step: &str,
    engine: &str,
    missing: Option<&String>,
    has: &[Ability],
) -> Option<String> {
    if !has.is_empty() {
        return None;
    }
    let why = missing.cloned();
    let why = why.unwrap_or_else(|| format!("this chip has no {engine} that can be used"));
    Some(format!(
        "{step}ing is on the CPU, by {}: {why}",
        cpu::version()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Codec;

    #[test]
    fn what_runs_elsewhere_is_said_with_the_reason() {
        let note = elsewhere(
            "decod",
            "NVDEC",
            Some(&"libnvcuvid.so.1 not found".to_owned()),
            &[],
        );
        let expected = format!(
            "decoding is on the CPU, by {}: libnvcuvid.so.1 not found",
            cpu::version()
        );
        assert_eq!(note, Some(expected));
        let note = elsewhere("encod", "NVENC", None, &[]).unwrap();
        assert!(
            note.ends_with(": this chip has no NVENC that can be used"),
            "{note}"
        );
        let ability = Ability {
            codec: Codec::H264,
            width_max: 4096,
            height_max: 4096,
            bits_max: 8,
        };
        assert_eq!(elsewhere("encod", "NVENC", None, &[ability]), None);
    }
}
