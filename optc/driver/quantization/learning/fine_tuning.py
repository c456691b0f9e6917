"""Quantization-aware fine-tuning: a quantized model that PyTorch trains, and then is written as any other.

    model = FineTuning.of(network, calibration, "int4", example_inputs=(images,))
    model.learn_blocks()                                     # against the float network, without labels
    optimizer = torch.optim.Adam(model.groups(weights=0, scales=1e-4, biases=1e-4))
    loss = cross_entropy(model(images), labels)              # any loss; then as ever
    model.write("network.int4.onnx")

The order is that of Chen et al., "EfficientQAT: Efficient Quantization-Aware Training for Large Language Models"
(2024): block after block, then the step sizes end to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from optc.backends.interface import Progress, silent
from optc.driver.quantization.curvature import hessian_diagonals
from optc.driver.quantization.learning.block_learning import BlockLearner, Recipe
from optc.driver.quantization.learning.fake_quant import StraightWeight
from optc.driver.quantization.learning.twin import Twin
from optc.driver.quantization.quantize import Quantizer
from optc.ir.core import Module
from optc.ops.onnx_export import to_onnx_model
from optc.passes.quantization.plan import QuantizationPlan

BLOCKWISE = Recipe(steps=200, end_steps=0, rate=3e-4)
"""Rates are of the weights themselves here."""


class FineTuning(nn.Module):
    """A quantized model with its weights, scales and biases as parameters.

    BatchNorm is inside the convolutions already and stays as it was; dropout and the like are off, as in the exported
    program.

    Args:
        quantizer: of the model, calibrated.
        scheme: as for `Quantizer.plan`.
        keep_float: layers that stay in float.
    """

    def __init__(self, quantizer: Quantizer, scheme: str, *, keep_float: Iterable[str] = ()) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.plan = quantizer.plan(scheme, keep_float=tuple(keep_float))
        self.twin = self._twin(self.plan)
        self._curvatures: list[Tensor] | None = None

    def _twin(self, plan: QuantizationPlan) -> Twin:
        return Twin(self.quantizer.module, plan, weights=StraightWeight)

    @classmethod
    def of(
        cls,
        model: Any,
        calib: Iterable[Mapping[str, Any]] | str | Path,
        scheme: str = "int8",
        *,
        example_inputs: Any = None,
        keep_float: Iterable[str] = (),
        progress: Progress = silent,
    ) -> Self:
        """A model to fine-tune.

        Args:
            model: a `torch.nn.Module` (with `example_inputs`), a `torch.export.ExportedProgram`, or an ONNX file.
            calib: as for `Data`.
            scheme: a name of `SCHEMES`, or WEIGHTS/ACTIVATIONS.
            example_inputs: a tuple of tensors to trace a module with.
            keep_float: layers that stay in float.
            progress: called with (what, done, total, detail).
        """
        quantizer = Quantizer.of(model, calib, example_inputs=example_inputs, progress=progress)
        return cls(quantizer, scheme, keep_float=keep_float)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs of the quantized model; one tensor where there is one."""
        return self.twin(*inputs)

    @torch.no_grad()
    def exact(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs of the float model that it began as: something to distil from."""
        twin = self.twin
        known = dict(zip(twin.inputs, inputs, strict=True))
        found = twin.compute(twin.operations, known, twin.outputs, quantized=False)
        results = tuple(found[value] for value in twin.outputs)
        return results[0] if len(results) == 1 else results

    def groups(self, *, weights: float, scales: float, biases: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer with a rate for each kind; a rate of zero leaves a kind as it is."""
        twin = self.twin
        kinds = (
            (weights, [layer.weight.free for layer in twin.layers]),
            (scales, [each.log_scale for each in (*(layer.weight for layer in twin.layers), *twin.activations)]),
            (biases, [layer.bias for layer in twin.layers if layer.bias is not None]),
        )
        return [{"params": parameters, "lr": rate} for rate, parameters in kinds if rate > 0 and parameters]

    def perturbation(self) -> Tensor:
        """The noise at the outputs, relative to their power, that the rounding of weights is predicted to make.

        Half the curvature of the float model's outputs by each weight times the square of what rounding changes, as in
        Dong et al., "HAWQ-V2" (2020); in a loss it draws weights to numbers of the format, and scales and bits to where
        weights are, most where the outputs feel it. The curvatures are estimated when it is first asked for.
        """
        if self._curvatures is None:
            values = [layer.item.layer.operation.operands[1] for layer in self.twin.layers]
            found = hessian_diagonals(self.quantizer.module, values, self.quantizer.data)
            self._curvatures = [torch.from_numpy(found[value].astype(np.float32)) for value in values]
        total = torch.zeros(())
        for layer, curvature in zip(self.twin.layers, self._curvatures, strict=True):
            own, rounded = layer.weight.free, layer.weight()
            # Rounding passes gradients as they are: the first square has some for scales, the second for weights.
            apart = (own - rounded) ** 2 + (own - rounded.detach()) ** 2
            total = total + 0.25 * (curvature * apart).sum()
        return total

    def learn_blocks(self, recipe: Recipe = BLOCKWISE, *, progress: Progress = silent) -> None:
        """Train each block against the float model on the calibration data."""
        learner = BlockLearner(self.quantizer.module, self.twin, self.quantizer.data, recipe, progress=progress)
        targets = learner.blockwise()
        if recipe.end_steps:
            learner.end_to_end(targets)

    def module(self) -> Module:
        """The model as it is now, in QDQ form."""
        self.twin.commit()
        return self.quantizer.write(self.plan)

    def write(self, path: str | Path) -> None:
        """Write the model as it is now, as an ONNX file in QDQ form."""
        Path(path).write_bytes(to_onnx_model(self.module()).SerializeToString())
