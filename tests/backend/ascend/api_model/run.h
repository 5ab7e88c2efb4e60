// Running a kernel: one thread a core, one core at a time, in a fixed order.
#pragma once

#include "kernel_operator.h"

namespace model {

struct GlobalArgument {
    uint8_t *base;
    size_t size;
};

inline void check_end(const Core &core)
{
    if (!core.ended) {
        throw Failure("the kernel does not end in PipeBarrier<PIPE_ALL> (" + core.name() + ")");
    }
    for (int source = 0; source < PIPES; ++source) {
        for (int target = 0; target < PIPES; ++target) {
            for (int id = 0; id < FLAG_IDS; ++id) {
                if (core.raised[source][target][id]) {
                    throw Failure(std::string("flag ") + std::to_string(id) + " from " + PIPE_NAMES[source] + " to " +
                                  PIPE_NAMES[target] + " is still raised at the end (" + core.name() + ")");
                }
            }
        }
    }
    if (core.atomic != Atomic::NONE) {
        throw Failure("stores are still atomic at the end (" + core.name() + ")");
    }
}

inline void check_cross_flags(const Core &core)
{
    for (int flag = 0; flag < CROSS_FLAGS; ++flag) {
        size_t left = core.counter[flag].size();
        for (const auto &mode : core.announced) {
            left += mode[flag].size();
        }
        if (left) {
            throw Failure("cross-core flag " + std::to_string(flag) + " is not zero at the end (" + core.name() + ")");
        }
    }
}

inline void run_core(Core &core, const std::function<void()> &kernel)
{
    {
        std::unique_lock<std::mutex> lock(machine->mutex);
        machine->turn_changed.wait(lock, [&] { return machine->turn == core.index || !machine->error.empty(); });
        if (!machine->error.empty()) {
            return;
        }
    }
    current = &core;
    std::string error;
    try {
        kernel();
        check_end(core);
    } catch (const Failure &failure) {
        error = failure.what();
    } catch (const Stopped &) {
        return;
    }
    std::lock_guard<std::mutex> lock(machine->mutex);
    core.finished = true;
    if (!error.empty()) {
        machine->error = error;
    }
    const int count = static_cast<int>(machine->cores.size());
    bool found = false, unfinished = false;
    for (int step = 1; step <= count && !found; ++step) {
        Core &next = *machine->cores[(core.index + step) % count];
        const bool blocked = next.waits_for >= 0 && next.counter[next.waits_for].empty();
        unfinished = unfinished || !next.finished;
        found = !next.finished && !blocked;
        if (found) {
            machine->turn = next.index;
        }
    }
    if (unfinished && !found && machine->error.empty()) {
        machine->error = "deadlock: cores wait for cross-core flags that nobody will set";
    }
    machine->turn_changed.notify_all();
}

// Run `kernel` on `blocks` blocks; return what went wrong, or nothing.
inline std::string run(int blocks, bool has_aic, int aiv_per_block, const std::vector<GlobalArgument> &arguments,
                       const std::function<void()> &kernel)
{
    Machine fresh;
    machine = &fresh;
    fresh.blocks = blocks;
    fresh.has_aic = has_aic;
    fresh.aiv_per_block = aiv_per_block;
    for (int block = 0; block < blocks; ++block) {
        for (int each = has_aic ? -1 : 0; each < aiv_per_block; ++each) {
            auto core = std::make_unique<Core>();
            core->kind = each < 0 ? Kind::AIC : Kind::AIV;
            core->block = block;
            core->sub = std::max(each, 0);
            core->index = static_cast<int>(fresh.cores.size());
            fresh.cores.push_back(std::move(core));
        }
    }
    const Clock zero(fresh.cores.size() * PIPES);
    for (auto &core : fresh.cores) {
        core->issue = zero;
        core->clock.fill(zero);
    }
    for (const GlobalArgument &argument : arguments) {
        Global global{argument.base, argument.size, {}};
        global.memory.bytes = argument.base;
        global.memory.cells.resize(argument.size);
        fresh.globals.push_back(std::move(global));
    }
    std::vector<std::thread> threads;
    for (auto &core : fresh.cores) {
        threads.emplace_back([&, raw = core.get()] { run_core(*raw, kernel); });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    if (fresh.error.empty()) {
        try {
            for (auto &core : fresh.cores) {
                check_cross_flags(*core);
            }
        } catch (const Failure &failure) {
            fresh.error = failure.what();
        }
    }
    machine = nullptr;
    return fresh.error;
}

} // namespace model
