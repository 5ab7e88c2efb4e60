// Queues of buffers, the allocators of local memory, and the first and last words of a kernel that uses them.
#pragma once

#include <exception>

#include "copy.h"

namespace model {

// The order in which the pipes touch a queue's buffers: who fills them, who empties them.
struct Flow {
    AscendC::HardEvent filled, emptied;
};

inline Flow flow_of(AscendC::TPosition position)
{
    switch (position) {
    case AscendC::TPosition::VECIN:
        return {AscendC::HardEvent::MTE2_V, AscendC::HardEvent::V_MTE2};
    case AscendC::TPosition::VECOUT:
        return {AscendC::HardEvent::V_MTE3, AscendC::HardEvent::MTE3_V};
    default:
        throw Failure("of queues, those in VECIN and VECOUT are modelled");
    }
}

// Event ids are given out by pair of pipes, the lowest free one first.
inline int take_event(AscendC::HardEvent event, int line)
{
    Core &core = issuing("AllocEventID", line);
    for (int id = 0; id < FLAG_IDS; ++id) {
        bool &taken = core.taken[static_cast<int>(event)][id];
        if (!taken) {
            taken = true;
            return id;
        }
    }
    fail("AllocEventID", line, "all event ids of this pair of pipes are in use");
}

inline void wait_and_release(AscendC::HardEvent event, int &id, int line)
{
    flag(Instruction::Step::WAIT, "WaitFlag", event, id, line);
    current->taken[static_cast<int>(event)][id] = false;
    id = -1;
}

struct QueueBuffer {
    enum class State { FREE, HELD, FULL } state = State::FREE;
    int64_t address = 0, size = 0;
    int filled = -1, emptied = -1;  // event ids
};

struct Queue {
    std::vector<QueueBuffer> buffers;
    std::deque<size_t> full;
    Flow flow;

    QueueBuffer &holding(const char *name, int64_t address, int line)
    {
        for (QueueBuffer &buffer : buffers) {
            if (buffer.address == address && buffer.state == QueueBuffer::State::HELD) {
                return buffer;
            }
        }
        fail(name, line, "the tensor is none that this queue has given out");
    }
};

} // namespace model

namespace AscendC {

template <TPosition position, int32_t depth>
class TQue {
public:
    template <typename T>
    LocalTensor<T> AllocTensor(int line = __builtin_LINE())
    {
        for (model::QueueBuffer &buffer : queue_->buffers) {
            if (buffer.state == model::QueueBuffer::State::FREE) {
                if (buffer.emptied >= 0) {
                    model::wait_and_release(queue_->flow.emptied, buffer.emptied, line);
                }
                buffer.state = model::QueueBuffer::State::HELD;
                return LocalTensor<T>(position, buffer.address, buffer.size / static_cast<int64_t>(sizeof(T)));
            }
        }
        model::fail("AllocTensor", line, "no buffer of the queue is free");
    }

    template <typename T>
    bool EnQue(const LocalTensor<T> &tensor, int line = __builtin_LINE())
    {
        if (static_cast<int32_t>(queue_->full.size()) == depth) {
            model::fail("EnQue", line, "the queue is full");
        }
        model::QueueBuffer &buffer = queue_->holding("EnQue", tensor.address(), line);
        buffer.filled = model::take_event(queue_->flow.filled, line);
        model::flag(model::Instruction::Step::SET, "EnQue", queue_->flow.filled, buffer.filled, line);
        buffer.state = model::QueueBuffer::State::FULL;
        queue_->full.push_back(static_cast<size_t>(&buffer - queue_->buffers.data()));
        return true;
    }

    template <typename T>
    LocalTensor<T> DeQue(int line = __builtin_LINE())
    {
        if (queue_->full.empty()) {
            model::fail("DeQue", line, "the queue is empty");
        }
        model::QueueBuffer &buffer = queue_->buffers[queue_->full.front()];
        queue_->full.pop_front();
        model::wait_and_release(queue_->flow.filled, buffer.filled, line);
        buffer.state = model::QueueBuffer::State::HELD;
        return LocalTensor<T>(position, buffer.address, buffer.size / static_cast<int64_t>(sizeof(T)));
    }

