//! A stream that the chip's engine does not decode, and the CPU does: 4:2:2 on most chips, ten bits on some.
//!
//! ```text
//!   unit ─▶ engine ──Unsupported, said of this unit──▶ the CPU's decoder, this unit again, and all that follow
//! ```
//!
//! Whether a stream is one of those is known when its parameter set has come, so the decoder is changed in the middle. Pictures
//! that the engine had are shown first. The stream stays with the CPU; where the CPU cannot either, the engine's refusal stands.

use crate::decode::{Decode, Decoded, Error, Unit};

/// Makes the CPU's decoder, or says that there is none for this codec.
pub(super) type Other<S> = Box<dyn FnOnce(Error) -> Option<Box<dyn Decode<S>>>>;

/// The engine's decoder, and then perhaps the CPU's.
pub(super) struct Fallback<S> {
    decoder: Box<dyn Decode<S>>,
    /// `None` once it is used.
    other: Option<Other<S>>,
    /// What the engine still had when it was left.
    left: Vec<Decoded<S>>,
}

impl<S> Fallback<S> {
    /// `other` is asked once, with the engine's refusal, if ever the engine refuses.
    pub(super) fn new(engine: Box<dyn Decode<S>>, other: Other<S>) -> Self {
        Self {
            decoder: engine,
            other: Some(other),
            left: Vec::new(),
        }
    }
}

impl<S> Decode<S> for Fallback<S> {
    fn submit(&mut self, unit: Unit<'_>) -> Result<(), Error> {
        let outcome = self.decoder.submit(unit);
        let Err(refusal @ Error::Unsupported(_)) = outcome else {
            return outcome;
        };
        let Some(mut host) = self.other.take().and_then(|make| make(refusal)) else {
            return outcome;
        };
        self.decoder.collect(&mut self.left)?;
        self.decoder.flush(&mut self.left)?;
        std::mem::swap(&mut self.decoder, &mut host);
        self.decoder.submit(unit)
    }

    fn collect(&mut self, out: &mut Vec<Decoded<S>>) -> Result<(), Error> {
        out.append(&mut self.left);
        self.decoder.collect(out)
    }

    fn flush(&mut self, out: &mut Vec<Decoded<S>>) -> Result<(), Error> {
        out.append(&mut self.left);
        self.decoder.flush(out)
    }

    fn reset(&mut self) {
        self.left.clear();
        self.decoder.reset();
    }

    fn recycle(&mut self, surface: S) {
        self.decoder.recycle(surface);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::decode::Feature;

    const REFUSED: Error = Error::Unsupported(Feature::Chroma(2));

    /// Decodes a unit to its first byte, holds one back, and refuses units that begin with 9.
    #[derive(Default)]
    struct Fake {
        name: u8,
        held: Option<Decoded<u8>>,
        ready: Vec<Decoded<u8>>,
    }

    impl Decode<u8> for Fake {
        fn submit(&mut self, unit: Unit<'_>) -> Result<(), Error> {
            if unit.data[0] == 9 && self.name == 0 {
                return Err(REFUSED);
            }
            let picture = Decoded {
                surface: self.name * 100 + unit.data[0],
                pts: unit.pts,
                width: 1,
                height: 1,
            };
            self.ready.extend(self.held.replace(picture));
            Ok(())
        }

        fn collect(&mut self, out: &mut Vec<Decoded<u8>>) -> Result<(), Error> {
            out.append(&mut self.ready);
            Ok(())
        }

        fn flush(&mut self, out: &mut Vec<Decoded<u8>>) -> Result<(), Error> {
            out.append(&mut self.ready);
            out.extend(self.held.take());
            Ok(())
        }

        fn reset(&mut self) {
            self.held = None;
        }

        fn recycle(&mut self, _: u8) {}
    }

    fn shown(decoder: &mut Fallback<u8>, first: u8) -> (Result<(), Error>, Vec<u8>) {
        let mut out = Vec::new();
        let unit = Unit {
            data: &[first],
            pts: 0,
        };
        let outcome = decoder.decode(unit, &mut out);
        (outcome, out.iter().map(|picture| picture.surface).collect())
    }

    #[test]
    fn the_refused_unit_and_all_that_follow_are_the_cpus_and_no_picture_is_lost() {
        let why = Rc::new(RefCell::new(Vec::new()));
        let said = why.clone();
        let other: Other<u8> = Box::new(move |refusal| {
            said.borrow_mut().push(refusal);
            Some(Box::new(Fake {
                name: 1,
                ..Fake::default()
            }))
        });
        let mut decoder = Fallback::new(Box::new(Fake::default()), other);
        assert_eq!(shown(&mut decoder, 1), (Ok(()), vec![]));
        assert_eq!(shown(&mut decoder, 2), (Ok(()), vec![1]));
        assert_eq!(shown(&mut decoder, 9), (Ok(()), vec![2]));
        assert_eq!(shown(&mut decoder, 3), (Ok(()), vec![109]));
        let mut out = Vec::new();
        decoder.flush(&mut out).unwrap();
        assert_eq!(out[0].surface, 103);
        assert_eq!(*why.borrow(), [REFUSED]);
    }

    #[test]
    fn where_the_cpu_cannot_either_the_refusal_stands() {
        let mut decoder = Fallback::new(Box::new(Fake::default()), Box::new(|_| None));
        assert_eq!(shown(&mut decoder, 9), (Err(REFUSED), vec![]));
        assert_eq!(shown(&mut decoder, 9), (Err(REFUSED), vec![]));
        assert_eq!(shown(&mut decoder, 1), (Ok(()), vec![]));
    }
}
