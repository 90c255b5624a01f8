// What the two halves of the box blur share: blur_rows writes the scratch, blur_columns reads it.
//
//   scratch, which begins at a multiple of 16:
//     | luma row 0    |pad|       a row is `pitch` bytes: those of a chroma row, rounded up to 16
//     | ...               |
//     | luma row h-1  |pad|
//     | chroma row 0  |pad|       U and V in turn
//     | ...               |       pitch * (height + ceil(height / 2)) bytes in all; see `item::scratch_bytes`
//
// ints[0], ints[1]: the luma radius r, 0 to 64, and M = (65536 + n/2) / n with n = 2r + 1. ints[2], ints[3]: those of chroma.
#pragma once

#include "rows.cuh"

HELPER u32 scratch_pitch(const Surface& picture) { return (row_bytes(picture, true) + 15) & ~15u; }

HELPER u8* scratch_row(const Item& item, bool is_chroma, u32 row) {
    const u64 rows = static_cast<u64>(is_chroma ? item.src.height : 0) + row;
    return reinterpret_cast<u8*>(item.scratch + scratch_pitch(item.src) * rows);
}

HELPER int radius_of(const Item& item, bool is_chroma) { return item.ints[is_chroma ? 2 : 0]; }
HELPER u32 scale_of(const Item& item, bool is_chroma) { return static_cast<u32>(item.ints[is_chroma ? 3 : 1]); }

// sum / n, rounded: at most 32 895 * 508 at the largest radius and 255 * 65 536 at none, which 32 bits hold.
HELPER u32 mean(u32 sum, u32 scale) { return (sum * scale + 32768) >> 16; }
