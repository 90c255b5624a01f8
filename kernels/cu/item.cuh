// What every kernel is handed: an array of items, one a picture, each of any session. `item.rs` is the same, field by field.
//
// Rules for a kernel:
//  - `extern "C" __global__ void NAME(const Item* items)`; blockIdx.z chooses the item. The grid covers the largest item of the
//    launch, so a thread looks whether it has anything to do.
//  - It is right for any block size, one thread included, and for any size of picture, 1x1 included.
//  - It reads nothing outside `src`'s pixels and writes nothing outside `dst`'s: what is beyond an edge is the nearest pixel inside.
//  - Integer arithmetic, or single-precision floats without contraction (it is compiled with --fmad=false), each written as the
//    twin in `src/reference` writes it: the two agree in every bit.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// One NV12 picture: luma rows, then rows of U and V in turn, at half size both ways, rounded up.
struct Surface {
    u64 y;          // address of the first luma byte
    u64 uv;         // address of the first chroma pair
    u32 width;      // pixels
    u32 height;     // pixels
    u32 y_stride;   // bytes from a luma row to the next
    u32 uv_stride;  // bytes from a chroma row to the next
    u32 full_range; // 0: 16..235 and 16..240; 1: 0..255
    u32 matrix;     // 0: not said; 1: BT.601; 2: BT.709; 3: BT.2020
};

struct Item {
    Surface src;
    Surface dst;
    u64 aux;        // a tensor, an alpha plane, a sum: the kernel says what
    u64 scratch;    // memory of its own, when the kernel says that it needs some
    int ints[12];
    float floats[12];
};
