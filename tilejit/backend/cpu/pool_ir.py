"""The thread pool's native half, as LLVM IR: what runs while the GIL is free and microseconds count.

One launch is one *job*. The launching thread claims the pool (``busy``), describes the job, opens it
(``state``) and works on it like everybody else; idle workers notice a new ``generation`` - spinning for a
moment, longer where jobs follow each other closely, then asleep on a futex -, join while the job is open,
take programs from ``next`` until none is left, and leave. The launching thread closes the job and waits for
those who joined only: a launch never waits for a worker that is still asleep.

Programs are handed out in increasing order, in runs that shrink towards the end (a fraction of what remains),
so that big grids cost few atomics and small ones balance. A started run belongs to one thread, which runs it
in order: a program that waits for an earlier one always gets what it waits for.

``cost`` is what a kernel's launches know of its speed: nanoseconds a program took. Launches known to be short
stay on the caller's thread, as do the first programs of a kernel not yet known; when they take longer than
waking workers does, the rest goes to the pool.
"""

from __future__ import annotations

import string

from tilejit.records import dataclass

_TEMPLATE = string.Template("""
%job = type { ptr, ptr, i64, i32, i32, i32, i64, i64 } ; code, args, total, grid, scratch bytes, divisor
%arena = type { ptr, i64, ptr, i64 } ; memory, its bytes, the arena of the launch outside, 1 while in use
@busy = internal global i32 0, align 128        ; 1 while a launch owns the pool
@generation = internal global i32 0, align 128  ; counts jobs; idle workers sleep on it
@sleepers = internal global i32 0, align 128    ; workers asleep, or about to be
@state = internal global i32 0, align 128       ; $open while the job can be joined, plus the workers inside
@waiting = internal global i32 0, align 128     ; 1 while the launching thread sleeps on state
@next = internal global i64 0, align 128        ; first program not yet handed out
@limit = internal global i32 0, align 128       ; workers that may join a job
@key = internal global i32 0                    ; thread-specific: the last %arena of a thread
@job = internal global %job zeroinitializer, align 128

declare i64 @syscall(i64, ...)
declare i32 @clock_gettime(i32, ptr)
declare i32 @sched_yield()
declare ptr @pthread_getspecific(i32)
declare i32 @pthread_setspecific(i32, ptr)
declare ptr @aligned_alloc(i64, i64)
declare ptr @calloc(i64, i64)
declare void @free(ptr)
$pause_declaration

define internal i64 @now() {
  %time = alloca { i64, i64 }
  call i32 @clock_gettime(i32 1, ptr %time) ; CLOCK_MONOTONIC
  %seconds = load i64, ptr %time
  %rest = getelementptr { i64, i64 }, ptr %time, i32 0, i32 1
  %nanoseconds = load i64, ptr %rest
  %scaled = mul i64 %seconds, 1000000000
  %sum = add i64 %scaled, %nanoseconds
  ret i64 %sum
}

define internal void @sleep(ptr %word, i32 %expected) {
  call i64 (i64, ...) @syscall(i64 $futex, ptr %word, i32 128, i32 %expected, ptr null) ; FUTEX_WAIT_PRIVATE
  ret void
}

define internal void @wake(ptr %word, i32 %count) {
  call i64 (i64, ...) @syscall(i64 $futex, ptr %word, i32 129, i32 %count) ; FUTEX_WAKE_PRIVATE
  ret void
}

; Scratch of at least that many bytes for a launch on the calling thread; null where memory is out. A launch
; that is made while another one on this thread runs - what prints may launch kernels - gets its own.
define internal ptr @take_scratch(i64 %bytes) {
  %key = load i32, ptr @key
  %found = call ptr @pthread_getspecific(i32 %key)
  %is_new = icmp eq ptr %found, null
  br i1 %is_new, label %create, label %look
look:
  %in_use_at = getelementptr %arena, ptr %found, i32 0, i32 3
  %in_use = load i64, ptr %in_use_at
  %is_free = icmp eq i64 %in_use, 0
  br i1 %is_free, label %check, label %create
create:
  %created = call ptr @calloc(i64 1, i64 32)
  %is_out = icmp eq ptr %created, null
  br i1 %is_out, label %fail, label %remember
remember:
  %outer_at = getelementptr %arena, ptr %created, i32 0, i32 2
  store ptr %found, ptr %outer_at
  call i32 @pthread_setspecific(i32 %key, ptr %created)
  br label %check
check:
  %arena = phi ptr [ %found, %look ], [ %created, %remember ]
  %taken_at = getelementptr %arena, ptr %arena, i32 0, i32 3
  %size_at = getelementptr %arena, ptr %arena, i32 0, i32 1
  %size = load i64, ptr %size_at
  %memory = load ptr, ptr %arena
  %fits = icmp uge i64 %size, %bytes
  br i1 %fits, label %take, label %grow
grow:
  call void @free(ptr %memory)
  %padded = add i64 %bytes, 4095
  %rounded = and i64 %padded, -4096
  %grown = call ptr @aligned_alloc(i64 64, i64 %rounded)
  store ptr %grown, ptr %arena
  %got = icmp ne ptr %grown, null
  %new_size = select i1 %got, i64 %rounded, i64 0
  store i64 %new_size, ptr %size_at
  br i1 %got, label %take, label %fail
take:
  %given = phi ptr [ %memory, %check ], [ %grown, %grow ]
  store i64 1, ptr %taken_at
  ret ptr %given
fail:
  ret ptr null
}

define internal void @give_scratch() { ; what this thread took last
  %key = load i32, ptr @key
  %arena = call ptr @pthread_getspecific(i32 %key)
  %in_use_at = getelementptr %arena, ptr %arena, i32 0, i32 3
  store i64 0, ptr %in_use_at
  %outer_at = getelementptr %arena, ptr %arena, i32 0, i32 2
  %outer = load ptr, ptr %outer_at
  %is_outermost = icmp eq ptr %outer, null
  br i1 %is_outermost, label %done, label %drop
drop:
  call i32 @pthread_setspecific(i32 %key, ptr %outer)
  %memory = load ptr, ptr %arena
  call void @free(ptr %memory)
  call void @free(ptr %arena)
  br label %done
done:
  ret void
}

define void @tilejit.free_arena(ptr %last) { ; the destructor of the key
  br label %one
one:
  %arena = phi ptr [ %last, %0 ], [ %outer, %one ]
  %outer_at = getelementptr %arena, ptr %arena, i32 0, i32 2
  %outer = load ptr, ptr %outer_at
  %memory = load ptr, ptr %arena
  call void @free(ptr %memory)
  call void @free(ptr %arena)
  %is_outermost = icmp eq ptr %outer, null
  br i1 %is_outermost, label %done, label %one
done:
  ret void
}

define void @tilejit.configure(i32 %key, i32 %limit) {
  store i32 %key, ptr @key
  store atomic i32 %limit, ptr @limit seq_cst, align 4
  ret void
}

define void @tilejit.reset() { ; in a forked child, where no worker exists
  store i32 0, ptr @busy
  store i32 0, ptr @generation
  store i32 0, ptr @sleepers
  store i32 0, ptr @state
  store i32 0, ptr @waiting
  store i32 0, ptr @limit
  ret void
}

; Take runs of programs until none is left; how many programs this thread ran.
define internal i64 @work(ptr %arena) {
  %code = load ptr, ptr @job
  %args = load ptr, ptr getelementptr (%job, ptr @job, i32 0, i32 1)
  %total = load i64, ptr getelementptr (%job, ptr @job, i32 0, i32 2)
  %gx = load i32, ptr getelementptr (%job, ptr @job, i32 0, i32 3)
  %gy = load i32, ptr getelementptr (%job, ptr @job, i32 0, i32 4)
  %gz = load i32, ptr getelementptr (%job, ptr @job, i32 0, i32 5)
  %divisor = load i64, ptr getelementptr (%job, ptr @job, i32 0, i32 7)
  br label %loop
loop:
  %count = phi i64 [ 0, %0 ], [ %count, %take ], [ %new_count, %run ]
  %first = load atomic i64, ptr @next monotonic, align 8
  %left = sub i64 %total, %first
  %is_done = icmp sle i64 %left, 0
  br i1 %is_done, label %done, label %take
take:
  %part = udiv i64 %left, %divisor
  %length = call i64 @llvm.umax.i64(i64 %part, i64 1)
  %last = add i64 %first, %length
  %pair = cmpxchg weak ptr @next, i64 %first, i64 %last seq_cst monotonic
  %is_taken = extractvalue { i64, i1 } %pair, 1
  br i1 %is_taken, label %run, label %loop
run:
  call void %code(ptr %args, i64 %first, i64 %last, i32 %gx, i32 %gy, i32 %gz, ptr %arena)
  %new_count = add i64 %count, %length
  br label %loop
done:
  ret i64 %count
}

define ptr @tilejit.worker(ptr %unused) {
  %patience_at = alloca i64 ; how many nanoseconds to look out for a job before sleeping
  %wary_at = alloca i32     ; how many sleeps may not make it patient
  %penalty_at = alloca i32  ; how wary the next crowded CPU makes it
  store i64 0, ptr %patience_at
  store i32 0, ptr %wary_at
  store i32 $least_penalty, ptr %penalty_at
  br label %idle
idle:
  %seen = phi i32 [ 0, %0 ], [ %seen, %idle_end ],
                  [ %current, %join ], [ %current, %leave ], [ %current, %notify ]
  %idle_began = call i64 @now()
  br label %spin
spin:
  %spins = phi i32 [ 0, %idle ], [ %more_spins, %spin_on ], [ $spins_after_yield, %spin_yield ]
  %current = load atomic i32, ptr @generation seq_cst, align 4
  %is_same = icmp eq i32 %current, %seen
  br i1 %is_same, label %spin_on, label %join
spin_on:
  $pause
  %more_spins = add i32 %spins, 1
  %is_fresh = icmp ult i32 %more_spins, $spins
  br i1 %is_fresh, label %spin, label %spin_check
spin_check:
  %patience = load i64, ptr %patience_at
  %yield_began = call i64 @now()
  %spun = sub i64 %yield_began, %idle_began
  %is_patient = icmp ult i64 %spun, %patience
  br i1 %is_patient, label %spin_yield, label %idle_sleep
spin_yield:
  call i32 @sched_yield()
  %yield_ended = call i64 @now()
  %lost = sub i64 %yield_ended, %yield_began
  %is_crowded = icmp ugt i64 %lost, $crowded
  br i1 %is_crowded, label %crowded, label %spin
crowded: ; somebody else ran
  %penalty = load i32, ptr %penalty_at
  store i32 %penalty, ptr %wary_at
  %doubled = shl i32 %penalty, 1
  %next_penalty = call i32 @llvm.umin.i32(i32 %doubled, i32 $most_penalty)
  store i32 %next_penalty, ptr %penalty_at
  br label %idle_sleep
idle_sleep:
  atomicrmw add ptr @sleepers, i32 1 seq_cst
  call void @sleep(ptr @generation, i32 %seen)
  atomicrmw sub ptr @sleepers, i32 1 seq_cst
  %wary = load i32, ptr %wary_at
  %is_wary = icmp ne i32 %wary, 0
  br i1 %is_wary, label %calm_down, label %measure
calm_down:
  %less_wary = sub i32 %wary, 1
  store i32 %less_wary, ptr %wary_at
  br label %idle_end
measure:
  %woken = call i64 @now()
  %idled = sub i64 %woken, %idle_began
  %was_short = icmp ult i64 %idled, $patience
  br label %idle_end
idle_end:
  %is_worth_it = phi i1 [ false, %calm_down ], [ %was_short, %measure ]
  %new_patience = select i1 %is_worth_it, i64 $patience, i64 0
  store i64 %new_patience, ptr %patience_at
  br label %idle
join:
  %state = load atomic i32, ptr @state seq_cst, align 4
  %limit = load atomic i32, ptr @limit monotonic, align 4
  %full = add i32 %limit, $open
  %is_open = icmp uge i32 %state, $open
  %has_place = icmp ult i32 %state, %full
  %may_join = and i1 %is_open, %has_place
  br i1 %may_join, label %enter, label %idle
enter:
  %joined = add i32 %state, 1
  %pair = cmpxchg ptr @state, i32 %state, i32 %joined seq_cst seq_cst
  %is_in = extractvalue { i32, i1 } %pair, 1
  br i1 %is_in, label %prepare, label %join
prepare:
  %bytes = load i64, ptr getelementptr (%job, ptr @job, i32 0, i32 6)
  %needs_none = icmp eq i64 %bytes, 0
  br i1 %needs_none, label %work, label %allocate
allocate:
  %arena = call ptr @take_scratch(i64 %bytes)
  %is_out = icmp eq ptr %arena, null
  br i1 %is_out, label %leave, label %work_in_arena
work_in_arena:
  call i64 @work(ptr %arena)
  call void @give_scratch()
  br label %leave
work:
  call i64 @work(ptr null)
  br label %leave
leave:
  %before = atomicrmw sub ptr @state, i32 1 seq_cst
  %was_last = icmp eq i32 %before, 1
  %is_waiting = load atomic i32, ptr @waiting seq_cst, align 4
  %sleeps = icmp ne i32 %is_waiting, 0
  %must_wake = and i1 %was_last, %sleeps
  br i1 %must_wake, label %notify, label %idle
notify:
  call void @wake(ptr @state, i32 1)
  br label %idle
}

; Run the programs from..total-1 of a grid; 0, or 1 where memory for scratch is out (then nothing ran).
define i32 @tilejit.launch(ptr %code, ptr %args, i64 %from, i64 %total, i32 %gx, i32 %gy, i32 %gz,
                           i64 %bytes, ptr %cost) {
  %needs_none = icmp eq i64 %bytes, 0
  br i1 %needs_none, label %run, label %allocate
run:
  call void @launch(ptr %code, ptr %args, i64 %from, i64 %total, i32 %gx, i32 %gy, i32 %gz, i64 %bytes,
                    ptr %cost, ptr null)
  ret i32 0
allocate:
  %arena = call ptr @take_scratch(i64 %bytes)
  %is_out = icmp eq ptr %arena, null
  br i1 %is_out, label %fail, label %run_in_arena
run_in_arena:
  call void @launch(ptr %code, ptr %args, i64 %from, i64 %total, i32 %gx, i32 %gy, i32 %gz, i64 %bytes,
                    ptr %cost, ptr %arena)
  call void @give_scratch()
  ret i32 0
fail:
  ret i32 1
}

define internal void @launch(ptr %code, ptr %args, i64 %from, i64 %total, i32 %gx, i32 %gy, i32 %gz,
                             i64 %bytes, ptr %cost, ptr %arena) {
  %limit = load atomic i32, ptr @limit monotonic, align 4
  %is_alone = icmp eq i32 %limit, 0
  %todo = sub i64 %total, %from
  %is_one = icmp eq i64 %todo, 1
  %is_simple = or i1 %is_alone, %is_one
  br i1 %is_simple, label %all, label %choose
all:
  call void %code(ptr %args, i64 %from, i64 %total, i32 %gx, i32 %gy, i32 %gz, ptr %arena)
  ret void
choose:
  %known = load double, ptr %cost
  %programs = sitofp i64 %todo to double
  %expected = fmul double %known, %programs
  %began = call i64 @now()
  %dozing = load atomic i32, ptr @sleepers monotonic, align 4
  %one_is_awake = icmp ult i32 %dozing, %limit
  %threshold = select i1 %one_is_awake, double $threshold_awake.0, double $threshold.0
  %is_long = fcmp ogt double %expected, %threshold
  br i1 %is_long, label %claim, label %alone

alone: ; on this thread, looking at the clock now and then
  %quarter = udiv i64 %todo, 4
  %run = call i64 @llvm.umax.i64(i64 %quarter, i64 1)
  br label %alone_run
alone_run:
  %start_at = phi i64 [ %from, %alone ], [ %to, %alone_check ]
  %end = add i64 %start_at, %run
  %to = call i64 @llvm.umin.i64(i64 %end, i64 %total)
  call void %code(ptr %args, i64 %start_at, i64 %to, i32 %gx, i32 %gy, i32 %gz, ptr %arena)
  %time = call i64 @now()
  %elapsed = sub i64 %time, %began
  %is_over = icmp uge i64 %to, %total
  br i1 %is_over, label %finish, label %alone_check
alone_check:
  %is_late = icmp ugt i64 %elapsed, $threshold
  br i1 %is_late, label %claim, label %alone_run

claim:
  %first = phi i64 [ %from, %choose ], [ %to, %alone_check ]
  %claimed = cmpxchg ptr @busy, i32 0, i32 1 seq_cst seq_cst
  %is_mine = extractvalue { i32, i1 } %claimed, 1
  br i1 %is_mine, label %open, label %rest
rest: ; another launch has the pool
  call void %code(ptr %args, i64 %first, i64 %total, i32 %gx, i32 %gy, i32 %gz, ptr %arena)
  ret void
open:
  store ptr %code, ptr @job
  store ptr %args, ptr getelementptr (%job, ptr @job, i32 0, i32 1)
  store i64 %total, ptr getelementptr (%job, ptr @job, i32 0, i32 2)
  store i32 %gx, ptr getelementptr (%job, ptr @job, i32 0, i32 3)
  store i32 %gy, ptr getelementptr (%job, ptr @job, i32 0, i32 4)
  store i32 %gz, ptr getelementptr (%job, ptr @job, i32 0, i32 5)
  store i64 %bytes, ptr getelementptr (%job, ptr @job, i32 0, i32 6)
  %threads = add i32 %limit, 1
  %wide_threads = zext i32 %threads to i64
  %divisor = mul i64 %wide_threads, $runs_per_thread
  store i64 %divisor, ptr getelementptr (%job, ptr @job, i32 0, i32 7)
  store atomic i64 %first, ptr @next monotonic, align 8
  store atomic i32 $open, ptr @state seq_cst, align 4
  atomicrmw add ptr @generation, i32 1 seq_cst
  %asleep = load atomic i32, ptr @sleepers seq_cst, align 4
  %none_asleep = icmp eq i32 %asleep, 0
  br i1 %none_asleep, label %share, label %rouse
rouse:
  %left = sub i64 %total, %first
  %wide_limit = zext i32 %limit to i64
  %useful = call i64 @llvm.umin.i64(i64 %left, i64 %wide_limit)
  %count = trunc i64 %useful to i32
  call void @wake(ptr @generation, i32 %count)
  br label %share
share:
  %share_began = call i64 @now()
  %done = call i64 @work(ptr %arena)
  %share_ended = call i64 @now()
  %share_time = sub i64 %share_ended, %share_began
  atomicrmw and ptr @state, i32 $closed seq_cst
  br label %wait
wait:
  %waits = phi i32 [ 0, %share ], [ %more_waits, %wait_on ], [ %waits, %wait_sleep ]
  %inside = load atomic i32, ptr @state seq_cst, align 4
  %is_empty = icmp eq i32 %inside, 0
  br i1 %is_empty, label %release, label %wait_check
wait_check:
  %is_patient = icmp ult i32 %waits, $spins
  br i1 %is_patient, label %wait_on, label %wait_sleep
wait_on:
  $pause
  %more_waits = add i32 %waits, 1
  br label %wait
wait_sleep:
  store atomic i32 1, ptr @waiting seq_cst, align 4
  call void @sleep(ptr @state, i32 %inside)
  store atomic i32 0, ptr @waiting seq_cst, align 4
  br label %wait
release:
  store atomic i32 0, ptr @busy seq_cst, align 4
  %did_some = icmp ne i64 %done, 0
  br i1 %did_some, label %finish, label %end_quietly

finish:
  %spent = phi i64 [ %elapsed, %alone_run ], [ %share_time, %release ]
  %ran = phi i64 [ %todo, %alone_run ], [ %done, %release ]
  %spent_float = sitofp i64 %spent to double
  %ran_float = sitofp i64 %ran to double
  %new_cost = fdiv double %spent_float, %ran_float
  store double %new_cost, ptr %cost
  ret void
end_quietly:
  ret void
}
declare i64 @llvm.umax.i64(i64, i64)
declare i64 @llvm.umin.i64(i64, i64)
declare i32 @llvm.umin.i32(i32, i32)
""")

