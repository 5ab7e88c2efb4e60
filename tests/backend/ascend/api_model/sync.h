// Flags between pipes, barriers, flags between cores, registers, and where a core stands.
#pragma once

#include "tensors.h"

namespace AscendC {

enum class HardEvent {
    MTE2_MTE1, MTE1_MTE2, MTE1_M, M_MTE1, MTE2_V, V_MTE2, MTE3_V, V_MTE3, MTE3_MTE1, MTE1_MTE3, MTE2_M, M_MTE2,
    M_FIX, FIX_M, MTE3_MTE2, MTE2_MTE3, S_V, V_S, S_MTE2, MTE2_S, S_MTE3, MTE3_S, MTE2_FIX, FIX_MTE2, FIX_S, M_S,
    FIX_MTE3, MTE1_FIX, FIX_MTE1,
};

} // namespace AscendC

namespace model {

constexpr pipe_t EVENT_PIPES[][2] = {
    {PIPE_MTE2, PIPE_MTE1}, {PIPE_MTE1, PIPE_MTE2}, {PIPE_MTE1, PIPE_M}, {PIPE_M, PIPE_MTE1},
    {PIPE_MTE2, PIPE_V}, {PIPE_V, PIPE_MTE2}, {PIPE_MTE3, PIPE_V}, {PIPE_V, PIPE_MTE3},
    {PIPE_MTE3, PIPE_MTE1}, {PIPE_MTE1, PIPE_MTE3}, {PIPE_MTE2, PIPE_M}, {PIPE_M, PIPE_MTE2},
    {PIPE_M, PIPE_FIX}, {PIPE_FIX, PIPE_M}, {PIPE_MTE3, PIPE_MTE2}, {PIPE_MTE2, PIPE_MTE3},
    {PIPE_S, PIPE_V}, {PIPE_V, PIPE_S}, {PIPE_S, PIPE_MTE2}, {PIPE_MTE2, PIPE_S}, {PIPE_S, PIPE_MTE3},
    {PIPE_MTE3, PIPE_S}, {PIPE_MTE2, PIPE_FIX}, {PIPE_FIX, PIPE_MTE2}, {PIPE_FIX, PIPE_S}, {PIPE_M, PIPE_S},
    {PIPE_FIX, PIPE_MTE3}, {PIPE_MTE1, PIPE_FIX}, {PIPE_FIX, PIPE_MTE1},
};

static_assert(sizeof(EVENT_PIPES) / sizeof(EVENT_PIPES[0]) == EVENT_KINDS);

inline void flag(Instruction::Step step, const char *name, AscendC::HardEvent event, int id, int line)
{
    Core &core = issuing(name, line);
    check_range(name, line, "the event id", id, 0, FLAG_IDS - 1);
    const auto [source, target] = EVENT_PIPES[static_cast<int>(event)];
    check_pipe(core, source, name, line);
    check_pipe(core, target, name, line);
    const bool waits = step == Instruction::Step::WAIT;
    enqueue(core, waits ? target : source, {step, name, line, nullptr, source, target, id});
    if (waits && target == PIPE_S) {
        if (!core.queue[PIPE_S].empty()) {
            fail(name, line, "the scalar unit waits for a flag that nothing will raise");
        }
        Clock known = core.clock[PIPE_S];
        known[core.component(PIPE_S)] = core.issue[core.component(PIPE_S)];
        join(core.issue, known);
    }
}

inline void give(Core &core, int flag, const Clock &clock, const Instruction &by)
{
    if (core.counter[flag].size() == CROSS_LIMIT) {
        fail(by.name, by.line, "the counter of flag " + std::to_string(flag) + " of " + core.name() + " passes " +
                                   std::to_string(CROSS_LIMIT));
    }
    core.counter[flag].push_back(clock);
}

// Modes 0 and 1, and AIVs in mode 2: the flag counts when every core of the group has set it.
inline void announce(Core &core, int mode, int flag, const Clock &clock, const Instruction &by)
{
    std::vector<Core *> setters, receivers;
    for (const auto &other : machine->cores) {
        const bool same_kind = other->kind == core.kind, same_block = other->block == core.block;
        if (mode == 0 ? same_kind : same_block && same_kind) {
            setters.push_back(other.get());
        }
        if (mode == 0 ? same_kind : mode == 1 ? same_block && same_kind : same_block && !same_kind) {
            receivers.push_back(other.get());
        }
    }
    if (receivers.empty()) {
        fail(by.name, by.line, "no core would receive this flag");
    }
    core.announced[mode][flag].push_back(clock);
    for (Core *setter : setters) {
        if (setter->announced[mode][flag].empty()) {
            return;
        }
    }
    Clock together(clock.size());
    for (Core *setter : setters) {
        join(together, setter->announced[mode][flag].front());
        setter->announced[mode][flag].pop_front();
    }
    for (Core *receiver : receivers) {
        give(*receiver, flag, together, by);
    }
}

// Let another core run; the caller holds the turn.
inline void pass_turn(Core &core)
{
    std::unique_lock<std::mutex> lock(machine->mutex);
    const int count = static_cast<int>(machine->cores.size());
    for (int step = 1; step <= count; ++step) {
        Core &next = *machine->cores[(core.index + step) % count];
        const bool blocked = next.waits_for >= 0 && next.counter[next.waits_for].empty();
        if (!next.finished && !blocked) {
            machine->turn = next.index;
            machine->turn_changed.notify_all();
            machine->turn_changed.wait(lock, [&] { return machine->turn == core.index || !machine->error.empty(); });
            if (!machine->error.empty()) {
                throw Stopped{};
            }
            return;
        }
    }
    lock.unlock();
    std::string waiting;
    for (const auto &other : machine->cores) {
        if (!other->finished) {
            waiting += "; " + other->name() + " waits for flag " + std::to_string(other->waits_for);
        }
    }
    throw Failure("deadlock" + waiting);
}

} // namespace model

