"""simplify: branches and loops whose course is known, and what they carry."""

from __future__ import annotations

from tilejit.passes.simplify import simplify

from .text import check_body


def test_known_branch_is_inlined() -> None:
    check_body(
        """
        %k = constant() {value=false, dtype=int1} : int1
        %a, %b = if(%k) : int32, int32 {
        then():
          store(%p, %f)
          yield(values=[%x, %x])
        else():
          %s = add(%x, %y) : int32
          use %s
          yield(values=[%s, %y])
        }
        use %a, %b
        """,
        """
        %s = add(%x, %y) : int32
        use %s
        use %s, %y
        """,
        simplify,
    )


def test_unknown_branch_stays() -> None:
    body = """
        %a = if(%c) : int32 {
        then():
          %s = add(%x, %y) : int32
          yield(values=[%s])
        else():
          yield(values=[%y])
        }
        use %a
        """
    check_body(body, body, simplify)


def test_branch_that_only_chooses_scalars_becomes_selects() -> None:
    check_body(
        """
        %a, %b = if(%c) : int32, ptr<fp32> {
        then():
          %one = constant() {value=1, dtype=int32} : int32
          yield(values=[%one, %p])
        else():
          yield(values=[%x, %q])
        }
        use %a, %b
        """,
        """
        %one = constant() {value=1, dtype=int32} : int32
        %a = select(%c, %one, %x) : int32
        %b = select(%c, %p, %q) : ptr<fp32>
        use %a, %b
        """,
        simplify,
    )


def test_branch_that_chooses_tiles_stays() -> None:
    body = """
        %0 = splat(%x) {shape=[4]} : tile<4xint32>
        %a = if(%c) : tile<4xint32> {
        then():
          yield(values=[%t])
        else():
          yield(values=[%0])
        }
        use %a
        """
    check_body(body, body, simplify)


def test_results_alike_in_both_arms() -> None:
    check_body(
        """
        %a, %b, %r = if(%c) : tile<4xint32>, int32, int32 {
        then():
          %k = constant() {value=7, dtype=int32} : int32
          store(%p, %f)
          yield(values=[%t, %k, %x])
        else():
          %l = constant() {value=7, dtype=int32} : int32
          yield(values=[%t, %l, %y])
        }
        use %a, %b, %r
        """,
        """
        %b = constant() {value=7, dtype=int32} : int32
        %r = if(%c) : int32 {
        then():
          store(%p, %f)
          yield(values=[%x])
        else():
          yield(values=[%y])
        }
        use %t, %b, %r
        """,
        simplify,
    )


def test_branch_without_effect_goes() -> None:
    check_body(
        """
        %a = if(%c) : fp32 {
        then():
          %v = load(%p) : fp32
          yield(values=[%v])
        else():
          yield(values=[%f])
        }
        use %x
        """,
        "use %x",
        simplify,
    )


LOOP = """
        %lo = constant() {{value=5, dtype=int32}} : int32
        %hi = constant() {{value={upper}, dtype=int32}} : int32
        %st = constant() {{value={step}, dtype=int32}} : int32
        %r = for(%lo, %hi, %st, inits=[%x]) : int32 {{
        body(%i: int32, %a: int32):
          %s = add(%a, %i) : int32
          use %s
          yield(values=[%s])
        }}
        use %r
        """


def test_loop_that_never_runs_goes() -> None:
    check_body(LOOP.format(upper=5, step=1), "use %x", simplify)
    check_body(LOOP.format(upper=6, step=-1), "use %x", simplify)
    check_body(
        """
        %r = for(%x, %x, %y, inits=[%f]) : fp32 {
        body(%i: int32, %a: fp32):
          store(%p, %f)
          yield(values=[%a])
        }
        use %r
        """,
        "use %f",
        simplify,
    )


def test_loop_that_runs_once_is_inlined() -> None:
    after = """
        %lo = constant() {value=5, dtype=int32} : int32
        %s = add(%x, %lo) : int32
        use %s
        use %s
        """
    check_body(LOOP.format(upper=6, step=1), after, simplify)
    check_body(LOOP.format(upper=100, step=96), after, simplify)
    check_body(LOOP.format(upper=4, step=-1), after, simplify)


def test_loop_that_runs_twice_stays() -> None:
    check_body(LOOP.format(upper=7, step=1), LOOP.format(upper=7, step=1), simplify)


def test_loop_with_step_zero_stays() -> None:
    check_body(LOOP.format(upper=7, step=0), LOOP.format(upper=7, step=0), simplify)