    template <typename T>
    void FreeTensor(const LocalTensor<T> &tensor, int line = __builtin_LINE())
    {
        model::QueueBuffer &buffer = queue_->holding("FreeTensor", tensor.address(), line);
        buffer.emptied = model::take_event(queue_->flow.emptied, line);
        model::flag(model::Instruction::Step::SET, "FreeTensor", queue_->flow.emptied, buffer.emptied, line);
        buffer.state = model::QueueBuffer::State::FREE;
    }

private:
    friend class TPipe;

    std::shared_ptr<model::Queue> queue_ = std::make_shared<model::Queue>();
};

// Hands out UB; at its end it waits for all that its queues left raised, and for all pipes.
class TPipe {
public:
    TPipe() { InitSocState(); }
    TPipe(const TPipe &) = delete;
    TPipe &operator=(const TPipe &) = delete;

    ~TPipe() noexcept(false)
    {
        if (std::uncaught_exceptions() != unwinding_) {
            return;
        }
        for (const auto &queue : queues_) {
            for (model::QueueBuffer &buffer : queue->buffers) {
                if (buffer.emptied >= 0) {
                    model::wait_and_release(queue->flow.emptied, buffer.emptied, 0);
                }
            }
        }
        PipeBarrier<PIPE_ALL>();
    }

    template <TPosition position, int32_t depth>
    void InitBuffer(TQue<position, depth> &queue, uint8_t count, uint32_t size, int line = __builtin_LINE())
    {
        model::check_range("InitBuffer", line, "the size", size, 1, model::CAPACITY[model::UB]);
        queue.queue_->flow = model::flow_of(position);
        for (int i = 0; i < count; ++i) {
            model::QueueBuffer buffer;
            buffer.address = end_;
            buffer.size = model::up(size, model::BLOCK);
            end_ += buffer.size;
            if (end_ > model::CAPACITY[model::UB]) {
                model::fail("InitBuffer", line, "the buffers do not fit into UB");
            }
            queue.queue_->buffers.push_back(buffer);
        }
        queues_.push_back(queue.queue_);
    }

private:
    std::vector<std::shared_ptr<model::Queue>> queues_;
    int64_t end_ = 0;
    int unwinding_ = std::uncaught_exceptions();
};

enum class Hardware { GM, UB, L1, L0A, L0B, L0C, BIAS, FIXBUF };

constexpr TPosition position_of(Hardware memory)
{
    switch (memory) {
    case Hardware::UB:
        return TPosition::VECCALC;
    case Hardware::L1:
        return TPosition::A1;
    case Hardware::L0A:
        return TPosition::A2;
    case Hardware::L0B:
        return TPosition::B2;
    case Hardware::L0C:
        return TPosition::CO1;
    default:
        return TPosition::GM;
    }
}

// One tensor behind the other.
template <Hardware memory>
class LocalMemAllocator {
public:
    template <typename T, uint32_t elements>
    LocalTensor<T> Alloc()
    {
        return Alloc<T>(elements);
    }

    template <typename T>
    LocalTensor<T> Alloc(uint32_t elements)
    {
        const int64_t start = end_;
        end_ += model::up(elements * static_cast<int64_t>(sizeof(T)), model::BLOCK);
        return LocalTensor<T>(position_of(memory), start, elements);
    }

private:
    int64_t end_ = 0;
};

} // namespace AscendC

enum event_t { EVENT_ID0, EVENT_ID1, EVENT_ID2, EVENT_ID3, EVENT_ID4, EVENT_ID5, EVENT_ID6, EVENT_ID7 };

namespace model {

struct BlockIndex {
    operator int64_t() const { return AscendC::GetBlockIdx(); }
};

} // namespace model

constexpr model::BlockIndex block_idx{};
