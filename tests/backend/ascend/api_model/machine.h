// Cores, pipes and memories. Every instruction runs when it has been issued and nothing before it in its pipe
// waits; vector clocks tell, whatever the order was, whether flags and barriers order two accesses.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

enum pipe_t { PIPE_S, PIPE_V, PIPE_M, PIPE_MTE1, PIPE_MTE2, PIPE_MTE3, PIPE_FIX, PIPE_ALL };

namespace model {

constexpr int PIPES = 7;
constexpr int FLAG_IDS = 8;
constexpr int EVENT_KINDS = 29;
constexpr int CROSS_FLAGS = 16;
constexpr int CROSS_LIMIT = 15;
inline const char *const PIPE_NAMES[] = {"S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX", "ALL"};

enum class Kind { AIC, AIV };
enum Space { UB, L1, L0A, L0B, L0C, BT, FB, GM };
inline const char *const SPACE_NAMES[] = {"UB", "L1", "L0A", "L0B", "L0C", "BT", "FB", "GM"};
constexpr uint32_t CAPACITY[] = {192 << 10, 512 << 10, 64 << 10, 64 << 10, 128 << 10, 1 << 10, 2 << 10};

using Clock = std::vector<uint32_t>;  // for each (core, pipe) how many of its instructions are known to be done

inline void join(Clock &clock, const Clock &other)
{
    for (size_t i = 0; i < clock.size(); ++i) {
        clock[i] = std::max(clock[i], other[i]);
    }
}

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Stopped {};  // thrown through cores that wait when another one has failed

// Who touched a byte last. Readers of several pipes are kept aside.
struct Cell {
    uint32_t writer = 0, write_time = 0, reader = 0, read_time = 0;
    int32_t write_line = 0, read_line = 0;
    bool atomic = false, many_readers = false;
};

struct Reader {
    uint32_t component, time;
    int32_t line;
};

struct Memory {
    std::vector<uint8_t> own;
    uint8_t *bytes = nullptr;
    std::vector<Cell> cells;
    std::unordered_map<size_t, std::vector<Reader>> readers;

    void allocate(size_t size)
    {
        own.assign(size, 0xff);  // fresh memory is NaN
        bytes = own.data();
        cells.resize(size);
    }
};

struct Global {
    uint8_t *base;
    size_t size;
    Memory memory;
};

struct Core;
struct Exec;

struct Instruction {
    enum class Step { RUN, SET, WAIT, BARRIER, CROSS_SET } step;
    std::string name;
    int line = 0;
    std::function<void(Exec &)> run;
    int source = 0, target = 0, id = 0, mode = 0;
    std::shared_ptr<const Clock> issued;
};

enum class ProductOrder { UNSET, ROWS, COLUMNS };
enum class Atomic { NONE, ADD, MAX, MIN };

struct Core {
    Kind kind;
    int block, sub, index;
    std::array<Memory, 7> memory;
    std::array<std::deque<Instruction>, PIPES> queue;
    std::array<Clock, PIPES> clock;
    std::array<uint32_t, PIPES> time{};
    Clock issue;
    bool raised[PIPES][PIPES][FLAG_IDS] = {};
    bool taken[EVENT_KINDS][FLAG_IDS] = {};  // ids that queues use, by kind of event
    Clock carried[PIPES][PIPES][FLAG_IDS];
    std::array<std::deque<Clock>, CROSS_FLAGS> counter;
    std::array<std::array<std::deque<Clock>, CROSS_FLAGS>, 3> announced;  // sets of modes that need several cores
    int waits_for = -1;
    bool finished = false, initialised = false, ended = false;
    Atomic atomic = Atomic::NONE;
    ProductOrder product_order = ProductOrder::UNSET;
    float deq_scale = 1;
    bool saturates = true;

    uint32_t component(int pipe) const { return static_cast<uint32_t>(index * PIPES + pipe); }
    std::string name() const
    {
        const std::string place = "block " + std::to_string(block);
        return kind == Kind::AIC ? place + " AIC" : place + " AIV" + std::to_string(sub);
    }
};

struct Machine {
    std::vector<std::unique_ptr<Core>> cores;
    std::vector<Global> globals;
    int blocks = 0, aiv_per_block = 0;
    bool has_aic = false;
    std::mutex mutex;
    std::condition_variable turn_changed;
    int turn = 0;
    std::string error;
};

inline Machine *machine = nullptr;
inline thread_local Core *current = nullptr;

[[noreturn]] inline void fail(const std::string &name, int line, const std::string &text)
{
    const std::string where = current ? " (" + current->name() + ")" : "";
    throw Failure("line " + std::to_string(line) + ": " + name + ": " + text + where);
}

// One instruction while it runs.
struct Exec {
    Core &core;
    int pipe;
    const std::string &name;
    int line;
    bool ordered_with_own = false;  // the pipe itself orders this instruction behind its earlier ones
    bool unit_flag = false;         // the cube and fixpipe order their accesses to L0C themselves

