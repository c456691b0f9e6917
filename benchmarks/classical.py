"""Memory, instructions and agreement of the C that optc writes for classical models of scikit-learn.

    python benchmarks/classical.py --out build/bench/classical

The data are scikit-learn's own handwritten digits: 64 features, 10 classes, a fifth held out. Instructions are counted
as in microcontroller.py, for one sample of zeros.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from microcontroller import BOARDS, measure
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from optc import driver
from optc.backends.c.source import identifier

MODELS: dict[str, Any] = {
    "decision tree, depth 10": DecisionTreeClassifier(max_depth=10, random_state=0),
    "random forest, 20 trees, depth 8": RandomForestClassifier(20, max_depth=8, random_state=0),
    "extra trees, 20 trees": ExtraTreesClassifier(20, random_state=0),
    "boosted trees, 10 rounds": GradientBoostingClassifier(n_estimators=10, random_state=0),
    "scaled logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    features, classes = load_digits(return_X_y=True)
    x, test_x, y, test_y = train_test_split(features.astype(np.float32), classes, test_size=0.2, random_state=0)
    records = []
    for title, estimator in MODELS.items():
        estimator.fit(x, y)
        proto = to_onnx(estimator, x[:1], options={"zipmap": False})
        name = identifier(title.split(",")[0])
        proto.graph.name = name
        labels = estimator.predict(test_x)
        for target in BOARDS:
            made = driver.compile(
                proto, target=target, shapes={"X": (1, 64)}, output=arguments.out / f"{name}-{target}"
            )
            found = [made.run({"X": sample[None]})["label"][0] for sample in test_x]
            work = arguments.out / f"{name}-{target}-work"
            work.mkdir(exist_ok=True)
            for suffix in (".c", ".h"):
                (work / (name + suffix)).write_bytes((made.path / (name + suffix)).read_bytes())
            figures = measure(name, work, target)
            records.append(
                {
                    "model": title, "target": target, **figures, "accuracy": float(np.mean(labels == test_y)),
                    "labels_that_differ": int(np.sum(np.asarray(found) != labels)), "samples": len(test_y),
                    "onnx_bytes": proto.ByteSize(),
                }
            )  # fmt: skip
            print(json.dumps(records[-1]), flush=True)
    (arguments.out / "classical.json").write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
