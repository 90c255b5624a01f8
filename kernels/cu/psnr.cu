// How unlike two pictures are: the sums of squared differences of luma, U and V, from which psnr.rs makes decibels.
//
// src, dst: two pictures of one size, both only read.
// aux: three u64, luma, U and V, aligned to 8; the sums are added to what is there, so whoever launches sets them to zero.
// Thread (x, y): bytes 16x to 16x+15 of 16 rows; luma for the first rows of threads, chroma for those after.
#include "rows.cuh"

#define COLUMNS 16
#define ROWS 16

// Adds the squares of the even bytes and of the odd ones. A thread's sum is at most 256 * 255^2, in 32 bits.
HELPER void add_squares(u32 a, u32 b, u32* sums) {
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        const int difference = static_cast<int>(byte_of(a, i)) - static_cast<int>(byte_of(b, i));
        sums[i % 2] += static_cast<u32>(difference * difference);
    }
}

extern "C" __global__ void psnr(const Item* items) {
    const Item& item = items[blockIdx.z];
    const Surface a = item.src, b = item.dst;
    const u32 luma_segments = (a.height + ROWS - 1) / ROWS;
    const u32 segment = thread_y(), left = COLUMNS * thread_x();
    const bool is_chroma = segment >= luma_segments;
    const u32 top = ROWS * (is_chroma ? segment - luma_segments : segment);
    const u32 rows = is_chroma ? chroma_rows(a) : a.height, bytes = row_bytes(a, is_chroma);
    if (left >= bytes || top >= rows) {
        return;
    }

    u32 sums[2] = {0, 0};
    for (u32 y = top; y < at_most(top + ROWS, rows); ++y) {
        const uint4 p = load_16(row_of(a, is_chroma, y) + left, bytes - left);
        const uint4 q = load_16(row_of(b, is_chroma, y) + left, bytes - left);
        add_squares(p.x, q.x, sums);
        add_squares(p.y, q.y, sums);
        add_squares(p.z, q.z, sums);
        add_squares(p.w, q.w, sums);
    }
    u64* const totals = reinterpret_cast<u64*>(item.aux);
    if (is_chroma) {
        atomicAdd(totals + 1, static_cast<u64>(sums[0]));
        atomicAdd(totals + 2, static_cast<u64>(sums[1]));
    } else {
        atomicAdd(totals, static_cast<u64>(sums[0]) + sums[1]);
    }
}
