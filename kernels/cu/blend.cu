// Grayscale and invert: each sample is drawn to another value by k / 128. The arithmetic is in reference/blend.rs.
//
//   x + (((to - x) k + 64) >> 7)  =  (x (128 - k) + to k + 64) >> 7
//
// The form on the right has no negative part and stays below 255 * 128 + 64 = 32 704, so two samples go in one word, 16 bits each.
//
// ints[0]: k, 0 to 128. ints[1]: 0 for grayscale, 1 for invert.
// Thread (x, y): bytes 16x to 16x+15 of row y, luma rows first, then chroma rows.
#include "rows.cuh"

enum Target { GREY, NEGATIVE, LIMITED_NEGATIVE };

// 251 - min(max(x, 16), 235), two samples at a time.
HELPER u32 limited_negative(u32 pair) {
    // x - 16, or 0 when that is below 0: bit 8 tells.
    const u32 lower = (pair | 0x01000100u) - 0x00100010u;
    const u32 is_above = (lower >> 8 & 0x00010001u) * 0xffu;
    // min(that, 219) + 36: bit 8 tells when the sum is above 255.
    const u32 upper = (lower & is_above) + 0x00240024u;
    const u32 is_over = (upper >> 8 & 0x00010001u) * 0xffu;
    // The clamped sample is 16 + (upper - 36), and 251 less that is 271 - upper.
    return 0x010f010fu - ((upper | is_over) & PAIR_MASK);
}

HELPER u32 drawn(u32 pair, u32 k, Target target) {
    u32 to = 0x00800080u;
    if (target == NEGATIVE) {
        to = pair ^ PAIR_MASK;
    } else if (target == LIMITED_NEGATIVE) {
        to = limited_negative(pair);
    }
    return (pair * (128 - k) + to * k + 0x00400040u) >> 7 & PAIR_MASK;
}

HELPER u32 drawn_4(u32 word, u32 k, Target target) {
    return drawn(word & PAIR_MASK, k, target) | drawn(word >> 8 & PAIR_MASK, k, target) << 8;
}

extern "C" __global__ void blend(const Item* items) {
    const Item& item = items[blockIdx.z];
    const Surface src = item.src, dst = item.dst;
    const u32 k = static_cast<u32>(item.ints[0]);
    const bool is_invert = item.ints[1] != 0;
    u32 row = thread_y();
    const u32 first = 16 * thread_x();
    const bool is_chroma = row >= src.height;
    if (is_chroma) {
        row -= src.height;
        if (row >= chroma_rows(src)) {
            return;
        }
    }
    const u32 bytes = row_bytes(src, is_chroma);
    if (first >= bytes) {
        return;
    }
    const u32 count = bytes - first;
    uint4 words = load_16(row_of(src, is_chroma, row) + first, count);
    if (is_chroma || is_invert) {
        const Target target = !is_invert ? GREY : is_chroma || src.full_range ? NEGATIVE : LIMITED_NEGATIVE;
        words.x = drawn_4(words.x, k, target);
        words.y = drawn_4(words.y, k, target);
        words.z = drawn_4(words.z, k, target);
        words.w = drawn_4(words.w, k, target);
    }
    store_16(row_to(dst, is_chroma, row) + first, words, count);
}
