#!/usr/bin/env python3
"""Trains denoise.onnx, beside this script: a small stack of 3x3 convolutions that takes noise out of pictures.

    3 -> 16 -> 16 -> 3 planes, ReLU between, and what comes out is added to what went in.

Needs ffmpeg, and numpy and onnx from PyPI; nothing else is downloaded. The pictures are the repository's own clip
(control/node/assets/clip.ts, its first eight seconds) and scenes drawn below from a seed. Noise, weights and order are
seeded too; another processor or library may order sums otherwise, and then the last bits of the weights differ.

    python train.py              trains, checks on pictures not trained on, writes denoise.onnx
    python train.py --check      checks the file that is there
"""

import argparse
import pathlib
import subprocess
import sys
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
CLIP = HERE.parents[2] / "control/node/assets/clip.ts"
OUT = HERE / "denoise.onnx"

SEED = 20
WIDTHS = [3, 16, 16, 3]
SIGMAS = (2.0, 18.0)  # of the noise, in steps of 255; each patch draws its own
STEPS = 3000
BATCH = 16
PATCH = 32
RATE = 2e-3  # of Adam; falls to a fiftieth along half a cosine
CHECK_SIGMA = 12.0
CLIP_SIZE = (360, 640)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="train nothing; check the file that is there")
    arguments = parser.parse_args()
    clip = decode(CLIP)
    if not arguments.check:
        rng = np.random.default_rng(SEED)
        pictures = list(clip[:240:8]) + [scene(np.random.default_rng(1000 + i)) for i in range(30)]
        save(train(pictures, rng))
    check(clip)


def decode(path):
    """Every frame of a video as float32 RGB 0..1, [frame][row][column][plane]."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, *CLIP_SIZE, 3)
    return frames.astype(np.float32) / 255


def scene(rng, size=(192, 256)):
    """A picture of gradients, discs, boxes, stripes and grain, as the seed has it."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    picture = np.empty((*size, 3), np.float32)
    for plane in range(3):
        slope = rng.uniform(-1, 1, 2) / max(size)
        picture[..., plane] = rng.uniform(0.2, 0.8) + slope[0] * rows + slope[1] * columns
    for _ in range(14):
        row, column = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        reach, tall = rng.uniform(8, 60), rng.uniform(0.4, 2.5)
        kind = rng.integers(4)
        if kind == 0:
            inside = np.hypot(rows - row, columns - column) < reach
        else:
            inside = (abs(rows - row) < reach * tall / 2) & (abs(columns - column) < reach / tall)
        colour = rng.uniform(0, 1, 3).astype(np.float32)
        if kind == 2:  # stripes
            angle, period = rng.uniform(0, np.pi), rng.uniform(3, 24)
            wave = 0.5 + 0.5 * np.sin((rows * np.sin(angle) + columns * np.cos(angle)) * 2 * np.pi / period)
            paint = wave[..., None] * colour + (1 - wave[..., None]) * rng.uniform(0, 1, 3)
        elif kind == 3:  # texture: noise, blurred a little
            grain = rng.normal(0, 0.25, size).astype(np.float32)
            for axis in (0, 1, 0, 1):
                grain = (np.roll(grain, 1, axis) + grain + np.roll(grain, -1, axis)) / 3
            paint = colour + grain[..., None]
        else:
            paint = np.broadcast_to(colour, picture.shape)
        picture[inside] = paint[inside]
    return np.clip(picture, 0, 1).astype(np.float32)


def train(pictures, rng):
    """The weights, [(kernel [9*in][out], bias [out])] a layer, after STEPS steps of Adam on the mean square error."""
    layers = []
    for into, out in zip(WIDTHS, WIDTHS[1:]):
        kernel = rng.normal(0, np.sqrt(2 / (9 * into)), (9 * into, out)).astype(np.float32)
        layers.append([kernel, np.zeros(out, np.float32)])
    layers[-1][0] *= 0.1  # begin near the identity
    moments = [[(np.zeros_like(p), np.zeros_like(p)) for p in layer] for layer in layers]
    started, mean_loss = time.monotonic(), None
    for step in range(1, STEPS + 1):
        clean, noisy = batch(pictures, rng)
        loss, slopes = loss_and_slopes(layers, noisy, clean)
        rate = RATE * (0.02 + 0.98 * (0.5 + 0.5 * np.cos(np.pi * step / STEPS)))
        adam(layers, moments, slopes, rate, step)
        mean_loss = loss if mean_loss is None else 0.99 * mean_loss + 0.01 * loss
        if step % 500 == 0:
            print(f"step {step}: {10 * np.log10(1 / mean_loss):.2f} dB, {time.monotonic() - started:.0f} s", flush=True)
    return layers


def batch(pictures, rng):
    clean = np.empty((BATCH, PATCH, PATCH, 3), np.float32)
    for patch in clean:
        picture = pictures[rng.integers(len(pictures))]
        row, column = (rng.integers(side - PATCH + 1) for side in picture.shape[:2])
        cut = picture[row : row + PATCH, column : column + PATCH]
        patch[:] = cut[:, ::-1] if rng.integers(2) else cut
    sigma = rng.uniform(*SIGMAS, (BATCH, 1, 1, 1)).astype(np.float32) / 255
    return clean, add_noise(clean, sigma, rng)


def add_noise(clean, sigma, rng):
    return np.clip(clean + sigma * rng.standard_normal(clean.shape, np.float32), 0, 1)


