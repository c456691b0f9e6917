"""Which passes exist: name → "module:Class", so that listing them imports nothing."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from optc.errors import UsageError
from optc.ir.source import near
from optc.passes.base import Pass

ENTRY_POINTS = "optc.passes"

PASSES: dict[str, str] = {
    "canonicalize": "optc.passes.simplify.canonicalize:Canonicalize",
    "channels-last": "optc.passes.layout.channels_last:ChannelsLast",
    "code-interface": "optc.passes.quantization.code_interface:CodeInterface",
    "constant-if": "optc.passes.simplify.constant_if:ConstantIf",
    "cse": "optc.passes.simplify.cse:EliminateCommonSubexpressions",
    "dce": "optc.passes.simplify.dce:EliminateDeadCode",
    "expand-classical": "optc.passes.simplify.expand_classical:ExpandClassical",
    "expand-conv-transpose": "optc.passes.simplify.expand_conv_transpose:ExpandConvTranspose",
    "expand-dynamic-quantize": "optc.passes.simplify.expand_dynamic_quantize:ExpandDynamicQuantize",
    "fold": "optc.passes.simplify.fold:Fold",
    "fold-batch-norm": "optc.passes.simplify.fold_batch_norm:FoldBatchNorm",
    "fold-shapes": "optc.passes.simplify.fold_shapes:FoldShapes",
    "form-recurrences": "optc.passes.simplify.form_recurrences:FormRecurrences",
    "fuse": "optc.passes.fusion.fuse:Fuse",
    "fuse-blocks": "optc.passes.fusion.blocks:FuseBlocks",
    "fuse-codes": "optc.passes.fusion.codes:FuseCodes",
    "integer-arithmetic": "optc.passes.integer.arithmetic:IntegerArithmetic",
    "inline-loops": "optc.passes.simplify.inline_loops:InlineLoops",
    "layout": "optc.passes.layout.assign:AssignLayouts",
    "order": "optc.passes.memory.order:Order",
    "pack-weights": "optc.passes.integer.pack_weights:PackWeights",
    "patches": "optc.passes.memory.patches:Patches",
    "recognize": "optc.passes.simplify.recognize:Recognize",
    "recognize-attention": "optc.passes.simplify.recognize_attention:RecognizeAttention",
    "settle-integers": "optc.passes.integer.settle:SettleIntegers",
    "signed-codes": "optc.passes.quantization.signed_codes:SignedCodes",
    "rematerialize": "optc.passes.memory.remat:Rematerialize",
    "simplify": "optc.passes.simplify.simplify:Simplify",
    "unroll-recurrent": "optc.passes.simplify.unroll_recurrent:UnrollRecurrent",
    "distribute": "optc.passes.fusion.distribute:Distribute",
    "pad-channels": "optc.passes.layout.pad_channels:PadChannels",
    "widen-blocks": "optc.passes.layout.widen:WidenBlocks",
    "widen-elements": "optc.passes.simplify.widen_elements:WidenElements",
}
"""The built-in passes. A test holds this table equal to the classes that the folders define."""


@cache
def available() -> dict[str, str]:
    """All passes, built in and from installed packages (entry points of the group `optc.passes`), sorted by name.

    Raises:
        UsageError: two packages give the same name.
    """
    owners = dict.fromkeys(PASSES, "optc")
    found = dict(PASSES)
    for point in entry_points(group=ENTRY_POINTS):
        owner = point.dist.name if point.dist else point.value
        if point.name in found:
            raise UsageError(
                f"two packages define the pass '{point.name}'",
                why=f"'{owners[point.name]}' ({found[point.name]}) and '{owner}' ({point.value})",
                hint=f"uninstall one of them, for instance: pip uninstall {owner}",
            )
        owners[point.name] = owner
        found[point.name] = point.value
    return dict(sorted(found.items()))


def get(name: str) -> type[Pass]:
    """The class of the pass called `name`.

    Raises:
        UsageError: there is none, or its package cannot be imported.
    """
    known = available()
    if name not in known:
        hint = near(name, known) or "`optc passes` lists them"
        raise UsageError(f"no pass is called '{name}'", hint=hint)
    module, _, attribute = known[name].partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if name in PASSES:
            raise
        raise UsageError(f"the pass '{name}' cannot be loaded from {known[name]}", why=str(error)) from error
