//! Whether a model's constants hold as many numbers as their shapes say.
//!
//! A library makes room for a constant by its shape, so a shape without the numbers would cost memory that the file does
//! not pay for. Shapes that only the arithmetic makes are not seen here.

use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};

use super::error::{Error, brief};

/// Checks every constant of the graph and of the graphs within it. How deep those nest was checked.
pub(super) fn check(model: &ModelProto) -> Result<(), Error> {
    model.graph.iter().try_for_each(graph)
}

fn graph(within: &GraphProto) -> Result<(), Error> {
    within.initializer.iter().try_for_each(tensor)?;
    let sparse = within.sparse_initializer.len();
    if sparse > 0 {
        return Err(Error::Shape(format!(
            "{sparse} sparse constants; dense ones are read"
        )));
    }
    // A library spreads these out to their shape.
    let mut sparse = within.sparse_initializer.len();
    for attribute in within.node.iter().flat_map(|node| &node.attribute) {
        sparse += attribute.sparse_tensors.len() + usize::from(attribute.sparse_tensor.is_some());
        attribute.t.iter().try_for_each(tensor)?;
        attribute.tensors.iter().try_for_each(tensor)?;
        attribute.g.iter().try_for_each(graph)?;
        attribute.graphs.iter().try_for_each(graph)?;
    }
    match sparse {
        0 => Ok(()),
        _ => Err(Error::Shape(
            "a sparse constant; only dense ones are taken".into(),
        )),
    }
}

fn tensor(tensor: &TensorProto) -> Result<(), Error> {
    let wanted = tensor.dims.iter().try_fold(1_usize, |product, size| {
        product.checked_mul(usize::try_from(*size).ok()?)
    });
    let raw = tensor.raw_data.len();
    // Numbers from onnx.proto, TensorProto.DataType.
    let held = match (tensor.data_type, raw) {
        (1, 0) => tensor.float_data.len(),
        // int32_data holds all that are narrower, f16 by its bits.
        (2..=6 | 9 | 10 | 16, 0) => tensor.int32_data.len(),
        (7, 0) => tensor.int64_data.len(),
        (8, _) => tensor.string_data.len(),
        (11, 0) => tensor.double_data.len(),
        (12 | 13, 0) => tensor.uint64_data.len(),
        (1 | 6 | 12, _) => raw / 4,
        (4 | 5 | 10 | 16, _) => raw / 2,
        (7 | 11 | 13, _) => raw / 8,
        (2 | 3 | 9, _) => raw,
        (kind, _) => return Err(Error::Broken(format!("a constant of type {kind}"))),
    };
    match wanted == Some(held) {
        true => Ok(()),
        false => Err(Error::Broken(format!(
            "constant {:?} has {held} numbers and the shape {:?}",
            brief(&tensor.name),
            tensor.dims.iter().take(8).collect::<Vec<_>>(),
        ))),
    }
}
