"""The digest of what a kernel reads outside: it changes with all that code may hold, with nothing else, and
refuses what cannot be told.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tilejit
from tilejit.runtime.outside_digest import UndigestableError, digest_outside

HEAD = "import tilejit\nimport tilejit.language as tl\n"
KERNEL = "@tilejit.kernel\ndef k(out_ptr):\n    tl.store(out_ptr, {})\n"


def module_of(text: str, folder: Path, name: str = "digested") -> ModuleType:
    """A module with this text, imported from a file in ``folder``."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def digest_of(before: str, expression: str, folder: Path) -> bytes:
    """The digest of a kernel that stores ``expression``, in a module that begins with ``before``."""
    kernel = module_of(HEAD + before + "\n" + KERNEL.format(expression), folder).k
    assert isinstance(kernel, tilejit.Kernel)
    return digest_outside(kernel.source)


HELPER = "@tilejit.kernel\ndef helper(x):\n    return x + {}\n"
PLAIN = "def plain(x):\n    return x + {}\n"
OUTER = "def plain(x):\n    return inner(x)\ndef inner(x):\n    return x * {}\n"
CLASS = "class Sizes:\n    BLOCK = {}\n    @staticmethod\n    def twice(x):\n        return 2 * x\n"
METHOD = "class Sizes:\n    @staticmethod\n    def scaled(x):\n        return {} * x\n"
ENUM = "import enum\nclass Mode(enum.Enum):\n    FAST = {}\n    SLOW = 9\n"
DATA = "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass C:\n    a: int\nCONF = C({})\n"
NAMED = "from collections import namedtuple\nP = namedtuple('P', 'a b')\nPAIR = P(1, {})\n"
TYPED = "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int\n    b: int = 4\nPAIR = P({})\n"
SPACE = "import types\nCONF = types.SimpleNamespace(block={}, other=open)\n"
MAKER = "def make(step):\n    def plain(x):\n        return x + step\n    return plain\nplain = make({})\n"
ATTACHED = (
    "STEP = {}\ndef helper(x):\n    return x\n"
    "helper.src = 'def helper(x):\\n    return x + STEP\\n'\nhelper = tilejit.kernel(helper)\n"
)
WRAPPED = (
    "import functools\nSTEP = {}\ndef inner(x):\n    return x + STEP\n"
    "def plain(x):\n    return x\nplain.__wrapped__ = inner\n"
)

# What a module holds, with a gap for a value; what its kernel stores; two values of the gap that differ.
CHANGES = [
    ("STEP = {}", "STEP", "1", "2"),
    ("STEP = {}", "STEP", "1", "1.0"),
    ("STEP = {}", "STEP", "1", "True"),
    ("STEP = {}", "STEP", "0.0", "-0.0"),
    ("STEP = tl.constexpr({})", "STEP", "3", "4"),
    ("SHAPE = (1, {})", "SHAPE[1]", "3", "4"),
    ("LIST = [1, {}]", "LIST[1]", "3", "4"),
    ("SCALES = {{'a': 1, 'b': {}}}", "SCALES['b']", "3", "4"),
    ("SCALES = {{'a': [1, {}]}}", "SCALES['a'][1]", "3", "4"),
    ("NAMES = {{{}}}", "1 if 'a' in NAMES else 2", "'a', 'b'", "'a', 'c'"),
    ("import numpy as np\nTABLE = np.array([1, {}])", "int(TABLE[1])", "3", "4"),
    ("TYPE = tl.{}", "tl.full((), 1, TYPE)", "float32", "int32"),
    (HELPER, "helper(1)", "2", "3"),
    (PLAIN, "plain(1)", "2", "3"),
    (OUTER, "plain(1)", "2", "3"),
    (MAKER, "plain(1)", "2", "3"),
    ("def plain(x, y={}):\n    return x + y\n", "plain(1)", "2", "3"),
    ("def plain(x, *, y={}):\n    return x + y\n", "plain(1)", "2", "3"),
    (CLASS, "Sizes.BLOCK", "2", "3"),
    (METHOD, "Sizes.scaled(1)", "2", "3"),
    (ENUM, "Mode.FAST.value", "2", "3"),
    (DATA, "CONF.a", "2", "3"),
    (NAMED, "PAIR.b", "2", "3"),
    (TYPED, "PAIR.a", "2", "3"),
    (SPACE, "CONF.block", "2", "3"),
    ("def plain(x):\n    return x\nplain.step = {}\n", "plain.step", "2", "3"),
    ("@tilejit.kernel\ndef helper(x):\n    return x\nhelper.step = {}\n", "helper.step", "2", "3"),
    ("@tilejit.kernel\ndef helper(x: {}):\n    return x\n", "helper(1)", "tl.constexpr", "int"),
    ("SORT = {}\n@tilejit.kernel\ndef helper(x: SORT):\n    return x\n", "helper(1)", "tl.constexpr", "int"),
    (ATTACHED, "helper(1)", "2", "3"),
    (WRAPPED, "plain(1)", "2", "3"),
    ("pick = lambda x: x + {}", "pick(1)", "2", "3"),
    ("{}", "STEP if True else 1", "STEP = 1", ""),
    ("", "{}", "1", "2"),
]


