//! `millstream devices`: what a probe found, for people and for programs.
//!
//! The JSON carries [`SCHEMA`]: keys are added without a new version, and a key that changes its meaning makes one. What is
//! not known is `null`.

use engine::probe::{Ability, Device, Driver, Probe};
use serde_json::{Value, json};

use crate::device::{self, DeviceChoice, Wanted};
use crate::report::{Style, bytes};

/// Names the layout of the JSON.
const SCHEMA: &str = "millstream.devices/1";

/// The probe for people: a block for CUDA as a whole, and one for each device.
pub(crate) fn text(probe: &Probe, style: Style) -> String {
    let cuda = match &probe.driver {
        Err(_) => Block::new("cuda", device::fallback(probe)),
        Ok(driver) => cuda_block(driver, probe),
    };
    let blocks: Vec<Block> = [cuda]
        .into_iter()
        .chain(probe.devices.iter().map(device_block))
        .collect();
    let width = blocks.iter().map(|it| it.title.len()).max().unwrap_or(0);
    let blocks: Vec<String> = blocks.iter().map(|it| it.render(width, style)).collect();
    blocks.join("\n")
}

/// The probe for programs.
pub(crate) fn json(probe: &Probe) -> String {
    let preferred = DeviceChoice::make(Wanted::Auto, probe)
        .ok()
        .map(|choice| choice.chosen.to_string());
    let devices: Vec<Value> = probe.devices.iter().map(device_json).collect();
    let value = json!({
        "schema": SCHEMA,
        "preferred": preferred,
        "cuda": cuda_json(&probe.driver),
        "devices": devices,
    });
    format!("{value:#}\n")
}

/// A title with a line, and rows under it.
struct Block {
    title: String,
    line: String,
    rows: Vec<(&'static str, String)>,
}

impl Block {
    fn new(title: impl Into<String>, line: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            line: line.into(),
            rows: Vec::new(),
        }
    }

    fn row(&mut self, name: &'static str, text: impl Into<String>) {
        self.rows.push((name, text.into()));
    }

    fn render(&self, width: usize, style: Style) -> String {
        let title = style.bold(&format!("{:<width$}", self.title));
        let mut text = format!("{title}  {}\n", self.line);
        for (name, value) in &self.rows {
            let name = style.dim(&format!("{name:<ROW_WIDTH$}"));
            text.push_str(&format!("  {name}  {value}\n"));
        }
        text
    }
}

fn cuda_block(driver: &Driver, probe: &Probe) -> Block {
    let version = driver.version.as_deref().unwrap_or("of unknown version");
    let mut line = format!("driver {version}, CUDA {}", cuda_version(driver.cuda));
    if !probe.usable().any(|device| device.id != "cpu") {
        line.push_str(&format!("; {}", device::fallback(probe)));
    }
    let mut block = Block::new("cuda", line);
    block.row(
        "nvdec",
        said(driver.nvdec.as_ref().map(|()| "usable".to_owned())),
    );
    block.row(
        "nvenc",
        said(
            driver
                .nvenc
                .as_ref()
                .map(|version| format!("usable, {version}")),
        ),
    );
    block
}

fn said(what: Result<String, &String>) -> String {
    what.unwrap_or_else(|why| format!("not used: {why}"))
}

fn device_block(device: &Device) -> Block {
    let mut block = Block::new(&device.id, &device.name);
    if let Some(why) = &device.trouble {
        block.row("trouble", format!("not used: {why}"));
    }
    if let Some(total) = device.memory_total_bytes {
        let free = device.memory_free_bytes.map_or_else(
            || "free: not known".to_owned(),
            |free| format!("{} free", bytes(free)),
        );
        block.row("memory", format!("{}, {free}", bytes(total)));
    }
    if let Some(compute) = device.compute {
        block.row("compute", capability(compute));
    }
    block.row("decode", codecs(&device.decode));
    block.row("encode", codecs(&device.encode));
    if let (Some(decode), Some(encode)) = (device.decode_engines, device.encode_engines) {
        block.row("engines", format!("{decode} to decode, {encode} to encode"));
    }
    if device.trouble.is_none() {
        block.row("runs", device::steps(device).to_string());
    }
    for note in &device.notes {
        block.row("note", note);
    }
    block
}

fn codecs(abilities: &[Ability]) -> String {
    let each: Vec<String> = abilities
        .iter()
        .map(|it| {
            format!(
                "{} up to {}x{}, {} bits",
                it.codec.name(),
                it.width_max,
                it.height_max,
                it.bits_max
            )
        })
        .collect();
    match each.is_empty() {
        true => "nothing".to_owned(),
        false => each.join("; "),
    }
}

