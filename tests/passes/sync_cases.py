"""Named programs for synchronisation: what other compilers for this machine got wrong, and plain loops.

Each is judged by vector clocks for all trip counts, and each flag and barrier put in must be needed.
"""

from __future__ import annotations

from dataclasses import dataclass


def buffer(name: str, slots: int = 1, space: str = "ub", element: str = "fp32", elements: int = 64) -> str:
    """The line of a buffer op."""
    kind = f"ptr<{'' if space == 'gm' else space + ' '}{element}>"
    attributes = f"space={space}, element={element}, elements={elements}, slots={slots}"
    return f"%{name} = buffer() {{{attributes}}} : {kind}\n"


@dataclass(frozen=True)
class Case:
    """A machine function's body; ``remarks``: what the pass says of it.

    ``spare``: what a barrier that takes a flag's place late makes needless, or a condition that the text does
    not resolve.
    """

    body: str
    core: str = "aiv"
    remarks: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()


LOAD_COMPUTE_STORE = """
for(#0, %n, #1) {
body(%k: int32):
  %off = mul(%k, #64) : int32
  %from = addptr(%x, %off) : ptr<fp32>
  %to = addptr(%y, %off) : ptr<fp32>
  %s = slot(%a, %k) : ptr<ub fp32>
  %t = slot(%b, %k) : ptr<ub fp32>
  copy_in(%s, %from, #1, #256)
  vexp(%t, %s, #64)
  copy_out(%to, %t, #1, #256)
  yield()
}
"""

