// The Sobel gradient of luma, and no colour. The arithmetic is in reference/edges.rs.
//
// ints[0]: G, the gain: 8192 is once, at most 32768.
// Thread (x, y): luma columns 4x to 4x+3 of rows 4y to 4y+3, from six rows of six samples, and the chroma under them.
#include "rows.cuh"

#define COLUMNS 4
#define ROWS 4

// Samples x-1 to x+4 of a row whose ends repeat outward.
HELPER void load_6(const u8* row, u32 x, u32 width, int* samples) {
    samples[0] = __ldg(row + (x == 0 ? 0 : x - 1));
    if (x + COLUMNS <= width) {
        const u32 word = load_4(row + x, COLUMNS);
#pragma unroll
        for (u32 i = 0; i < COLUMNS; ++i) {
            samples[1 + i] = static_cast<int>(byte_of(word, i));
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < COLUMNS; ++i) {
            samples[1 + i] = __ldg(row + at_most(x + i, width - 1));
        }
    }
    samples[1 + COLUMNS] = __ldg(row + at_most(x + COLUMNS, width - 1));
}

HELPER u32 magnitude(int value) { return static_cast<u32>(value < 0 ? -value : value); }

extern "C" __global__ void edges(const Item* items) {
    const Item& item = items[blockIdx.z];
    const Surface src = item.src, dst = item.dst;
    const u32 gain = static_cast<u32>(item.ints[0]);
    const u32 black = src.full_range ? 0 : 16, span = src.full_range ? 255 : 219;
    const u32 x = COLUMNS * thread_x(), y = ROWS * thread_y();
    if (x >= src.width || y >= src.height) {
        return;
    }

    int samples[ROWS + 2][COLUMNS + 2];
#pragma unroll
    for (u32 i = 0; i < ROWS + 2; ++i) {
        const u32 above = y + i == 0 ? 0 : y + i - 1;
        load_6(row_of(src, false, at_most(above, src.height - 1)), x, src.width, samples[i]);
    }
#pragma unroll
    for (u32 i = 0; i < ROWS; ++i) {
        int columns[COLUMNS + 2], slopes[COLUMNS + 2];
#pragma unroll
        for (u32 j = 0; j < COLUMNS + 2; ++j) {
            columns[j] = samples[i][j] + 2 * samples[i + 1][j] + samples[i + 2][j];
            slopes[j] = samples[i + 2][j] - samples[i][j];
        }
        u32 word = 0;
#pragma unroll
        for (u32 j = 0; j < COLUMNS; ++j) {
            const int gx = columns[j + 2] - columns[j];
            const int gy = slopes[j] + 2 * slopes[j + 1] + slopes[j + 2];
            const u32 m = magnitude(gx) + magnitude(gy);
            const u32 e = 8 * m * gain >> 16;
            word |= (black + at_most(e, span)) << (8 * j);
        }
        if (y + i < src.height) {
            store_4(row_to(dst, false, y + i) + x, word, src.width - x);
        }
    }

    const u32 chroma_bytes = row_bytes(src, true);
#pragma unroll
    for (u32 i = 0; i < ROWS / 2; ++i) {
        if (y / 2 + i < chroma_rows(src)) {
            store_4(row_to(dst, true, y / 2 + i) + x, 0x80808080u, chroma_bytes - x);
        }
    }
}
