//! The stub's decoders, processor and encoders: the CPU's, with the device's time, memory and faults around them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use kernels::Frame;

use super::{Context, DECODER_SURFACES, Lease, Point, Surface, wait_until};
use crate::backend::{Backend, Codec, Unavailable};
use crate::cpu::Cpu;
use crate::decode::{self, Decode, Decoded, Unit};
use crate::encode::{self, Encode, Encoded};
use crate::fault::Fault;
use crate::model::Model;
use crate::process::{Process, Work};
use crate::reorder::Reorder;

/// The size of the pictures that stand for those of codecs which the CPU does not read.
const FLAT: (usize, usize) = (320, 192);
/// How many of them are held back: the deepest pyramid in common use.
const FLAT_DEPTH: usize = 4;

pub(super) struct Decoder {
    reader: Reader,
    done_at: Instant,
    frames: Vec<Decoded<Frame>>,
    context: Rc<Context>,
    _lease: Lease,
}

enum Reader {
    /// The CPU's decoder.
    Cpu(Box<dyn Decode<Frame>>),
    /// Of a codec that the CPU does not read, each unit is a flat picture. They are put into the order of the screen.
    Flat(Reorder<Frame>),
}

impl Decoder {
    pub(super) fn new(
        context: &Rc<Context>,
        codec: Codec,
        config: decode::Config,
    ) -> Result<Self, Unavailable> {
        let reader = match codec {
            Codec::H264 => Reader::Cpu(Cpu.decoder(codec, config)?),
            _ => {
                let mut reorder = Reorder::new();
                reorder.set_depth(Some(FLAT_DEPTH));
                Reader::Flat(reorder)
            }
        };
        Ok(Self {
            reader,
            done_at: Instant::now(),
            frames: Vec::new(),
            context: context.clone(),
            _lease: context.lease(DECODER_SURFACES)?,
        })
    }

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

fn flat(pts: i64, surface: Frame) -> Decoded<Frame> {
    Decoded {
        surface,
        pts,
        width: FLAT.0,
        height: FLAT.1,
    }
}

impl Decode<Surface> for Decoder {
    fn submit(&mut self, unit: Unit<'_>) -> Result<(), decode::Error> {
        self.context.call(Point::DecodeSubmit)?;
        self.done_at = self.context.work(|usage, ns| {
            usage.to_device_bytes += unit.data.len() as u64;
            usage.decode_ns += ns;
        });
        match &mut self.reader {
            Reader::Cpu(inner) => inner.submit(unit),
            Reader::Flat(reorder) => {
                let frame = Frame::new(FLAT.0, FLAT.1).expect("a constant size");
                let frames = &mut self.frames;
                // One that comes after its turn is not shown.
                let _late = reorder.push(unit.pts, frame, false, |pts, frame| {
                    frames.push(flat(pts, frame));
                });
                Ok(())
            }
        }
    }

    fn collect(&mut self, out: &mut Vec<Decoded<Surface>>) -> Result<(), decode::Error> {
        self.context.call(Point::DecodeCollect)?;
        wait_until(self.done_at);
        let outcome = match &mut self.reader {
            Reader::Cpu(inner) => inner.collect(&mut self.frames),
            Reader::Flat(_) => Ok(()),
        };
        self.show(out);
        outcome
    }

    fn flush(&mut self, out: &mut Vec<Decoded<Surface>>) -> Result<(), decode::Error> {
        self.context.call(Point::DecodeCollect)?;
        let frames = &mut self.frames;
        let outcome = match &mut self.reader {
            Reader::Cpu(inner) => inner.flush(frames),
            Reader::Flat(reorder) => {
                reorder.drain(|pts, frame| frames.push(flat(pts, frame)));
                Ok(())
            }
        };
        self.show(out);
        outcome
    }

    fn reset(&mut self) {
        self.frames.clear();
        match &mut self.reader {
            Reader::Cpu(inner) => inner.reset(),
            Reader::Flat(reorder) => reorder.restart(drop),
        }
    }

    fn recycle(&mut self, surface: Surface) {
        if let Reader::Cpu(inner) = &mut self.reader {
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

    fn prepare(&mut self, models: &[Model]) -> Vec<String> {
        self.inner.prepare(models)
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
