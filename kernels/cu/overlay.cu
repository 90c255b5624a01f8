// A picture laid over another, in place. The arithmetic is in reference/overlay.rs.
//
// src: the picture on top. dst: the one below it, read and written; no other item of the launch has it.
// aux: a plane of alpha, a byte a luma pixel of src. ints[2]: bytes from one of its rows to the next.
// ints[0], ints[1]: where the left upper corner of src lies in dst: pixels to the right and down, within -8192 to 8192.
// Thread (x, y): the chroma sample of dst x to the right of and y below the one that the corner lies on, which may be
// outside, and the four luma pixels that it stands for.
#include "rows.cuh"

extern "C" __global__ void overlay(const Item* items) {
    const Item& item = items[blockIdx.z];
    const Surface src = item.src, dst = item.dst;
    const int left = item.ints[0], top = item.ints[1];
    // The shift rounds down.
    const int column = (left >> 1) + static_cast<int>(thread_x()), row = (top >> 1) + static_cast<int>(thread_y());
    if (column < 0 || row < 0 || 2 * column >= static_cast<int>(dst.width) || 2 * row >= static_cast<int>(dst.height)) {
        return;
    }

    u32 count = 0, alphas = 0, us = 0, vs = 0;
    bool is_covered = false;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int y = 2 * row + i, from_y = y - top;
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const int x = 2 * column + j, from_x = x - left;
            if (y >= static_cast<int>(dst.height) || x >= static_cast<int>(dst.width)) {
                continue;
            }
            ++count;
            if (from_y < 0 || from_x < 0 || from_y >= static_cast<int>(src.height) || from_x >= static_cast<int>(src.width)) {
                continue;
            }
            is_covered = true;
            const u32 source_x = static_cast<u32>(from_x), source_y = static_cast<u32>(from_y);
            const u64 line = item.aux + static_cast<u64>(static_cast<u32>(item.ints[2])) * source_y;
            const u32 a = __ldg(reinterpret_cast<const u8*>(line) + source_x);
            u8* const out = row_to(dst, false, static_cast<u32>(y)) + x;
            const u32 luma = __ldg(row_of(src, false, source_y) + source_x);
            *out = static_cast<u8>((a * luma + (255 - a) * *out + 127) / 255);
            const u8* const chroma = row_of(src, true, source_y / 2) + 2 * (source_x / 2);
            alphas += a;
            us += a * __ldg(chroma);
            vs += a * __ldg(chroma + 1);
        }
    }
    if (!is_covered) {
        return;
    }
    const u32 all = 255 * count;
    u8* const out = row_to(dst, true, static_cast<u32>(row)) + 2 * column;
    out[0] = static_cast<u8>((us + (all - alphas) * out[0] + all / 2) / all);
    out[1] = static_cast<u8>((vs + (all - alphas) * out[1] + all / 2) / all);
}
