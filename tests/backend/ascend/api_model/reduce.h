// Reductions inside a repeat: of the whole, of each block, of pairs.
#pragma once

#include "vector.h"

namespace AscendC {

enum class ReduceOrder { ORDER_VALUE_INDEX, ORDER_INDEX_VALUE, ORDER_ONLY_VALUE, ORDER_ONLY_INDEX };

} // namespace AscendC

namespace model {

enum class Reduction { SUM, MAX, MIN };

template <typename T>
inline T sum_of(const T *values, int64_t count, bool saturates)
{
    if (count == 1) {
        return values[0];
    }
    int64_t half_width = 1;
    while (half_width * 2 < count) {
        half_width *= 2;
    }
    const float left = widened(sum_of(values, half_width, saturates));
    const float right = widened(sum_of(values + half_width, count - half_width, saturates));
    return settled(narrowed<T>(left + right), saturates);
}

template <typename T>
inline int64_t place_of(Reduction kind, const T *values, int64_t count)
{
    int64_t best = 0;
    for (int64_t i = 0; i < count; ++i) {
        const float a = widened(values[i]), b = widened(values[best]);
        if (std::isnan(a)) {
            return i;
        }
        if (kind == Reduction::MAX ? a > b : a < b) {
            best = i;
        }
    }
    return best;
}

template <typename T>
inline T reduced(Reduction kind, const T *values, int64_t count, bool saturates)
{
    return kind == Reduction::SUM ? sum_of(values, count, saturates)
                                  : settled(values[place_of(kind, values, count)], saturates);
}

template <typename T>
struct Reducing {
    const char *name;
    int line;
    AscendC::LocalTensor<T> dst, src;
    int64_t mask, repeats, dst_stride, block, repeat;

    // `width` results of a repeat go `unit` elements times the stride of dst apart.
    template <typename F>
    void run(int64_t unit, int64_t alignment, F results) const
    {
        static_assert(one_of<T, half, float>, "reductions take half and float");
        const Shape shape = repeated(name, line, static_cast<uint64_t>(mask), repeats, sizeof(T));
        check_range(name, line, "dstRepStride", dst_stride, 0, 65535);
        check_range(name, line, "srcBlkStride", block, 0, 65535);
        check_range(name, line, "srcRepStride", repeat, 0, 65535);
        check_vector(name, line, "src", src);
        check_aligned(name, line, "dst", dst.address(), alignment);
        const Reducing copy = *this;
        issue(PIPE_V, name, line, [=](Exec &exec) {
            const Operand<T> source{copy.src, copy.block, copy.repeat};
            for (int64_t r = 0; r < shape.repeats; ++r) {
                const std::vector<T> out = results(source.read(exec, shape, r), exec.core.saturates);
                const int64_t size = out.size() * sizeof(T);
                const int64_t place = copy.dst.address() + r * copy.dst_stride * unit * static_cast<int64_t>(sizeof(T));
                uint8_t *target = exec.write(UB, copy.dst.at(exec.name.c_str(), exec.line, place, size), size);
                std::memcpy(target, out.data(), size);
            }
        });
    }
};

template <typename T>
inline void reduce_whole(Reduction kind, bool index, const Reducing<T> &of)
{
    of.run(index ? 2 : 1, sizeof(T), [=](const std::vector<T> &values, bool saturates) {
        const int64_t count = static_cast<int64_t>(values.size());
        std::vector<T> out{reduced(kind, values.data(), count, saturates)};
        if (index) {
            using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>;
            out.push_back(bits<T>(static_cast<Bits>(place_of(kind, values.data(), count))));
        }
        return out;
    });
}

template <typename T>
inline void reduce_block(Reduction kind, const Reducing<T> &of)
{
    of.run(8, 8 * sizeof(T), [=](const std::vector<T> &values, bool saturates) {
        const int64_t lanes = BLOCK / static_cast<int64_t>(sizeof(T)), count = static_cast<int64_t>(values.size());
        std::vector<T> out(8, narrowed<T>(std::numeric_limits<float>::quiet_NaN()));
        for (int64_t first = 0; first < count; first += lanes) {
            out[first / lanes] = reduced(kind, values.data() + first, std::min(lanes, count - first), saturates);
        }
        return out;
    });
}

inline bool with_index(const char *name, int line, AscendC::ReduceOrder order)
{
    if (order != AscendC::ReduceOrder::ORDER_VALUE_INDEX && order != AscendC::ReduceOrder::ORDER_ONLY_VALUE) {
        fail(name, line, "this order is not modelled");
    }
    return order == AscendC::ReduceOrder::ORDER_VALUE_INDEX;
}

} // namespace model

#define MODEL_WHOLE(NAME, KIND)                                                                                        \
    template <typename T>                                                                                              \
    inline void NAME(const LocalTensor<T> &dst, const LocalTensor<T> &src, const int32_t mask, const int32_t repeats,  \
                     const int32_t dstRep, const int32_t srcBlk, const int32_t srcRep,                                \
                     ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX, int line = __builtin_LINE())                 \
    {                                                                                                                  \
        model::reduce_whole<T>(model::Reduction::KIND, model::with_index(#NAME, line, order),                          \
                               {#NAME, line, dst, src, mask, repeats, dstRep, srcBlk, srcRep});                        \
    }
#define MODEL_BLOCK(NAME, KIND)                                                                                        \
    template <typename T>                                                                                              \
    inline void NAME(const LocalTensor<T> &dst, const LocalTensor<T> &src, const int32_t repeats, const int32_t mask,  \
                     const int32_t dstRep, const int32_t srcBlk, const int32_t srcRep, int line = __builtin_LINE())   \
    {                                                                                                                  \
        model::reduce_block<T>(model::Reduction::KIND, {#NAME, line, dst, src, mask, repeats, dstRep, srcBlk, srcRep}); \
    }

namespace AscendC {

MODEL_WHOLE(WholeReduceMax, MAX)
MODEL_WHOLE(WholeReduceMin, MIN)
MODEL_BLOCK(BlockReduceMax, MAX)
MODEL_BLOCK(BlockReduceMin, MIN)
MODEL_BLOCK(BlockReduceSum, SUM)

template <typename T>
inline void WholeReduceSum(const LocalTensor<T> &dst, const LocalTensor<T> &src, const int32_t mask,
                           const int32_t repeats, const int32_t dstRep, const int32_t srcBlk, const int32_t srcRep,
                           int line = __builtin_LINE())
{
    model::reduce_whole<T>(model::Reduction::SUM, false,
                           {"WholeReduceSum", line, dst, src, mask, repeats, dstRep, srcBlk, srcRep});
}

template <typename T>
inline void PairReduceSum(const LocalTensor<T> &dst, const LocalTensor<T> &src, const int32_t repeats,
                          const int32_t mask, const int32_t dstRep, const int32_t srcBlk, const int32_t srcRep,
                          int line = __builtin_LINE())
{
    const model::Reducing<T> of{"PairReduceSum", line, dst, src, mask, repeats, dstRep, srcBlk, srcRep};
    of.run(128 / static_cast<int64_t>(sizeof(T)), sizeof(T), [](const std::vector<T> &values, bool saturates) {
        std::vector<T> out(values.size() / 2);
        for (size_t i = 0; i < out.size(); ++i) {
            out[i] = model::sum_of(&values[2 * i], 2, saturates);
        }
        return out;
    });
}

} // namespace AscendC