fn cuda_json(driver: &Result<Driver, String>) -> Value {
    let engine = |usable: bool, version: Option<&String>, trouble: Option<&String>| json!({ "usable": usable, "version": version, "trouble": trouble });
    match driver {
        Err(why) => json!({
            "trouble": why,
            "driver_version": null,
            "cuda_version": null,
            "nvdec": null,
            "nvenc": null,
        }),
        Ok(driver) => json!({
            "trouble": null,
            "driver_version": driver.version,
            "cuda_version": cuda_version(driver.cuda),
            "nvdec": engine(driver.nvdec.is_ok(), None, driver.nvdec.as_ref().err()),
            "nvenc": engine(
                driver.nvenc.is_ok(),
                driver.nvenc.as_ref().ok(),
                driver.nvenc.as_ref().err(),
            ),
        }),
    }
}

fn device_json(device: &Device) -> Value {
    let runs = device.trouble.is_none().then(|| {
        let steps = device::steps(device);
        json!({ "decode": steps.decode, "filters": steps.filters, "encode": steps.encode })
    });
    json!({
        "id": device.id,
        "name": device.name,
        "usable": device.trouble.is_none(),
        "trouble": device.trouble,
        "compute_capability": device.compute.map(capability),
        "memory_total_bytes": device.memory_total_bytes,
        "memory_free_bytes": device.memory_free_bytes,
        "decode": abilities_json(&device.decode),
        "encode": abilities_json(&device.encode),
        "decode_engines": device.decode_engines,
        "encode_engines": device.encode_engines,
        "runs": runs,
        "notes": device.notes,
    })
}

fn abilities_json(abilities: &[Ability]) -> Vec<Value> {
    let each = abilities.iter().map(|it| {
        json!({
            "codec": it.codec.name(),
            "width_max": it.width_max,
            "height_max": it.height_max,
            "bits_max": it.bits_max,
        })
    });
    each.collect()
}

/// 12080 is 12.8.
fn cuda_version(number: i32) -> String {
    format!("{}.{}", number / 1_000, number % 1_000 / 10)
}

/// 90 is 9.0.
fn capability(times_ten: u32) -> String {
    format!("{}.{}", times_ten / 10, times_ten % 10)
}

const ROW_WIDTH: usize = "compute".len();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::tests::{NO_DRIVER, bare, rich};

    #[test]
    fn no_driver_is_one_line_and_then_the_cpu() {
        assert_eq!(
            text(&bare(), Style::Plain),
            "cuda  no CUDA driver (libcuda.so.1 not found); using CPU\n\
             \n\
             cpu   openh264 2.6\n\
             \x20 decode   H.264 up to 4096x2304, 10 bits\n\
             \x20 encode   H.264 up to 4096x2304, 8 bits\n\
             \x20 runs     decode on cpu, filters on cpu, encode on cpu\n\
             \x20 note     built with assembly\n"
        );
    }

    #[test]
    fn a_gpu_is_told_with_what_it_lacks() {
        let mut probe = rich();
        probe.devices.remove(1);
        assert_eq!(
            text(&probe, Style::Plain).split("\ncpu ").next().unwrap(),
            "cuda    driver 570.86.15, CUDA 12.8\n\
             \x20 nvdec    usable\n\
             \x20 nvenc    not used: libnvidia-encode.so.1 not found\n\
             \n\
             cuda:0  NVIDIA H200\n\
             \x20 memory   140 GiB, 139 GiB free\n\
             \x20 compute  9.0\n\
             \x20 decode   H.264 up to 4096x2304, 8 bits\n\
             \x20 encode   nothing\n\
             \x20 engines  7 to decode, 0 to encode\n\
             \x20 runs     decode on cuda:0, filters on cuda:0, encode on cpu\n\
             \x20 note     it has no NVENC\n"
        );
        probe.devices[0].trouble = Some("too old".to_owned());
        let said = text(&probe, Style::Plain);
        assert!(
            said.starts_with("cuda    driver 570.86.15, CUDA 12.8; cuda:0: too old; using CPU\n"),
            "{said}"
        );
        assert!(said.contains("  trouble  not used: too old\n"), "{said}");
    }

    #[test]
    fn json_has_the_same_keys_whatever_was_found() {
        let read = |probe| serde_json::from_str::<Value>(&json(probe)).unwrap();
        let keys =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        let (none, some) = (read(&bare()), read(&rich()));
        for value in [&none, &some] {
            assert_eq!(value["schema"], "millstream.devices/1");
            assert_eq!(keys(value), ["cuda", "devices", "preferred", "schema"]);
        }
        assert_eq!(keys(&none["cuda"]), keys(&some["cuda"]));
        assert_eq!(keys(&none["devices"][0]), keys(&some["devices"][0]));
        assert_eq!(
            (&none["preferred"], &some["preferred"]),
            (&json!("cpu"), &json!("cuda:0"))
        );
        assert_eq!(none["cuda"]["trouble"], NO_DRIVER);
        assert_eq!(some["cuda"]["cuda_version"], "12.8");
        assert_eq!(some["cuda"]["nvenc"]["usable"], false);
        assert_eq!(some["devices"][0]["runs"]["encode"], "cpu");
        assert_eq!(some["devices"][0]["compute_capability"], "9.0");
        assert_eq!(some["devices"][2]["decode"][0]["bits_max"], 10);
    }
}
