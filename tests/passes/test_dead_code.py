"""remove_dead alone, where simplify would hide it."""

from __future__ import annotations

from tilejit.passes.dead_code import remove_dead

from .text import check_body, function_of, kernel


def test_says_whether_anything_was_removed() -> None:
    function = function_of(kernel("%a = add(%x, %y) : int32"))
    assert remove_dead(function)
    assert not remove_dead(function)


def test_results_of_branches_without_reader_go() -> None:
    check_body(
        """
        %a, %b = if(%c) : int32, int32 {
        then():
          %e = add(%x, %y) : int32
          %g = mul(%x, %y) : int32
          yield(values=[%e, %g])
        else():
          store(%p, %f)
          yield(values=[%y, %x])
        }
        use %b
        """,
        """
        %b = if(%c) : int32 {
        then():
          %g = mul(%x, %y) : int32
          yield(values=[%g])
        else():
          store(%p, %f)
          yield(values=[%x])
        }
        use %b
        """,
        remove_dead,
    )


def test_bodies_of_reductions_stay() -> None:
    body = """
        %a, %b = reduce_custom(x=[%t, %t]) {axis=0} : int32, int32 {
        combine(%l: int32, %l2: int32, %r: int32, %r2: int32):
          %s = mul(%l, %r) : int32
          %s2 = add(%l2, %r2) : int32
          yield(values=[%s, %s2])
        }
        use %a
        """
    check_body(body, body, remove_dead)


def test_what_decides_an_effect_stays() -> None:
    body = """
        %r = for(%x, %y, %x, inits=[%x]) : int32 {
        body(%i: int32, %a: int32):
          %e = add(%a, %i) : int32
          %g = cmp(%a, %y) {predicate=lt} : int1
          if(%g) {
          then():
            store(%p, %f)
            yield()
          else():
            yield()
          }
          yield(values=[%e])
        }
        """
    check_body(body, body, remove_dead)


def test_a_loop_that_waits_for_memory_stays() -> None:
    waiting = """
    while() {
    condition():
      %seen = load(%p) : fp32
      %g = cmp(%seen, %f) {predicate=lt} : int1
      yield(values=[%g])
    body():
      yield()
    }
    """
    check_body(waiting, waiting, remove_dead)


def test_a_loop_that_carries_what_it_waits_for_stays() -> None:
    waiting = """
    %first = load(%p) : fp32
    %last = while(inits=[%first]) : fp32 {
    condition(%seen: fp32):
      %g = cmp(%seen, %f) {predicate=lt} : int1
      yield(values=[%g])
    body(%old: fp32):
      %next = load(%p) : fp32
      yield(values=[%next])
    }
    """
    check_body(waiting, waiting, remove_dead)
