//! The device kernels: their names, their PTX, and the grid that covers a launch.
//!
//! A kernel is `cu/NAME.cu`, checked in compiled as `ptx/NAME.ptx` (see `regenerate.py`), so that building needs no CUDA
//! toolkit. It takes one argument, the device address of an array of [`Item`]s; `blockIdx.z` chooses the item, and the grid
//! covers the largest item of the launch.
//!
//! Adding one is a line in the table below, with the units of an item: how many threads it needs across and down.

use crate::item::{Item, Surface};

/// Blocks of a launch and threads of a block, each `[x, y, z]`: what a launch call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks; `z` is the number of items. A launch of nothing has a zero here, which a driver refuses: do not launch it.
    pub blocks: [u32; 3],
    /// Threads of a block; their product is at most 256.
    pub threads: [u32; 3],
}

/// The table: variant, name, threads of a block across and down, and the units of an item.
macro_rules! kernels {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $threads:expr, $units:expr;)+) => {
        /// A kernel that is compiled for devices.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kernel {
            $($(#[$doc])* $variant,)+
        }

        impl Kernel {
            /// Every kernel.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The function's name in the PTX, and the stem of both files.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The compiled module, for `compute_75` and later: text, without a NUL at its end.
            pub const fn ptx(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("../ptx/", $name, ".ptx")),)+
                }
            }

            /// Threads of a block, across and down, that it was written for.
            const fn threads(self) -> [u32; 2] {
                match self {
                    $(Self::$variant => $threads,)+
                }
            }

            /// Threads that an item needs, across and down.
            fn units(self, item: &Item) -> [u32; 2] {
                match self {
                    $(Self::$variant => $units(item),)+
                }
            }
        }
    };
}

kernels! {
    /// The picture as it is.
    Copy = "copy", [32, 8], chunks_by_rows;
    /// Grayscale and invert.
    Blend = "blend", [32, 8], chunks_by_rows;
    /// The Sobel gradient.
    Edges = "edges", [32, 4], edge_tiles;
    /// The first half of the box blur, into scratch.
    BlurRows = "blur_rows", [32, 4], segments_by_rows;
    /// The second half, out of it.
    BlurColumns = "blur_columns", [64, 1], words_by_segments;
    /// Squares of one colour.
    Pixelate = "pixelate", [32, 2], chunks_by_squares;
    /// A picture as a tensor.
    ToTensor = "to_tensor", [32, 4], columns_by_four_rows;
    /// A tensor as a picture.
    FromTensor = "from_tensor", [32, 4], words_by_row_pairs;
    /// Another size, from four samples an output.
    ScaleBilinear = "scale_bilinear", [32, 4], words_by_row_pairs;
    /// A smaller size, from all that an output covers.
    ScaleArea = "scale_area", [32, 4], squares_of_two;
    /// A picture laid over another.
    Overlay = "overlay", [32, 4], squares_under_the_top;
    /// Sums of squared differences.
    Psnr = "psnr", [32, 4], chunks_by_sixteen_rows;
}

impl Kernel {
    /// The grid of a launch over these items, of which there are at most [`ITEMS_MAX`](crate::item::ITEMS_MAX).
    pub fn grid(self, items: &[Item]) -> Grid {
        self.grid_of(items, self.threads())
    }

    /// The same with blocks of another size, `[x, y]`: every kernel is right for any. No side is zero.
    pub fn grid_of(self, items: &[Item], threads: [u32; 2]) -> Grid {
        let mut units = [0; 2];
        for item in items {
            let [across, down] = self.units(item);
            units = [across.max(units[0]), down.max(units[1])];
        }
        let [across, down] = threads;
        Grid {
            blocks: [
                units[0].div_ceil(across),
                units[1].div_ceil(down),
                u32::try_from(items.len()).unwrap_or(u32::MAX),
            ],
            threads: [across, down, 1],
        }
    }
}

// === the units of an item; each is what its kernel's first comment says ===