    const uint8_t *read(Space space, uint32_t address, size_t size)
    {
        Memory &memory = local(space, address, size);
        for (size_t i = 0; i < size; ++i) {
            check_read(memory, address + i, space);
        }
        return memory.bytes + address;
    }

    uint8_t *write(Space space, uint32_t address, size_t size)
    {
        Memory &memory = local(space, address, size);
        for (size_t i = 0; i < size; ++i) {
            check_write(memory, address + i, space, false);
        }
        return memory.bytes + address;
    }

    const uint8_t *read_global(const uint8_t *address, size_t size)
    {
        size_t offset;
        Memory &memory = global(address, size, offset);
        for (size_t i = 0; i < size; ++i) {
            check_read(memory, offset + i, GM);
        }
        return address;
    }

    uint8_t *write_global(uint8_t *address, size_t size)
    {
        size_t offset;
        Memory &memory = global(address, size, offset);
        for (size_t i = 0; i < size; ++i) {
            check_write(memory, offset + i, GM, pipe != PIPE_S && core.atomic != Atomic::NONE);
        }
        return address;
    }

    [[noreturn]] void fail(const std::string &text) const { model::fail(name, line, text); }

private:
    Memory &local(Space space, uint32_t address, size_t size)
    {
        const bool aiv_space = space == UB;
        if (aiv_space != (core.kind == Kind::AIV)) {
            fail(std::string(SPACE_NAMES[space]) + " is not a memory of this core");
        }
        if (address + size > CAPACITY[space]) {
            fail("bytes " + std::to_string(address) + " to " + std::to_string(address + size) + " leave " +
                 SPACE_NAMES[space] + " of " + std::to_string(CAPACITY[space]));
        }
        Memory &memory = core.memory[space];
        if (!memory.bytes) {
            memory.allocate(CAPACITY[space]);
        }
        return memory;
    }

    Memory &global(const uint8_t *address, size_t size, size_t &offset)
    {
        for (Global &global : machine->globals) {
            if (address >= global.base && address + size <= global.base + global.size) {
                offset = static_cast<size_t>(address - global.base);
                return global.memory;
            }
        }
        fail(std::to_string(size) + " bytes in GM outside every argument");
    }

    bool knows(uint32_t component, uint32_t time) const
    {
        const bool own = component == core.component(pipe);
        const bool by_unit = unit_flag && (component == core.component(PIPE_M) || component == core.component(PIPE_FIX));
        return by_unit || (own && (pipe == PIPE_S || ordered_with_own)) || core.clock[pipe][component] >= time;
    }

    std::string describe(uint32_t component, int32_t other) const
    {
        const Core &by = *machine->cores[component / PIPES];
        return " of pipe " + std::string(PIPE_NAMES[component % PIPES]) + " of " + by.name() + " at line " +
               std::to_string(other);
    }

    void race(const char *kind, uint32_t component, int32_t other, size_t offset, Space space) const
    {
        fail(std::string("race in ") + SPACE_NAMES[space] + " at byte " + std::to_string(offset) + ": " + kind +
             describe(component, other) + " is not ordered before this");
    }

    void check_read(Memory &memory, size_t offset, Space space)
    {
        Cell &cell = memory.cells[offset];
        const uint32_t own = core.component(pipe);
        if (cell.write_time && !knows(cell.writer, cell.write_time)) {
            race("the write", cell.writer, cell.write_line, offset, space);
        }
        if (cell.read_time && cell.reader != own && !knows(cell.reader, cell.read_time)) {
            memory.readers[offset].push_back({cell.reader, cell.read_time, cell.read_line});
            cell.many_readers = true;
        }
        cell.reader = own;
        cell.read_time = core.time[pipe];
        cell.read_line = line;
    }

