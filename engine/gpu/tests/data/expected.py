#!/usr/bin/env python3
"""What the decoder must make of a stream that is not 8-bit 4:2:0, from ffmpeg's decoding of it.

usage: expected.py STREAM PIX_FMT > NAME.fnv     (PIX_FMT: the stream's own, as ffprobe says)

One line a picture, in display order: FNV-1a, 64 bits, of its I420 bytes at 8 bits. A sample is the mean of the
samples that it stands for, at full precision, a half rounded up, at most 255.
"""
import subprocess, sys

WIDTH, HEIGHT = 320, 180
stream, fmt = sys.argv[1:]
bits = 10 if "10" in fmt else 8
size = bits + 7 >> 3
raw = subprocess.run(["ffmpeg", "-v", "error", "-i", stream, "-f", "rawvideo", "-pix_fmt", fmt, "-"],
                     stdout=subprocess.PIPE, check=True).stdout
samples = [int.from_bytes(raw[i:i + size], "little") for i in range(0, len(raw), size)]
chroma_rows = HEIGHT if "422" in fmt else HEIGHT // 2
chroma = 0 if fmt == "gray" else WIDTH // 2 * chroma_rows
at = 0

def plane(width, rows, mean_of):
    global at
    rows = [samples[at + y * width:at + (y + 1) * width] for y in range(rows)]
    at += len(rows) * width
    shift = bits - 8 + mean_of - 1
    for y in range(0, len(rows), mean_of):
        for column in zip(*rows[y:y + mean_of]):
            yield min(sum(column) + (1 << shift >> 1) >> shift, 255)

while at < len(samples):
    picture = list(plane(WIDTH, HEIGHT, 1))
    for _ in range(2):
        if chroma:
            picture += plane(WIDTH // 2, chroma_rows, 2 if chroma_rows == HEIGHT else 1)
        else:
            picture += [128] * (WIDTH // 2 * (HEIGHT // 2))
    digest = 0xcbf29ce484222325
    for byte in picture:
        digest = (digest ^ byte) * 0x100000001b3 & (1 << 64) - 1
    print(f"{digest:016x}")
