// A picture as a tensor: crop, scale, conversion to RGB and normalisation in one pass. The arithmetic is in reference/tensor.rs.
//
// src: the picture. dst: no picture; its width and height are the tensor's.
// aux: the tensor, planar RGB, [3][height][width], of floats or of halves; aligned to its numbers.
// ints[0..4]: the crop: x, y, width, height; not empty, inside the picture. ints[4]: 0 is floats, 1 is halves.
// floats[0..3]: mean of red, green, blue. floats[3..6]: scale. floats[6..11]: ky, kr, kgu, kgv, kb.
// Thread (x, y): column x of the tensor, rows 4y to 4y+3.
#include "half.cuh"
#include "tap.cuh"

#define ROWS 4

HELPER float unit(float v) {
    v = v > 0.0f ? v : 0.0f;
    return v < 1.0f ? v : 1.0f;
}

HELPER Walk walk_of(u32 start, u32 length, u32 out, u32 shrink) {
    return {2 * start * out, length, 2 * shrink * out, start / shrink, (start + length - 1) / shrink};
}

extern "C" __global__ void to_tensor(const Item* items) {
    const Item& item = items[blockIdx.z];
    const Surface src = item.src;
    const u32 width = item.dst.width, height = item.dst.height;
    const u32 x = thread_x(), top = ROWS * thread_y();
    if (x >= width || top >= height) {
        return;
    }
    const u32 left = static_cast<u32>(item.ints[0]), crop_width = static_cast<u32>(item.ints[2]);
    const u32 upper = static_cast<u32>(item.ints[1]), crop_height = static_cast<u32>(item.ints[3]);
    const bool is_half = item.ints[4] != 0;
    const float ky = item.floats[6], kr = item.floats[7], kgu = item.floats[8], kgv = item.floats[9], kb = item.floats[10];
    const int black = src.full_range ? 0 : 65536 * 16;

    const Tap across = tap_of(walk_of(left, crop_width, width, 1), x);
    const Tap across_chroma = tap_of(walk_of(left, crop_width, width, 2), x);
    const Walk walk = walk_of(upper, crop_height, height, 1), walk_chroma = walk_of(upper, crop_height, height, 2);
    for (u32 y = top; y < at_most(top + ROWS, height); ++y) {
        const Tap down = tap_of(walk, y), down_chroma = tap_of(walk_chroma, y);
        const u8* const above = row_of(src, false, down.index);
        const u8* const below = row_of(src, false, down.next);
        const u8* const above_chroma = row_of(src, true, down_chroma.index);
        const u8* const below_chroma = row_of(src, true, down_chroma.next);
        const int s_y = static_cast<int>(between(above, below, 1, across, down));
        const int s_u = static_cast<int>(between(above_chroma, below_chroma, 2, across_chroma, down_chroma));
        const int s_v = static_cast<int>(between(above_chroma + 1, below_chroma + 1, 2, across_chroma, down_chroma));

        const float l = static_cast<float>(s_y - black) * ky;
        const float u = static_cast<float>(s_u - 65536 * 128);
        const float v = static_cast<float>(s_v - 65536 * 128);
        const float colour[3] = {l + v * kr, (l - u * kgu) - v * kgv, l + u * kb};
#pragma unroll
        for (u32 c = 0; c < 3; ++c) {
            const float number = (unit(colour[c]) - item.floats[c]) * item.floats[3 + c];
            const u64 at = (static_cast<u64>(c) * height + y) * width + x;
            if (is_half) {
                reinterpret_cast<u16*>(item.aux)[at] = half_from_float(number);
            } else {
                reinterpret_cast<float*>(item.aux)[at] = number;
            }
        }
    }
}
