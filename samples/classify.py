"""Compile the ResNet-8 of this folder for this machine, classify 500 CIFAR-10 test images and time one image.

    python samples/classify.py [model.onnx]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import optc

HERE = Path(__file__).resolve().parent


def main(path: Path) -> int:
    """Print the accuracy on the 500 images beside the one stated for all 10,000, and the latency of one image.

    Returns:
        Exit code 0, or 1 when the compiled model is more than 3 points less accurate than stated.
    """
    sample = np.load(HERE / "data" / "cifar10_test_500.npz")
    images, labels = sample["images"].astype(np.float32), sample["labels"]
    classes = (HERE / "models" / "classes.txt").read_text().split()

    artifact = optc.compile(path, target="cpu", shapes={"pixels": [1, 3, 32, 32]})
    seconds, predicted = [], []
    for image in images:
        start = time.perf_counter()
        logits = artifact.run({"pixels": image[None]})["logits"]
        seconds.append(time.perf_counter() - start)
        predicted.append(int(logits.argmax()))

    accuracy = float(np.mean(np.array(predicted) == labels))
    stated = json.loads((HERE / "models" / "accuracy.json").read_text())[path.stem]["accuracy"]
    print(f"first image: {classes[predicted[0]]} (labelled {classes[labels[0]]})")
    print(f"accuracy {accuracy:.1%} on {len(labels)} images; {stated:.1%} stated for all 10,000")
    print(f"latency {statistics.median(seconds) * 1e3:.3f} ms an image (median)")
    return 0 if accuracy >= stated - 0.03 else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "models" / "cifar10_resnet8.onnx"))