def test_carried_values_without_reader_go() -> None:
    check_body(
        """
        %r, %n, %last = for(%x, %y, %x, inits=[%f, %x, %t]) : fp32, int32, tile<4xint32> {
        body(%i: int32, %a: fp32, %count: int32, %tile: tile<4xint32>):
          %w = load(%p) : fp32
          %s = add(%a, %w) : fp32
          %k = add(%count, %i) : int32
          %u2 = add(%tile, %tile) : tile<4xint32>
          store(%p, %s)
          yield(values=[%s, %k, %u2])
        }
        use %last
        """,
        """
        %r, %last = for(%x, %y, %x, inits=[%f, %t]) : fp32, tile<4xint32> {
        body(%i: int32, %a: fp32, %tile: tile<4xint32>):
          %w = load(%p) : fp32
          %s = add(%a, %w) : fp32
          %u2 = add(%tile, %tile) : tile<4xint32>
          store(%p, %s)
          yield(values=[%s, %u2])
        }
        use %last
        """,
        simplify,
    )


def test_carried_values_that_feed_only_each_other_go() -> None:
    check_body(
        """
        %r, %n = for(%x, %y, %x, inits=[%f, %f]) : fp32, fp32 {
        body(%i: int32, %a: fp32, %b: fp32):
          use %i
          %s = add(%a, %b) : fp32
          yield(values=[%b, %s])
        }
        """,
        """
        for(%x, %y, %x) {
        body(%i: int32):
          use %i
          yield()
        }
        """,
        simplify,
    )


def test_carried_values_that_never_change_are_not_carried() -> None:
    check_body(
        """
        %r, %s, %w = for(%x, %y, %x, inits=[%f, %p, %x]) : fp32, ptr<fp32>, int32 {
        body(%i: int32, %a: fp32, %b: ptr<fp32>, %d2: int32):
          store(%b, %a)
          %e = add(%d2, %i) : int32
          yield(values=[%a, %p, %e])
        }
        use %r, %s, %w
        """,
        """
        %w = for(%x, %y, %x, inits=[%x]) : int32 {
        body(%i: int32, %d2: int32):
          store(%p, %f)
          %e = add(%d2, %i) : int32
          yield(values=[%e])
        }
        use %f, %p, %w
        """,
        simplify,
    )


def test_carried_values_that_swap_stay() -> None:
    body = """
        %r, %s = for(%x, %y, %x, inits=[%x, %y]) : int32, int32 {
        body(%i: int32, %a: int32, %b: int32):
          yield(values=[%b, %a])
        }
        use %r, %s
        """
    check_body(body, body, simplify)


def test_nested_loops_lose_carried_values_together() -> None:
    check_body(
        """
        %r = for(%x, %y, %x, inits=[%f]) : fp32 {
        body(%i: int32, %a: fp32):
          %n = for(%x, %y, %x, inits=[%a]) : fp32 {
          body(%j: int32, %b: fp32):
            %s = add(%b, %b) : fp32
            use %j
            yield(values=[%s])
          }
          yield(values=[%n])
        }
        """,
        """
        for(%x, %y, %x) {
        body(%i: int32):
          for(%x, %y, %x) {
          body(%j: int32):
            use %j
            yield()
          }
          yield()
        }
        """,
        simplify,
    )


def test_while_carries_what_it_needs() -> None:
    check_body(
        """
        %r, %s, %w = while(inits=[%x, %f, %t]) : int32, fp32, tile<4xint32> {
        condition(%a: int32, %b: fp32, %d2: tile<4xint32>):
          %g = cmp(%a, %y) {predicate=lt} : int1
          yield(values=[%g])
        body(%e: int32, %h2: fp32, %k: tile<4xint32>):
          %n = add(%e, %e) : int32
          %o = add(%h2, %h2) : fp32
          store(%p, %f)
          yield(values=[%n, %o, %k])
        }
        use %w
        """,
        """
        %r = while(inits=[%x]) : int32 {
        condition(%a: int32):
          %g = cmp(%a, %y) {predicate=lt} : int1
          yield(values=[%g])
        body(%e: int32):
          %n = add(%e, %e) : int32
          store(%p, %f)
          yield(values=[%n])
        }
        use %t
        """,
        simplify,
    )


def test_while_that_never_runs_keeps_what_its_condition_does() -> None:
    check_body(
        """
        %r = while(inits=[%x]) : int32 {
        condition(%a: int32):
          use %a
          %k = constant() {value=false, dtype=int1} : int1
          yield(values=[%k])
        body(%b: int32):
          store(%p, %f)
          %n = add(%b, %b) : int32
          yield(values=[%n])
        }
        use %r
        """,
        """
        use %x
        use %x
        """,
        simplify,
    )


def test_loops_without_effect_go() -> None:
    check_body(
        """
        %r = while(inits=[%x]) : int32 {
        condition(%a: int32):
          yield(values=[%c])
        body(%b: int32):
          %v = load(%p) : fp32
          %n = add(%b, %b) : int32
          yield(values=[%n])
        }
        use %x
        """,
        "use %x",
        simplify,
    )
