// A tensor as a picture. The arithmetic is in reference/tensor.rs.
//
// aux: the tensor, planar RGB, [3][height][width], of floats or of halves; aligned to its numbers. src: nothing.
// dst: the picture, of the tensor's size.
// ints[0]: 0 is floats, 1 is halves.
// floats[0..3]: mean of red, green, blue. floats[3..6]: scale. floats[6..12]: Kr, Kg, Kb, S, ku, kv.
// Thread (x, y): luma columns 4x to 4x+3 of rows 2y and 2y+1, and the chroma under them.
#include "half.cuh"

#define COLUMNS 4

// 0 to 1; not a number is 0.
HELPER float unit(float v) {
    v = v > 0.0f ? v : 0.0f;
    return v < 1.0f ? v : 1.0f;
}

// The whole number nearest to one of 0 to 255, of two the even: the last place of a float of 2^23 is 1.
HELPER u32 nearest(float x) { return bits_of(x + 8388608.0f) & 0xff; }

HELPER u32 chroma_of(float difference, float k) {
    const float x = difference * k + 128.0f;
    return nearest(x < 255.0f ? x : 255.0f);
}

HELPER float number_at(const Item& item, u64 at) {
    return item.ints[0] != 0 ? float_from_half(__ldg(reinterpret_cast<const u16*>(item.aux) + at))
                             : __ldg(reinterpret_cast<const float*>(item.aux) + at);
}

extern "C" __global__ void from_tensor(const Item* items) {
    const Item& item = items[blockIdx.z];
    const Surface dst = item.dst;
    const u32 left = COLUMNS * thread_x(), row = thread_y();
    if (left >= dst.width || row >= chroma_rows(dst)) {
        return;
    }
    const float black = dst.full_range ? 0.0f : 16.0f;
    const float span = item.floats[9], ku = item.floats[10], kv = item.floats[11];

    u32 luma[2] = {0, 0}, chroma = 0;
#pragma unroll
    for (u32 pair = 0; pair < COLUMNS / 2; ++pair) {
        // Luma, blue and red of four pixels; one beyond the edge is the nearest inside.
        float l[2][2], b[2][2], r[2][2];
#pragma unroll
        for (u32 i = 0; i < 2; ++i) {
            const u32 y = at_most(2 * row + i, dst.height - 1);
#pragma unroll
            for (u32 j = 0; j < 2; ++j) {
                const u32 x = at_most(left + 2 * pair + j, dst.width - 1);
                float colour[3];
#pragma unroll
                for (u32 c = 0; c < 3; ++c) {
                    const u64 at = (static_cast<u64>(c) * dst.height + y) * dst.width + x;
                    colour[c] = unit(number_at(item, at) * item.floats[3 + c] + item.floats[c]);
                }
                l[i][j] = (item.floats[6] * colour[0] + item.floats[7] * colour[1]) + item.floats[8] * colour[2];
                b[i][j] = colour[2];
                r[i][j] = colour[0];
                luma[i] |= nearest(l[i][j] * span + black) << (8 * (2 * pair + j));
            }
        }
        const float lights = (l[0][0] + l[1][0]) + (l[0][1] + l[1][1]);
        const float blues = (b[0][0] + b[1][0]) + (b[0][1] + b[1][1]);
        const float reds = (r[0][0] + r[1][0]) + (r[0][1] + r[1][1]);
        const u32 u = chroma_of(blues - lights, ku), v = chroma_of(reds - lights, kv);
        chroma |= (u | v << 8) << (16 * pair);
    }
    store_4(row_to(dst, false, 2 * row) + left, luma[0], dst.width - left);
    if (2 * row + 1 < dst.height) {
        store_4(row_to(dst, false, 2 * row + 1) + left, luma[1], dst.width - left);
    }
    store_4(row_to(dst, true, row) + left, chroma, row_bytes(dst, true) - left);
}
