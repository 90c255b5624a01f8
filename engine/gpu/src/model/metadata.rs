//! Reads a [`Layout`] from a model's shapes, and from its metadata where shapes do not say.
//!
//! ONNX files carry pairs of text, `metadata_props`. These are ours; all may be left out when the default is right. A
//! key that begins with `millstream.` and is not listed is an error, since it is most likely misspelt.
//!
//! | key | value | when it is absent |
//! |---|---|---|
//! | `millstream.layout` | `NCHW RGB`, the only one | that, if the file says `[n, 3, h, w]`; needed when it leaves the 3 open |
//! | `millstream.input`, `millstream.output` | names of tensors | the only input without a value; the first output |
//! | `millstream.range` | `0..1`, `0..255`, `-1..1`: what black and white are | `0..1` |
//! | `millstream.mean`, `millstream.std` | one number or three, R G B, in steps of the range | 0 and 1 |
//! | `millstream.output_range`, `_mean`, `_std` | the same for what comes out | as going in; needed when that has a mean or std |
//! | `millstream.width`, `millstream.height` | `any`, `640`, or `multiple 8`, pixels | the shape's number, or any |
//! | `millstream.batch` | `4`: that many; `any`; `max 8` | the shape's number, or up to [`BATCH_MAX`] |
//! | `millstream.factor` | `1` to `8`: the output is so many times wider and higher | from the shapes; needed when they do not show it |
//! | `millstream.licence`, `.origin`, `.description` | text, at most [`TEXT_BYTES_MAX`] bytes | none |
//!
//! Whether numbers are of 32 or 16 bits is the tensor's own type. Black to white is 0 to 1 for the caller; a model that
//! was trained on `range a..b` with a mean and a standard deviation gets
//! `(a + v (b - a) - mean) / std = (v - (mean - a) / (b - a)) (b - a) / std`, which is [`Scaling`]'s form.

use std::collections::{BTreeMap, HashSet};

use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto, type_proto};

use super::error::{Error, brief};
use super::layout::{Batch, Element, FACTOR_MAX, Layout, Scaling, Side};
use super::{BATCH_MAX, SIDE_MAX_PX};

/// The longest text of a licence, an origin or a description.
pub const TEXT_BYTES_MAX: usize = 1024;

/// A dimension as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Axis {
    Fixed(usize),
    /// Open, with the name that the file gives it; may be empty.
    Open(String),
}

/// The entries of ours, taken out as they are read, so that what remains is unknown.
struct Entries(BTreeMap<String, String>);

/// The layout, from the file's shapes and its metadata.
pub(super) fn read(model: &ModelProto) -> Result<Layout, Error> {
    let graph = model
        .graph
        .as_ref()
        .ok_or_else(|| Error::Broken("it has no graph".into()))?;
    let mut entries = Entries::of(model)?;
    let layout = entries.take("millstream.layout");
    if let Some(other) = layout.as_deref().filter(|layout| *layout != "NCHW RGB") {
        return Err(Error::bad("millstream.layout", other, "NCHW RGB"));
    }
    let input = input(graph, entries.take("millstream.input"))?;
    let output = output(graph, entries.take("millstream.output"))?;
    let (element, axes) = tensor(input)?;
    let (element_out, axes_out) = tensor(output)?;
    if element != element_out {
        let why = format!("{element} goes in and {element_out} comes out");
        return Err(Error::Shape(why));
    }
    for (axes, name) in [(&axes, &input.name), (&axes_out, &output.name)] {
        match &axes[1] {
            Axis::Fixed(3) => {}
            Axis::Open(_) if layout.is_some() => {}
            Axis::Open(_) => {
                let why = format!("{name} leaves its planes open; NCHW RGB says that they are 3");
                let key = "millstream.layout";
                return Err(Error::Missing { key, why });
            }
            Axis::Fixed(planes) => {
                return Err(Error::Shape(format!("{name} has {planes} planes, not 3")));
            }
        }
    }
    let (scaling, is_moved) = entries.scaling("millstream.")?;
    let output_scaling = match entries.has("millstream.output_") {
        true => entries.scaling("millstream.output_")?.0,
        false if is_moved => {
            return Err(Error::Missing {
                key: "millstream.output_range",
                why: "what goes in has a mean or std, and what comes out may have neither".into(),
            });
        }
        false => scaling,
    };
    let layout = Layout {
        input: input.name.clone(),
        output: output.name.clone(),
        element,
        batch: entries.batch(&axes[0], &axes_out[0])?,
        width: entries.side("millstream.width", &axes[3])?,
        height: entries.side("millstream.height", &axes[2])?,
        scaling,
        output_scaling,
        factor: entries.factor(&axes, &axes_out)?,
        licence: entries.text("millstream.licence")?,
        origin: entries.text("millstream.origin")?,
        description: entries.text("millstream.description")?,
    };
    match entries.0.into_iter().next() {
        Some((key, value)) => Err(Error::bad(&key, &value, "no such key")),
        None => Ok(layout),
    }
}