namespace AscendC {

inline void InitSocState()
{
    model::current->initialised = true;
}

template <HardEvent event>
inline void SetFlag(int32_t id, int line = __builtin_LINE())
{
    model::flag(model::Instruction::Step::SET, "SetFlag", event, id, line);
}

template <HardEvent event>
inline void WaitFlag(int32_t id, int line = __builtin_LINE())
{
    model::flag(model::Instruction::Step::WAIT, "WaitFlag", event, id, line);
}

template <pipe_t pipe>
inline void PipeBarrier(int line = __builtin_LINE())
{
    model::Core &core = model::issuing("PipeBarrier", line);
    if (pipe == PIPE_S) {
        model::fail("PipeBarrier", line, "PIPE_S needs no barrier and has none");
    }
    if (pipe != PIPE_ALL) {
        model::enqueue(core, pipe, {model::Instruction::Step::BARRIER, "PipeBarrier", line});
        return;
    }
    model::Clock all = core.issue;
    for (int each = 0; each < model::PIPES; ++each) {
        if (!core.queue[each].empty()) {
            model::fail("PipeBarrier", line, std::string("pipe ") + model::PIPE_NAMES[each] +
                                                 " waits for a flag that nothing will raise, since line " +
                                                 std::to_string(core.queue[each].front().line));
        }
        model::join(all, core.clock[each]);
        all[core.component(each)] = core.time[each];
    }
    for (model::Clock &clock : core.clock) {
        clock = all;
    }
    core.issue = all;
    core.ended = true;
}

template <uint8_t mode, pipe_t pipe>
inline void CrossCoreSetFlag(uint16_t flag, int line = __builtin_LINE())
{
    static_assert(mode <= 2, "modes 0, 1 and 2");
    static_assert(pipe != PIPE_S && pipe != PIPE_ALL, "a pipe that can set cross-core flags");
    model::Core &core = model::issuing("CrossCoreSetFlag", line);
    model::check_range("CrossCoreSetFlag", line, "the flag", flag, 0, model::CROSS_FLAGS - 1);
    model::enqueue(core, pipe, {model::Instruction::Step::CROSS_SET, "CrossCoreSetFlag", line, nullptr, 0, 0, flag, mode});
}

template <uint8_t mode = 0, pipe_t pipe = PIPE_S>
inline void CrossCoreWaitFlag(uint16_t flag, int line = __builtin_LINE())
{
    model::Core &core = model::issuing("CrossCoreWaitFlag", line);
    model::check_range("CrossCoreWaitFlag", line, "the flag", flag, 0, model::CROSS_FLAGS - 1);
    core.waits_for = flag;
    while (core.counter[flag].empty()) {
        model::pass_turn(core);
    }
    core.waits_for = -1;
    model::join(core.issue, core.counter[flag].front());
    model::join(core.clock[PIPE_S], core.counter[flag].front());
    core.counter[flag].pop_front();
}

template <typename T>
inline void SetAtomicAdd()
{
    model::current->atomic = model::Atomic::ADD;
}
template <typename T>
inline void SetAtomicMax()
{
    model::current->atomic = model::Atomic::MAX;
}
template <typename T>
inline void SetAtomicMin()
{
    model::current->atomic = model::Atomic::MIN;
}
inline void DisableDmaAtomic()
{
    model::current->atomic = model::Atomic::NONE;
}
inline void SetAtomicNone()
{
    model::current->atomic = model::Atomic::NONE;
}

inline void SetDeqScale(half scale)
{
    model::current->deq_scale = scale;
}

enum class SaturationMode { FLOAT, CAST };

template <SaturationMode mode>
inline void SetSaturationFlag(bool on)
{
    static_assert(mode == SaturationMode::FLOAT, "only the saturation of floats is modelled");
    model::current->saturates = on;
}

inline int64_t GetBlockNum() { return model::machine->blocks; }

inline int64_t GetBlockIdx()
{
    const model::Core &core = *model::current;
    const bool mixed = model::machine->has_aic && model::machine->aiv_per_block == 2;
    return mixed && core.kind == model::Kind::AIV ? core.block * 2 + core.sub : core.block;
}

inline int64_t GetSubBlockIdx() { return model::current->sub; }

inline void Trap(int line = __builtin_LINE())
{
    model::fail("Trap", line, "an assertion of the kernel failed");
}

} // namespace AscendC
