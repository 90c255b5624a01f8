//! The overlay against a twin that follows the written arithmetic one pixel at a time.
#![forbid(unsafe_code)]

use kernels::reference::overlay::{AlphaSizeError, overlay};
use kernels::{Frame, Range, Scratch};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_overlay_is_its_twin(
        bottom in frames(), (top, alpha) in tops(), (x, y) in positions(),
        (stale, stale_alpha) in tops(),
    ) {
        let mut scratch = Scratch::new();
        let mut dst = bottom.clone();
        overlay(&stale, stale_alpha.y(), 0, 0, &mut dst, &mut scratch).unwrap();
        dst.copy_from(&bottom);
        overlay(&top, alpha.y(), x, y, &mut dst, &mut scratch).unwrap();
        prop_assert!(dst == twin(&bottom, &top, &alpha, x, y));
    }

    #[test]
    fn no_alpha_changes_nothing_and_full_alpha_is_the_top(
        bottom in frames(), (top, mut alpha) in tops(), (x, y) in positions(),
    ) {
        let mut dst = bottom.clone();
        alpha.planes_mut()[0].fill(0);
        overlay(&top, alpha.y(), x, y, &mut dst, &mut Scratch::new()).unwrap();
        prop_assert!(dst == bottom);

        alpha.planes_mut()[0].fill(255);
        overlay(&top, alpha.y(), x, y, &mut dst, &mut Scratch::new()).unwrap();
        for (row, line) in dst.y().rows().enumerate() {
            for (column, p) in line.iter().enumerate() {
                let expected = match pixel(&top, row as i64 - i64::from(y), column as i64 - i64::from(x)) {
                    Some((row, column)) => top.y().row(row)[column],
                    None => bottom.y().row(row)[column],
                };
                prop_assert_eq!(*p, expected);
            }
        }
    }

    #[test]
    fn every_sample_lies_between_top_and_bottom(bottom in frames(), (mut top, alpha) in tops(), (x, y) in positions(), level in any::<u8>()) {
        for mut plane in top.planes_mut() {
            plane.fill(level);
        }
        let mut dst = bottom.clone();
        overlay(&top, alpha.y(), x, y, &mut dst, &mut Scratch::new()).unwrap();
        for (was, is) in bottom.planes().into_iter().zip(dst.planes()) {
            for (was, is) in was.rows().flatten().zip(is.rows().flatten()) {
                prop_assert!((*was.min(&level)..=*was.max(&level)).contains(is));
            }
        }
    }
}

#[test]
fn positions_far_outside_draw_nothing() {
    let mut dst = noise(9, 7, 3);
    let (top, alpha) = (noise(4, 4, 5), noise(4, 4, 6));
    let before = dst.clone();
    for (x, y) in [
        (i32::MIN, 0),
        (i32::MAX, 0),
        (0, i32::MIN),
        (0, i32::MAX),
        (9, 0),
        (-4, 0),
        (0, 7),
        (0, -4),
    ] {
        overlay(&top, alpha.y(), x, y, &mut dst, &mut Scratch::new()).unwrap();
        assert!(dst == before, "{x},{y}");
    }
    let mut empty = Frame::default();
    overlay(&top, alpha.y(), 0, 0, &mut empty, &mut Scratch::new()).unwrap();
    overlay(
        &Frame::default(),
        Frame::default().y(),
        0,
        0,
        &mut dst,
        &mut Scratch::new(),
    )
    .unwrap();
    assert!(empty.is_empty() && dst == before);
}

#[test]
fn alpha_of_another_size_is_refused() {
    let mut dst = noise(9, 7, 3);
    let before = dst.clone();
    let error = AlphaSizeError {
        picture: (4, 4),
        alpha: (4, 5),
    };
    assert_eq!(
        overlay(
            &noise(4, 4, 5),
            noise(4, 5, 6).y(),
            0,
            0,
            &mut dst,
            &mut Scratch::new()
        ),
        Err(error)
    );
    assert!(dst == before && error.to_string().contains("4x5"));
}

// === the twin ===

/// The pixel of the top at this distance from its corner, if it has one.
fn pixel(top: &Frame, row: i64, column: i64) -> Option<(usize, usize)> {
    let inside =
        (0..top.height() as i64).contains(&row) && (0..top.width() as i64).contains(&column);
    inside.then_some((row as usize, column as usize))
}

fn twin(bottom: &Frame, top: &Frame, alpha: &Frame, x: i32, y: i32) -> Frame {
    let mut dst = bottom.clone();
    let (width, height) = (dst.width(), dst.height());
    // Alpha and the sample of a plane of the top that lie on a pixel of the bottom.
    let at = |plane: usize, row: usize, column: usize| match pixel(
        top,
        row as i64 - i64::from(y),
        column as i64 - i64::from(x),
    ) {
        Some((row, column)) => {
            let shrink = if plane == 0 { 1 } else { 2 };
            let t = top.planes()[plane].row(row / shrink)[column / shrink];
            (u32::from(alpha.y().row(row)[column]), u32::from(t))
        }
        None => (0, 0),
    };
    for (index, mut plane) in dst.planes_mut().into_iter().enumerate() {
        let side = if index == 0 { 1 } else { 2 };
        for (row, line) in plane.rows_mut().enumerate() {
            for (column, p) in line.iter_mut().enumerate() {
                let (mut sum, mut alphas, mut n) = (0, 0, 0);
                for row in side * row..(side * row + side).min(height) {
                    for column in side * column..(side * column + side).min(width) {
                        let (a, t) = at(index, row, column);
                        sum += a * t;
                        alphas += a;
                        n += 1;
                    }
                }
                *p = ((sum + (255 * n - alphas) * u32::from(*p) + 255 * n / 2) / (255 * n)) as u8;
            }
        }
    }
    dst
}

// === what it is given ===

fn sides() -> impl Strategy<Value = usize> {
    prop_oneof![1..=3_usize, 1..=24_usize]
}

fn positions() -> impl Strategy<Value = (i32, i32)> {
    (-26..26, -26..26)
}

fn frames() -> impl Strategy<Value = Frame> {
    (sides(), sides(), any::<u64>()).prop_map(|(width, height, seed)| {
        let mut frame = noise(width, height, seed);
        frame.range = Range::Full;
        frame
    })
}

/// A picture and one whose luma is its alpha: noise, or mostly nothing and everything.
fn tops() -> impl Strategy<Value = (Frame, Frame)> {
    (frames(), any::<u64>(), any::<bool>()).prop_map(|(top, seed, hard)| {
        let mut alpha = noise(top.width(), top.height(), seed);
        if hard {
            for p in alpha.planes_mut()[0].rows_mut().flatten() {
                *p = if *p < 128 { 0 } else { 255 };
            }
        }
        (top, alpha)
    })
}

fn noise(width: usize, height: usize, seed: u64) -> Frame {
    let mut frame = Frame::new(width, height).unwrap();
    let mut state = seed | 1;
    for mut plane in frame.planes_mut() {
        for p in plane.rows_mut().flatten() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *p = (state >> 32) as u8;
        }
    }
    frame
}