def loss_and_slopes(layers, noisy, clean):
    columns, values = [], noisy
    for i, (kernel, bias) in enumerate(layers):
        columns.append(unfold(values))
        values = columns[-1] @ kernel + bias
        if i + 1 < len(layers):
            values = np.maximum(values, 0)
    error = noisy + values - clean
    slope = error * np.float32(2 / error.size)
    slopes = []
    for i in reversed(range(len(layers))):
        flat = slope.reshape(-1, slope.shape[-1])
        slopes.append([columns[i].reshape(len(flat), -1).T @ flat, flat.sum(0)])
        if i:
            slope = fold(slope @ layers[i][0].T)
            # The columns' middle ninth is the layer's own input, and so what ReLU let through.
            into = WIDTHS[i]
            slope *= columns[i][..., 4 * into : 5 * into] > 0
    return float((error**2).mean()), slopes[::-1]


def unfold(values):
    """Each pixel's 3x3 surroundings, zero outside: [n][h][w][9 * planes], rows first."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = values.shape[1:3]
    shifts = [(row, column) for row in range(3) for column in range(3)]
    return np.concatenate([padded[:, r : r + height, c : c + width] for r, c in shifts], axis=-1)


def fold(columns):
    """What unfold does to slopes: each surrounding adds to the pixel that it was taken from."""
    count, height, width, nine = columns.shape
    planes = nine // 9
    padded = np.zeros((count, height + 2, width + 2, planes), np.float32)
    for i in range(9):
        row, column = divmod(i, 3)
        padded[:, row : row + height, column : column + width] += columns[..., i * planes : (i + 1) * planes]
    return padded[:, 1:-1, 1:-1]


def adam(layers, moments, slopes, rate, step):
    """Kingma and Ba, 2015, with their constants."""
    for layer, pair, slope in zip(layers, moments, slopes):
        for i in range(2):
            first, second = pair[i]
            first += 0.1 * (slope[i] - first)
            second += 0.001 * (slope[i] ** 2 - second)
            unbiased = np.sqrt(second / (1 - 0.999**step)) + 1e-8
            layer[i] -= (rate / (1 - 0.9**step) * first / unbiased).astype(np.float32)


def save(layers):
    nodes, weights, last = [], [], "frames"
    for i, (kernel, bias) in enumerate(layers):
        into, out = WIDTHS[i], WIDTHS[i + 1]
        # [row, column, in][out] to [out][in][row][column], which is ONNX's order.
        kernel = kernel.reshape(3, 3, into, out).transpose(3, 2, 0, 1)
        weights += [numpy_helper.from_array(np.ascontiguousarray(kernel), f"kernel{i}")]
        weights += [numpy_helper.from_array(bias, f"bias{i}")]
        here = f"layer{i}"
        nodes.append(helper.make_node("Conv", [last, f"kernel{i}", f"bias{i}"], [here], pads=[1] * 4, kernel_shape=[3, 3]))
        last = here
        if i + 1 < len(layers):
            nodes.append(helper.make_node("Relu", [here], [f"relu{i}"]))
            last = f"relu{i}"
    nodes.append(helper.make_node("Add", ["frames", last], ["denoised"]))
    shape = ["n", 3, "h", "w"]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("frames", "denoised")]
    graph = helper.make_graph(nodes, "denoise", tensors[:1], tensors[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.producer_name = "millstream engine/gpu/models/train.py"
    helper.set_model_props(
        model,
        {
            "millstream.layout": "NCHW RGB",
            "millstream.input": "frames",
            "millstream.output": "denoised",
            "millstream.range": "0..1",
            "millstream.factor": "1",
            "millstream.licence": "MIT OR Apache-2.0",
            "millstream.origin": "engine/gpu/models/train.py, trained on the bundled clip and on scenes that it draws",
            "millstream.description": "Takes Gaussian noise out of pictures, sigma up to 18 of 255",
        },
    )
    onnx.checker.check_model(model, full_check=True)
    OUT.write_bytes(model.SerializeToString())


def check(clip):
    """Prints what the file does to pictures that were not trained on; ends with 1 unless each set gains 2 dB."""
    model = onnx.load(OUT)
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    layers = []
    for i in range(len(WIDTHS) - 1):
        kernel = weights[f"kernel{i}"].transpose(2, 3, 1, 0).reshape(-1, WIDTHS[i + 1])
        layers.append((kernel, weights[f"bias{i}"]))
    sets = {
        "clip, seconds 8 to 10": clip[245::15],
        "scenes of other seeds": [scene(np.random.default_rng(5000 + i)) for i in range(8)],
    }
    rng, gains = np.random.default_rng(SEED + 1), []
    for name, pictures in sets.items():
        before, after, untouched = [], [], []
        for clean in pictures:
            noisy = add_noise(clean, np.float32(CHECK_SIGMA / 255), rng)
            before.append(decibels(noisy, clean))
            after.append(decibels(apply(layers, noisy), clean))
            untouched.append(decibels(apply(layers, clean), clean))
        before, after, untouched = (np.mean(list_of) for list_of in (before, after, untouched))
        gains.append(after - before)
        print(f"{name}: noisy {before:.2f} dB, denoised {after:.2f} dB; without noise {untouched:.2f} dB")
    print(f"{OUT.name}: {OUT.stat().st_size} bytes, {sum(w.size for w in weights.values())} weights")
    sys.exit(0 if min(gains) >= 2 else 1)


def apply(layers, picture):
    values = picture[None]
    for i, (kernel, bias) in enumerate(layers):
        values = unfold(values) @ kernel + bias
        if i + 1 < len(layers):
            values = np.maximum(values, 0)
    return np.clip(picture + values[0], 0, 1)


def decibels(a, b):
    return 10 * np.log10(1 / np.mean((a.astype(np.float64) - b) ** 2))


if __name__ == "__main__":
    main()
