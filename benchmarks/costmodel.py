"""The figures of the learned predictors in docs/costmodel.md and COSTMODEL.md.

python benchmarks/costmodel.py                   the held-out figures of every shipped predictor
python benchmarks/costmodel.py --data FOLDER     and on HELP's data: adaptation from ten measurements, GPUs from their
                                                 data sheets alone, the limit that noise sets, the
                                                 Raspberry Pi over several splits
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from optc.costmodel import metrics, predictors
from optc.costmodel.architectures import adaptation, design, kind, nb201
from optc.costmodel.architectures.fitting import fit
from optc.costmodel.architectures.space import load_space
from optc.costmodel.datasets import dataset

# HELP's devices for meta-training; of its test devices, those in the data, and gold_6240 in place of gold_6226.
REFERENCES = (
    "1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r",
    "samsung_a50", "pixel3", "essential_ph_1", "samsung_s7",
)  # fmt: skip
NEW = ("titan_rtx_256", "gold_6240", "fpga", "pixel2", "raspi4", "eyeriss")
SAMPLES, REPEATS = 10, 20
# Data sheets of HELP's GPUs: peak TFLOP/s of single precision, GB/s.
SHEETS = {
    "1080ti": (11.34, 484), "2080ti": (13.45, 616), "titanx": (10.97, 480), "titanxp": (12.15, 548),
    "titan_xp": (12.15, 548), "titan_rtx": (16.31, 672),
}  # fmt: skip
_TRUST = 0.02  # in a slope of -1 of log latency over the data sheets' mean logarithm
_SIZES = 12  # parts by latency, each with a noise of its own
_TRIMMED = 10  # HELP scores without the fastest and the slowest tenth


def summary_table() -> list[str]:
    """One row of Markdown for each set: medians over its targets, the mean for the interval."""
    rows = [
        "| set | targets | MAPE | ±10% | Spearman | 90% interval holds |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for card in predictors.cards():
        found = list(card.figures.values())
        if found:
            middle = {name: _median(found, name) for name in ("mape", "within_10", "spearman")}
            held = [float(each["coverage"]) for each in found if each.get("coverage") is not None]
            cells = [card.name, str(len(card.targets)), f"{middle['mape']:.1f}%", _share(middle["within_10"])]
            cells += [f"{middle['spearman']:.3f}", _share(float(np.mean(held)) if held else None)]
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def _median(found: Sequence[dict[str, float | int | None]], name: str) -> float:
    return float(np.median([float(each[name]) for each in found if each.get(name) is not None]))


def shipped_table(sets: Sequence[str]) -> list[str]:
    """One row of Markdown for each target of the sets."""
    rows = [
        "| set | target | trained on | judged on | MAPE | median | ±5% | ±10% | Spearman | 90% interval holds |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for card in predictors.cards():
        for target in card.targets:
            found = card.figures.get(target)
            if found and card.data_set in sets:
                cells = [card.data_set, target, str(card.rows.get(target, "")), *figure_cells(found)]
                rows.append(f"| {' | '.join(cells)} |")
    return rows


def figure_cells(found: dict[str, float | int | None]) -> list[str]:
    """The figures as cells."""
    percent = {name: f"{found[name]:.1f}%" for name in ("mape", "median_ape")}
    shares = {name: _share(found[name]) for name in ("within_5", "within_10", "coverage")}
    rank = "–" if found["spearman"] is None else f"{found['spearman']:.3f}"
    return [
        str(found["rows"]), percent["mape"], percent["median_ape"], shares["within_5"], shares["within_10"], rank,
        shares["coverage"],
    ]  # fmt: skip


def _share(value: float | int | None) -> str:
    return "–" if value is None else f"{100 * value:.0f}%"


def adaptation_table(data: Path, references: Sequence[str]) -> list[str]:
    """Ten samples on each new device: chosen ones, and the mean of random ones."""
    source = dataset.load("help_nb201")
    measurements = source.read(data)
    space, prior = kind.space_and_prior(source, "", references)
    typical = kind.typical_codes(space)
    rows = [
        "| device | ten | Spearman (HELP's) | Spearman (all) | MAPE | ±10% |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    totals: dict[str, list[list[float]]] = {"chosen": [], "random": []}
    for device in NEW:
        latency = measurements.latency[device]
        pool = np.flatnonzero(np.isfinite(latency) & nb201.connected(measurements.codes))
        chosen = pool[design.suggest(space, prior, measurements.codes[pool], SAMPLES)]
        draws = [np.random.default_rng(seed).choice(pool, SAMPLES, replace=False) for seed in range(REPEATS)]
        for label, samples in (("chosen", [chosen]), ("random", draws)):
            scores = []
            for rows_of in samples:
                adapted = adaptation.adapt(space, prior, typical, measurements.codes[rows_of], latency[rows_of])
                rest = np.setdiff1d(pool, rows_of)
                scores.append(_scores(latency[rest], adapted.predict(measurements.codes[rest]).value))
            mean = np.mean(scores, axis=0).tolist()
            totals[label].append(mean)
            rows.append(_row(device, label, mean))
    rows += [_row("mean", label, np.mean(values, axis=0).tolist()) for label, values in totals.items()]
    return rows


def transfer_table(data: Path) -> list[str]:
    """Each GPU from its data sheet alone: the mean of the others, scaled by what they say of figures and latency."""
    rows = ["| set | batch | GPUs | MAPE: median, worst | Spearman: median, worst |", "| --- | --: | --: | --: | --: |"]
    for name in ("help_nb201", "help_fbnet", "help_ofa"):
        measurements = dataset.load(name).read(data)
        regular = load_space(measurements.space).regular(measurements.codes)
        for batch in (1, 32, 64, 256):
            logs = {
                gpu: np.log(measurements.latency[f"{gpu}_{batch}"][regular])
                for gpu in SHEETS
                if f"{gpu}_{batch}" in measurements.latency
            }
            found = [_transferred(logs, gpu) for gpu in logs]
            if found:
                mape, rank = [each.mape for each in found], [each.spearman for each in found]
                cells = [name, str(batch), str(len(found)), f"{np.median(mape):.1f}%, {max(mape):.1f}%"]
                rows.append(f"| {' | '.join([*cells, f'{np.median(rank):.3f}, {min(rank):.3f}'])} |")
    return rows


def _transferred(logs: dict[str, np.ndarray], gpu: str) -> metrics.Metrics:
    others = [name for name in logs if name != gpu]
    figures = np.array([np.log(SHEETS[name]).mean() for name in others])
    levels = np.array([logs[name].mean() for name in others])
    apart = figures - figures.mean()
    slope = (apart @ (levels - levels.mean()) - _TRUST) / (apart @ apart + _TRUST)
    shape = np.mean([logs[name] for name in others], axis=0)
    guess = shape + slope * (np.log(SHEETS[gpu]).mean() - figures.mean())
    return metrics.evaluate(np.exp(logs[gpu]), np.exp(guess))


def splits_table(data: Path, target: str = "raspi4", splits: int = 6, samples: int = 900) -> list[str]:
    """One target of HELP's NAS-Bench-201 set over several splits, with the session's drift and without.

    20 of the samples are left for networks that compute nothing, as in training.
    """
    measurements, space = dataset.load("help_nb201").read(data), load_space("nb201")
    latency, places = measurements.latency[target], measurements.places
    assert places is not None
    usable = np.isfinite(latency) & space.regular(measurements.codes)
    rows = ["| split | drift | MAPE | ±5% | ±10% | Spearman |", "| --: | --- | --: | --: | --: | --: |"]
    for seed in range(splits):
        held_out, order = kind.divide(space, measurements.codes, 0.25, seed)
        trained = kind.spread(order[usable[order] & ~held_out[order]], places, samples - kind.OTHERS)
        judged = np.flatnonzero(usable & held_out)
        fitted = fit(space, measurements.codes[trained], latency[trained], 5, seed, places[trained])
        for name, where in (("yes", places[judged]), ("no", None)):
            found = metrics.evaluate(latency[judged], fitted.predict(measurements.codes[judged], where).value)
            cells = [str(seed), name, f"{found.mape:.1f}%", f"{100 * found.within_5:.1f}%"]
            rows.append(f"| {' | '.join([*cells, f'{100 * found.within_10:.1f}%', f'{found.spearman:.3f}'])} |")
    return rows


def ceiling_table(data: Path, name: str = "eagle_nb201") -> list[str]:
    """What Spearman a predictor could reach that knew each network's time but for the noise of the measurement.

    The noise is how networks of one class with equal counts of work scatter; that of networks of similar latency is
    added to what the shipped predictor says of the networks that judge it, which is taken for the truth.
    """
    measurements, card = dataset.load(name).read(data), predictors.read_card(predictors.shipped_folder() / name)
    space = load_space(card.details["space"])
    held_out, _ = kind.divide(space, measurements.codes, 0.25, card.seed)
    rows = ["| target | twins scatter by | this model | the truth |", "| --- | --: | --: | --: |"]
    for target, latency in measurements.latency.items():
        usable = np.flatnonzero(np.isfinite(latency) & space.regular(measurements.codes))
        codes, logs = measurements.codes[usable], np.log(latency[usable])
        known = np.c_[space.groups(codes), space.features(codes, card.details["styles"][target])]
        twins = np.unique(known, axis=0, return_inverse=True)[1].reshape(-1)
        count = np.bincount(twins)[twins]
        means = np.bincount(twins, logs) / np.bincount(twins)
        noise = ((logs - means[twins]) * np.sqrt(count / np.maximum(count - 1, 1)))[count > 1]
        if not len(noise):
            continue
        sizes = np.array_split(np.argsort(logs[count > 1]), _SIZES)
        edges = [logs[count > 1][part].max() for part in sizes[:-1]]
        judged = held_out[usable]
        guess = np.log(kind.predict_codes(card, target, codes[judged]).value)
        part_of = np.searchsorted(edges, guess)
        reached = []
        for seed in range(REPEATS):
            generator = np.random.default_rng(seed)
            drawn = np.stack([generator.choice(noise[part], len(guess)) for part in sizes])
            reached.append(metrics.spearman(guess, guess + drawn[part_of, np.arange(len(guess))]))
        found = metrics.spearman(logs[judged], guess)
        rows.append(f"| {target} | {np.median(np.abs(noise)):.1%} | {found:.3f} | {np.mean(reached):.3f} |")
    return rows


def _scores(measured: np.ndarray, predicted: np.ndarray) -> list[float]:
    order = np.argsort(measured, kind="stable")
    middle = order[len(order) // _TRIMMED : len(order) - len(order) // _TRIMMED]
    found = metrics.evaluate(measured, predicted)
    return [metrics.spearman(measured[middle], predicted[middle]), found.spearman, found.mape, found.within_10]


def _row(device: str, label: str, mean: list[float]) -> str:
    return f"| {device} | {label} | {mean[0]:.3f} | {mean[1]:.3f} | {mean[2]:.1f}% | {100 * mean[3]:.0f}% |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that holds help_nb201/")
    parser.add_argument("--set", dest="sets", action="append", default=[], help="a data set; repeatable")
    arguments = parser.parse_args()
    data = arguments.data
    print("\n".join(shipped_table(arguments.sets) if arguments.sets else summary_table()))
    if data is not None:
        print("\nTen measurements, references: HELP's meta-training devices\n")
        print("\n".join(adaptation_table(data, REFERENCES)))
        print("\nGPUs from their data sheets alone\n")
        print("\n".join(transfer_table(data)))
        print("\nSpearman that the noise of the measurements allows\n")
        print("\n".join(ceiling_table(data)))
        print("\nRaspberry Pi 4, 900 samples, several splits\n")
        print("\n".join(splits_table(data)))


if __name__ == "__main__":
    main()
