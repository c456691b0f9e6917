"""Computing requests on the server: one by one, or along a batch dimension that the half leaves open."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from optc.artifact.split_record import CutTensor, Half
from optc.errors import InternalError, OptcError
from optc.program import TensorInfo
from optc.runtime.random_inputs import random_inputs
from optc.runtime.split.frames import FrameFault
from optc.runtime.split.messages import Reply, Request, Statistics
from optc.runtime.split.ways import OpenWay

_logger = logging.getLogger("optc.serve")
_TOLERANCE = 1e-4
Values = dict[str, np.ndarray]


def compute(way: OpenWay, requests: Sequence[Request]) -> list[Reply | Exception]:
    """Answers to requests for one way, in their order; where one fails, the reason in its place.

    Several requests are computed in one run; the way must then allow it (`can_batch`).
    """
    results: list[Values | Exception] = []
    for request in requests:
        try:
            results.append(way.sent.decode(request.tensors))
        except FrameFault as fault:
            results.append(fault)
    good = [index for index, values in enumerate(results) if isinstance(values, dict)]
    for index, values in zip(good, _run(way, [results[index] for index in good]), strict=True):  # type: ignore[misc]
        results[index] = values
    return [values if isinstance(values, Exception) else _reply(way, values) for values in results]


def can_batch(way: OpenWay) -> bool:
    """Whether requests for a way may be computed together.

    Its server half must leave the first dimension of all inputs and outputs open, requests must hold one item each, and
    a trial on random values must give for two items together what it gives for each of them.
    """
    half = way.way.server
    if half is None or way.engine is None or not _is_open(half, way.sent.tensors, way.returned.tensors):
        return False
    pair = []
    for seed in range(2):
        infos = [TensorInfo(tensor.name, tensor.dtype, tensor.shape) for tensor in way.sent.tensors]
        pair.append(random_inputs(infos, seed))
    try:
        alone = [way.engine.run(values) for values in pair]
        together = _unstack(way.engine.run(_stack(pair)), len(pair))
    except (OptcError, ValueError) as fault:
        _logger.debug("requests for %s are not batched: %s", way.way.name, fault)
        return False
    return all(
        np.allclose(one[name], other[name], rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
        for one, other in zip(alone, together, strict=True)
        for name in one
    )


def _is_open(half: Half, sent: Sequence[CutTensor], returned: Sequence[CutTensor]) -> bool:
    infos = (*half.inputs, *half.outputs)
    single = all(tensor.shape[:1] == (1,) for tensor in (*sent, *returned))
    return single and all(info.shape is not None and info.shape[:1] == (None,) for info in infos)


def _run(way: OpenWay, inputs: list[Values]) -> list[Values | Exception]:
    """Outputs for each of several inputs; a batch that fails is taken apart, so that one request harms no other."""
    engine = way.engine
    if engine is None or not inputs:
        return [InternalError("a request came for a way without a server half") for _ in inputs]
    try:
        if len(inputs) == 1:
            return [engine.run(inputs[0])]
        return list(_unstack(engine.run(_stack(inputs)), len(inputs)))
    except Exception as fault:
        if len(inputs) == 1:
            return [_known(way, fault)]
    return [_run(way, [values])[0] for values in inputs]


def _reply(way: OpenWay, values: Values) -> Reply | Exception:
    try:
        return Reply(Statistics(), way.returned.encode(values))
    except Exception as fault:
        return _known(way, fault)


def _known(way: OpenWay, fault: Exception) -> OptcError:
    """What a client is told of a failure: in a sentence, and nothing about this machine."""
    traced = _logger.isEnabledFor(logging.DEBUG) and not isinstance(fault, OptcError)
    _logger.warning("a request for %s failed: %s", way.way.name, fault, exc_info=traced)
    if isinstance(fault, OptcError):
        return fault
    return InternalError("the server failed to compute the request", why=type(fault).__name__)


def _stack(inputs: Sequence[Values]) -> Values:
    return {name: np.concatenate([values[name] for values in inputs]) for name in inputs[0]}


def _unstack(outputs: Mapping[str, np.ndarray], count: int) -> list[Values]:
    if any(len(array) != count for array in outputs.values()):
        raise ValueError("the outputs have another number of items than the inputs")
    return [{name: array[index : index + 1] for name, array in outputs.items()} for index in range(count)]
