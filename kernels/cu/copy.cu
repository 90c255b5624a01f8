// A copy of the picture.
//
// Thread (x, y): bytes 16x to 16x+15 of row y, luma rows first, then chroma rows.
#include "rows.cuh"

extern "C" __global__ void copy(const Item* items) {
    const Item& item = items[blockIdx.z];
    const Surface src = item.src, dst = item.dst;
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
    store_16(row_to(dst, is_chroma, row) + first, load_16(row_of(src, is_chroma, row) + first, count), count);
}
