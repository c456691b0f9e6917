"""The mapping agent beside the greedy baseline, by simulated time, on networks that it was and was not trained on.

    python benchmarks/mapping.py --zoo build/zoo --out build/bench/mapping
    python benchmarks/mapping.py --zoo build/zoo --write-training build/games

Each model of the zoo is played on TARGET as if its floats had 8 bits. The agent was trained by
`optc memory train build/games/*.json` on random games and the games of the families that are not held out, which
--write-training writes. Columns: the simulated time over the greedy baseline's, with all tensors at home, by tree
search without a network, by the agent, and by the agent's own moves alone (not the best mapping that its search met).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.tables import geometric_mean, table  # noqa: E402
from optc import targets  # noqa: E402
from optc.driver.mapping import mapping_problem  # noqa: E402
from optc.frontends import load_model  # noqa: E402
from optc.passes.memory.game.agent import load_weights, map_memory  # noqa: E402
from optc.passes.memory.game.engine import Settings, search  # noqa: E402
from optc.passes.memory.game.problem import Problem  # noqa: E402
from optc.passes.memory.game.problem_json import write_problem  # noqa: E402

TARGET, BITS = "tda4vm", 8

HELD_OUT = (
    "mobilenetv2_100", "mobilenetv3_small_100", "efficientnet_lite0", "efficientnet_b0", "ghostnet_100",
    "minilm_l6", "vit_tiny_patch16_224",
)  # fmt: skip
"""Two families: mobile convnets of inverted residuals, and transformers."""


def games(zoo: Path) -> dict[str, Problem]:
    """The game of each model of the zoo's manifest."""
    found = {}
    for name, entry in json.loads((zoo / "manifest.json").read_text()).items():
        shapes = {key: tuple(shape) for key, shape in entry["shapes"].items()}
        module = load_model(str(zoo / entry["file"]), shapes, None).module
        found[name] = mapping_problem(module, targets.load(TARGET), BITS)
    return found


def measure(problem: Problem) -> dict[str, Any]:
    """Seconds by solver, simulated; and those that the mapping took to find."""
    start = time.perf_counter()
    mapped = map_memory(problem)
    spent = time.perf_counter() - start
    weights = load_weights()
    return {
        **mapped.seconds,
        "tree search": search(problem, None, Settings()).best,
        "played": search(problem, weights, Settings()).played,
        "steps": len(problem.steps),
        "spent": spent,
    }


COLUMNS = ("home", "tree search", "agent", "played")


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """One table; the held-out models first."""
    parts = []
    for title, names in (
        ("held out", [name for name in rows if name in HELD_OUT]),
        ("trained on", [name for name in rows if name not in HELD_OUT]),
    ):
        lines = []
        for name in names:
            row = rows[name]
            shares = [f"{row[column] / row['greedy']:.4f}" for column in COLUMNS]
            lines.append([name, str(row["steps"]), f"{row['greedy'] * 1e3:.3f}", *shares])
        means = [f"{geometric_mean([rows[n][column] / rows[n]['greedy'] for n in names]):.4f}" for column in COLUMNS]
        better = sum(rows[name]["agent"] < rows[name]["greedy"] * (1 - 1e-6) for name in names)
        lines.append([f"geometric mean; the agent is faster on {better} of {len(names)}", "", "", *means])
        parts.append(table([title, "steps", "greedy, ms", *COLUMNS], lines))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--write-training", type=Path, help="a folder that gets the games to train on")
    parser.add_argument("--out", type=Path, help="OUT.json and OUT.md are written")
    options = parser.parse_args()
    played = games(options.zoo)
    if options.write_training:
        options.write_training.mkdir(parents=True, exist_ok=True)
        for name, problem in played.items():
            if name not in HELD_OUT:
                write_problem(options.write_training / f"{name}.json", problem)
    if options.out:
        rows = {name: measure(problem) for name, problem in played.items()}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(markdown(rows))
        print(markdown(rows))


if __name__ == "__main__":
    main()
