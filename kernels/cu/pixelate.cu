// Squares of one colour. The arithmetic is in reference/pixelate.rs.
//
// A luma square is b bytes wide and b rows high; a chroma square is b/2 pairs, so b bytes wide too, and b/2 rows high.
//
// ints[0]: b, even, 2 to 128.
// Thread (x, y): bytes 16x to 16x+15 of row y of squares, luma squares first, then chroma squares: the mean of every square that
// those bytes touch. Where a square is wider than 16 bytes its sums are made by each of the threads that share it, from cache.
#include "rows.cuh"

#define CHUNK_BYTES 16

struct Sums {
    u32 even, odd; // of the bytes at even and at odd offsets: U and V, or luma and luma
};

// The bytes from `first` (even) to `end` of `rows` rows.
HELPER Sums sums_of(const u8* from, u64 stride, u32 first, u32 end, u32 rows) {
    Sums total = {0, 0};
    for (u32 row = 0; row < rows; ++row) {
        const u8* line = from + stride * row;
        // Lanes of 16 bits: at most 32 words of 255.
        u32 even = 0, odd = 0;
#pragma unroll 4
        for (u32 at = first; at < end; at += 4) {
            const u32 word = load_4(line + at, end - at);
            even += word & PAIR_MASK;
            odd += word >> 8 & PAIR_MASK;
        }
        total.even += (even & 0xffff) + (even >> 16);
        total.odd += (odd & 0xffff) + (odd >> 16);
    }
    return total;
}

// Two bytes: the mean of the square from `first` to `end`, of each channel.
HELPER u32 colour_of(const u8* from, u64 stride, u32 first, u32 end, u32 rows, bool is_chroma) {
    const Sums sums = sums_of(from, stride, first, end, rows);
    if (is_chroma) {
        const u32 count = (end - first) / 2 * rows;
        return (sums.even + count / 2) / count | (sums.odd + count / 2) / count << 8;
    }
    const u32 count = (end - first) * rows;
    return (sums.even + sums.odd + count / 2) / count * 0x0101u;
}

// A word whose first pair of bytes has number `pair` within the chunk, with pairs `first` to `end` of the chunk recoloured.
HELPER u32 recoloured(u32 word, u32 pair, u32 first, u32 end, u32 colour) {
    if (pair >= first && pair < end) {
        word = (word & 0xffff0000u) | colour;
    }
    if (pair + 1 >= first && pair + 1 < end) {
        word = (word & 0x0000ffffu) | colour << 16;
    }
    return word;
}

extern "C" __global__ void pixelate(const Item* items) {
    const Item& item = items[blockIdx.z];
    const Surface src = item.src, dst = item.dst;
    const u32 block = static_cast<u32>(item.ints[0]);
    u32 square_row = thread_y();
    const u32 chunk = CHUNK_BYTES * thread_x();
    // As many rows of chroma squares as of luma squares, since b is even.
    const u32 square_rows = (src.height + block - 1) / block;
    const bool is_chroma = square_row >= square_rows;
    if (is_chroma) {
        square_row -= square_rows;
    }
    const u32 bytes = row_bytes(src, is_chroma);
    if (square_row >= square_rows || chunk >= bytes) {
        return;
    }
    const u32 rows_high = is_chroma ? block / 2 : block;
    const u32 top = square_row * rows_high;
    const u32 rows = at_most(rows_high, (is_chroma ? chroma_rows(src) : src.height) - top);
    const u8* from = row_of(src, is_chroma, top);
    const u64 stride = is_chroma ? src.uv_stride : src.y_stride;
    const u32 chunk_end = at_most(chunk + CHUNK_BYTES, bytes);

    uint4 words = {0, 0, 0, 0};
    for (u32 first = chunk / block * block; first < chunk_end; first += block) {
        const u32 end = at_most(first + block, bytes);
        const u32 colour = colour_of(from, stride, first, end, rows, is_chroma);
        // Squares begin at even bytes, so a pair of bytes is of one square.
        const u32 first_pair = first < chunk ? 0 : (first - chunk) / 2, end_pair = (end - chunk + 1) / 2;
        words.x = recoloured(words.x, 0, first_pair, end_pair, colour);
        words.y = recoloured(words.y, 2, first_pair, end_pair, colour);
        words.z = recoloured(words.z, 4, first_pair, end_pair, colour);
        words.w = recoloured(words.w, 6, first_pair, end_pair, colour);
    }
    for (u32 row = 0; row < rows; ++row) {
        store_16(row_to(dst, is_chroma, top + row) + chunk, words, bytes - chunk);
    }
}