_OPEN = 1 << 30
# System call numbers: asm/unistd.h of each architecture.
_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}
# Asleep, a worker starts about 5 to 30 us after it is woken (measured on a virtual machine): it is not worth
# waking for less than that. One that is awake starts within 1 us: two programs of 5 us take 6.2 us then, and
# 10 on one thread. Shorter launches stay where the caches are that hold their data.
_THRESHOLD_NS = 15_000
_THRESHOLD_AWAKE_NS = 8_000
# A worker spins for about 20 to 50 us (a pause takes 15 to 50 ns) before it goes to sleep. Where it was woken
# within a millisecond it waits that long for the next job, too, and lets others have the CPU every 2 us: 8
# programs of 5 us, launched every 300 us, take 21 us so, and 30 to 34 us with a sleep between. A yield that
# takes long shows that others use the CPU: it sleeps at once then, since waking preempts them and spinning
# does not, and spins shortly for a number of sleeps that doubles each time.
_SPINS = 1_000
_SPINS_PER_YIELD = 32
_PATIENCE_NS = 1_000_000
_CROWDED_NS = 500_000
_LEAST_PENALTY = 64
_MOST_PENALTY = 1_024
# A run is 1 / (2 * threads) of what is left. Two threads are 1.003 times as fast as with half that part for
# 64 programs of 17 us, 1.01 for 1 us, 0.995 to 1.005 for products and attention.
_RUNS_PER_THREAD = 2


