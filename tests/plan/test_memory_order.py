"""A load is evaluated where it is used, unless a store that may change what it reads comes first, or an op
through which threads tell each other how far they are.
"""

from __future__ import annotations

import numpy as np
import pytest

from .text import check_plan, check_run, plan_of


def test_load_sinks_past_a_store_to_another_array() -> None:
    check_plan(
        """
        func @two_stores(%x: ptr<fp32> {alias_class=0}, %y: ptr<fp32> {alias_class=1}) {
          %lane = arange() {start=0, end=64} : tile<64xint32>
          %x_base = splat(%x) {shape=[64]} : tile<64xptr<fp32>>
          %x_at = addptr(%x_base, %lane) : tile<64xptr<fp32>>
          %y_base = splat(%y) {shape=[64]} : tile<64xptr<fp32>>
          %y_at = addptr(%y_base, %lane) : tile<64xptr<fp32>>
          %value = load(%x_at) : tile<64xfp32>
          %nothing = constant() {value=0.0, dtype=fp32} : fp32
          %zeros = splat(%nothing) {shape=[64]} : tile<64xfp32>
          store(%y_at, %zeros)
          %double = add(%value, %value) : tile<64xfp32>
          store(%x_at, %double)
          return()
        }
        """,
        """
        plan @two_stores scratch=0 {
          nest 64 order d0 vector d0x16 {
            store(%y_at, %zeros)
            store(%x_at, %double)
          }
        }
        """,
    )


def test_load_gets_a_buffer_where_arguments_may_overlap() -> None:
    check_plan(
        """
        func @two_stores(%x: ptr<fp32>, %y: ptr<fp32>) {
          %lane = arange() {start=0, end=64} : tile<64xint32>
          %x_base = splat(%x) {shape=[64]} : tile<64xptr<fp32>>
          %x_at = addptr(%x_base, %lane) : tile<64xptr<fp32>>
          %y_base = splat(%y) {shape=[64]} : tile<64xptr<fp32>>
          %y_at = addptr(%y_base, %lane) : tile<64xptr<fp32>>
          %value = load(%x_at) : tile<64xfp32>
          %nothing = constant() {value=0.0, dtype=fp32} : fp32
          %zeros = splat(%nothing) {shape=[64]} : tile<64xfp32>
          store(%y_at, %zeros)
          %double = add(%value, %value) : tile<64xfp32>
          store(%x_at, %double)
          return()
        }
        """,
        """
        plan @two_stores scratch=256 {
          buffer b0: 64xfp32 at 0
          nest 64 order d0 vector d0x16 {
            b0 = %value
          }
          nest 64 order d0 vector d0x16 {
            store(%y_at, %zeros)
          }
          nest 64 order d0 vector d0x16 {
            store(%x_at, %double)
          }
        }
        """,
    )


def _around_a_flag(first: str, signal: str, second: str) -> str:
    """A function that does something, touches a flag and does something else, on arrays that are apart."""
    arguments = ", ".join(f"%{name}: ptr<int32> {{alias_class={i}}}" for i, name in enumerate("xyf"))
    return f"""
        func @handover({arguments}) {{
          %lane = arange() {{start=0, end=64}} : tile<64xint32>
          %one = constant() {{value=1, dtype=int32}} : int32
          %x_base = splat(%x) {{shape=[64]}} : tile<64xptr<int32>>
          %x_at = addptr(%x_base, %lane) : tile<64xptr<int32>>
          %y_base = splat(%y) {{shape=[64]}} : tile<64xptr<int32>>
          %y_at = addptr(%y_base, %lane) : tile<64xptr<int32>>
          {first}
          {signal}
          {second}
          return()
        }}
        """


RELEASE = '%old = atomic_rmw(%f, %one) {kind=xchg, sem="release"} : int32'
RELAXED = '%old = atomic_rmw(%f, %one) {kind=add, sem="relaxed"} : int32'
VOLATILE = "%old = load(%f) {volatile=true} : int32"


