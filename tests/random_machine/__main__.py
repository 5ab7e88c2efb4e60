"""``python -m tests.random_machine --count 20000 --seed 0 --interleavings 100``"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter

from tests.random_machine.check import judge, make_program, spell
from tilejit.target.spaces import Core


def main() -> int:
    """Judge ``--count`` programs from ``--seed`` on; print those that fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--interleavings", type=int, default=10)
    parser.add_argument("--runs", type=int, default=8, help="argument sets for each program")
    parser.add_argument("--core", choices=[core.value for core in Core], default="aiv")
    parser.add_argument("--show", action="store_true", help="print the text of programs that fail")
    options = parser.parse_args()
    failed, started, kinds = 0, time.monotonic(), Counter[str]()
    for seed in range(options.seed, options.seed + options.count):
        try:
            program = make_program(seed, Core(options.core))
            kinds.update({remark.partition(": ")[2] or "slots" for remark in program.remarks})
            problem = judge(program, options.runs, options.interleavings)
        except Exception:
            problem, program = traceback.format_exc(), None
        if problem is not None:
            failed += 1
            print(f"seed {seed}: {problem}")
            if options.show and program is not None:
                print(spell(program))
            if failed >= 10:
                break
    seconds = time.monotonic() - started
    print(f"{options.count} programs from seed {options.seed}, {failed} failed, {seconds:.0f} s")
    print(f"remarks: {dict(kinds)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
