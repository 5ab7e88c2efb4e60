"""simplify: equal subexpressions, loop-invariant motion, dead code, and where memory forbids them."""

from __future__ import annotations

from tilejit.passes.simplify import simplify

from .text import check_body


def unchanged(body: str) -> None:
    check_body(body, body, simplify)


def test_equal_ops_are_merged() -> None:
    check_body(
        """
        %a = add(%x, %y) : int32
        %b = add(%x, %y) : int32
        %d2 = mul(%a, %b) : int32
        use %d2
        """,
        """
        %a = add(%x, %y) : int32
        %d2 = mul(%a, %a) : int32
        use %d2
        """,
        simplify,
    )


def test_commuted_ops_are_merged_where_the_op_commutes() -> None:
    check_body(
        """
        %a = add(%x, %y) : int32
        %b = add(%y, %x) : int32
        %e = sub(%x, %y) : int32
        %g = sub(%y, %x) : int32
        use %a, %b, %e, %g
        """,
        """
        %a = add(%x, %y) : int32
        %e = sub(%x, %y) : int32
        %g = sub(%y, %x) : int32
        use %a, %a, %e, %g
        """,
        simplify,
    )


def test_attributes_tell_ops_apart() -> None:
    unchanged(
        """
        %a = constant() {value=0.0, dtype=fp32} : fp32
        %b = constant() {value=-0.0, dtype=fp32} : fp32
        %e = constant() {value=0.0, dtype=fp64} : fp64
        %g = cmp(%x, %y) {predicate=lt} : int1
        %h2 = cmp(%x, %y) {predicate=le} : int1
        use %a, %b, %e, %g, %h2
        """
    )


def test_nan_constants_are_merged() -> None:
    check_body(
        """
        %a = constant() {value=nan, dtype=fp32} : fp32
        %b = constant() {value=nan, dtype=fp32} : fp32
        use %a, %b
        """,
        """
        %a = constant() {value=nan, dtype=fp32} : fp32
        use %a, %a
        """,
        simplify,
    )


def test_regions_see_outer_values_but_not_each_others() -> None:
    check_body(
        """
        %a = add(%x, %y) : int32
        if(%c) {
        then():
          %b = add(%x, %y) : int32
          %k = mul(%x, %y) : int32
          use %b, %k
          yield()
        else():
          %k2 = mul(%x, %y) : int32
          use %k2
          yield()
        }
        %k3 = mul(%x, %y) : int32
        use %a, %k3
        """,
        """
        %a = add(%x, %y) : int32
        if(%c) {
        then():
          %k = mul(%x, %y) : int32
          use %a, %k
          yield()
        else():
          %k2 = mul(%x, %y) : int32
          use %k2
          yield()
        }
        %k3 = mul(%x, %y) : int32
        use %a, %k3
        """,
        simplify,
    )


def test_loads_are_merged_up_to_the_next_write() -> None:
    check_body(
        """
        %a = load(%p) : fp32
        %b = load(%p) : fp32
        store(%q, %a)
        %e = load(%p) : fp32
        use %a, %b, %e
        """,
        """
        %a = load(%p) : fp32
        store(%q, %a)
        %e = load(%p) : fp32
        use %a, %a, %e
        """,
        simplify,
    )


def test_loads_with_different_masks_stay() -> None:
    unchanged(
        """
        %a = load(%pt) : tile<4xfp32>
        %b = load(%pt, mask=%m) : tile<4xfp32>
        %e = load(%pt, mask=%m, other=%ft) : tile<4xfp32>
        use %a, %b, %e
        """
    )


def test_volatile_loads_and_atomics_are_never_merged_or_dropped() -> None:
    unchanged(
        """
        %a = load(%p) {volatile=true} : fp32
        %b = load(%p) {volatile=true} : fp32
        %e = atomic_rmw(%p, %f) {kind=add} : fp32
        %g = atomic_rmw(%p, %f) {kind=add} : fp32
        """
    )


def test_a_branch_that_writes_ends_the_life_of_loads() -> None:
    unchanged(
        """
        %a = load(%p) : fp32
        if(%c) {
        then():
          store(%q, %f)
          yield()
        else():
          yield()
        }
        %b = load(%p) : fp32
        use %a, %b
        """
    )