@pytest.mark.parametrize(("signal", "name"), [(RELEASE, "atomic_rmw(%f, %one)"), (VOLATILE, "load(%f)")])
def test_stores_stay_on_their_side_of_a_signal(signal: str, name: str) -> None:
    check_plan(
        _around_a_flag("store(%x_at, %lane)", signal, "store(%y_at, %lane)"),
        f"""
        plan @handover scratch=0 {{
          nest 64 order d0 vector d0x16 {{
            store(%x_at, %lane)
          }}
          scalar %old = {name}
          nest 64 order d0 vector d0x16 {{
            store(%y_at, %lane)
          }}
        }}
        """,
    )


@pytest.mark.parametrize(("signal", "name"), [(RELEASE, "atomic_rmw(%f, %one)"), (VOLATILE, "load(%f)")])
def test_load_stays_before_a_signal(signal: str, name: str) -> None:
    check_plan(
        _around_a_flag("%value = load(%x_at) : tile<64xint32>", signal, "store(%y_at, %value)"),
        f"""
        plan @handover scratch=256 {{
          buffer b0: 64xint32 at 0
          nest 64 order d0 vector d0x16 {{
            b0 = %value
          }}
          scalar %old = {name}
          nest 64 order d0 vector d0x16 {{
            store(%y_at, %value)
          }}
        }}
        """,
    )


def test_relaxed_atomic_orders_nothing() -> None:
    check_plan(
        _around_a_flag("store(%x_at, %lane)", RELAXED, "store(%y_at, %lane)"),
        """
        plan @handover scratch=0 {
          scalar %old = atomic_rmw(%f, %one)
          nest 64 order d0 vector d0x16 {
            store(%x_at, %lane)
            store(%y_at, %lane)
          }
        }
        """,
    )


def test_volatile_loads_keep_their_nests() -> None:
    volatile = "%value = load(%x_at) {volatile=true} : tile<64xint32>"
    plan = plan_of(_around_a_flag("store(%y_at, %lane)", volatile, "store(%x_at, %value)"))
    assert plan.count("nest") == 3


def test_load_through_pointers_that_change_places_stays_before_a_store() -> None:
    x, y, out = (f"%{name}: ptr<int32> {{alias_class={i}}}" for i, name in enumerate(("x", "y", "out")))
    check_run(
        f"""
        func @exchange({x}, {y}, {out}, %trips: int32) {{
          %zero = constant() {{value=0, dtype=int32}} : int32
          %one = constant() {{value=1, dtype=int32}} : int32
          %lane = arange() {{start=0, end=40}} : tile<40xint32>
          %back = constant() {{value=-1, dtype=int32}} : int32
          %x_one = addptr(%x, %one) : ptr<int32>
          %y_one = addptr(%y, %one) : ptr<int32>
          %p, %q = for(%zero, %trips, %one, inits=[%x_one, %y_one]) : ptr<int32>, ptr<int32> {{
            body(%i: int32, %here: ptr<int32>, %there: ptr<int32>):
            %next = addptr(%there, %back) : ptr<int32>
            %next_base = splat(%next) {{shape=[40]}} : tile<40xptr<int32>>
            %next_at = addptr(%next_base, %lane) : tile<40xptr<int32>>
            %value = load(%next_at) : tile<40xint32>
            %there_base = splat(%there) {{shape=[40]}} : tile<40xptr<int32>>
            %there_at = addptr(%there_base, %lane) : tile<40xptr<int32>>
            %other = load(%there_at) : tile<40xint32>
            %same = addptr(%here, %zero) : ptr<int32>
            %x_two = addptr(%x_one, %one) : ptr<int32>
            %x_base = splat(%x_two) {{shape=[40]}} : tile<40xptr<int32>>
            %x_at = addptr(%x_base, %lane) : tile<40xptr<int32>>
            %number = splat(%i) {{shape=[40]}} : tile<40xint32>
            store(%x_at, %number)
            %out_base = splat(%out) {{shape=[40]}} : tile<40xptr<int32>>
            %out_at = addptr(%out_base, %lane) : tile<40xptr<int32>>
            %sum = add(%value, %other) : tile<40xint32>
            store(%out_at, %sum)
            yield(values=[%next, %same])
          }}
          return()
        }}
        """,
        np.arange(50, dtype=np.int32),
        np.arange(100, 150, dtype=np.int32),
        np.zeros(40, np.int32),
        2,
    )
