//! Steps on the device: the works of a batch, gathered by the kernels that they need. Those that are models are in `model`.
//!
//! ```text
//!   works      edges . blur . edges . passthrough . blur
//!   launches   copy [3]   edges [0, 2]   blur_rows [1, 4]   blur_columns [1, 4]      in the order of Kernel::ALL
//! ```
//!
//! Works of one batch are of different pictures, so only the kernels of one work must keep their order; that of
//! [`Kernel::ALL`] keeps it for every filter, which a test holds.
#![allow(unsafe_code, reason = "kernels are handed addresses")]

use std::rc::Rc;

use kernels::item::{self, ITEMS_MAX};
use kernels::{Filter, Item, Kernel};

use super::launch::{Kernels, Launch};
use super::model::Models;
use super::shared::{Shared, Stage};
use super::surface::{DeviceLease, Surface};
use crate::fault::Fault;
use crate::model::Model;
use crate::process::{Error, Process, Step, Work};

/// The processor of one backend.
pub(crate) struct Processor {
    shared: Shared,
    kernels: Rc<Kernels>,
    pub(super) models: Models,
}

/// One picture's way through the kernels.
#[derive(Clone, Copy, Debug)]
struct Planned {
    plan: &'static [Kernel],
    item: Item,
}

impl Processor {
    /// # Errors
    /// When the device has no room, or is lost.
    pub(crate) fn new(shared: &Shared, kernels: &Rc<Kernels>) -> Result<Self, Fault> {
        Ok(Self {
            shared: shared.clone(),
            kernels: Rc::clone(kernels),
            models: Models::new(shared, kernels)?,
        })
    }

    /// Gives the output its memory and says what is to be done; nothing for an empty picture, which gives an empty one.
    fn plan(
        &self,
        filter: Filter,
        work: &mut Work<'_, Surface>,
        scratch: &mut Vec<DeviceLease>,
    ) -> Result<Option<Planned>, Error> {
        let input = work.input;
        let Some(src) = input.nv12() else {
            work.output.clear();
            return Ok(None);
        };
        work.output
            .shape(input.width(), input.height(), input.range(), input.matrix())?;
        let dst = work
            .output
            .nv12()
            .expect("a surface with a size has memory");
        let scratch_bytes = item::scratch_bytes(filter, src.width, src.height);
        let address = if scratch_bytes == 0 {
            0
        } else {
            let lease = self.shared.pool.take(scratch_bytes as usize)?;
            let address = lease.address();
            scratch.push(lease);
            address
        };
        Ok(Some(Planned {
            plan: item::plan(filter),
            item: item::of(filter, src, dst, address),
        }))
    }
}

impl Process<Surface> for Processor {
    fn process(&mut self, batch: &mut [Work<'_, Surface>]) -> Result<(), Fault> {
        let span = self.shared.measure(Stage::Process)?;
        // Given back at the end and lent again at once: what uses it next comes after these kernels in the stream.
        let mut scratch = Vec::new();
        let mut planned = Vec::with_capacity(batch.len());
        for work in batch.iter_mut() {
            let Step::Filter(filter) = work.step else {
                continue;
            };
            work.outcome = match self.plan(*filter, work, &mut scratch) {
                Ok(plan) => {
                    planned.extend(plan);
                    Ok(())
                }
                Err(Error::Device(fault)) if fault.is_lost() => return Err(fault),
                Err(error) => Err(error),
            };
        }
        let launches = group(&planned);
        // SAFETY: every address is that of a surface or a scratch block that is leased now, from the pool of the stream that the
        // launches go into; a block that goes back after this is used by later work of the same stream alone. Outputs are
        // borrowed for writing, so they are distinct and none is an input.
        unsafe { self.kernels.launch(&self.shared, &launches)? };
        let on_host = self.models.process(batch)?;
        self.shared.measured(span)?;
        // After the measure, which is of the device's time.
        self.models.process_on_host(on_host)
    }

    fn prepare(&mut self, models: &[Model]) -> Vec<String> {
        self.models.prepare(models)
    }
}

/// One launch a kernel, over the items of all works that need it, in an order that suits each of them.
fn group(planned: &[Planned]) -> Vec<Launch> {
    let mut launches = Vec::new();
    for &kernel in Kernel::ALL {
        let items = planned.iter().filter(|work| work.plan.contains(&kernel));
        let items: Vec<Item> = items.map(|work| work.item).collect();
        launches.extend(items.chunks(ITEMS_MAX).map(|items| Launch {
            kernel,
            items: items.to_vec(),
        }));
    }
    launches
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILTERS: [Filter; 8] = [
        Filter::Edges { gain_percent: 100 },
        Filter::Blur { radius_px: 3 },
        Filter::Edges { gain_percent: 200 },
        Filter::Passthrough,
        Filter::Blur { radius_px: 9 },
        Filter::Invert { amount_percent: 50 },
        Filter::Pixelate { block_px: 8 },
        Filter::Grayscale {
            amount_percent: 100,
        },
    ];

    fn planned(filter: Filter, address: u64) -> Planned {
        let surface = kernels::Surface {
            y: address,
            width: 16,
            height: 16,
            ..kernels::Surface::default()
        };
        Planned {
            plan: item::plan(filter),
            item: item::of(filter, surface, surface, 0),
        }
    }

    #[test]
    fn one_launch_a_kernel_whatever_the_mix() {
        let works: Vec<Planned> = FILTERS
            .iter()
            .zip(0..)
            .map(|(f, at)| planned(*f, at))
            .collect();
        let launches: Vec<(Kernel, Vec<u64>)> = group(&works)
            .iter()
            .map(|launch| {
                (
                    launch.kernel,
                    launch.items.iter().map(|item| item.src.y).collect(),
                )
            })
            .collect();
        assert_eq!(
            launches,
            [
                (Kernel::Copy, vec![3]),
                (Kernel::Blend, vec![5, 7]),
                (Kernel::Edges, vec![0, 2]),
                (Kernel::BlurRows, vec![1, 4]),
                (Kernel::BlurColumns, vec![1, 4]),
                (Kernel::Pixelate, vec![6]),
            ]
        );
        assert_eq!(group(&[]), []);
    }

    /// What `group` rests on.
    #[test]
    fn the_kernels_of_every_filter_are_in_the_order_of_the_list() {
        for filter in FILTERS {
            let places: Vec<usize> = item::plan(filter)
                .iter()
                .map(|kernel| {
                    Kernel::ALL
                        .iter()
                        .position(|other| other == kernel)
                        .unwrap()
                })
                .collect();
            assert!(places.is_sorted_by(|a, b| a < b), "{filter:?} {places:?}");
        }
    }

    #[test]
    fn a_launch_holds_no_more_items_than_it_may() {
        let works: Vec<Planned> = (0..2500)
            .map(|at| planned(Filter::Passthrough, at))
            .collect();
        let sizes: Vec<usize> = group(&works)
            .iter()
            .map(|launch| launch.items.len())
            .collect();
        assert_eq!(sizes, [1024, 1024, 452]);
    }
}
