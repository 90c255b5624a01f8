// Where bilinear sampling reads: reference/resample.rs, whose text says what the numbers are.
#pragma once

#include "rows.cuh"

struct Walk {
    u32 base, step, denominator, first, last;
};

// A sample, the one after it (itself at the end), and the weight of that one in 256ths.
struct Tap {
    u32 index, next, weight;
};

HELPER Tap tap_of(const Walk& walk, u32 x) {
    const u32 n = walk.base + (2 * x + 1) * walk.step;
    const u32 whole = n / walk.denominator, part = n - whole * walk.denominator;
    const u32 centre = 256 * whole + (256 * part + walk.denominator / 2) / walk.denominator;
    u32 position = centre < 128 ? 0 : centre - 128;
    position = position < 256 * walk.first ? 256 * walk.first : at_most(position, 256 * walk.last);
    const u32 index = position >> 8;
    return {index, at_most(index + 1, walk.last), position & 255};
}

// 65536 times the sample between four. `step` is the bytes from a sample to the next: 1, or 2 in a chroma row.
HELPER u32 between(const u8* above, const u8* below, u32 step, const Tap& across, const Tap& down) {
    const u32 left = step * across.index, right = step * across.next;
    const u32 t = __ldg(above + left) * (256 - down.weight) + __ldg(below + left) * down.weight;
    const u32 next = __ldg(above + right) * (256 - down.weight) + __ldg(below + right) * down.weight;
    return t * (256 - across.weight) + next * across.weight;
}
