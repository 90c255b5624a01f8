// Half precision by hand: reference/half.rs, operation for operation. A half is its bits.
#pragma once

#include "rows.cuh"

HELPER u32 bits_of(float x) {
    union {
        float number;
        u32 bits;
    } both;
    both.number = x;
    return both.bits;
}

HELPER float float_of(u32 bits) {
    union {
        u32 bits;
        float number;
    } both;
    both.bits = bits;
    return both.number;
}

HELPER u16 half_from_float(float x) {
    const u32 bits = bits_of(x), magnitude = bits & 0x7fffffffu;
    u32 half;
    if (magnitude > 0x7f800000u) {
        half = 0x7e00u | (magnitude >> 13 & 0x1ffu); // not a number, made quiet
    } else if (magnitude >= 0x477ff000u) {
        half = 0x7c00u; // 65520 and more
    } else if (magnitude >= 0x38800000u) {
        half = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1)) >> 13;
    } else {
        half = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u; // below 2^-14: the addition rounds to 2^-24
    }
    return static_cast<u16>(half | (bits >> 16 & 0x8000u));
}

HELPER float float_from_half(u16 half) {
    const u32 magnitude = half & 0x7fffu;
    u32 bits;
    if (magnitude >= 0x7c00u) {
        bits = magnitude << 13 | 0x7f800000u;
    } else if (magnitude >= 0x400u) {
        bits = (magnitude << 13) + (112u << 23);
    } else {
        bits = bits_of(static_cast<float>(magnitude) * (1.0f / 16777216.0f));
    }
    return float_of(bits | static_cast<u32>(half & 0x8000u) << 16);
}