@pytest.mark.parametrize(("before", "expression", "first", "second"), CHANGES)
def test_what_changes_the_code_changes_the_digest(
    before: str, expression: str, first: str, second: str, tmp_path: Path
) -> None:
    place = (before if before else expression).format
    digests = [
        digest_of(place(value) if before else "", expression if before else place(value), tmp_path / folder)
        for folder, value in (("a", first), ("b", second), ("c", first))
    ]
    assert digests[0] == digests[2]  # the folder of the file does not matter
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("STEP = 1\nOTHER = 2", "STEP = 1\nOTHER = 3"),
        ("STEP = 1", "# moved down\n\n\nSTEP = 1"),
        ("STEP = 1", "STEP = 0 + 1"),
        ("STEP = tl.constexpr(1)", "STEP = tl.constexpr(tl.constexpr(1))"),
        ("STEP = 1\ndef unused(x):\n    return 1", "STEP = 1\ndef unused(x):\n    return 2"),
    ],
)
def test_what_the_kernel_does_not_read_changes_nothing(first: str, second: str, tmp_path: Path) -> None:
    assert digest_of(first, "STEP", tmp_path) == digest_of(second, "STEP", tmp_path)


def test_an_attribute_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = module_of("STEP = 1\nOTHER = open\n", tmp_path, "settings")
    monkeypatch.setitem(sys.modules, "settings", settings)
    kernel = module_of(HEAD + "import settings\n" + KERNEL.format("settings.STEP"), tmp_path).k
    assert isinstance(kernel, tilejit.Kernel)
    before = digest_outside(kernel.source)
    monkeypatch.setattr(settings, "OTHER", 7)
    assert digest_outside(kernel.source) == before
    monkeypatch.setattr(settings, "STEP", 2)
    changed = digest_outside(kernel.source)
    monkeypatch.delattr(settings, "STEP")
    assert len({before, changed, digest_outside(kernel.source)}) == 3


def test_what_others_put_into_tilejit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tilejit.language, "extra", None, raising=False)
    digests = set()
    for factor in (2, 3):
        replaced = module_of(
            f"def exp(x):\n    return x * {factor}\nclass Sizes:\n    A = {factor}\n", tmp_path
        )
        for extra, expression in (
            (replaced.exp, "tl.extra(1)"),
            (factor, "tl.extra"),
            (replaced.Sizes, "tl.extra.A"),
        ):
            monkeypatch.setattr(tilejit.language, "extra", extra)
            digests.add(digest_of("", expression, tmp_path))
        monkeypatch.setattr(tilejit.language.math, "exp", replaced.exp)
        digests.add(digest_of("", "tl.math.exp(1.0)", tmp_path))
    monkeypatch.undo()
    digests.add(digest_of("", "tl.math.exp(1.0)", tmp_path))
    assert len(digests) == 9


REFUSALS = [
    ("import os", "len(os.environ['HOME'])", "os.environ is an object of type _Environ"),
    ("import time", "time.time()", "time.time is a function of another library"),
    ("import random", "random.random()", "random.random is a function of another library"),
    ("import sys", "len(str(sys))", "sys is a module that is used as a value"),
    ("def plain(x):\n    return eval('x')\n", "plain(1)", "plain calls eval()"),
    ("def plain(x):\n    return len(open('f').read())\n", "plain(1)", "plain calls open()"),
    ("def plain(x):\n    return hash('a')\n", "plain(1)", "plain calls hash()"),
    ("def plain(x):\n    import os\n    return 1\n", "plain(1)", "plain imports a module while it runs"),
    ("C = 0\ndef plain(x):\n    global C\n    C += 1\n    return C\n", "plain(1)", "plain changes a global"),
    ("class T:\n    a = 1\nOBJECT = T()", "1 if OBJECT else 2", "OBJECT is an object of type T"),
    ("LOOP = [1]\nLOOP.append(LOOP)", "LOOP[0]", "LOOP contains itself"),
    ("import numpy as np\nT = np.zeros(1 << 20)", "int(T[0])", "T is a large array"),
    ("import numpy as np", "int(np.random.rand())", "np.random.rand is an object of type method"),
]


@pytest.mark.parametrize(("before", "expression", "message"), REFUSALS)
def test_what_cannot_be_told_is_refused(before: str, expression: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UndigestableError) as caught:
        digest_of(before, expression, tmp_path)
    assert str(caught.value) == message


def test_what_claims_to_be_of_tilejit_is_read_all_the_same(tmp_path: Path) -> None:
    text = "import functools\n@functools.wraps(tl.load)\ndef plain(x):\n    return x + {}\n"
    assert digest_of(text.format(1), "plain(1)", tmp_path) != digest_of(text.format(2), "plain(1)", tmp_path)


def test_functions_that_call_each_other(tmp_path: Path) -> None:
    text = (
        "def plain(n):\n    return 0 if n == 0 else other(n - 1)\ndef other(n):\n    return {} * plain(n)\n"
    )
    assert digest_of(text.format(1), "plain(1)", tmp_path) != digest_of(text.format(2), "plain(1)", tmp_path)


def test_pure_functions_of_the_standard_library(tmp_path: Path) -> None:
    first = digest_of("import math", "math.log2(8) + math.pi", tmp_path)
    assert first == digest_of("import math, os", "math.log2(8) + math.pi", tmp_path)
    assert os.path.exists(tmp_path / "digested.py")


def test_chain_behind_many_names(tmp_path: Path) -> None:
    """An attribute whose number takes an extended argument still belongs to what is read before it."""
    before = (
        f"import math\ndef plain(x):\n    {'; '.join(f'x.a{i}' for i in range(300))}\n    return math.{{}}"
    )
    pi, e = (digest_of(before.format(name), "plain(1)", tmp_path) for name in ("pi", "e"))
    assert pi != e