def test_a_loop_that_writes_shares_no_loads_with_what_precedes_it() -> None:
    unchanged(
        """
        %a = load(%p) : fp32
        for(%x, %y, %x) {
        body(%i: int32):
          %b = load(%p) : fp32
          use %b
          store(%q, %f)
          yield()
        }
        %e = load(%p) : fp32
        use %a, %e
        """
    )


def test_a_loop_that_only_reads_shares_loads_with_what_precedes_it() -> None:
    check_body(
        """
        %a = load(%p) : fp32
        for(%x, %y, %x) {
        body(%i: int32):
          %b = load(%p) : fp32
          use %b
          yield()
        }
        use %a
        """,
        """
        %a = load(%p) : fp32
        for(%x, %y, %x) {
        body(%i: int32):
          use %a
          yield()
        }
        use %a
        """,
        simplify,
    )


def test_a_while_that_reads_may_wait_for_another_thread() -> None:
    unchanged(
        """
        %a = load(%p) : fp32
        while() {
        condition():
          %b = load(%p) : fp32
          %g = cmp(%b, %f) {predicate=lt} : int1
          yield(values=[%g])
        body():
          use %f
          yield()
        }
        %e = load(%p) : fp32
        use %a, %e
        """
    )


def test_loads_do_not_leave_a_loop_that_may_wait_before_them() -> None:
    unchanged(
        """
        %lo = constant() {value=0, dtype=int32} : int32
        %hi = constant() {value=8, dtype=int32} : int32
        %st = constant() {value=2, dtype=int32} : int32
        for(%lo, %hi, %st) {
        body(%i: int32):
          while() {
          condition():
            %b = load(%p) : fp32
            %g = cmp(%b, %f) {predicate=lt} : int1
            yield(values=[%g])
          body():
            use %f
            yield()
          }
          %a = load(%q) : fp32
          use %a
          yield()
        }
        """
    )


def test_invariant_ops_leave_all_loops() -> None:
    check_body(
        """
        for(%x, %y, %x) {
        body(%i: int32):
          for(%x, %y, %x) {
          body(%j: int32):
            %a = mul(%x, %y) : int32
            %b = add(%a, %i) : int32
            %e = add(%b, %j) : int32
            use %e
            yield()
          }
          yield()
        }
        """,
        """
        %a = mul(%x, %y) : int32
        for(%x, %y, %x) {
        body(%i: int32):
          %b = add(%a, %i) : int32
          for(%x, %y, %x) {
          body(%j: int32):
            %e = add(%b, %j) : int32
            use %e
            yield()
          }
          yield()
        }
        """,
        simplify,
    )


def test_invariant_ops_leave_both_regions_of_a_while() -> None:
    check_body(
        """
        while() {
        condition():
          %a = add(%x, %y) : int32
          use %a
          yield(values=[%c])
        body():
          %b = mul(%x, %y) : int32
          use %b
          yield()
        }
        """,
        """
        %a = add(%x, %y) : int32
        %b = mul(%x, %y) : int32
        while() {
        condition():
          use %a
          yield(values=[%c])
        body():
          use %b
          yield()
        }
        """,
        simplify,
    )


def test_ops_do_not_leave_branches() -> None:
    unchanged(
        """
        if(%c) {
        then():
          %a = add(%x, %y) : int32
          use %a
          yield()
        else():
          yield()
        }
        """
    )


LOAD_IN_LOOP = """
        %lo = constant() {{value=0, dtype=int32}} : int32
        %hi = constant() {{value=8, dtype=int32}} : int32
        %st = constant() {{value=2, dtype=int32}} : int32
        for({bounds}) {{
        body(%i: int32):
          %a = load(%p) : fp32
          use %a, %i
          {write}yield()
        }}
        use %lo, %hi, %st
        """


def test_a_load_leaves_a_loop_that_surely_runs_and_writes_nothing() -> None:
    check_body(
        LOAD_IN_LOOP.format(bounds="%lo, %hi, %st", write=""),
        """
        %lo = constant() {value=0, dtype=int32} : int32
        %hi = constant() {value=8, dtype=int32} : int32
        %st = constant() {value=2, dtype=int32} : int32
        %a = load(%p) : fp32
        for(%lo, %hi, %st) {
        body(%i: int32):
          use %a, %i
          yield()
        }
        use %lo, %hi, %st
        """,
        simplify,
    )


