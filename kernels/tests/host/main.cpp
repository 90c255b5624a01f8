// Runs one launch of the kernel KERNEL that is linked in. Standard input, little-endian:
//
//   u32     number of items
//   u32 x3  blocks
//   u32 x3  threads a block
//   u32     1: the last thread of the last block first; 0: in order
//   Item xN as item.cuh has it; an address is an offset into the memory below, and 0 is no address
//   rest    the memory
//
// Standard output: the memory afterwards. Exit status 2 when the input is not of this form; a launch that takes minutes is ended.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <unistd.h>

#include "item.cuh"

dim3 gridDim, blockDim, blockIdx, threadIdx;

extern "C" void KERNEL(const Item* items);

namespace {

const unsigned seconds_max = 120;
const std::size_t alignment = 256; // as cudaMalloc has it

struct Header {
    u32 items, blocks[3], threads[3], is_backward;
};

std::vector<unsigned char> read_all() {
    std::vector<unsigned char> all;
    unsigned char part[1 << 16];
    std::size_t count;
    while ((count = std::fread(part, 1, sizeof part, stdin)) > 0) {
        all.insert(all.end(), part, part + count);
    }
    return all;
}

void launch(const Header& header, const Item* items) {
    gridDim = {header.blocks[0], header.blocks[1], header.blocks[2]};
    blockDim = {header.threads[0], header.threads[1], header.threads[2]};
    // From the outermost to the innermost, block first: z, y, x.
    const u64 sides[6] = {gridDim.z, gridDim.y, gridDim.x, blockDim.z, blockDim.y, blockDim.x};
    u64 total = 1;
    for (u64 side : sides) {
        total *= side;
    }
    for (u64 i = 0; i < total; ++i) {
        u64 rest = header.is_backward ? total - 1 - i : i;
        unsigned at[6];
        for (int side = 5; side >= 0; --side) {
            at[side] = static_cast<unsigned>(rest % sides[side]);
            rest /= sides[side];
        }
        blockIdx = {at[2], at[1], at[0]};
        threadIdx = {at[5], at[4], at[3]};
        KERNEL(items);
    }
}

} // namespace

int main() {
    alarm(seconds_max);
    const std::vector<unsigned char> input = read_all();
    Header header;
    if (input.size() < sizeof header) {
        return 2;
    }
    std::memcpy(&header, input.data(), sizeof header);
    const std::size_t memory_at = sizeof header + sizeof(Item) * static_cast<std::size_t>(header.items);
    if (input.size() < memory_at) {
        return 2;
    }
    std::vector<Item> items(header.items);
    std::memcpy(items.data(), input.data() + sizeof header, memory_at - sizeof header);

    const std::size_t bytes = input.size() - memory_at;
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment, bytes + alignment) != 0) {
        return 3;
    }
    std::memcpy(memory, input.data() + memory_at, bytes);
    for (Item& item : items) {
        for (u64* address : {&item.src.y, &item.src.uv, &item.dst.y, &item.dst.uv, &item.aux, &item.scratch}) {
            if (*address >= bytes) {
                return 2;
            }
            if (*address != 0) {
                *address += reinterpret_cast<u64>(memory);
            }
        }
    }
    launch(header, items.data());
    const bool is_written = std::fwrite(memory, 1, bytes, stdout) == bytes && std::fflush(stdout) == 0;
    std::free(memory);
    return is_written ? 0 : 3;
}
