// Rows of bytes: which one a thread has, and how it is read and written four or sixteen bytes at a time.
//
// Little-endian words: the byte at the lower address is the lower byte. A picture may begin anywhere, so an access is as wide as
// the addresses allow; what NVDEC and cudaMallocPitch hand out allows all of it.
#pragma once

#include "item.cuh"

#define HELPER static __device__ __forceinline__

// Two bytes of a word, each in 16 bits: those at even addresses as they are, those at odd ones after a shift by 8.
#define PAIR_MASK 0x00ff00ffu

HELPER u32 thread_x() { return blockIdx.x * blockDim.x + threadIdx.x; }
HELPER u32 thread_y() { return blockIdx.y * blockDim.y + threadIdx.y; }

HELPER u32 at_most(u32 a, u32 b) { return a < b ? a : b; }
HELPER int clamped(int value, int least, int most) { return value < least ? least : value > most ? most : value; }

HELPER u32 chroma_rows(const Surface& picture) { return (picture.height + 1) / 2; }

// The bytes of a row that are picture: a chroma row of an odd width has one more than a luma row.
HELPER u32 row_bytes(const Surface& picture, bool is_chroma) {
    return is_chroma ? (picture.width + 1) & ~1u : picture.width;
}

HELPER const u8* row_of(const Surface& picture, bool is_chroma, u32 row) {
    const u64 base = is_chroma ? picture.uv : picture.y;
    return reinterpret_cast<const u8*>(base + static_cast<u64>(is_chroma ? picture.uv_stride : picture.y_stride) * row);
}

HELPER u8* row_to(const Surface& picture, bool is_chroma, u32 row) {
    return const_cast<u8*>(row_of(picture, is_chroma, row));
}

template <typename Word>
HELPER bool is_aligned(const u8* at) {
    return reinterpret_cast<u64>(at) % sizeof(Word) == 0;
}

HELPER u32 byte_of(u32 word, u32 index) { return word >> (8 * index) & 0xff; }

// The first `count` (1 to 4, or more, which is 4) bytes at `at`; the rest of the word is 0.
HELPER u32 load_4(const u8* at, u32 count) {
    if (count >= 4 && is_aligned<u32>(at)) {
        return __ldg(reinterpret_cast<const u32*>(at));
    }
    u32 word = 0;
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        if (i < count) {
            word |= static_cast<u32>(__ldg(at + i)) << (8 * i);
        }
    }
    return word;
}

// Writes the first `count` (1 to 4, or more, which is 4) bytes of a word.
HELPER void store_4(u8* at, u32 word, u32 count) {
    if (count >= 4 && is_aligned<u32>(at)) {
        *reinterpret_cast<u32*>(at) = word;
        return;
    }
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        if (i < count) {
            at[i] = static_cast<u8>(byte_of(word, i));
        }
    }
}

// The same for 16.
HELPER uint4 load_16(const u8* at, u32 count) {
    if (count >= 16 && is_aligned<uint4>(at)) {
        return __ldg(reinterpret_cast<const uint4*>(at));
    }
    uint4 words = {0, 0, 0, 0};
    words.x = load_4(at, count);
    if (count > 4) {
        words.y = load_4(at + 4, count - 4);
    }
    if (count > 8) {
        words.z = load_4(at + 8, count - 8);
    }
    if (count > 12) {
        words.w = load_4(at + 12, count - 12);
    }
    return words;
}

HELPER void store_16(u8* at, uint4 words, u32 count) {
    if (count >= 16 && is_aligned<uint4>(at)) {
        *reinterpret_cast<uint4*>(at) = words;
        return;
    }
    store_4(at, words.x, count);
    if (count > 4) {
        store_4(at + 4, words.y, count - 4);
    }
    if (count > 8) {
        store_4(at + 8, words.z, count - 8);
    }
    if (count > 12) {
        store_4(at + 12, words.w, count - 12);
    }
}
