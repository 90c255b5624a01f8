// The first half of the box blur: along the rows of `src`, into scratch. The arithmetic is in reference/blur.rs.
//
// Thread (x, y): bytes 32x to 32x+31 of row y, luma rows first, then chroma rows. It sums the 2r + 1 samples around its first, then
// adds one and takes one away a sample. Both ends of the window are streams of words at any offset:
//
//   row words    | w0 | w1 | w2 |        a stream at byte q holds the word of q and the next,
//                    ^ q                  and shifts the four bytes from q out of the two
#include "blur.cuh"

#define SEGMENT_BYTES 32

// A row whose first and last samples repeat outward; a sample is one byte (luma) or two (a chroma pair).
struct Line {
    const u8* at;
    int bytes;
    u32 first, last; // the sample, repeated through the word
};

HELPER u32 repeated(const u8* sample, int sample_bytes) {
    const u32 low = __ldg(sample);
    const u32 high = sample_bytes == 2 ? __ldg(sample + 1) : low;
    return (low | high << 8) * 0x00010001u;
}

// The word at byte 4 * index of the line, which may be beyond either end.
HELPER u32 word_of(const Line& line, int index) {
    const int begin = 4 * index;
    if (begin < 0) {
        return line.first;
    }
    if (begin >= line.bytes) {
        return line.last;
    }
    const int count = line.bytes - begin;
    const u32 word = load_4(line.at + begin, static_cast<u32>(count));
    if (count >= 4) {
        return word;
    }
    // The end is within the word. Samples are whole, so the repeated last one is in step.
    const u32 is_picture = (1u << (8 * count)) - 1;
    return (word & is_picture) | (line.last & ~is_picture);
}

// Four bytes at a time from any byte of a line.
struct Stream {
    int index; // of the word after `word`
    u32 shift, word;
};

HELPER Stream stream_from(const Line& line, int byte) {
    // Rounds down, below zero too.
    const int index = byte >> 2;
    return Stream{index + 1, static_cast<u32>(byte & 3) * 8, word_of(line, index)};
}

HELPER u32 next_4(const Line& line, Stream& stream) {
    const u32 word = word_of(line, stream.index);
    const u32 bytes = __funnelshift_r(stream.word, word, stream.shift);
    stream.word = word;
    stream.index += 1;
    return bytes;
}

HELPER u32 lanes_sum(u32 lanes) { return (lanes & 0xffff) + (lanes >> 16); }

HELPER void luma_segment(const Line& line, int first, int radius, u32 scale, u8* to) {
    const int samples = 2 * radius + 1;
    Stream window = stream_from(line, first - radius);
    // Lanes of 16 bits: at most 33 words of twice 255.
    u32 lanes = 0;
    for (int i = 0; i < samples; i += 4) {
        u32 word = next_4(line, window);
        if (samples - i < 4) {
            word &= (1u << (8 * (samples - i))) - 1;
        }
        lanes += (word & PAIR_MASK) + (word >> 8 & PAIR_MASK);
    }
    u32 sum = lanes_sum(lanes);
    Stream enters = stream_from(line, first + radius + 1), leaves = stream_from(line, first - radius);
    const int end = line.bytes < first + SEGMENT_BYTES ? line.bytes : first + SEGMENT_BYTES;
    for (int at = first; at < end; at += 4) {
        const u32 in = next_4(line, enters), out = next_4(line, leaves);
        u32 word = 0;
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            word |= mean(sum, scale) << (8 * i);
            sum += byte_of(in, i) - byte_of(out, i);
        }
        *reinterpret_cast<u32*>(to + at) = word;
    }
}

// The two bytes from bit `shift` of a word, as U in the low 16 bits and V in the high ones.
HELPER u32 pair_of(u32 word, u32 shift) { return (word >> shift & 0xff) | (word >> shift & 0xff00) << 8; }

HELPER void chroma_segment(const Line& line, int first, int radius, u32 scale, u8* to) {
    const int bytes = 2 * (2 * radius + 1);
    Stream window = stream_from(line, first - 2 * radius);
    // Lanes of 16 bits: at most 33 words of 255.
    u32 u = 0, v = 0;
    for (int i = 0; i < bytes; i += 4) {
        u32 word = next_4(line, window);
        if (bytes - i < 4) {
            word &= 0xffff;
        }
        u += word & PAIR_MASK;
        v += word >> 8 & PAIR_MASK;
    }
    u32 sums = lanes_sum(u) | lanes_sum(v) << 16;
    Stream enters = stream_from(line, first + 2 * (radius + 1)), leaves = stream_from(line, first - 2 * radius);
    const int end = line.bytes < first + SEGMENT_BYTES ? line.bytes : first + SEGMENT_BYTES;
    for (int at = first; at < end; at += 4) {
        const u32 in = next_4(line, enters), out = next_4(line, leaves);
        u32 word = 0;
#pragma unroll
        for (u32 shift = 0; shift < 32; shift += 16) {
            word |= (mean(sums & 0xffff, scale) | mean(sums >> 16, scale) << 8) << shift;
            // Both lanes at once: each is a sum again after both steps, whatever is borrowed between them.
            sums += pair_of(in, shift) - pair_of(out, shift);
        }
        *reinterpret_cast<u32*>(to + at) = word;
    }
}

extern "C" __global__ void blur_rows(const Item* items) {
    const Item& item = items[blockIdx.z];
    u32 row = thread_y();
    const u32 first = SEGMENT_BYTES * thread_x();
    const bool is_chroma = row >= item.src.height;
    if (is_chroma) {
        row -= item.src.height;
        if (row >= chroma_rows(item.src)) {
            return;
        }
    }
    const u32 bytes = row_bytes(item.src, is_chroma);
    if (first >= bytes) {
        return;
    }
    const u8* at = row_of(item.src, is_chroma, row);
    const int sample_bytes = is_chroma ? 2 : 1;
    const Line line = {
        at,
        static_cast<int>(bytes),
        repeated(at, sample_bytes),
        repeated(at + bytes - sample_bytes, sample_bytes),
    };
    u8* to = scratch_row(item, is_chroma, row);
    const int radius = radius_of(item, is_chroma);
    const u32 scale = scale_of(item, is_chroma);
    if (is_chroma) {
        chroma_segment(line, static_cast<int>(first), radius, scale, to);
    } else {
        luma_segment(line, static_cast<int>(first), radius, scale, to);
    }
}