CASES: dict[str, Case] = {
    "straight line": Case(
        buffer("a") + buffer("b") + "copy_in(%a, %x, #1, #256)\nvexp(%b, %a, #64)\ncopy_out(%y, %b, #1, #256)"
    ),
    "vector after vector": Case(
        buffer("a")
        + buffer("b")
        + buffer("d")
        + """
vexp(%b, %a, #64)
vexp(%d, %a, #64)
vadd(%a, %b, %d, #64)
"""
    ),
    "zero trips, one buffer": Case(
        buffer("a")
        + buffer("b")
        + LOAD_COMPUTE_STORE.replace("slot(%a, %k)", "reinterpret(%a) {element=fp32}").replace(
            "slot(%b, %k)", "reinterpret(%b) {element=fp32}"
        )
    ),
    "multi-buffer with dynamic ids": Case(buffer("a", 2) + buffer("b", 2) + LOAD_COMPUTE_STORE),
    "rings of different lengths": Case(buffer("a", 3) + buffer("b", 2) + LOAD_COMPUTE_STORE),
    "if without else": Case(
        buffer("a")
        + buffer("b")
        + """
copy_in(%a, %x, #1, #256)
if(%c) {
then():
  vexp(%b, %a, #64)
  yield()
else():
  yield()
}
copy_out(%y, %b, #1, #256)
"""
    ),
    "set in one arm only": Case(
        buffer("a")
        + buffer("b")
        + """
if(%c) {
then():
  copy_in(%a, %x, #1, #256)
  yield()
else():
  vexp(%b, %b, #64)
  yield()
}
vexp(%b, %a, #64)
"""
    ),
    "load in one arm, use in the other of a later trip": Case(
        buffer("a")
        + """
for(#0, %n, #1) {
body(%k: int32):
  %phase = irem(%k, #4) : int32
  %early = cmp(%phase, #2) {predicate=lt} : int1
  if(%early) {
  then():
    copy_in(%a, %x, #1, #256)
    yield()
  else():
    copy_out(%y, %a, #1, #256)
    yield()
  }
  yield()
}
""",
    ),
    "wait in a loop, set outside": Case(
        buffer("a")
        + buffer("b")
        + """
copy_in(%a, %x, #1, #256)
for(#0, %n, #1) {
body(%k: int32):
  vexp(%b, %a, #64)
  yield()
}
"""
    ),
    "set in a loop, wait outside": Case(
        buffer("a")
        + buffer("b")
        + """
for(#0, %n, #1) {
body(%k: int32):
  vexp(%b, %a, #64)
  yield()
}
copy_out(%y, %b, #1, #256)
"""
    ),
    "nested loops on one pair of pipes": Case(
        buffer("q")
        + buffer("a", 2)
        + buffer("b")
        + """
for(#0, %n, #1) {
body(%i: int32):
  copy_in(%q, %x, #1, #256)
  for(#0, %m, #1) {
  body(%k: int32):
    %s = slot(%a, %k) : ptr<ub fp32>
    copy_in(%s, %x, #1, #256)
    vadd(%b, %q, %s, #64)
    yield()
  }
  yield()
}
"""
    ),
    "a counter that runs through two loops": Case(
        buffer("a", 2)
        + buffer("b")
        + """
%last = for(#0, %n, #1, inits=[#0]) : int32 {
body(%i: int32, %count: int32):
  %next = for(#0, %m, #1, inits=[%count]) : int32 {
  body(%k: int32, %t: int32):
    %s = slot(%a, %t) : ptr<ub fp32>
    copy_in(%s, %x, #1, #256)
    vexp(%b, %s, #64)
    %u = add(%t, #1) : int32
    yield(values=[%u])
  }
  yield(values=[%next])
}
"""
    ),
    "a loop of one trip": Case(
        buffer("a")
        + buffer("b")
        + """
for(#0, #1, #1) {
body(%k: int32):
  copy_in(%a, %x, #1, #256)
  vexp(%b, %a, #64)
  yield()
}
copy_in(%a, %x, #1, #256)
copy_out(%y, %b, #1, #256)
"""
    ),
    "three rings filled four ahead": Case(
        buffer("a", 5)
        + buffer("b", 5)
        + buffer("d", 5)
        + buffer("e")
        + """
for(#0, %n, #1) {
body(%k: int32):
  %ahead = add(%k, #4) : int32
  %a0 = slot(%a, %ahead) : ptr<ub fp32>
  %b0 = slot(%b, %ahead) : ptr<ub fp32>
  %d0 = slot(%d, %ahead) : ptr<ub fp32>
  copy_in(%a0, %x, #1, #256)
  copy_in(%b0, %x, #1, #256)
  copy_in(%d0, %x, #1, #256)
  %is_filled = cmp(%k, #4) {predicate=ge} : int1
  if(%is_filled) {
  then():
    %a1 = slot(%a, %k) : ptr<ub fp32>
    %b1 = slot(%b, %k) : ptr<ub fp32>
    %d1 = slot(%d, %k) : ptr<ub fp32>
    vadd(%e, %a1, %b1, #64)
    vadd(%e, %e, %d1, #64)
    yield()
  else():
    yield()
  }
  yield()
}
""",
        spare=("barrier mte2",),
    ),
    "two rings share a pair of pipes": Case(
        buffer("a", 3)
        + buffer("b", 3)
        + buffer("d")
        + """
for(#0, %n, #1) {
body(%k: int32):
  %s = slot(%a, %k) : ptr<ub fp32>
  %t = slot(%b, %k) : ptr<ub fp32>
  copy_in(%s, %x, #1, #256)
  vexp(%s, %s, #64)
  copy_in(%t, %x, #1, #256)
  vadd(%d, %s, %t, #64)
  yield()
}
"""
    ),
    "a ring that is filled ahead": Case(
        buffer("a", 3)
        + """
for(#0, %n, #1) {
body(%k: int32):
  %ahead = add(%k, #2) : int32
  %s = slot(%a, %ahead) : ptr<ub fp32>
  %t = slot(%a, %k) : ptr<ub fp32>
  copy_in(%s, %x, #1, #256)
  vexp(%t, %t, #64)
  yield()
}
"""
    ),
    "guarded stages": Case(
        buffer("a", 2)
        + buffer("b")
        + """
for(#0, %n, #1) {
body(%k: int32):
  %runs = cmp(%k, #1) {predicate=ge} : int1
  %t = sub(%k, #1) : int32
  copy_in(%b, %x, #1, #256)
  if(%runs) {
  then():
    %s = slot(%a, %t) : ptr<ub fp32>
    copy_in(%s, %x, #1, #256)
    vadd(%s, %s, %b, #64)
    copy_out(%y, %s, #1, #256)
    yield()
  else():
    yield()
  }
  yield()
}
"""
    ),
    "a while loop": Case(
        buffer("a")
        + """
%last = while(inits=[#0]) : int32 {
condition(%i: int32):
  %more = cmp(%i, %n) {predicate=lt} : int1
  yield(values=[%more])
body(%j: int32):
  copy_in(%a, %x, #1, #256)
  vexp(%a, %a, #64)
  %next = add(%j, #1) : int32
  yield(values=[%next])
}
"""
    ),
    "scalar reads and writes": Case(
        buffer("a")
        + buffer("b")
        + """
for(#0, %n, #1) {
body(%k: int32):
  copy_in(%a, %x, #1, #256)
  %first = load(%a) : fp32
  store(%b, %first)
  vadd(%b, %a, %b, #64)
  yield()
}
"""
    ),
    "a bound from memory": Case(
        buffer("a")
        + """
%raw = load(%z) : fp32
%bound = cast(%raw) {dtype=int32} : int32
%least = min(%bound, #0) : int32
%last = add(%least, %n) : int32
for(#0, %last, #1) {
body(%k: int32):
  copy_in(%a, %x, #1, #256)
  vexp(%a, %a, #64)
  yield()
}
"""
    ),
    "a value through global memory": Case(
        buffer("a")
        + buffer("b")
        + buffer("ws", space="gm")
        + """
vexp(%a, %a, #64)
copy_out(%ws, %a, #1, #256)
copy_in(%b, %ws, #1, #256)
"""
    ),
    "stores to one place": Case(
        buffer("a")
        + buffer("b")
        + """
copy_out(%y, %a, #1, #256)
copy_out(%y, %b, #1, #256)
"""
    ),
    "stores that add up, then a plain one": Case(
        buffer("a")
        + """
set_atomic() {kind=add, element=fp32}
for(#0, %n, #1) {
body(%k: int32):
  copy_out(%y, %a, #1, #256)
  yield()
}
set_atomic() {kind=none}
copy_out(%y, %a, #1, #256)
"""
    ),
    "a scalar store among stores that add up": Case(
        buffer("a")
        + """
set_atomic() {kind=add, element=fp32}
%one = constant() {value=1.0, dtype=fp32} : fp32
store(%y, %one)
copy_out(%y, %a, #1, #256)
set_atomic() {kind=none, element=fp32}
"""
    ),
    "rows of one buffer": Case(
        buffer("a", elements=512)
        + """
copy_in(%a, %x, #8, #256)
for(#0, #8, #1) {
body(%k: int32):
  %off = mul(%k, #64) : int32
  %row = addptr(%a, %off) : ptr<ub fp32>
  vexp(%row, %row, #64)
  yield()
}
copy_out(%y, %a, #8, #256)
"""
    ),
}