@dataclass(frozen=True)
class PoolSymbols:
    """The names that the module exports."""

    launch: str = "tilejit.launch"
    worker: str = "tilejit.worker"
    configure: str = "tilejit.configure"
    reset: str = "tilejit.reset"
    free_arena: str = "tilejit.free_arena"


SYMBOLS = PoolSymbols()


def supports(architecture: str) -> bool:
    """True where the pool is written for Linux on ``architecture``."""
    return architecture in _FUTEX


def pool_module(architecture: str) -> str:
    """The pool's IR for Linux on ``architecture``."""
    pause_declaration, pause = _PAUSE.get(architecture, ("", "fence seq_cst"))
    return _TEMPLATE.substitute(
        open=_OPEN,
        closed=_OPEN - 1,
        futex=_FUTEX[architecture],
        pause=pause,
        pause_declaration=pause_declaration,
        spins=_SPINS,
        spins_after_yield=_SPINS - _SPINS_PER_YIELD,
        patience=_PATIENCE_NS,
        crowded=_CROWDED_NS,
        least_penalty=_LEAST_PENALTY,
        most_penalty=_MOST_PENALTY,
        threshold=_THRESHOLD_NS,
        threshold_awake=_THRESHOLD_AWAKE_NS,
        runs_per_thread=_RUNS_PER_THREAD,
    )