    void check_write(Memory &memory, size_t offset, Space space, bool atomic)
    {
        Cell &cell = memory.cells[offset];
        const uint32_t own = core.component(pipe);
        if (cell.write_time && !(atomic && cell.atomic) && !knows(cell.writer, cell.write_time)) {
            race("the write", cell.writer, cell.write_line, offset, space);
        }
        if (cell.read_time && cell.reader != own && !knows(cell.reader, cell.read_time)) {
            race("the read", cell.reader, cell.read_line, offset, space);
        }
        if (cell.many_readers) {
            for (const Reader &reader : memory.readers[offset]) {
                if (reader.component != own && !knows(reader.component, reader.time)) {
                    race("the read", reader.component, reader.line, offset, space);
                }
            }
            memory.readers.erase(offset);
        }
        cell = {own, core.time[pipe], 0, 0, line, 0, atomic, false};
    }
};

inline void announce(Core &core, int mode, int flag, const Clock &clock, const Instruction &by);

// Run what can run; an instruction that waits holds up its own pipe only.
inline bool step(Core &core, int pipe)
{
    Instruction &next = core.queue[pipe].front();
    Clock &clock = core.clock[pipe];
    if (next.step == Instruction::Step::WAIT && !core.raised[next.source][next.target][next.id]) {
        return false;
    }
    join(clock, *next.issued);
    Clock done = clock;
    done[core.component(pipe)] = core.time[pipe];
    switch (next.step) {
    case Instruction::Step::WAIT:
        core.raised[next.source][next.target][next.id] = false;
        join(clock, core.carried[next.source][next.target][next.id]);
        break;
    case Instruction::Step::SET: {
        bool &raised = core.raised[next.source][next.target][next.id];
        if (raised) {
            fail(next.name, next.line, "the flag is raised already");
        }
        raised = true;
        core.carried[next.source][next.target][next.id] = done;
        break;
    }
    case Instruction::Step::BARRIER:
        clock = done;
        break;
    case Instruction::Step::CROSS_SET:
        announce(core, next.mode, next.id, done, next);
        break;
    case Instruction::Step::RUN: {
        ++core.time[pipe];
        Exec exec{core, pipe, next.name, next.line};
        next.run(exec);
        break;
    }
    }
    core.queue[pipe].pop_front();
    return true;
}

inline void pump(Core &core)
{
    for (bool moved = true; moved;) {
        moved = false;
        for (int pipe = 0; pipe < PIPES; ++pipe) {
            while (!core.queue[pipe].empty() && step(core, pipe)) {
                moved = true;
            }
        }
    }
}

inline Core &issuing(const char *name, int line)
{
    if (!current) {
        fail(name, line, "called outside a kernel");
    }
    if (!current->initialised) {
        fail(name, line, "comes before InitSocState");
    }
    current->ended = false;
    return *current;
}

inline void check_pipe(const Core &core, int pipe, const char *name, int line)
{
    const bool vector = pipe == PIPE_V, cube = pipe == PIPE_M || pipe == PIPE_MTE1 || pipe == PIPE_FIX;
    if ((vector && core.kind == Kind::AIC) || (cube && core.kind == Kind::AIV)) {
        fail(name, line, std::string("this core has no pipe ") + PIPE_NAMES[pipe]);
    }
}

inline void enqueue(Core &core, int pipe, Instruction instruction)
{
    check_pipe(core, pipe, instruction.name.c_str(), instruction.line);
    instruction.issued = std::make_shared<const Clock>(core.issue);
    core.queue[pipe].push_back(std::move(instruction));
    pump(core);
}

inline void issue(int pipe, const char *name, int line, std::function<void(Exec &)> run)
{
    enqueue(issuing(name, line), pipe, {Instruction::Step::RUN, name, line, std::move(run)});
}

// Scalar accesses happen at once.
template <typename F>
inline auto on_scalar(const char *name, int line, F run)
{
    Core &core = issuing(name, line);
    const std::string spelled = name;
    ++core.time[PIPE_S];
    Exec exec{core, PIPE_S, spelled, line};
    return run(exec);
}

template <typename T>
inline T field(const char *name, int64_t value)
{
    if (value < static_cast<int64_t>(std::numeric_limits<T>::min()) ||
        value > static_cast<int64_t>(std::numeric_limits<T>::max())) {
        throw Failure(std::string(name) + " is " + std::to_string(value) + ", which its field of " +
                      std::to_string(8 * sizeof(T)) + " bits cannot hold");
    }
    return static_cast<T>(value);
}

inline void check_range(const char *name, int line, const char *what, int64_t value, int64_t lowest, int64_t highest)
{
    if (value < lowest || value > highest) {
        fail(name, line, std::string(what) + " is " + std::to_string(value) + ", outside " + std::to_string(lowest) +
                             " to " + std::to_string(highest));
    }
}

inline void check_aligned(const char *name, int line, const char *what, uint64_t address, uint64_t alignment)
{
    if (address % alignment) {
        fail(name, line, std::string(what) + " is at byte " + std::to_string(address) + ", not a multiple of " +
                             std::to_string(alignment));
    }
}

} // namespace model
