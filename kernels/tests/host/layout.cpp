// Prints where item.cuh puts each field: a line each, a name and a number of bytes.
#include <cstddef>
#include <cstdio>

#include "item.cuh"

#define FIELD(of, field) std::printf(#of "." #field " %zu\n", offsetof(of, field))

int main() {
    std::printf("Surface %zu\nItem %zu\nalignof Item %zu\n", sizeof(Surface), sizeof(Item), alignof(Item));
    FIELD(Surface, y);
    FIELD(Surface, uv);
    FIELD(Surface, width);
    FIELD(Surface, height);
    FIELD(Surface, y_stride);
    FIELD(Surface, uv_stride);
    FIELD(Surface, full_range);
    FIELD(Surface, matrix);
    FIELD(Item, src);
    FIELD(Item, dst);
    FIELD(Item, aux);
    FIELD(Item, scratch);
    FIELD(Item, ints);
    FIELD(Item, floats);
}