def test_a_load_stays_in_a_loop_that_may_not_run() -> None:
    unchanged(LOAD_IN_LOOP.format(bounds="%lo, %x, %st", write=""))


def test_a_load_stays_in_a_loop_that_writes() -> None:
    unchanged(LOAD_IN_LOOP.format(bounds="%lo, %hi, %st", write="store(%q, %f)\n          "))


def test_a_loop_does_not_leave_a_loop() -> None:
    unchanged(
        """
        for(%x, %y, %x) {
        body(%i: int32):
          %a = while(inits=[%y]) : int32 {
          condition(%k: int32):
            %g = cmp(%k, %x) {predicate=lt} : int1
            yield(values=[%g])
          body(%l: int32):
            %n = add(%l, %x) : int32
            yield(values=[%n])
          }
          use %a
          yield()
        }
        """
    )


def test_a_reduction_leaves_a_loop() -> None:
    check_body(
        """
        for(%x, %y, %x) {
        body(%i: int32):
          %a = reduce_custom(x=[%t]) {axis=0} : int32 {
          combine(%l: int32, %r: int32):
            %s = mul(%l, %r) : int32
            yield(values=[%s])
          }
          use %a
          yield()
        }
        """,
        """
        %a = reduce_custom(x=[%t]) {axis=0} : int32 {
        combine(%l: int32, %r: int32):
          %s = mul(%l, %r) : int32
          yield(values=[%s])
        }
        for(%x, %y, %x) {
        body(%i: int32):
          use %a
          yield()
        }
        """,
        simplify,
    )


def test_masks_that_are_true_go() -> None:
    check_body(
        """
        %k = constant() {value=true, dtype=int1} : int1
        %s = splat(%k) {shape=[4]} : tile<4xint1>
        %a = load(%pt, mask=%s, other=%ft) {cache_modifier=".ca"} : tile<4xfp32>
        store(%pt, %a, mask=%s)
        %b = atomic_rmw(%pt, %a, mask=%s) {kind=add} : tile<4xfp32>
        device_assert(%m, mask=%s) {message="no"}
        device_assert(%s, mask=%m) {message="yes"}
        """,
        """
        %a = load(%pt) {cache_modifier=".ca"} : tile<4xfp32>
        store(%pt, %a)
        %b = atomic_rmw(%pt, %a) {kind=add} : tile<4xfp32>
        device_assert(%m) {message="no"}
        """,
        simplify,
    )


def test_masks_that_are_false_leave_nothing() -> None:
    check_body(
        """
        %k = constant() {value=false, dtype=int1} : int1
        %s = splat(%k) {shape=[4]} : tile<4xint1>
        %a = load(%pt, mask=%s, other=%ft) : tile<4xfp32>
        %b = load(%pt, mask=%s) : tile<4xfp32>
        store(%pt, %a, mask=%s)
        %e = atomic_rmw(%pt, %a, mask=%s) {kind=add} : tile<4xfp32>
        device_assert(%m, mask=%s) {message="no"}
        use %a, %b, %e
        """,
        """
        %0 = constant() {value=0.0, dtype=fp32} : fp32
        %b = splat(%0) {shape=[4]} : tile<4xfp32>
        use %ft, %b, %b
        """,
        simplify,
    )


def test_other_masks_stay() -> None:
    unchanged(
        """
        %s = splat(%c) {shape=[4]} : tile<4xint1>
        %a = load(%pt, mask=%s) : tile<4xfp32>
        store(%pt, %a, mask=%m)
        """
    )


def test_unused_ops_and_loads_go_but_effects_stay() -> None:
    check_body(
        """
        %a = add(%x, %y) : int32
        %b = mul(%a, %a) : int32
        %v = load(%p) : fp32
        %w = exp(%v) : fp32
        device_assert(%c) {message="must hold"}
        store(%p, %f)
        """,
        """
        device_assert(%c) {message="must hold"}
        store(%p, %f)
        """,
        simplify,
    )
