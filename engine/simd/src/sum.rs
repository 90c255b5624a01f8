//! The sum behind a signature of a known key, eight at a time: `ticket::curve::sum` on vectors.

use ticket::curve::sum::{Outcome, POINTS, Task};
use ticket::curve::table::{BaseTable, KeyTable, Point};

use crate::gather::{Digit8, Digits8, gather};
use crate::lanes::prefetch;
use crate::points::{Exceptional, FreshPoints, GROUPS_MAX, Inversions, Tree, add_with};

/// Windows ahead of which points are asked for: a window of 64 tasks is 4 KiB.
const AHEAD: usize = 3;
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
        let picks: [Option<Picks<'_>>; GROUPS_MAX] =
            std::array::from_fn(|group| Picks::of(tasks.get(8 * group..)?));
        let picks = &picks[..groups];
        self.fresh.clear();
        for (window, row) in base.rows().iter().enumerate() {
            for picks in picks.iter().flatten() {
                self.fresh.push(picks.of_base(window, row));
            }
        }
        for picks in picks.iter().flatten() {
            (0..AHEAD).for_each(|window| picks.ask_for(window));
        }
        for window in 0..KeyTable::WINDOWS {
            for picks in picks.iter().flatten() {
                picks.ask_for(window + AHEAD);
                self.fresh.push(picks.of_keys(window));
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

/// What a group picks from its tables.
struct Picks<'a> {
    u1: Digits8,
    u2: Digits8,
    keys: [&'a KeyTable; 8],
}

impl<'a> Picks<'a> {
    /// Of the first eight; lanes without a task repeat the last one's. `None` without any.
    #[target_feature(enable = "avx512f")]
    fn of(tasks: &[Task<'a>]) -> Option<Self> {
        let last = tasks.len().checked_sub(1)?;
        let lanes: [&Task<'a>; 8] = std::array::from_fn(|lane| &tasks[lane.min(last)]);
        Some(Self {
            u1: Digits8::of(&lanes.map(|task| task.u1)),
            u2: Digits8::of(&lanes.map(|task| task.u2)),
            keys: lanes.map(|task| task.key),
        })
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn of_base(&self, window: usize, row: &[Point; 128]) -> FreshPoints {
        let digit = self.u1.digit::<8>(window as u32);
        let points = digit.indices().map(|index| &row[(index & 127) as usize]);
        gather(points, digit.negative)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn of_keys(&self, window: usize) -> FreshPoints {
        let digit = self.u2.digit::<4>(window as u32);
        gather(self.named(window, &digit), digit.negative)
    }

    /// Has the points of a window brought near, if there is such a window: tables of many keys are far away.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn ask_for(&self, window: usize) {
        if window < KeyTable::WINDOWS {
            let digit = self.u2.digit::<4>(window as u32);
            self.named(window, &digit).into_iter().for_each(prefetch);
        }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn named(&self, window: usize, digit: &Digit8) -> [&'a Point; 8] {
        let indices = digit.indices();
        std::array::from_fn(|lane| &self.keys[lane].rows()[window][(indices[lane] & 7) as usize])
    }
}
