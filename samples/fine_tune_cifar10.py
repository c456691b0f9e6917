"""Fine-tune a sample network in few bits, with PyTorch and the training images.

    python samples/fine_tune_cifar10.py resnet8 --format int2/uint8

First every block learns to give what the float network gives, then all of it is trained on the labels and on the float
network's scores together; at the end the step sizes alone. Writes build/cifar10_<name>_<format>.onnx, which onnxruntime
runs, and prints the accuracy on the 10,000 test images before and after. Needs what train_cifar10.py needs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from cifar10_data import Cifar10, augmented_batches, load_cifar10
from torch import Tensor

from optc.quantization import FineTuning, Recipe

HERE = Path(__file__).resolve().parent
CALIBRATION = 512


@dataclass(frozen=True)
class Training:
    """How long and how fast.

    Attributes:
        block_steps: of each block, on the calibration images.
        steps: on the labels, all parameters.
        scale_steps: on the labels, step sizes and biases only.
        batch: images a step.
        rate: of Adam for weights.
        scale_rate: for the logarithms of step sizes, and for biases.
    """

    block_steps: int = 100
    steps: int = 780
    scale_steps: int = 200
    batch: int = 64
    rate: float = 1e-3
    scale_rate: float = 1e-3


def accuracy(predict: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> float:
    """The share of images that are classified rightly."""
    with torch.no_grad():
        predicted = torch.cat([predict(part.float()).argmax(1) for part in images.split(500)])
    return float((predicted == labels).float().mean())


def fine_tune(model: FineTuning, data: Cifar10, training: Training, seed: int = 0) -> None:
    """Blocks, then the whole, then the step sizes."""
    if training.block_steps:
        model.learn_blocks(Recipe(steps=training.block_steps, end_steps=0, rate=training.rate, seed=seed))
    train(model, data, training, training.steps, training.rate, seed)
    train(model, data, training, training.scale_steps, 0.0, seed + 1)


def train(model: FineTuning, data: Cifar10, training: Training, steps: int, rate: float, seed: int) -> None:
    """Adam with a rate that falls to zero, on the labels and on what the float network says."""
    groups = model.groups(weights=rate, scales=training.scale_rate, biases=training.scale_rate)
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (1 + math.cos(math.pi * min(1.0, step / max(1, steps)))) / 2
    )
    step = 0
    while step < steps:
        for images, labels in augmented_batches(data, training.batch, 32, seed * 1000 + step):
            scores = model(images)
            teacher = model.exact(images).softmax(1)
            loss = F.cross_entropy(scores, labels) + F.cross_entropy(scores, teacher)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step == steps:
                break


def calibration(data: Cifar10) -> list[dict[str, np.ndarray]]:
    """The first training images, in batches."""
    images = data.train_images[:CALIBRATION].float().numpy()
    return [{"pixels": images[start : start + 32]} for start in range(0, CALIBRATION, 32)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("resnet8", "mobilenet"))
    parser.add_argument("--format", default="int2/uint8", help="of weights and activations, as for `optc quantize`")
    parser.add_argument("--steps", type=int, default=Training.steps)
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "cifar10", help="the download")
    parser.add_argument("--out", type=Path, default=HERE.parent / "build")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_cifar10(options.work)
    model = FineTuning.of(HERE / "models" / f"cifar10_{options.name}.onnx", calibration(data), options.format)
    exact, before = (accuracy(each, data.test_images, data.test_labels) for each in (model.exact, model))
    fine_tune(model, data, Training(steps=options.steps, scale_steps=options.steps // 4))
    after = accuracy(model, data.test_images, data.test_labels)
    path = options.out / f"cifar10_{options.name}_{options.format.replace('/', '_')}.onnx"
    options.out.mkdir(parents=True, exist_ok=True)
    model.write(path)
    print(f"float {exact:.2%}, {options.format} after training {before:.2%}, fine-tuned {after:.2%}: {path}")


if __name__ == "__main__":
    main()
