"""Let a sample network find out how many bits each of its channels needs, and lose those that need none.

    python samples/self_compress_cifar10.py resnet8 --price 0.2 --steps 3000

While it is trained on the labels and on the float network's scores, every bit of a weight has a price. In the last
third the bits stay as they are and only weights, scales and biases learn. Writes build/cifar10_<name>_compressed.onnx,
which onnxruntime runs and `optc compile --compress-weights` takes, and prints its accuracy on the 10,000 test images,
the bits that are left for each weight that there was, and each layer's channels. Needs what train_cifar10.py needs.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from cifar10_data import Cifar10, augmented_batches, load_cifar10
from fine_tune_cifar10 import HERE, accuracy, calibration

from optc.quantization import SelfCompression

PRICED = 0.65
"""Of the steps, in which bits cost something and change."""

RATE = 1e-3
BITS_RATE = 0.02
BATCH = 64


def compress(model: SelfCompression, data: Cifar10, price: float, steps: int, batch: int = BATCH) -> None:
    """Adam with rates that fall to zero; `price` is that of a bit for every weight."""
    optimizer = torch.optim.Adam(model.groups(weights=RATE, scales=RATE, biases=RATE, bits=BITS_RATE))
    rates = [group["lr"] for group in optimizer.param_groups]
    step = 0
    while step < steps:
        for images, labels in augmented_batches(data, batch, 32, step):
            share = step / steps
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 + math.cos(math.pi * share)) / 2
            optimizer.param_groups[-1]["lr"] = BITS_RATE if share < PRICED else 0.0
            scores, teacher = model(images), model.exact(images).softmax(1)
            loss = F.cross_entropy(scores, labels) + F.cross_entropy(scores, teacher)
            if share < PRICED:
                loss = loss + price * model.price()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step == steps:
                break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("resnet8", "mobilenet"))
    parser.add_argument("--price", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "cifar10", help="the download")
    parser.add_argument("--out", type=Path, default=HERE.parent / "build")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_cifar10(options.work)
    model = SelfCompression.of(HERE / "models" / f"cifar10_{options.name}.onnx", calibration(data))
    exact = accuracy(model.exact, data.test_images, data.test_labels)
    compress(model, data, options.price, options.steps)
    after = accuracy(model, data.test_images, data.test_labels)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"cifar10_{options.name}_compressed.onnx"
    model.write(path)
    for layer, bits in model.bits.items():
        print(f"{layer}: {(bits > 0).sum()} of {len(bits)} channels have bits, {bits.mean():.2f} on average")
    print(f"float {exact:.2%}, with {model.price().item():.2f} bits for each weight {after:.2%}: {path}")


if __name__ == "__main__":
    main()
