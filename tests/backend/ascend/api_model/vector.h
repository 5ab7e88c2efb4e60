// Instructions of the vector unit: count form and repeat form.
#pragma once

#include "move.h"

namespace AscendC {

struct UnaryRepeatParams {
    uint16_t dstBlkStride = 1, srcBlkStride = 1;
    uint8_t dstRepStride = 8, srcRepStride = 8;

    UnaryRepeatParams() = default;
    UnaryRepeatParams(int64_t dstBlk, int64_t srcBlk, int64_t dstRep, int64_t srcRep)
        : dstBlkStride(model::field<uint16_t>("dstBlkStride", dstBlk)),
          srcBlkStride(model::field<uint16_t>("srcBlkStride", srcBlk)),
          dstRepStride(model::field<uint8_t>("dstRepStride", dstRep)),
          srcRepStride(model::field<uint8_t>("srcRepStride", srcRep))
    {
    }
};

struct BinaryRepeatParams {
    uint8_t dstBlkStride = 1, src0BlkStride = 1, src1BlkStride = 1;
    uint8_t dstRepStride = 8, src0RepStride = 8, src1RepStride = 8;

    BinaryRepeatParams() = default;
    BinaryRepeatParams(int64_t dstBlk, int64_t src0Blk, int64_t src1Blk, int64_t dstRep, int64_t src0Rep, int64_t src1Rep)
        : dstBlkStride(model::field<uint8_t>("dstBlkStride", dstBlk)),
          src0BlkStride(model::field<uint8_t>("src0BlkStride", src0Blk)),
          src1BlkStride(model::field<uint8_t>("src1BlkStride", src1Blk)),
          dstRepStride(model::field<uint8_t>("dstRepStride", dstRep)),
          src0RepStride(model::field<uint8_t>("src0RepStride", src0Rep)),
          src1RepStride(model::field<uint8_t>("src1RepStride", src1Rep))
    {
    }
};

} // namespace AscendC

namespace model {

// How an operand's lanes lie: `lanes` of every repeat, in blocks of 32 bytes; count form is one long repeat.
struct Shape {
    int64_t lanes;
    int64_t repeats = 1;
    bool is_count = true;
};

template <typename T>
struct Operand {
    AscendC::LocalTensor<T> tensor;
    int64_t block = 1, repeat = 8;

    int64_t address(const Shape &shape, int64_t repetition, int64_t lane) const
    {
        const int64_t per_block = BLOCK / static_cast<int64_t>(sizeof(T));
        if (shape.is_count) {
            return tensor.address() + lane * static_cast<int64_t>(sizeof(T));
        }
        const int64_t blocks = repetition * repeat + lane / per_block * block;
        return tensor.address() + blocks * BLOCK + lane % per_block * static_cast<int64_t>(sizeof(T));
    }

    // Calls `visit(first lane, lanes, address)` for each run of neighbouring lanes of a repeat.
    template <typename F>
    void runs(const Shape &shape, int64_t repetition, F visit) const
    {
        const int64_t step = shape.is_count ? shape.lanes : BLOCK / static_cast<int64_t>(sizeof(T));
        for (int64_t lane = 0; lane < shape.lanes; lane += step) {
            visit(lane, std::min(step, shape.lanes - lane), address(shape, repetition, lane));
        }
    }

    std::vector<T> read(Exec &exec, const Shape &shape, int64_t repetition) const
    {
        std::vector<T> values(shape.lanes);
        runs(shape, repetition, [&](int64_t lane, int64_t count, int64_t place) {
            const int64_t size = count * sizeof(T);
            const uint8_t *source = exec.read(UB, tensor.at(exec.name.c_str(), exec.line, place, size), size);
            std::memcpy(values.data() + lane, source, size);
        });
        return values;
    }