/// 16 bytes a thread, every luma and chroma row.
fn chunks_by_rows(item: &Item) -> [u32; 2] {
    [chroma_bytes(&item.src).div_ceil(16), all_rows(&item.src)]
}

/// 4 by 4 luma samples a thread.
fn edge_tiles(item: &Item) -> [u32; 2] {
    [item.src.width.div_ceil(4), item.src.height.div_ceil(4)]
}

/// 32 bytes a thread, every luma and chroma row.
fn segments_by_rows(item: &Item) -> [u32; 2] {
    [chroma_bytes(&item.src).div_ceil(32), all_rows(&item.src)]
}

/// 4 bytes of 64 rows a thread; the segments of luma and of chroma are apart.
fn words_by_segments(item: &Item) -> [u32; 2] {
    let luma = item.dst.height;
    let segments = luma.div_ceil(64) + luma.div_ceil(2).div_ceil(64);
    [chroma_bytes(&item.dst).div_ceil(4), segments]
}

/// 16 bytes of a row of squares a thread, of luma and of chroma.
fn chunks_by_squares(item: &Item) -> [u32; 2] {
    let block = item.ints[0].max(1).unsigned_abs();
    [
        chroma_bytes(&item.src).div_ceil(16),
        2 * item.src.height.div_ceil(block),
    ]
}

/// A column of four rows a thread, of the tensor.
fn columns_by_four_rows(item: &Item) -> [u32; 2] {
    [item.dst.width, item.dst.height.div_ceil(4)]
}

/// 4 by 2 luma samples a thread.
fn words_by_row_pairs(item: &Item) -> [u32; 2] {
    [item.dst.width.div_ceil(4), item.dst.height.div_ceil(2)]
}

/// 2 by 2 luma samples a thread.
fn squares_of_two(item: &Item) -> [u32; 2] {
    [item.dst.width.div_ceil(2), item.dst.height.div_ceil(2)]
}

/// The same under the picture on top: at an odd position its `n` pixels touch `n / 2 + 1` squares.
fn squares_under_the_top(item: &Item) -> [u32; 2] {
    [item.src.width / 2 + 1, item.src.height / 2 + 1]
}

/// 16 bytes of 16 rows a thread; the segments of luma and of chroma are apart.
fn chunks_by_sixteen_rows(item: &Item) -> [u32; 2] {
    let luma = item.src.height;
    let segments = luma.div_ceil(16) + luma.div_ceil(2).div_ceil(16);
    [chroma_bytes(&item.src).div_ceil(16), segments]
}

/// Bytes of a chroma row, which are at least those of a luma row.
fn chroma_bytes(picture: &Surface) -> u32 {
    2 * picture.width.div_ceil(2)
}

/// Luma and chroma rows together.
fn all_rows(picture: &Surface) -> u32 {
    picture.height + picture.height.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_covers_the_largest_item() {
        let sized = |width, height| Item {
            src: Surface {
                width,
                height,
                ..Surface::default()
            },
            ..Item::default()
        };
        let grid = Kernel::Copy.grid(&[sized(1920, 3), sized(5, 1081)]);
        // 120 chunks in blocks of 32; 1081 + 541 rows in blocks of 8.
        assert_eq!(grid.blocks, [4, 203, 2]);
        assert_eq!(grid.threads, [32, 8, 1]);
        assert_eq!(Kernel::Copy.grid(&[]).blocks, [0, 0, 0]);
    }

    #[test]
    fn every_module_has_its_function() {
        for kernel in Kernel::ALL {
            let entry = alloc::format!(".visible .entry {}(", kernel.name());
            assert!(kernel.ptx().contains(&entry), "{kernel:?}");
            assert!(kernel.ptx().contains(".target sm_75"), "{kernel:?}");
            let [across, down] = kernel.threads();
            assert!((1..=256).contains(&(across * down)), "{kernel:?}");
        }
    }
}