def cube(accumulators: int, mmads: str, *, columns: int = 16) -> str:
    """A loop over k steps in a loop over tiles, with buffers of two slots; ``mmads`` is the inner part."""
    buffers = (
        buffer("l1", 2, "l1", "fp16", 256)
        + buffer("a0", 2, "l0a", "fp16", 4096)
        + buffer("b0", 2, "l0b", "fp16", 4096)
        + buffer("acc", accumulators, "l0c", "fp32", 256 * columns)
    )
    return (
        buffers
        + """
%h = reinterpret(%x) {element=fp16} : ptr<fp16>
%end = for(#0, %n, #1, inits=[#0]) : int32 {
body(%t: int32, %steps: int32):
  %tile = slot(%acc, %t) : ptr<l0c fp32>
  %off = mul(%t, #8192) : int32
  %to = addptr(%y, %off) : ptr<fp32>
  %last = for(#0, %m, #1, inits=[%steps]) : int32 {
  body(%k: int32, %i: int32):
    %in = slot(%l1, %i) : ptr<l1 fp16>
    %left = slot(%a0, %i) : ptr<l0a fp16>
    %right = slot(%b0, %i) : ptr<l0b fp16>
    load_l1(%in, %h, #16)
    load_l0a(%left, %in, #1, #1)
    load_l0b(%right, %in, #1, #1)
MMADS
    %next = add(%i, #1) : int32
    yield(values=[%next])
  }
  fixpipe(%to, %tile, #16, #16, #16, #16)
  yield(values=[%last])
}
""".replace("MMADS", mmads)
    )


