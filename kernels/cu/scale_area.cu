// A picture at a smaller size, each output the mean of what it covers. The arithmetic is in reference/scale.rs.
//
// src, dst: the pictures; dst is larger in neither way.
// ints[0..8]: N and n in lowest terms: luma across, luma down, chroma across, chroma down.
// Thread (x, y): luma columns 2x and 2x+1 of rows 2y and 2y+1 of dst, and the chroma sample under them.
#include "rows.cuh"

// Source samples first to end - 1, each of weight `to` but for what is cut off the first and the last.
struct Cover {
    u32 first, end, cut_first, cut_last, to;
};

HELPER Cover cover_of(u32 from, u32 to, u32 x) {
    const u32 begin = x * from, finish = begin + from;
    const u32 first = begin / to, end = (finish + to - 1) / to;
    return {first, end, begin - first * to, end * to - finish, to};
}

HELPER u32 weight_of(const Cover& cover, u32 i) {
    return cover.to - (i == cover.first ? cover.cut_first : 0) - (i + 1 == cover.end ? cover.cut_last : 0);
}

// `step` is the bytes from a sample to the next, `all` the sum of the weights.
HELPER u8 mean(const u8* plane, u32 stride, u32 step, const Cover& across, const Cover& down, u32 all) {
    u64 sum = 0;
    for (u32 y = down.first; y < down.end; ++y) {
        const u8* const row = plane + static_cast<u64>(stride) * y;
        u32 part = 0; // at most 255 * 8192
        for (u32 x = across.first; x < across.end; ++x) {
            part += weight_of(across, x) * __ldg(row + step * x);
        }
        sum += static_cast<u64>(weight_of(down, y)) * part;
    }
    sum += all / 2;
    // The sum is below 256 times all, so that 32 bits often do; they are divided much faster.
    return static_cast<u8>(all <= 1u << 24 ? static_cast<u32>(sum) / all : sum / all);
}

extern "C" __global__ void scale_area(const Item* items) {
    const Item& item = items[blockIdx.z];
    const Surface src = item.src, dst = item.dst;
    const u32 column = thread_x(), row = thread_y();
    if (2 * column >= dst.width || row >= chroma_rows(dst)) {
        return;
    }
    u32 from[4], to[4];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        from[i] = static_cast<u32>(item.ints[2 * i]);
        to[i] = static_cast<u32>(item.ints[2 * i + 1]);
    }

    const u8* const luma = row_of(src, false, 0);
    for (u32 y = 2 * row; y < at_most(2 * row + 2, dst.height); ++y) {
        const Cover down = cover_of(from[1], to[1], y);
        u8* const out = row_to(dst, false, y);
        for (u32 x = 2 * column; x < at_most(2 * column + 2, dst.width); ++x) {
            out[x] = mean(luma, src.y_stride, 1, cover_of(from[0], to[0], x), down, from[0] * from[1]);
        }
    }

    const u8* const chroma = row_of(src, true, 0);
    const Cover across = cover_of(from[2], to[2], column), down = cover_of(from[3], to[3], row);
    u8* const out = row_to(dst, true, row) + 2 * column;
    out[0] = mean(chroma, src.uv_stride, 2, across, down, from[2] * from[3]);
    out[1] = mean(chroma + 1, src.uv_stride, 2, across, down, from[2] * from[3]);
}
