// CUDA's words in ordinary C++, so that a kernel is compiled and run here: as many calls as threads, one after the other.
//
// A kernel that waits for other threads (a barrier, a shuffle) cannot be run this way and does not compile.
#pragma once

#include <cstdint>

#define __global__
#define __device__
#define __forceinline__ inline

struct dim3 {
    unsigned x, y, z;
};

extern dim3 gridDim, blockDim, blockIdx, threadIdx;

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

template <typename T>
static inline T __ldg(const T* from) {
    return *from;
}

// The low word of (high:low) shifted to the right by 0 to 31.
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    const std::uint64_t both = static_cast<std::uint64_t>(high) << 32 | low;
    return static_cast<unsigned>(both >> (shift & 31));
}

// One thread runs at a time.
template <typename T, typename U>
static inline T atomicAdd(T* to, U value) {
    const T before = *to;
    *to = before + static_cast<T>(value);
    return before;
}
