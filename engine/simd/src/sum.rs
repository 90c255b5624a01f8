//! The sum behind a signature of a known key, eight at a time: `ticket::curve::sum` on vectors.

use ticket::curve::sum::{Outcome, POINTS, Task};
use ticket::curve::table::{BaseTable, KeyTable};

use crate::gather::{Digits8, gather};
use crate::points::{Exceptional, FreshPoints, GROUPS_MAX, Inversions, Tree, add_with};

/// Tasks of one round.
const TOGETHER: usize = 8 * GROUPS_MAX;

/// Memory in which sums are made.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    fresh: Vec<FreshPoints>,
    inversions: Inversions,
    tree: Tree,
}

impl Sums {
    /// The outcome of each task, in their order; appended.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn sum(
        &mut self,
        base: &BaseTable,
        tasks: &[Task<'_>],
        outcomes: &mut Vec<Outcome>,
    ) {
        for tasks in tasks.chunks(TOGETHER) {
            let groups = tasks.len().div_ceil(8);
            let mut exceptional: Exceptional = [0; GROUPS_MAX];
            self.first_level(base, tasks, &mut exceptional);
            self.tree.add_up(groups, POINTS / 2, &mut exceptional);
            for (group, tasks) in tasks.chunks(8).enumerate() {
                let sum = self.tree.points[group];
                let (x, y) = (sum.x.to_elements(), sum.y.to_elements());
                outcomes.extend(tasks.iter().enumerate().map(|(lane, task)| {
                    if exceptional[group] >> lane & 1 == 1 {
                        return Outcome::Exceptional;
                    }
                    match x[lane].normal() == task.x && y[lane].is_odd() == task.is_odd {
                        true => Outcome::Genuine,
                        false => Outcome::Forged,
                    }
                }));
            }
        }
    }

    /// Takes points from tables and adds them pair by pair: the generator's first.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn first_level(&mut self, base: &BaseTable, tasks: &[Task<'_>], exceptional: &mut Exceptional) {
        const { assert!(BaseTable::WINDOWS.is_multiple_of(2) && KeyTable::WINDOWS.is_multiple_of(2)) };
        let groups = tasks.len().div_ceil(8);
        self.fresh.clear();
        self.fresh.resize(POINTS * groups, FreshPoints::nowhere());
        for (group, tasks) in tasks.chunks(8).enumerate() {
            // Lanes without a task repeat the last one's.
            let lanes: [&Task<'_>; 8] =
                std::array::from_fn(|lane| &tasks[lane.min(tasks.len() - 1)]);
            let u1 = Digits8::of(&lanes.map(|task| task.u1));
            let u2 = Digits8::of(&lanes.map(|task| task.u2));
            for window in 0..BaseTable::WINDOWS {
                let digit = u1.digit::<8>(window as u32);
                let row = &base.rows()[window];
                let points = digit.indices().map(|index| &row[(index & 127) as usize]);
                self.fresh[window * groups + group] = gather(points, digit.negative);
            }
            for window in 0..KeyTable::WINDOWS {
                let digit = u2.digit::<4>(window as u32);
                let indices = digit.indices();
                let points = std::array::from_fn(|lane| {
                    &lanes[lane].key.rows()[window][(indices[lane] & 7) as usize]
                });
                self.fresh[(BaseTable::WINDOWS + window) * groups + group] =
                    gather(points, digit.negative);
            }
        }
        self.inversions.clear();
        for pair in self.fresh.chunks_exact(2 * groups) {
            for group in 0..groups {
                let across = pair[group + groups].x.sub(&pair[group].x);
                exceptional[group] |= self.inversions.push(&across);
            }
        }
        let inverses = self.inversions.invert(groups);
        let points = &mut self.tree.points;
        points.clear();
        for (pair, inverses) in self
            .fresh
            .chunks_exact(2 * groups)
            .zip(inverses.chunks_exact(groups))
        {
            for group in 0..groups {
                points.push(add_with(
                    &pair[group],
                    &pair[group + groups],
                    &inverses[group],
                ));
            }
        }
    }
}
