//! Each filter on a real picture, in the two sizes that people send.

use std::hint::black_box;

use gpu::Frame;
use kernels::{Filter, Scratch, reference};

use super::clip;
use super::{Body, Round};

/// One filter and one picture, again and again.
struct Filtering {
    filter: Filter,
    input: Frame,
    output: Frame,
    scratch: Scratch,
}

/// A picture of the clip, 640×360.
pub(super) fn at_360p(filter: Filter) -> Box<dyn Body> {
    Box::new(Filtering::new(filter, picture()))
}

/// Four of them beside and above each other, 1280×720.
pub(super) fn at_720p(filter: Filter) -> Box<dyn Body> {
    Box::new(Filtering::new(filter, fourfold(&picture())))
}

impl Filtering {
    fn new(filter: Filter, input: Frame) -> Self {
        Self {
            filter,
            input,
            output: Frame::default(),
            scratch: Scratch::new(),
        }
    }
}

impl Body for Filtering {
    fn round(&self) -> Round {
        Round {
            operations: 1,
            bytes: Some(super::bytes_of(&self.input)),
        }
    }

    fn run(&mut self) -> u64 {
        reference::apply(
            self.filter,
            black_box(&self.input),
            &mut self.output,
            &mut self.scratch,
        );
        u64::from(black_box(&self.output).width() == self.input.width())
    }
}

fn picture() -> Frame {
    clip::frames(1).pop().expect("the clip has pictures")
}

fn fourfold(one: &Frame) -> Frame {
    let mut four = Frame::new(2 * one.width(), 2 * one.height()).expect("twice 640×360 is allowed");
    (four.range, four.matrix) = (one.range, one.matrix);
    for (mut to, from) in four.planes_mut().into_iter().zip(one.planes()) {
        let height = from.height();
        for (y, row) in to.rows_mut().enumerate() {
            for half in row.chunks_mut(from.width()) {
                half.copy_from_slice(from.row(y % height));
            }
        }
    }
    four
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_pictures_are_four_times_the_bytes() {
        let filter = Filter::Invert {
            amount_percent: 100,
        };
        let (one, four) = (at_360p(filter).round(), at_720p(filter).round());
        assert_eq!(one.bytes, Some(640 * 360 * 3 / 2));
        assert_eq!(four.bytes, Some(1280 * 720 * 3 / 2));
        let four = fourfold(&picture());
        assert_eq!(four.y().row(0)[..640], four.y().row(360)[640..1280]);
    }
}
