// A picture at another size, from four samples an output. The arithmetic is in reference/scale.rs and reference/resample.rs.
//
// src, dst: the pictures. No parameters: the sizes say it.
// Thread (x, y): luma columns 4x to 4x+3 of rows 2y and 2y+1 of dst, and the chroma under them.
#include "tap.cuh"

#define COLUMNS 4

// `samples`: of the plane along this axis.
HELPER Walk walk_of(u32 from, u32 to, u32 samples) { return {0, from, 2 * to, 0, samples - 1}; }

HELPER u32 rounded(u32 s) { return (s + 32768) >> 16; }

extern "C" __global__ void scale_bilinear(const Item* items) {
    const Item& item = items[blockIdx.z];
    const Surface src = item.src, dst = item.dst;
    const u32 left = COLUMNS * thread_x(), row = thread_y();
    if (left >= dst.width || row >= chroma_rows(dst)) {
        return;
    }

    const Walk across = walk_of(src.width, dst.width, src.width), down = walk_of(src.height, dst.height, src.height);
    Tap columns[COLUMNS];
#pragma unroll
    for (u32 i = 0; i < COLUMNS; ++i) {
        columns[i] = tap_of(across, left + i);
    }
    for (u32 y = 2 * row; y < at_most(2 * row + 2, dst.height); ++y) {
        const Tap tap = tap_of(down, y);
        const u8* const above = row_of(src, false, tap.index);
        const u8* const below = row_of(src, false, tap.next);
        u32 word = 0;
#pragma unroll
        for (u32 i = 0; i < COLUMNS; ++i) {
            word |= rounded(between(above, below, 1, columns[i], tap)) << (8 * i);
        }
        store_4(row_to(dst, false, y) + left, word, dst.width - left);
    }

    const Walk across_chroma = walk_of(src.width, dst.width, (src.width + 1) / 2);
    const Tap tap = tap_of(walk_of(src.height, dst.height, chroma_rows(src)), row);
    const u8* const above = row_of(src, true, tap.index);
    const u8* const below = row_of(src, true, tap.next);
    u32 word = 0;
#pragma unroll
    for (u32 i = 0; i < COLUMNS / 2; ++i) {
        const Tap column = tap_of(across_chroma, left / 2 + i);
        const u32 u = rounded(between(above, below, 2, column, tap)), v = rounded(between(above + 1, below + 1, 2, column, tap));
        word |= (u | v << 8) << (16 * i);
    }
    store_4(row_to(dst, true, row) + left, word, row_bytes(dst, true) - left);
}