/// The named input, or the only one that the file gives no value for.
fn input(graph: &GraphProto, name: Option<String>) -> Result<&ValueInfoProto, Error> {
    let valued: HashSet<&str> = graph
        .initializer
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    let open: Vec<_> = graph
        .input
        .iter()
        .filter(|input| !valued.contains(input.name.as_str()))
        .collect();
    match (open.as_slice(), name) {
        ([], _) => Err(Error::Shape("the model has no input".into())),
        ([input], None) => Ok(input),
        ([input], Some(name)) if input.name == name => Ok(input),
        ([_], Some(name)) => Err(Error::bad("millstream.input", &name, "no such input")),
        (inputs, _) => {
            let count = inputs.len();
            let why = format!("the model has {count} inputs without a value; one is a picture");
            Err(Error::Shape(why))
        }
    }
}

fn output(graph: &GraphProto, name: Option<String>) -> Result<&ValueInfoProto, Error> {
    let Some(name) = name else {
        let first = graph.output.first();
        return first.ok_or_else(|| Error::Shape("the model has no output".into()));
    };
    let mut outputs = graph.output.iter();
    outputs
        .find(|output| output.name == name)
        .ok_or_else(|| Error::bad("millstream.output", &name, "no such output"))
}

fn tensor(info: &ValueInfoProto) -> Result<(Element, [Axis; 4]), Error> {
    let name = brief(&info.name);
    let shape_error = |why: &str| Error::Shape(format!("{name}: {why}"));
    let value = info.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = value else {
        return Err(shape_error("not a tensor"));
    };
    let element = match tensor.elem_type {
        1 => Element::F32,
        10 => Element::F16,
        _ => return Err(shape_error("its numbers are neither f32 nor f16")),
    };
    let Some(shape) = &tensor.shape else {
        return Err(shape_error(
            "the file does not give its shape, [n, 3, h, w]",
        ));
    };
    let axes = shape.dim.iter().map(|dim| match &dim.value {
        Some(Dim::DimValue(size)) => match usize::try_from(*size) {
            Ok(size) if (1..=SIDE_MAX_PX).contains(&size) => Ok(Axis::Fixed(size)),
            _ => Err(shape_error(&format!("a dimension of {size}"))),
        },
        Some(Dim::DimParam(name)) => Ok(Axis::Open(name.clone())),
        None => Ok(Axis::Open(String::new())),
    });
    let axes: Vec<Axis> = axes.take(5).collect::<Result<_, _>>()?;
    let axes = <[Axis; 4]>::try_from(axes)
        .map_err(|_| shape_error("not of four dimensions, [n, 3, h, w]"))?;
    Ok((element, axes))
}

// === impl Entries ===