_FIRST = "    %first = cmp(%k, #0) {predicate=eq} : int1\n"
_SMALL = _FIRST + "    mmad(%tile, %left, %right, #16, #16, #16, init=%first)"
CASES |= {
    "a product with one accumulator": Case(cube(1, _SMALL), "aic"),
    "a product with two accumulators": Case(cube(2, _SMALL), "aic"),
    "two small mmads into one tile": Case(
        cube(1, _SMALL + "\n    mmad(%tile, %left, %right, #16, #16, #16) {init=false}"), "aic"
    ),
    "long mmads follow in order": Case(
        cube(1, _SMALL.replace("#16, #16, #16,", "#160, #16, #16,"), columns=16), "aic"
    ),
    "a product of a product": Case(
        buffer("l1", 1, "l1", "fp16", 256)
        + buffer("a0", 1, "l0a", "fp16", 256)
        + buffer("b0", 1, "l0b", "fp16", 256)
        + buffer("acc", 1, "l0c", "fp32", 256)
        + """
%h = reinterpret(%x) {element=fp16} : ptr<fp16>
load_l1(%l1, %h, #16)
for(#0, %n, #1) {
body(%k: int32):
  load_l0a(%a0, %l1, #1, #1)
  load_l0b(%b0, %l1, #1, #1)
  mmad(%acc, %a0, %b0, #16, #16, #16)
  fixpipe_l1(%l1, %acc, #16, #16, #16, #16) {quant=f32_f16}
  yield()
}
fixpipe(%y, %acc, #16, #16, #16, #16)
""",
        "aic",
    ),
    "results of the cube core come back": Case(
        buffer("l1", 1, "l1", "fp16", 256)
        + buffer("acc", 1, "l0c", "fp32", 256)
        + buffer("ws", 1, "gm", "fp32", 256)
        + """
%h = reinterpret(%ws) {element=fp16} : ptr<fp16>
for(#0, %n, #1) {
body(%k: int32):
  fixpipe(%ws, %acc, #16, #16, #16, #16)
  load_l1(%l1, %h, #16)
  yield()
}
""",
        "aic",
        ("there are no flags from mte2 to fix: a barrier of all pipes",),
    ),
    "a flag gives way to a barrier; work behind the loop waits all the same": Case(
        buffer("l1", 2, "l1", "fp16", 256)
        + buffer("acc", 1, "l0c", "fp32", 256)
        + buffer("ws", 2, "gm", "fp32", 512)
        + """
%last = for(#0, %n, #1, inits=[#0]) : int32 {
body(%k: int32, %count: int32):
  %to = slot(%ws, %count) : ptr<fp32>
  if(%c) {
  then():
    %part = addptr(%to, #24) : ptr<fp32>
    %h = reinterpret(%part) {element=fp16} : ptr<fp16>
    %in = slot(%l1, %count) : ptr<l1 fp16>
    load_l1(%in, %h, #16)
    fixpipe_l1(%in, %acc, #16, #16, #16, #16) {quant=f32_f16}
    yield()
  else():
    yield()
  }
  fixpipe(%to, %acc, #16, #2, #16, #16)
  %next = add(%count, #1) : int32
  yield(values=[%next])
}
%hx = reinterpret(%x) {element=fp16} : ptr<fp16>
%s = slot(%l1, %last) : ptr<l1 fp16>
load_l1(%s, %hx, #16)
""",
        "aic",
        ("there are no flags from mte2 to fix: a barrier of all pipes",),
        ("barrier fix", "barrier all", "barrier all"),
    ),
}

KNOWN_FAILURES: dict[str, str] = {
    "zero-trip loop": "zero trips, one buffer",
    "trip 1": "a loop of one trip",
    "if without else": "if without else",
    "if and else with a set in one arm only": "set in one arm only",
    "wait in a loop, set outside": "wait in a loop, set outside",
    "set in a loop, wait outside": "set in a loop, wait outside",
    "two nested loops on one pair of pipes": "nested loops on one pair of pipes",
    "a counter through nested loops": "a counter that runs through two loops",
    "multi-buffer with dynamic ids": "multi-buffer with dynamic ids",
    "two multi-buffered tiles on a pair of pipes": "two rings share a pair of pipes",
    "preload 4 with three queues": "three rings filled four ahead",
    "ids from M to FIX": "a product with two accumulators",
    "read after write on the vector pipe": "vector after vector",
    "a loop bound from global memory": "a bound from memory",
}
"""What other compilers for this machine got wrong on one core, and the case that shows it."""
