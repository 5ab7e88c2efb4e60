"""Canonical simplification: folding, algebra, common subexpressions, loop-invariant motion, dead code.

Before: any valid tile IR. After: valid tile IR with the same effects in the same order and the same
results bit for bit, in which no rule of this pass applies any more. Scalars stay scalars: an elementwise
op on splats is a splat of the scalar op. Every new op has the location of the op it stands for.

A round walks the function once in program order, rebuilding each block: an op is replaced by a rule,
merged with an equal one that is visible, or kept. Operands are in their final form before their users are
looked at, so one round does nearly everything; rounds repeat until one changes nothing.

Reads of memory are merged only where nothing has been written between them; the number of writes passed
so far (the epoch) is part of what makes two reads equal. They leave a loop only if it surely runs and
writes nothing. A ``while`` whose condition depends on memory may be waiting for another thread, whose writes
then count like its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from tilejit.diagnostics import InternalError, Location
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Arity, Attribute, Effects, OpDef
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import DType
from tilejit.ops import CONSTANT, DEVICE_ASSERT, FOR, IF, SELECT, WHILE
from tilejit.passes.algebra import RULES, constant_value, fold, make_constant, same_constant
from tilejit.passes.dead_code import may_wait, remove_dead
from tilejit.passes.manager import PassContext

# Rewrites always shrink or specialise; this many rounds mean that two rules undo each other.
_MAX_ROUNDS = 200


def simplify(function: Function, context: PassContext | None = None) -> None:
    """Bring ``function`` into its simplest form, in place; ``context`` gets no remarks from this pass."""
    remove_dead(function)
    for _ in range(_MAX_ROUNDS):
        if not _Round().run(function):
            return
        remove_dead(function)
    raise InternalError(f"simplification of @{function.name} does not end", function.location)


class _Round:
    """One walk over a function."""

    def __init__(self) -> None:
        self.changed = False
        self._block = Block()
        self._location: Location | None = None
        self._available: dict[Hashable, Op] = {}
        self._scope: list[Hashable] = []  # keys of the innermost scope, to be forgotten at its end
        self._epoch = 0
        self._control: dict[str, Callable[[Op], None]] = {
            IF.name: self._if,
            FOR.name: self._for,
            WHILE.name: self._while,
        }

    def run(self, function: Function) -> bool:
        """Simplify ``function`` once; return whether anything changed."""
        self._walk(function.body)
        return self.changed

    def make(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value
    ) -> Value:
        """Return the result of a new op at the current place, simplified; see ``algebra.Maker``."""
        op = Op(definition, operands, attributes, location=self._location)
        value = self._equal_value(op)
        if value is None:
            self._place(op)
            return op.result
        op.erase()
        return value

    # Walking

    def _walk(self, block: Block) -> None:
        """Rebuild ``block`` from its simplified ops, in a scope of its own."""
        outer_block, outer_scope = self._block, self._scope
        self._block, self._scope = block, []
        ops, block.ops = block.ops, []
        for op in ops:
            self._visit(op)
        for key in self._scope:
            del self._available[key]
        self._block, self._scope = outer_block, outer_scope

    def _visit(self, op: Op) -> None:
        """Append ``op``, which stands in no block's list, to the current block: what is left of it."""
        op.parent = None
        self._location = op.location
        control = self._control.get(op.name)
        if control is not None:
            control(op)
            return
        for region in op.regions:
            self._walk(region)
        if not _is_pure(op.definition) and self._drop_constant_mask(op):
            return
        value = self._equal_value(op) if len(op.results) == 1 and not op.regions else None
        if value is None:
            self._place(op)
        else:
            self._replace(op, [value])

    def _equal_value(self, op: Op) -> Value | None:
        """A simpler value than the result of ``op``, or the result of an equal op."""
        rule = RULES.get(op.name)
        value = rule(op, self) if rule is not None else None
        if value is None:
            value = fold(op, self)
        if value is None:
            equal = self._available.get(self._key(op)) if _is_mergeable(op) else None
            value = equal.result if equal is not None else None
        return value

    def _place(self, op: Op) -> None:
        """Append ``op`` to the current block."""
        self._block.append(op)
        if len(op.results) == 1 and not op.regions and _is_mergeable(op):
            key = self._key(op)
            if key not in self._available:
                self._available[key] = op
                self._scope.append(key)
        elif op.effects & Effects.WRITE:
            self._epoch += 1

    def _replace(self, op: Op, values: Sequence[Value]) -> None:
        replace_op(op, values)
        self.changed = True

    def _key(self, op: Op) -> Hashable:
        """What two ops have in common if they compute the same."""
        definition, operands = op.definition, op.operands
        if definition.is_commutative and id(operands[0]) > id(operands[1]):
            operands = operands[::-1]
        attributes = tuple(map(_attribute_key, op.attributes.values()))
        if _is_pure(definition):
            return (definition.name, operands, attributes)
        given = tuple(bool(op.operand_list(s.name)) for s in definition.operands if s.arity is Arity.OPTIONAL)
        return (definition.name, operands, attributes, given, self._epoch)

    def _drop_constant_mask(self, op: Op) -> bool:
        """Handle a mask that is known, and an assertion that holds; return whether ``op`` had one."""
        if op.definition is DEVICE_ASSERT and constant_value(op.operands[0]):
            self._replace(op, ())
            return True
        operands = op.named_operands()
        mask = operands.get("mask", ())
        number = constant_value(mask[0]) if mask else None
        if number is None:
            return False
        others = operands.pop("other", ())
        if number:
            del operands["mask"]
            names = [result.name for result in op.results]
            new = Op(op.definition, operands, op.attributes, location=op.location, result_names=names)
            self._replace(op, new.results)
            self._visit(new)
        else:
            self._replace(op, others or [make_constant(0, result.type, self) for result in op.results])
        return True

    # Control flow

    def _if(self, op: Op) -> None:
        condition = constant_value(op.operands[0])
        if condition is not None:
            self._replace(op, self._inline(op.regions[0 if condition else 1], ()))
            return
        for region in op.regions:
            self._walk(region)
        self._location = op.location
        self._forward_equal_arms(op)
        if not self._to_selects(op):
            self._block.append(op)

    def _forward_equal_arms(self, op: Op) -> None:
        """Use directly what both arms yield alike."""
        then, other = (region.terminator.operands for region in op.regions)
        for result, value, alternative in zip(op.results, then, other, strict=True):
            if not result.use_count:
                continue
            if value is alternative:
                self._substitute(result, value)
            elif same_constant(value, alternative):
                number = constant_value(value)
                assert number is not None
                self._substitute(result, make_constant(number, value.type, self))

    def _to_selects(self, op: Op) -> bool:
        """Turn an ``if`` that only chooses between scalars into selects; return whether it was one."""
        arms = [region.ops[:-1] for region in op.regions]
        if not all(result.type.is_scalar for result in op.results):
            return False
        if not op.results or not all(inner.definition is CONSTANT for arm in arms for inner in arm):
            return False
        then, other = (self._inline(region, ()) for region in op.regions)
        self._location = op.location
        choices = [
            self.make(SELECT, condition=op.operands[0], true_value=value, false_value=alternative)
            for value, alternative in zip(then, other, strict=True)
        ]
        self._replace(op, choices)
        return True

    def _for(self, op: Op) -> None:
        indices = _constant_range(op)
        inits = op.operand_list("inits")
        if indices is not None and len(indices) == 0:
            self._replace(op, inits)
            return
        if indices is not None and len(indices) == 1:
            self._replace(op, self._inline(op.regions[0], (op.operand("lower"), *inits)))
            return
        body = op.regions[0]
        self._forward_invariants(op, [body.arguments[1:]])
        self._walk_loop(op)
        self._forward_invariants(op, [body.arguments[1:]])
        reads_memory_once = not op.effects & Effects.WRITE and not any(map(_holds_wait, body.ops))
        self._hoist(body, loads_too=indices is not None and reads_memory_once)
        self._block.append(op)

    def _while(self, op: Op) -> None:
        condition, body = op.regions
        arguments = [condition.arguments, body.arguments]
        self._forward_invariants(op, arguments)
        self._walk_loop(op)
        self._forward_invariants(op, arguments)
        inits = op.operand_list("inits")
        goes_on = constant_value(condition.terminator.operands[0])
        if goes_on is not None and not goes_on:
            self._inline(condition, inits)
            self._replace(op, inits)
            return
        self._hoist(condition, loads_too=False)
        self._hoist(body, loads_too=False)
        self._block.append(op)

    def _walk_loop(self, op: Op) -> None:
        """Walk the regions of a loop; what it writes, or waits for, lies before its reads and before later
        ones.
        """
        changes = bool(op.effects & Effects.WRITE) or _holds_wait(op)
        for region in op.regions:
            self._epoch += changes
            self._walk(region)
        self._epoch += changes
        self._location = op.location

    def _forward_invariants(self, op: Op, arguments: Sequence[Sequence[Value]]) -> None:
        """Use the initial value of what a loop carries around unchanged."""
        passed_on = op.regions[-1].terminator.operands
        for index, init in enumerate(op.operand_list("inits")):
            if passed_on[index] is not arguments[-1][index] and passed_on[index] is not init:
                continue
            for value in (op.results[index], *(carried[index] for carried in arguments)):
                if value.use_count:
                    self._substitute(value, init)

    def _hoist(self, body: Block, *, loads_too: bool) -> None:
        """Move the ops of a walked loop body that do not depend on the iteration to the current block."""
        inside = set(body.arguments)
        kept: list[Op] = []
        allowed = Effects.READ if loads_too else Effects.NONE
        for op in body.ops:
            # A nested loop might not end, where an iteration that never comes would not have begun it.
            fixed = op.definition.is_terminator or op.name in self._control or op.effects & ~allowed
            if fixed or not inside.isdisjoint(_operands_of_all(op)):
                kept.append(op)
                inside.update(op.results)
                continue
            self._visit(op)
            self.changed = True
        body.ops = kept

    def _inline(self, block: Block, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """Move the ops of ``block`` to the current block; return what its terminator passed on."""
        for parameter, value in zip(block.arguments, arguments, strict=True):
            parameter.replace_all_uses_with(value)
        ops, block.ops = block.ops, []
        for op in ops[:-1]:
            self._visit(op)
        terminator = ops[-1]
        passed_on = terminator.operands
        terminator.parent = None
        terminator.erase()
        self.changed = True
        return passed_on

    def _substitute(self, value: Value, other: Value) -> None:
        if value.name and not other.name:
            other.name = value.name
        value.replace_all_uses_with(other)
        self.changed = True


def _holds_wait(op: Op) -> bool:
    """Whether ``op``, or an op in its regions, may wait for another thread."""
    return any(map(may_wait, op.walk()))


def _is_mergeable(op: Op) -> bool:
    definition = op.definition
    if definition.is_terminator:
        return False
    return _is_pure(definition) or op.effects in (Effects.NONE, Effects.READ)


def _is_pure(definition: OpDef) -> bool:
    return definition.effects is Effects.NONE and definition.effects_of is None


def _attribute_key(value: Attribute) -> Hashable:
    if type(value) is float:
        return repr(value)  # tells -0.0 from 0.0, and nan is itself
    return value.name if type(value) is DType else value


def _operands_of_all(op: Op) -> Iterable[Value]:
    """The operands of ``op`` and of all ops in its regions."""
    if not op.regions:
        return op.operands
    return [value for inner in op.walk() for value in inner.operands]


def _constant_range(op: Op) -> range | None:
    """The indices a ``for`` runs through, where they are known."""
    lower, upper, step = op.operand("lower"), op.operand("upper"), op.operand("step")
    if lower is upper:
        return range(0)
    numbers = [constant_value(bound) for bound in (lower, upper, step)]
    if any(number is None for number in numbers) or not numbers[2]:
        return None
    return range(*(int(number) for number in numbers if number is not None))
