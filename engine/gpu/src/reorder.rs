//! From the order of the stream to the order of the screen, by timestamp.
//!
//! A picture is held until `depth` later ones have come, where depth is what the stream says is enough
//! (`max_num_reorder_frames`). A key picture (IDR) ends all reordering: nothing after it precedes anything before.
//!
//! ```text
//!   in (stream order)   I0  P4  B2  b1  b3  P8 ...        depth 2
//!   held                0   04  04  24  34  48
//!   out                         0   1   2   3             (B2 arrives: 0 leaves; b1: 1; b3: 2; P8: 3)
//! ```
//!
//! A stream that hides its depth is watched: the first [`LEARN`] pictures after it starts are held, and from then
//! on the depth is the largest displacement that was seen. It only grows. A picture that then comes after its turn
//! is dropped, as showing it would turn time back.
//!
//! Invariants: what is handed out strictly rises between two calls of [`Reorder::restart`], except that a
//! key picture may turn back (a stream that starts over); at most [`DEPTH_MAX`] + 1 pictures are held.

/// H.264 allows no more than 16.
const DEPTH_MAX: usize = 16;

/// How many pictures are held while a hidden depth is learned: the deepest pyramid in common use.
const LEARN: usize = 4;

pub(crate) struct Reorder<T> {
    depth: Depth,
    held: Vec<(i64, T)>,
    last_out: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// The stream said so.
    Stated(usize),
    /// Holding [`LEARN`] pictures; `seen` have come, displaced by at most `depth`.
    Learning { depth: usize, seen: usize },
    /// The stream did not say and this was enough so far.
    Learned(usize),
}

impl<T> Reorder<T> {
    pub(crate) fn new() -> Self {
        Self {
            depth: Depth::Stated(0),
            held: Vec::with_capacity(DEPTH_MAX + 1),
            last_out: None,
        }
    }

    /// The stream states its depth, or that it hides it. A depth already learned is kept.
    pub(crate) fn set_depth(&mut self, stated: Option<usize>) {
        self.depth = match (stated, self.depth) {
            (Some(depth), _) => Depth::Stated(depth.min(DEPTH_MAX)),
            (None, Depth::Stated(_)) => Depth::Learning { depth: 0, seen: 0 },
            (None, hidden) => hidden,
        };
    }

    /// Takes a picture in stream order and gives out, through `out`, those whose turn has come. `Some` is the
    /// picture back: its turn is over.
    pub(crate) fn push(
        &mut self,
        pts: i64,
        picture: T,
        key: bool,
        mut out: impl FnMut(i64, T),
    ) -> Option<T> {
        if key {
            self.drain(&mut out);
            self.last_out = None;
        }
        let at = self.held.partition_point(|(held, _)| *held < pts);
        let displaced = self.held.len() - at;
        let late = self.last_out.is_some_and(|last| pts <= last);
        self.learn(displaced + usize::from(late));
        if late {
            return Some(picture);
        }
        self.held.insert(at, (pts, picture));
        while self.held.len() > self.held_max() {
            self.pop(&mut out);
        }
        None
    }

    /// Gives out everything that is held.
    pub(crate) fn drain(&mut self, mut out: impl FnMut(i64, T)) {
        while !self.held.is_empty() {
            self.pop(&mut out);
        }
    }

    /// Forgets what was held and what was shown, but not the depth: the stream goes on elsewhere.
    pub(crate) fn restart(&mut self, mut dropped: impl FnMut(T)) {
        for (_, picture) in self.held.drain(..) {
            dropped(picture);
        }
        self.last_out = None;
    }

    fn held_max(&self) -> usize {
        match self.depth {
            Depth::Stated(depth) | Depth::Learned(depth) => depth,
            Depth::Learning { .. } => LEARN,
        }
    }

    fn learn(&mut self, displaced: usize) {
        self.depth = match self.depth {
            Depth::Stated(depth) => Depth::Stated(depth),
            Depth::Learning { depth, seen } if seen < LEARN => Depth::Learning {
                depth: depth.max(displaced),
                seen: seen + 1,
            },
            Depth::Learning { depth, .. } | Depth::Learned(depth) => {
                Depth::Learned(depth.max(displaced).min(DEPTH_MAX))
            }
        };
    }

    fn pop(&mut self, out: &mut impl FnMut(i64, T)) {
        let (pts, picture) = self.held.remove(0);
        self.last_out = Some(pts);
        out(pts, picture);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds timestamps (a key picture where negative, of that magnitude) and returns what came out at each.
    fn run(depth: Option<usize>, input: &[i64]) -> (Vec<Vec<i64>>, Vec<i64>) {
        let mut reorder = Reorder::new();
        reorder.set_depth(depth);
        let mut steps = Vec::new();
        let mut late = Vec::new();
        for &pts in input {
            let mut step = Vec::new();
            late.extend(reorder.push(pts.abs(), pts.abs(), pts < 0, |_, pts| step.push(pts)));
            steps.push(step);
        }
        let mut rest = Vec::new();
        reorder.drain(|_, pts| rest.push(pts));
        steps.push(rest);
        (steps, late)
    }

    #[test]
    fn no_depth_is_no_delay() {
        let (steps, late) = run(Some(0), &[-1, 2, 3, 4]);
        assert_eq!(steps, [vec![1], vec![2], vec![3], vec![4], vec![]]);
        assert!(late.is_empty());
    }

    #[test]
    fn a_pyramid_comes_out_in_order_and_a_key_picture_drains() {
        let (steps, late) = run(Some(2), &[-10, 14, 12, 11, 13, 18, -20, 24]);
        assert_eq!(
            steps,
            [
                vec![],
                vec![],
                vec![10],
                vec![11],
                vec![12],
                vec![13],
                vec![14, 18],
                vec![],
                vec![20, 24]
            ]
        );
        assert!(late.is_empty());
    }

    #[test]
    fn a_hidden_depth_is_learned() {
        // In order: a burst after four pictures, then no delay.
        let (steps, late) = run(None, &[-1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(steps[4], [1, 2, 3, 4, 5]);
        assert_eq!(steps[5..7], [[6], [7]]);
        assert!(late.is_empty());
        // One picture ahead of each pair.
        let (steps, late) = run(None, &[-1, 4, 2, 3, 7, 5, 6, 10, 8, 9]);
        assert_eq!(steps.concat(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(late.is_empty());
        // Reordering that starts late costs one picture, and no second one.
        let (steps, late) = run(None, &[-1, 2, 3, 4, 5, 7, 6, 9, 8, 11, 10]);
        assert_eq!(late, [6]);
        assert_eq!(steps.concat(), [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn hostile_timestamps_stay_bounded_and_ordered() {
        let mut state = 7_u64;
        let mut reorder = Reorder::new();
        reorder.set_depth(None);
        let mut last = i64::MIN;
        for _ in 0..10_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let pts = (state >> 40) as i64 - (1 << 23);
            let _ = reorder.push(pts, (), false, |pts, ()| {
                assert!(pts > last);
                last = pts;
            });
            assert!(reorder.held.len() <= DEPTH_MAX + 1);
        }
    }
}
