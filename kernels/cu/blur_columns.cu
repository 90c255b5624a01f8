// The second half of the box blur: down the columns of scratch, into `dst`. The arithmetic is in reference/blur.rs.
//
// Thread (x, y): bytes 4x to 4x+3 of segment y of 64 rows, luma segments first, then chroma segments. It sums the 2r + 1 rows around
// its first, then adds one and takes one away a row. U stays above U and V above V, so luma and chroma differ in the radius alone.
#include "blur.cuh"

#define SEGMENT_ROWS 64

extern "C" __global__ void blur_columns(const Item* items) {
    const Item& item = items[blockIdx.z];
    const Surface dst = item.dst;
    u32 segment = thread_y();
    const u32 column = 4 * thread_x();
    const u32 luma_segments = (dst.height + SEGMENT_ROWS - 1) / SEGMENT_ROWS;
    const bool is_chroma = segment >= luma_segments;
    if (is_chroma) {
        segment -= luma_segments;
    }
    const u32 rows = is_chroma ? chroma_rows(dst) : dst.height;
    const u32 bytes = row_bytes(dst, is_chroma);
    const u32 first = SEGMENT_ROWS * segment;
    if (first >= rows || column >= bytes) {
        return;
    }
    const u8* from = scratch_row(item, is_chroma, 0) + column;
    const u64 pitch = scratch_pitch(dst);
    const int last_row = static_cast<int>(rows) - 1, radius = radius_of(item, is_chroma);
    const u32 scale = scale_of(item, is_chroma);
    // Scratch is padded to whole words, whatever is in the padding.
    const auto word_of = [=](int row) {
        return __ldg(reinterpret_cast<const u32*>(from + pitch * static_cast<u64>(clamped(row, 0, last_row))));
    };

    // Two columns a word in 16 bits each: a sum is at most 129 * 255 = 32 895.
    u32 even = 0, odd = 0;
    const int begin = static_cast<int>(first);
#pragma unroll 4
    for (int row = begin - radius; row <= begin + radius; ++row) {
        const u32 word = word_of(row);
        even += word & PAIR_MASK;
        odd += word >> 8 & PAIR_MASK;
    }
    const u32 end = at_most(first + SEGMENT_ROWS, rows);
#pragma unroll 4
    for (u32 row = first; row < end; ++row) {
        const u32 word = mean(even & 0xffff, scale) | mean(odd & 0xffff, scale) << 8 | mean(even >> 16, scale) << 16 |
                         mean(odd >> 16, scale) << 24;
        const u32 in = word_of(static_cast<int>(row) + radius + 1), out = word_of(static_cast<int>(row) - radius);
        store_4(row_to(dst, is_chroma, row) + column, word, bytes - column);
        even += (in & PAIR_MASK) - (out & PAIR_MASK);
        odd += (in >> 8 & PAIR_MASK) - (out >> 8 & PAIR_MASK);
    }
}
