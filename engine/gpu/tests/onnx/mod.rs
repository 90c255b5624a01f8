//! Writes small ONNX files, so that the tests do not read with the same code that they write with.
//!
//! A file is protobuf: fields of a number, a kind and a value. Numbers are those of onnx.proto.

/// One graph: an input `x`, an output `y`.
pub(crate) struct Model {
    /// 1 is f32, 10 is f16.
    pub(crate) element: u64,
    /// Numbers, names, or nothing.
    pub(crate) input_dims: [&'static str; 4],
    pub(crate) output_dims: [&'static str; 4],
    pub(crate) nodes: Vec<Node>,
    pub(crate) constants: Vec<Tensor>,
    pub(crate) metadata: Vec<(&'static str, &'static str)>,
}

pub(crate) struct Node {
    pub(crate) op: &'static str,
    pub(crate) domain: &'static str,
    pub(crate) inputs: Vec<&'static str>,
    pub(crate) outputs: Vec<&'static str>,
    pub(crate) integers: Vec<(&'static str, u64)>,
}

/// Of f32.
pub(crate) struct Tensor {
    pub(crate) name: &'static str,
    pub(crate) dims: Vec<i64>,
    pub(crate) numbers: Vec<f32>,
}

impl Model {
    /// `y = x + x`, of any size.
    pub(crate) fn sum() -> Self {
        Self {
            element: 1,
            input_dims: ["n", "3", "h", "w"],
            output_dims: ["n", "3", "h", "w"],
            nodes: vec![Node::new("Add", &["x", "x"], &["y"])],
            constants: vec![],
            metadata: vec![],
        }
    }

    /// Each pixel becomes four: a convolution copies each plane four times, and the planes become squares.
    pub(crate) fn twice() -> Self {
        // DepthToSpace, mode DCR: plane `corner * 3 + c` goes to that corner of plane `c`.
        let numbers = (0..36).map(|i| f32::from(i / 3 % 3 == i % 3)).collect();
        let mut to_squares = Node::new("DepthToSpace", &["planes"], &["y"]);
        to_squares.integers = vec![("blocksize", 2)];
        Self {
            output_dims: ["n", "3", "H", "W"],
            nodes: vec![Node::new("Conv", &["x", "k"], &["planes"]), to_squares],
            constants: vec![Tensor {
                name: "k",
                dims: vec![12, 3, 1, 1],
                numbers,
            }],
            metadata: vec![("millstream.factor", "2")],
            ..Self::sum()
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut graph = Vec::new();
        for node in &self.nodes {
            field(&mut graph, 1, &node.bytes());
        }
        field(&mut graph, 2, b"test");
        for constant in &self.constants {
            field(&mut graph, 5, &constant.bytes());
        }
        field(&mut graph, 11, &self.value("x", self.input_dims));
        field(&mut graph, 12, &self.value("y", self.output_dims));
        let mut model = Vec::new();
        number(&mut model, 1, 8);
        field(&mut model, 7, &graph);
        let mut operators = Vec::new();
        number(&mut operators, 2, 13);
        field(&mut model, 8, &operators);
        if self.nodes.iter().any(|node| !node.domain.is_empty()) {
            let mut operators = Vec::new();
            field(&mut operators, 1, b"com.example");
            number(&mut operators, 2, 1);
            field(&mut model, 8, &operators);
        }
        for (key, value) in &self.metadata {
            let mut entry = Vec::new();
            field(&mut entry, 1, key.as_bytes());
            field(&mut entry, 2, value.as_bytes());
            field(&mut model, 14, &entry);
        }
        model
    }

    fn value(&self, name: &str, dims: [&str; 4]) -> Vec<u8> {
        let mut shape = Vec::new();
        for dim in dims {
            let mut size = Vec::new();
            match dim.parse::<i64>() {
                Ok(fixed) => number(&mut size, 1, fixed as u64),
                Err(_) if dim.is_empty() => {}
                Err(_) => field(&mut size, 2, dim.as_bytes()),
            }
            field(&mut shape, 1, &size);
        }
        let mut tensor = Vec::new();
        number(&mut tensor, 1, self.element);
        field(&mut tensor, 2, &shape);
        let mut kind = Vec::new();
        field(&mut kind, 1, &tensor);
        let mut value = Vec::new();
        field(&mut value, 1, name.as_bytes());
        field(&mut value, 2, &kind);
        value
    }
}

impl Node {
    pub(crate) fn new(op: &'static str, inputs: &[&'static str], outputs: &[&'static str]) -> Self {
        Self {
            op,
            domain: "",
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
            integers: vec![],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut node = Vec::new();
        for input in &self.inputs {
            field(&mut node, 1, input.as_bytes());
        }
        for output in &self.outputs {
            field(&mut node, 2, output.as_bytes());
        }
        field(&mut node, 4, self.op.as_bytes());
        field(&mut node, 7, self.domain.as_bytes());
        for (name, value) in &self.integers {
            const INTEGER: u64 = 2;
            let mut attribute = Vec::new();
            field(&mut attribute, 1, name.as_bytes());
            number(&mut attribute, 3, *value);
            number(&mut attribute, 20, INTEGER);
            field(&mut node, 5, &attribute);
        }
        node
    }
}

impl Tensor {
    fn bytes(&self) -> Vec<u8> {
        let mut tensor = Vec::new();
        for dim in &self.dims {
            number(&mut tensor, 1, *dim as u64);
        }
        number(&mut tensor, 2, 1);
        field(&mut tensor, 8, self.name.as_bytes());
        let raw: Vec<u8> = self.numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        field(&mut tensor, 9, &raw);
        tensor
    }
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
