"""Runs single ops on arrays, without a kernel around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tilejit.ir.core import Block, Op, Value
from tilejit.ir.opdef import Arity, Attribute, EvaluationCall, OpDef, TypeRuleError
from tilejit.ir.types import Element, PointerType, TileType, dtype_from_numpy
from tilejit.ops import OP_BY_NAME


def value(element: Element, shape: tuple[int, ...] = (), name: str = "") -> Value:
    """A value that nothing defines: enough for type rules."""
    return Block([TileType(element, shape)], [name]).arguments[0]


def pointer(element: Element, shape: tuple[int, ...] = (), const: bool = False) -> Value:
    assert not isinstance(element, PointerType)
    return value(PointerType(element, const), shape)


class NoMachine:
    """An evaluation context for ops that need none, but run regions."""

    def run_block(self, block: Block, arguments: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        values = dict(zip(block.arguments, arguments, strict=True))
        for op in block.ops[:-1]:
            operands = {name: tuple(values[v] for v in used) for name, used in op.named_operands().items()}
            results = op.definition.evaluate(EvaluationCall(op, operands, self))
            values.update(zip(op.results, results, strict=True))
        return [values[v] for v in block.ops[-1].operands]


def evaluate(
    definition: OpDef,
    attributes: Mapping[str, Attribute] | None = None,
    regions: Sequence[Block] = (),
    **operands: np.ndarray | Sequence[np.ndarray] | None,
) -> Sequence[np.ndarray]:
    """Type and evaluate one op; checks that the results have the inferred types."""
    arrays: dict[str, tuple[np.ndarray, ...]] = {}
    for spec in definition.operands:
        given = operands.get(spec.name)
        if given is None:
            arrays[spec.name] = ()
        else:
            arrays[spec.name] = tuple(given) if spec.arity is Arity.VARIADIC else (np.asarray(given),)
    values = {name: [_typed(a) for a in group] for name, group in arrays.items()}
    op = Op(definition, values, attributes, regions)
    results = definition.evaluate(EvaluationCall(op, arrays, NoMachine()))
    for result, typed in zip(results, op.results, strict=True):
        assert isinstance(result, np.ndarray)
        assert result.shape == typed.type.shape
        assert result.dtype == typed.type.element.numpy
    return results


def _typed(array: np.ndarray) -> Value:
    dtype = dtype_from_numpy(array.dtype)
    assert dtype is not None
    return value(dtype, array.shape)


def refusal(name: str, attributes: Mapping[str, Attribute] | None = None, **operands: Value) -> str:
    """Return the text of the TypeRuleError that an op raises."""
    with pytest.raises(TypeRuleError) as caught:
        Op(OP_BY_NAME[name], operands, attributes)
    return str(caught.value)