impl Entries {
    fn of(model: &ModelProto) -> Result<Self, Error> {
        let mut entries = BTreeMap::new();
        for entry in &model.metadata_props {
            if !entry.key.starts_with("millstream.") {
                continue;
            }
            if entry.value.len() > TEXT_BYTES_MAX {
                let why = format!("at most {TEXT_BYTES_MAX} bytes");
                return Err(Error::bad(&entry.key, &entry.value, &why));
            }
            let value = entry.value.trim().to_owned();
            if entries.insert(entry.key.clone(), value).is_some() {
                return Err(Error::bad(&entry.key, &entry.value, "given twice"));
            }
        }
        Ok(Self(entries))
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    fn has(&self, prefix: &str) -> bool {
        self.0.keys().any(|key| key.starts_with(prefix))
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, Error> {
        Ok(self.take(key).filter(|text| !text.is_empty()))
    }

    /// The scaling under a prefix, and whether it has a mean or a standard deviation.
    fn scaling(&mut self, prefix: &str) -> Result<(Scaling, bool), Error> {
        let keys = ["range", "mean", "std"].map(|key| format!("{prefix}{key}"));
        let [range, mean, std] = [0, 1, 2].map(|i| self.take(&keys[i]));
        let is_moved = mean.is_some() || std.is_some();
        let (low, high) = match &range {
            None => (0.0, 1.0),
            Some(text) => ends(text)
                .ok_or_else(|| Error::bad(&keys[0], text, "two numbers, as in 0..1 or 0..255"))?,
        };
        let three = |key: &str, text: &Option<String>, default: f32| match text {
            None => Ok([default; 3]),
            Some(text) => {
                numbers(text).ok_or_else(|| Error::bad(key, text, "one number, or three"))
            }
        };
        let mean = three(&keys[1], &mean, 0.0)?;
        let stds = three(&keys[2], &std, 1.0)?;
        let mut scaling = Scaling::NONE;
        for c in 0..3 {
            scaling.mean[c] = (mean[c] - low) / (high - low);
            scaling.scale[c] = (high - low) / stds[c];
            let usable = scaling.mean[c].is_finite() && scaling.scale[c].is_normal();
            if !usable || stds[c] <= 0.0 {
                let text = std.as_deref().unwrap_or("1");
                return Err(Error::bad(&keys[2], text, "numbers above 0"));
            }
        }
        Ok((scaling, is_moved))
    }

    fn side(&mut self, key: &str, axis: &Axis) -> Result<Side, Error> {
        let Some(text) = self.take(key) else {
            return Ok(match axis {
                Axis::Fixed(px) => Side::Fixed(*px),
                Axis::Open(_) => Side::Any,
            });
        };
        let px = |text: &str| {
            let px = text.trim().parse().ok();
            px.filter(|px| (1..=SIDE_MAX_PX).contains(px))
        };
        let side = match text.strip_prefix("multiple ") {
            _ if text == "any" => Some(Side::Any),
            Some(of) => px(of).map(Side::Multiple),
            None => px(&text).map(Side::Fixed),
        };
        let side =
            side.ok_or_else(|| Error::bad(key, &text, "any, a number, or multiple and a number"))?;
        match axis {
            Axis::Fixed(px) if side == Side::Any || side.takes(*px) => Ok(Side::Fixed(*px)),
            Axis::Fixed(px) => Err(Error::bad(key, &text, &format!("its shape says {px}"))),
            Axis::Open(_) => Ok(side),
        }
    }

    fn batch(&mut self, axis: &Axis, out: &Axis) -> Result<Batch, Error> {
        const KEY: &str = "millstream.batch";
        let text = self.take(KEY);
        let count = |text: &str| {
            let count = text.trim().parse().ok();
            count.filter(|count| (1..=BATCH_MAX).contains(count))
        };
        let batch = match text.as_deref() {
            None | Some("any") => Some(Batch::Max(BATCH_MAX)),
            Some(text) => match text.strip_prefix("max ") {
                Some(max) => count(max).map(Batch::Max),
                None => count(text).map(Batch::Fixed),
            },
        };
        let text = text.unwrap_or_default();
        let batch = batch.ok_or_else(|| {
            let why = format!("any, or 1 to {BATCH_MAX}, alone or after max");
            Error::bad(KEY, &text, &why)
        })?;
        let shapes = match (axis, out) {
            (Axis::Fixed(n), Axis::Fixed(out)) if n != out => {
                return Err(Error::Shape(format!(
                    "{n} pictures go in and {out} come out"
                )));
            }
            (Axis::Open(_), Axis::Fixed(n)) | (Axis::Fixed(n), _) => *n,
            (Axis::Open(_), Axis::Open(_)) => return Ok(batch),
        };
        let fits = match batch {
            Batch::Max(max) => shapes <= max,
            Batch::Fixed(count) => shapes == count,
        };
        match fits {
            true => Ok(Batch::Fixed(shapes)),
            false if text.is_empty() => {
                let why = format!("{shapes} pictures at once; at most {BATCH_MAX} are taken");
                Err(Error::Shape(why))
            }
            false => Err(Error::bad(KEY, &text, &format!("its shape says {shapes}"))),
        }
    }

    fn factor(&mut self, axes: &[Axis; 4], out: &[Axis; 4]) -> Result<usize, Error> {
        const KEY: &str = "millstream.factor";
        let text = self.take(KEY);
        let said = match &text {
            None => None,
            Some(text) => {
                let factor = text.parse().ok();
                let factor = factor.filter(|factor| (1..=FACTOR_MAX).contains(factor));
                let why = format!("1 to {FACTOR_MAX}");
                Some(factor.ok_or_else(|| Error::bad(KEY, text, &why))?)
            }
        };
        let mut shown = said;
        for i in [2, 3] {
            let here = match (&axes[i], &out[i]) {
                (Axis::Fixed(from), Axis::Fixed(to)) => match to / from {
                    factor if factor * from == *to && (1..=FACTOR_MAX).contains(&factor) => factor,
                    _ => {
                        return Err(Error::Shape(format!(
                            "{from} pixels become {to}; a factor of 1 to {FACTOR_MAX} is wanted"
                        )));
                    }
                },
                (Axis::Open(from), Axis::Open(to)) if !from.is_empty() && from == to => 1,
                (Axis::Open(_), Axis::Fixed(to)) => {
                    return Err(Error::Shape(format!(
                        "any number of pixels go in and {to} come out"
                    )));
                }
                _ => continue,
            };
            if *shown.get_or_insert(here) != here {
                return Err(match &text {
                    Some(text) => Error::bad(KEY, text, &format!("its shapes say {here}")),
                    None => Error::Shape("width and height grow differently".into()),
                });
            }
        }
        shown.ok_or_else(|| Error::Missing {
            key: KEY,
            why: "the shapes do not show how much larger the output is, 1 if not at all".into(),
        })
    }
}

/// `0..255`.
fn ends(text: &str) -> Option<(f32, f32)> {
    let (low, high) = text.split_once("..")?;
    let [low, high] = [low, high].map(|end| end.trim().parse::<f32>().ok());
    let (low, high) = (low?, high?);
    (low.is_finite() && high.is_finite() && low < high).then_some((low, high))
}

/// One number for all channels, or three.
fn numbers(text: &str) -> Option<[f32; 3]> {
    let numbers = text.split([' ', ',']).filter(|part| !part.is_empty());
    let numbers: Vec<f32> = numbers
        .take(4)
        .map(|part| part.parse().ok().filter(|number: &f32| number.is_finite()))
        .collect::<Option<_>>()?;
    match numbers[..] {
        [one] => Some([one; 3]),
        [r, g, b] => Some([r, g, b]),
        _ => None,
    }
}

// === impl Error ===

impl Error {
    fn bad(key: &str, value: &str, why: &str) -> Self {
        let cut = |text: &str| text.chars().take(64).collect();
        Self::Metadata {
            key: cut(key),
            value: cut(value),
            why: why.into(),
        }
    }
}
