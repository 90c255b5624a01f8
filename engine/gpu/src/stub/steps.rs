//! The stub's decoders, processor and encoders: the CPU's, with the device's time, memory and faults around them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use kernels::Frame;

use super::{Context, Lease, Point, Surface, wait_until};
use crate::decode::{self, Decode, Decoded, Unit};
use crate::encode::{self, Encode, Encoded};
use crate::fault::Fault;
use crate::process::{Process, Work};

/// The size of the pictures that stand for those of codecs which the CPU does not read.
const FLAT: (usize, usize) = (320, 192);

pub(super) struct Decoder {
    /// `None` for a codec that the CPU does not read.
    pub(super) inner: Option<Box<dyn Decode<Frame>>>,
    /// Timestamps of flat pictures that are to be shown.
    pub(super) flat: VecDeque<i64>,
    pub(super) done_at: Instant,
    pub(super) frames: Vec<Decoded<Frame>>,
    pub(super) context: Rc<Context>,
    pub(super) _lease: Lease,
}

impl Decoder {
    fn show(&mut self, out: &mut Vec<Decoded<Surface>>) {
        out.extend(self.frames.drain(..).map(|picture| Decoded {
            surface: Surface {
                frame: picture.surface,
                pts: picture.pts,
                _lease: None,
            },
            pts: picture.pts,
            width: picture.width,
            height: picture.height,
        }));
    }
}

impl Decode<Surface> for Decoder {
    fn submit(&mut self, unit: Unit<'_>) -> Result<(), decode::Error> {
        self.context.call(Point::DecodeSubmit)?;
        self.done_at = self.context.work(|usage, ns| {
            usage.to_device_bytes += unit.data.len() as u64;
            usage.decode_ns += ns;
        });
        match &mut self.inner {
            Some(inner) => inner.submit(unit),
            None => {
                self.flat.push_back(unit.pts);
                Ok(())
            }
        }
    }

    fn collect(&mut self, out: &mut Vec<Decoded<Surface>>) -> Result<(), decode::Error> {
        self.context.call(Point::DecodeCollect)?;
        wait_until(self.done_at);
        let outcome = match &mut self.inner {
            Some(inner) => inner.collect(&mut self.frames),
            None => Ok(()),
        };
        for pts in self.flat.drain(..) {
            let (width, height) = FLAT;
            let surface = Frame::new(width, height).expect("a constant size");
            self.frames.push(Decoded {
                surface,
                pts,
                width,
                height,
            });
        }
        self.show(out);
        outcome
    }

    fn flush(&mut self, out: &mut Vec<Decoded<Surface>>) -> Result<(), decode::Error> {
        self.context.call(Point::DecodeCollect)?;
        let outcome = match &mut self.inner {
            Some(inner) => inner.flush(&mut self.frames),
            None => Ok(()),
        };
        self.show(out);
        outcome
    }

    fn reset(&mut self) {
        self.flat.clear();
        if let Some(inner) = &mut self.inner {
            inner.reset();
        }
    }

    fn recycle(&mut self, surface: Surface) {
        if let Some(inner) = &mut self.inner {
            inner.recycle(surface.frame);
        }
    }
}

pub(super) struct Processor {
    pub(super) inner: Box<dyn Process<Frame>>,
    pub(super) context: Rc<Context>,
}

impl Process<Surface> for Processor {
    fn process(&mut self, batch: &mut [Work<'_, Surface>]) -> Result<(), Fault> {
        self.context.call(Point::Process)?;
        self.context.work(|usage, ns| usage.process_ns += ns);
        let faults = &self.context.device.faults;
        let poisoned = batch
            .iter()
            .find_map(|work| faults.poison_of(work.input.pts));
        if let Some(trouble) = poisoned {
            self.context.suffer(trouble)?;
        }
        for work in batch {
            work.outcome =
                self.inner
                    .process_one(work.step, &work.input.frame, &mut work.output.frame);
            work.output.pts = work.input.pts;
        }
        Ok(())
    }
}

pub(super) struct Encoder {
    pub(super) inner: Box<dyn Encode<Frame>>,
    /// When each submitted picture is done.
    pub(super) done_at: VecDeque<Instant>,
    pub(super) context: Rc<Context>,
    pub(super) _lease: Lease,
}

impl Encode<Surface> for Encoder {
    fn submit(
        &mut self,
        surface: &Surface,
        pts: i64,
        force_key: bool,
    ) -> Result<(), encode::Error> {
        self.context.call(Point::EncodeSubmit)?;
        self.inner.submit(&surface.frame, pts, force_key)?;
        self.done_at
            .push_back(self.context.work(|usage, ns| usage.encode_ns += ns));
        Ok(())
    }

    fn collect(&mut self, out: &mut Vec<u8>) -> Result<Encoded, encode::Error> {
        let called = self.context.call(Point::EncodeCollect);
        wait_until(self.done_at.pop_front().expect("a picture was submitted"));
        if let Err(fault) = called {
            // The picture is lost with the call.
            self.inner.collect(&mut Vec::new())?;
            return Err(fault.into());
        }
        let encoded = self.inner.collect(out)?;
        let mut usage = self.context.usage.get();
        usage.from_device_bytes += encoded.bytes as u64;
        self.context.usage.set(usage);
        Ok(encoded)
    }
}
