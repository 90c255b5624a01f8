//! What decoding a model file would cost, found before anything is decoded.
//!
//! Two bytes of a protobuf file can stand for an empty message that takes hundreds of bytes in memory, so a bound on the
//! file alone is none. This walks the file's fields as ONNX nests them (numbers from onnx.proto of ONNX 1.16), counts
//! them, and skips what it does not know. On the way it finds tensors that are kept in other files, also within
//! functions and subgraphs, where a reader of the top graph would not see them.

use super::error::Error;

/// The most fields that messages may have, all together. A decoded message takes at most some 600 bytes, so 600 MB.
pub(super) const FIELDS_MAX: usize = 1 << 20;
/// The most bytes of packed integers, each of which may become eight in memory. Weights are raw bytes and not counted.
pub(super) const PACKED_BYTES_MAX: usize = 64 << 20;
/// How deep messages may nest; a graph within a graph is three deeper.
const DEPTH_MAX: usize = 32;

/// Checks the file's outer form. `Ok` says that its fields are whole, few enough, and name no other file.
pub(super) fn check(bytes: &[u8]) -> Result<(), Error> {
    let mut count = Count::default();
    count.message(bytes, Kind::Model, 0)
}

#[derive(Default)]
struct Count {
    fields: usize,
    packed_bytes: usize,
}

/// A message of onnx.proto that has messages, or long lists, within.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Function,
    Training,
    Annotation,
    /// Its fields are counted and hold nothing of interest.
    Plain,
}

/// What a field of bytes is.
enum Within {
    Message(Kind),
    Integers,
    /// Text, raw numbers, or unknown.
    Bytes,
}

// === impl Count ===

impl Count {
    fn message(&mut self, mut rest: &[u8], kind: Kind, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::TooMany {
                what: "levels",
                max: DEPTH_MAX,
            });
        }
        while !rest.is_empty() {
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                return Err(Error::TooMany {
                    what: "fields",
                    max: FIELDS_MAX,
                });
            }
            let key = varint(&mut rest)?;
            let field = key >> 3;
            match key & 7 {
                0 => {
                    let value = varint(&mut rest)?;
                    // data_location; 1 is EXTERNAL.
                    if kind == Kind::Tensor && field == 14 && value != 0 {
                        return Err(Error::External);
                    }
                }
                1 => drop(take(&mut rest, 8)?),
                2 => {
                    let len = varint(&mut rest)?;
                    let body = take(&mut rest, usize::try_from(len).unwrap_or(usize::MAX))?;
                    self.bytes(body, kind, field, depth)?;
                }
                5 => drop(take(&mut rest, 4)?),
                _ => return Err(broken("a field of unknown kind")),
            }
        }
        Ok(())
    }

    fn bytes(&mut self, body: &[u8], kind: Kind, field: u64, depth: usize) -> Result<(), Error> {
        // external_data
        if kind == Kind::Tensor && field == 13 {
            return Err(Error::External);
        }
        match kind.within(field) {
            Within::Message(kind) => self.message(body, kind, depth + 1),
            Within::Integers => {
                self.packed_bytes += body.len();
                match self.packed_bytes > PACKED_BYTES_MAX {
                    true => Err(Error::TooMany {
                        what: "bytes of packed integers",
                        max: PACKED_BYTES_MAX,
                    }),
                    false => Ok(()),
                }
            }
            Within::Bytes => Ok(()),
        }
    }
}

// === impl Kind ===

impl Kind {
    fn within(self, field: u64) -> Within {
        let kind = match (self, field) {
            (Self::Model, 7) => Self::Graph,
            (Self::Model, 8 | 14) => Self::Plain,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) => Self::Tensor,
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Graph, 14) => Self::Annotation,
            (Self::Graph, 15) => Self::Sparse,
            (Self::Graph, 16) => Self::Plain,
            (Self::Node, 5) => Self::Attribute,
            (Self::Node, 9) => Self::Plain,
            (Self::Attribute, 5 | 10) => Self::Tensor,
            (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Attribute, 14 | 15) => Self::Type,
            (Self::Attribute, 22 | 23) => Self::Sparse,
            (Self::Attribute, 8) => return Within::Integers,
            (Self::Tensor, 1 | 5 | 7 | 11) => return Within::Integers,
            (Self::Tensor, 3 | 16) => Self::Plain,
            (Self::Sparse, 1 | 2) => Self::Tensor,
            (Self::Sparse, 3) => return Within::Integers,
            (Self::ValueInfo, 2) => Self::Type,
            (Self::ValueInfo, 4) => Self::Plain,
            (Self::Type, 1 | 8) => Self::TensorType,
            (Self::Type, 4 | 5 | 9) => Self::Type,
            (Self::TensorType, 2) => Self::Shape,
            // Of a sequence, an optional: their element type. Of a map: its value type.
            (Self::Shape, 1) => Self::Plain,
            (Self::Function, 7) => Self::Node,
            (Self::Function, 11) => Self::Attribute,
            (Self::Function, 9 | 14) => Self::Plain,
            (Self::Function, 12) => Self::ValueInfo,
            (Self::Training, 1 | 2) => Self::Graph,
            (Self::Training, 3 | 4) => Self::Plain,
            (Self::Annotation, 2) => Self::Plain,
            _ => return Within::Bytes,
        };
        Within::Message(kind)
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0;
    for i in 0..10 {
        let (&byte, after) = rest.split_first().ok_or_else(|| broken("cut short"))?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(broken("a number of more than ten bytes"))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Error> {
    let (body, after) = rest
        .split_at_checked(len)
        .ok_or_else(|| broken("cut short"))?;
    *rest = after;
    Ok(body)
}

fn broken(why: &str) -> Error {
    Error::Broken(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn field(number: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut len = body.len();
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn weights_in_another_file_are_found_in_subgraphs_and_attributes() {
        for tensor in [vec![14 << 3, 1], field(13, b"")] {
            let in_graph = field(7, &field(5, &tensor));
            assert_eq!(check(&in_graph), Err(Error::External));
            let attribute = field(5, &field(5, &tensor));
            let in_attribute = field(7, &field(1, &attribute));
            assert_eq!(check(&in_attribute), Err(Error::External));
            let subgraph = field(5, &field(6, &field(5, &tensor)));
            assert_eq!(check(&field(7, &field(1, &subgraph))), Err(Error::External));
        }
        assert_eq!(check(&field(7, &field(5, &[14 << 3, 0]))), Ok(()));
    }

    #[test]
    fn many_small_messages_are_refused_before_they_are_decoded() {
        let nodes = [1 << 3 | 2, 0].repeat(FIELDS_MAX);
        let many = Error::TooMany {
            what: "fields",
            max: FIELDS_MAX,
        };
        assert_eq!(check(&field(7, &nodes)), Err(many));
        let deep = (0..DEPTH_MAX).fold(Vec::new(), |inner, i| {
            let number = [1, 5, 6][(DEPTH_MAX - 1 - i) % 3];
            field(number, &inner)
        });
        let deep = field(7, &deep);
        assert!(matches!(
            check(&deep),
            Err(Error::TooMany { what: "levels", .. })
        ));
    }

    #[test]
    fn cut_fields_are_told() {
        let whole = field(7, &field(5, &[8, 200, 1]));
        assert_eq!(check(&whole), Ok(()));
        for len in 1..whole.len() {
            assert!(
                matches!(check(&whole[..len]), Err(Error::Broken(_))),
                "{len}"
            );
        }
    }
}