    void write(Exec &exec, const Shape &shape, int64_t repetition, const std::vector<T> &values) const
    {
        runs(shape, repetition, [&](int64_t lane, int64_t count, int64_t place) {
            const int64_t size = count * sizeof(T);
            uint8_t *target = exec.write(UB, tensor.at(exec.name.c_str(), exec.line, place, size), size);
            std::memcpy(target, values.data() + lane, size);
        });
    }
};

template <typename T>
inline void check_vector(const char *name, int line, const char *what, const AscendC::LocalTensor<T> &tensor)
{
    if (tensor.space() != UB) {
        fail(name, line, std::string(what) + " is not in UB");
    }
    check_aligned(name, line, what, tensor.address(), BLOCK);
}

inline Shape counted(const char *name, int line, int64_t count)
{
    check_range(name, line, "count", count, 0, INT32_MAX);
    return {count};
}

inline Shape repeated(const char *name, int line, uint64_t lanes, int64_t repeats, size_t size)
{
    check_range(name, line, "mask", static_cast<int64_t>(lanes), 1, 256 / static_cast<int64_t>(size));
    check_range(name, line, "repeatTime", repeats, 0, 255);
    return {static_cast<int64_t>(lanes), repeats, false};
}

// An instruction may work in place, but its source may not overlap its target otherwise.
template <typename D, typename S>
inline void check_overlap(const char *name, int line, const Shape &shape, const AscendC::LocalTensor<D> &dst,
                          const AscendC::LocalTensor<S> &src)
{
    const int64_t d = dst.address(), s = src.address();
    const int64_t d_end = d + shape.lanes * sizeof(D), s_end = s + shape.lanes * sizeof(S);
    if (shape.is_count && d != s && d < s_end && s < d_end) {
        fail(name, line, "a source overlaps the target without being at the same address");
    }
}

// dst[i] = meaning(a[i], b[i]); floats of 16 bits are computed in fp32 and rounded once.
template <typename D, typename A, typename B, typename F>
inline void binary(const char *name, int line, const Shape &shape, const Operand<D> &dst, const Operand<A> &a,
                   const Operand<B> &b, F meaning)
{
    check_vector(name, line, "dst", dst.tensor);
    check_vector(name, line, "src0", a.tensor);
    check_vector(name, line, "src1", b.tensor);
    check_overlap(name, line, shape, dst.tensor, a.tensor);
    check_overlap(name, line, shape, dst.tensor, b.tensor);
    issue(PIPE_V, name, line, [=](Exec &exec) {
        for (int64_t r = 0; r < shape.repeats; ++r) {
            const std::vector<A> x = a.read(exec, shape, r);
            const std::vector<B> y = b.read(exec, shape, r);
            std::vector<D> out(shape.lanes);
            for (int64_t i = 0; i < shape.lanes; ++i) {
                out[i] = settled<D>(meaning(x[i], y[i]), exec.core.saturates);
            }
            dst.write(exec, shape, r, out);
        }
    });
}

template <typename D, typename A, typename F>
inline void unary(const char *name, int line, const Shape &shape, const Operand<D> &dst, const Operand<A> &a, F meaning)
{
    check_vector(name, line, "dst", dst.tensor);
    check_vector(name, line, "src", a.tensor);
    check_overlap(name, line, shape, dst.tensor, a.tensor);
    issue(PIPE_V, name, line, [=](Exec &exec) {
        for (int64_t r = 0; r < shape.repeats; ++r) {
            const std::vector<A> x = a.read(exec, shape, r);
            std::vector<D> out(shape.lanes);
            for (int64_t i = 0; i < shape.lanes; ++i) {
                out[i] = settled<D>(meaning(x[i]), exec.core.saturates);
            }
            dst.write(exec, shape, r, out);
        }
    });
}

// Arithmetic of the unit on one pair of elements.
template <typename T, typename F>
inline T computed(F meaning, T a, T b)
{
    if constexpr (is_float<T>) {
        return narrowed<T>(meaning(widened(a), widened(b)));
    } else if constexpr (std::is_unsigned_v<T>) {
        return static_cast<T>(meaning(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
    } else {
        return static_cast<T>(meaning(static_cast<int64_t>(a), static_cast<int64_t>(b)));
    }
}

// a * b + held, the product rounded first
template <typename T, typename U>
inline T sum_with_product(U a, U b, T held, bool saturates)
{
    const T product = settled(narrowed<T>(widened(a) * widened(b)), saturates);
    return settled(narrowed<T>(widened(product) + widened(held)), saturates);
}

template <typename T>
inline void multiply_add(int line, const Shape &shape, const Operand<T> &dst, const Operand<T> &a, const Operand<T> &b)
{
    check_vector("MulAddDst", line, "dst", dst.tensor);
    check_vector("MulAddDst", line, "src0", a.tensor);
    check_vector("MulAddDst", line, "src1", b.tensor);
    issue(PIPE_V, "MulAddDst", line, [=](Exec &exec) {
        for (int64_t r = 0; r < shape.repeats; ++r) {
            const std::vector<T> x = a.read(exec, shape, r), y = b.read(exec, shape, r);
            std::vector<T> out = dst.read(exec, shape, r);
            for (int64_t i = 0; i < shape.lanes; ++i) {
                out[i] = sum_with_product(x[i], y[i], out[i], exec.core.saturates);
            }
            dst.write(exec, shape, r, out);
        }
    });
}

template <typename T, typename... Allowed>
constexpr bool one_of = (std::is_same_v<T, Allowed> || ...);

inline const auto add = [](auto a, auto b) { return a + b; };
inline const auto subtract = [](auto a, auto b) { return a - b; };
inline const auto multiply = [](auto a, auto b) { return a * b; };
inline const auto divide = [](auto a, auto b) { return a / b; };
inline const auto larger = [](auto a, auto b) { return a != a || a > b ? a : b; };
inline const auto smaller = [](auto a, auto b) { return a != a || a < b ? a : b; };
inline const auto both_bits = [](auto a, auto b) { return a & b; };
inline const auto shift_left = [](auto a, auto b) { return b >= 0 && b < 64 ? static_cast<int64_t>(static_cast<uint64_t>(a) << b) : 0; };
inline const auto shift_right = [](auto a, auto b) { return b >= 0 && b < 64 ? a >> b : (a < 0 ? -1 : 0); };
inline const auto any_bits = [](auto a, auto b) { return a | b; };

} // namespace model

// The AscendC names, in their count and repeat forms.
#define MODEL_BINARY(NAME, MEANING, ...)                                                                              \
    template <typename T>                                                                                              \
    inline void NAME(const LocalTensor<T> &dst, const LocalTensor<T> &src0, const LocalTensor<T> &src1,                \
                     const int32_t &count, int line = __builtin_LINE())                                               \
    {                                                                                                                  \
        static_assert(model::one_of<T, __VA_ARGS__>, #NAME " does not take this type");                               \
        model::binary<T, T, T>(#NAME, line, model::counted(#NAME, line, count), {dst}, {src0}, {src1},                 \
                               [](T a, T b) { return model::computed<T>(MEANING, a, b); });                            \
    }                                                                                                                  \
    template <typename T>                                                                                              \
    inline void NAME(const LocalTensor<T> &dst, const LocalTensor<T> &src0, const LocalTensor<T> &src1, uint64_t mask, \
                     const int64_t repeats, const BinaryRepeatParams &p, int line = __builtin_LINE())                 \
    {                                                                                                                  \
        static_assert(model::one_of<T, __VA_ARGS__>, #NAME " does not take this type");                               \
        model::binary<T, T, T>(#NAME, line, model::repeated(#NAME, line, mask, repeats, sizeof(T)),                    \
                               {dst, p.dstBlkStride, p.dstRepStride}, {src0, p.src0BlkStride, p.src0RepStride},        \
                               {src1, p.src1BlkStride, p.src1RepStride},                                               \
                               [](T a, T b) { return model::computed<T>(MEANING, a, b); });                            \
    }

#define MODEL_WITH_SCALAR(NAME, MEANING, ...)                                                                         \
    template <typename T>                                                                                              \
    inline void NAME(const LocalTensor<T> &dst, const LocalTensor<T> &src, const T &scalar, const int32_t &count,      \
                     int line = __builtin_LINE())                                                                     \
    {                                                                                                                  \
        static_assert(model::one_of<T, __VA_ARGS__>, #NAME " does not take this type");                               \
        model::unary<T, T>(#NAME, line, model::counted(#NAME, line, count), {dst}, {src},                              \
                           [=](T a) { return model::computed<T>(MEANING, a, scalar); });                               \
    }                                                                                                                  \
    template <typename T>                                                                                              \
    inline void NAME(const LocalTensor<T> &dst, const LocalTensor<T> &src, const T &scalar, uint64_t mask,             \
                     const int64_t repeats, const UnaryRepeatParams &p, int line = __builtin_LINE())                  \
    {                                                                                                                  \
        static_assert(model::one_of<T, __VA_ARGS__>, #NAME " does not take this type");                               \
        model::unary<T, T>(#NAME, line, model::repeated(#NAME, line, mask, repeats, sizeof(T)),                        \
                           {dst, p.dstBlkStride, p.dstRepStride}, {src, p.srcBlkStride, p.srcRepStride},               \
                           [=](T a) { return model::computed<T>(MEANING, a, scalar); });                               \
    }

#define MODEL_UNARY(NAME, MEANING, ...)                                                                               \
    template <typename T>                                                                                              \
    inline void NAME(const LocalTensor<T> &dst, const LocalTensor<T> &src, const int32_t &count,                       \
                     int line = __builtin_LINE())                                                                     \
    {                                                                                                                  \
        static_assert(model::one_of<T, __VA_ARGS__>, #NAME " does not take this type");                               \
        model::unary<T, T>(#NAME, line, model::counted(#NAME, line, count), {dst}, {src}, MEANING);                    \
    }                                                                                                                  \
    template <typename T>                                                                                              \
    inline void NAME(const LocalTensor<T> &dst, const LocalTensor<T> &src, uint64_t mask, const int64_t repeats,       \
                     const UnaryRepeatParams &p, int line = __builtin_LINE())                                         \
    {                                                                                                                  \
        static_assert(model::one_of<T, __VA_ARGS__>, #NAME " does not take this type");                               \
        model::unary<T, T>(#NAME, line, model::repeated(#NAME, line, mask, repeats, sizeof(T)),                        \
                           {dst, p.dstBlkStride, p.dstRepStride}, {src, p.srcBlkStride, p.srcRepStride}, MEANING);     \
    }

#define MODEL_FLOAT_MEANING(EXPRESSION) [](T a) { const float x = model::widened(a); return model::narrowed<T>(EXPRESSION); }

namespace AscendC {

MODEL_BINARY(Add, model::add, int16_t, half, int32_t, float)
MODEL_BINARY(Sub, model::subtract, int16_t, half, int32_t, float)
MODEL_BINARY(Mul, model::multiply, int16_t, half, int32_t, float)
MODEL_BINARY(Div, model::divide, half, float)
MODEL_BINARY(Max, model::larger, int16_t, half, int32_t, float)
MODEL_BINARY(Min, model::smaller, int16_t, half, int32_t, float)
MODEL_BINARY(And, model::both_bits, int16_t, uint16_t)
MODEL_BINARY(Or, model::any_bits, int16_t, uint16_t)
MODEL_WITH_SCALAR(Adds, model::add, int16_t, half, int32_t, float)
MODEL_WITH_SCALAR(Muls, model::multiply, int16_t, half, int32_t, float)
MODEL_WITH_SCALAR(LeakyRelu, ([](auto a, auto slope) { return a > 0 ? a : a * slope; }), half, float)
MODEL_WITH_SCALAR(Maxs, model::larger, int16_t, half, int32_t, float)
MODEL_WITH_SCALAR(Mins, model::smaller, int16_t, half, int32_t, float)
MODEL_UNARY(Exp, MODEL_FLOAT_MEANING(static_cast<float>(std::exp(static_cast<double>(x)))), half, float)
MODEL_UNARY(Ln, MODEL_FLOAT_MEANING(static_cast<float>(std::log(static_cast<double>(x)))), half, float)
MODEL_UNARY(Sqrt, MODEL_FLOAT_MEANING(std::sqrt(x)), half, float)
MODEL_UNARY(Rsqrt, MODEL_FLOAT_MEANING(1 / std::sqrt(x)), half, float)
MODEL_UNARY(Reciprocal, MODEL_FLOAT_MEANING(1 / x), half, float)
MODEL_UNARY(Abs, MODEL_FLOAT_MEANING(std::fabs(x)), half, float)
MODEL_UNARY(Relu, [](T a) { return model::computed<T>(model::larger, a, T(0)); }, half, int32_t, float)
MODEL_WITH_SCALAR(ShiftLeft, model::shift_left, int16_t, uint16_t, int32_t, uint32_t)
MODEL_WITH_SCALAR(ShiftRight, model::shift_right, int16_t, uint16_t, int32_t, uint32_t)
MODEL_UNARY(Not, [](T a) { return static_cast<T>(~a); }, int16_t, uint16_t)

// dst += src * scalar, dst += src0 * src1
template <typename T, typename U>
inline void Axpy(const LocalTensor<T> &dst, const LocalTensor<U> &src, const U &scalar, const int32_t &count,
                 int line = __builtin_LINE())
{
    static_assert(model::one_of<T, half, float> && (std::is_same_v<T, U> || std::is_same_v<U, half>), "Axpy types");
    const bool saturates = model::current->saturates;
    model::binary<T, U, T>("Axpy", line, model::counted("Axpy", line, count), {dst}, {src}, {dst},
                           [=](U a, T held) { return model::sum_with_product(a, scalar, held, saturates); });
}

template <typename T, typename U>
inline void Axpy(const LocalTensor<T> &dst, const LocalTensor<U> &src, const U &scalar, uint64_t mask,
                 const int64_t repeats, const UnaryRepeatParams &p, int line = __builtin_LINE())
{
    static_assert(model::one_of<T, half, float> && (std::is_same_v<T, U> || std::is_same_v<U, half>), "Axpy types");
    const model::Shape shape = model::repeated("Axpy", line, mask, repeats, sizeof(T));
    const bool saturates = model::current->saturates;
    model::binary<T, U, T>("Axpy", line, shape, {dst, p.dstBlkStride, p.dstRepStride},
                           {src, p.srcBlkStride, p.srcRepStride}, {dst, p.dstBlkStride, p.dstRepStride},
                           [=](U a, T held) { return model::sum_with_product(a, scalar, held, saturates); });
}

template <typename T>
inline void MulAddDst(const LocalTensor<T> &dst, const LocalTensor<T> &src0, const LocalTensor<T> &src1,
                      const int32_t &count, int line = __builtin_LINE())
{
    static_assert(model::one_of<T, half, float>, "MulAddDst does not take this type");
    model::multiply_add<T>(line, model::counted("MulAddDst", line, count), {dst}, {src0}, {src1});
}

template <typename T>
inline void MulAddDst(const LocalTensor<T> &dst, const LocalTensor<T> &src0, const LocalTensor<T> &src1, uint64_t mask,
                      const int64_t repeats, const BinaryRepeatParams &p, int line = __builtin_LINE())
{
    static_assert(model::one_of<T, half, float>, "MulAddDst does not take this type");
    model::multiply_add<T>(line, model::repeated("MulAddDst", line, mask, repeats, sizeof(T)),
                           {dst, p.dstBlkStride, p.dstRepStride}, {src0, p.src0BlkStride, p.src0RepStride},
                           {src1, p.src1BlkStride, p.src1RepStride});
}

} // namespace AscendC
