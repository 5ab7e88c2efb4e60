// Casts, comparisons and selections of the vector unit.
#pragma once

#include "vector.h"

namespace AscendC {

enum class RoundMode {
    CAST_NONE, CAST_RINT, CAST_FLOOR, CAST_CEIL, CAST_ROUND, CAST_TRUNC, CAST_ODD,
};
enum class CMPMODE { LT, GT, EQ, LE, GE, NE };
enum class SELMODE { VSEL_CMPMASK_SPR, VSEL_TENSOR_SCALAR_MODE, VSEL_TENSOR_TENSOR_MODE };

} // namespace AscendC

namespace model {

// The pairs that V220 casts in one instruction.
template <typename T, typename U>
constexpr bool casts()
{
    if constexpr (std::is_same_v<U, half>) {
        return one_of<T, float, int32_t, int16_t, int8_t, uint8_t>;
    } else if constexpr (std::is_same_v<U, float>) {
        return one_of<T, float, half, bfloat16_t, int16_t, int32_t, int64_t>;
    } else if constexpr (std::is_same_v<U, bfloat16_t>) {
        return one_of<T, float, int32_t>;
    } else if constexpr (std::is_same_v<U, int16_t>) {
        return one_of<T, half, float>;
    } else if constexpr (std::is_same_v<U, int32_t>) {
        return one_of<T, float, int16_t, int64_t, half>;
    } else if constexpr (std::is_same_v<U, int64_t>) {
        return one_of<T, float, int32_t>;
    } else {
        return one_of<U, int8_t, uint8_t> && std::is_same_v<T, half>;
    }
}

template <typename T>
inline T clamped(double value)
{
    if (std::isnan(value)) {
        return 0;
    }
    const double low = static_cast<double>(std::numeric_limits<T>::min());
    const double high = static_cast<double>(std::numeric_limits<T>::max());
    return value <= low ? std::numeric_limits<T>::min()
                        : value >= high ? std::numeric_limits<T>::max() : static_cast<T>(value);
}

template <typename T, typename U>
inline T cast(U value, Rounding mode, const Core &core)
{
    if constexpr (std::is_same_v<T, half> && std::is_same_v<U, int32_t>) {
        const half scaled = narrowed<half>(static_cast<float>(value) * core.deq_scale);
        return core.saturates ? saturated(scaled) : scaled;
    } else if constexpr (is_float<T>) {
        double wide;
        if constexpr (is_float<U>) {
            wide = widened(value);
        } else {
            wide = static_cast<double>(value);
        }
        if constexpr (std::is_same_v<T, U>) {
            return static_cast<T>(static_cast<float>(round_whole(wide, mode)) + 0.0f); // -0 becomes +0
        } else if constexpr (std::is_same_v<T, float>) {
            return static_cast<float>(wide);
        } else {
            const bool is_half_type = std::is_same_v<T, half>;
            const double rounded = round_to(wide, is_half_type ? 10 : 7, is_half_type ? -14 : -126,
                                            is_half_type ? 15 : 127, mode);
            const T result = narrowed<T>(static_cast<float>(rounded));
            return core.saturates ? saturated(result) : result;
        }
    } else if constexpr (is_float<U>) {
        return clamped<T>(round_whole(widened(value), mode));
    } else {
        const int64_t low = std::numeric_limits<T>::min(), high = std::numeric_limits<T>::max();
        return static_cast<T>(std::min(std::max<int64_t>(value, low), high));
    }
}

template <typename T, typename U>
inline void cast_lanes(int line, AscendC::RoundMode mode, const Shape &shape, const Operand<T> &dst, const Operand<U> &src)
{
    static_assert(casts<T, U>(), "V220 has no Cast for this pair of types");
    constexpr bool widens = is_float<T> && (sizeof(T) > sizeof(U)) && !std::is_same_v<U, int32_t>;
    if (widens && mode != AscendC::RoundMode::CAST_NONE) {
        fail("Cast", line, "a cast that loses nothing needs CAST_NONE");
    }
    if constexpr (is_float<U> && !is_float<T>) {
        if (mode == AscendC::RoundMode::CAST_NONE && sizeof(T) > 1) {
            fail("Cast", line, "a cast that rounds needs a rounding mode");
        }
    }
    check_vector("Cast", line, "dst", dst.tensor);
    check_vector("Cast", line, "src", src.tensor);
    issue(PIPE_V, "Cast", line, [=](Exec &exec) {
        for (int64_t r = 0; r < shape.repeats; ++r) {
            const std::vector<U> x = src.read(exec, shape, r);
            std::vector<T> out(shape.lanes);
            for (int64_t i = 0; i < shape.lanes; ++i) {
                out[i] = cast<T, U>(x[i], static_cast<Rounding>(mode), exec.core);
            }
            dst.write(exec, shape, r, out);
        }
    });
}

template <typename T>
inline bool holds(AscendC::CMPMODE mode, T a, T b)
{
    const auto x = static_cast<double>(a), y = static_cast<double>(b);
    switch (mode) {
    case AscendC::CMPMODE::LT:
        return x < y;
    case AscendC::CMPMODE::GT:
        return x > y;
    case AscendC::CMPMODE::EQ:
        return x == y;
    case AscendC::CMPMODE::LE:
        return x <= y;
    case AscendC::CMPMODE::GE:
        return x >= y;
    default:
        return x < y || x > y; // false for NaN, as on the chip
    }
}

// Bits of dst lie one after the other, whatever the strides of the sources.
template <typename T, typename Second>
inline void compare(const char *name, int line, AscendC::CMPMODE mode, const Shape &shape,
                    const AscendC::LocalTensor<uint8_t> &dst, const Operand<T> &a, Second second)
{
    static_assert(one_of<T, half, float, int32_t>, "comparisons take half, float and int32");
    if (std::is_same_v<T, int32_t> && mode != AscendC::CMPMODE::EQ) {
        fail(name, line, "int32 is compared for equality only");
    }
    if (shape.lanes * sizeof(T) % 256) {
        fail(name, line, std::to_string(shape.lanes * sizeof(T)) + " bytes are compared, not a multiple of 256");
    }
    check_vector(name, line, "dst", dst);
    check_vector(name, line, "src0", a.tensor);
    issue(PIPE_V, name, line, [=](Exec &exec) {
        for (int64_t r = 0; r < shape.repeats; ++r) {
            const std::vector<T> x = a.read(exec, shape, r), y = second(exec, shape, r);
            const int64_t size = shape.lanes / 8, place = dst.address() + r * size;
            uint8_t *bits = exec.write(UB, dst.at(exec.name.c_str(), exec.line, place, size), size);
            std::memset(bits, 0, size);
            for (int64_t i = 0; i < shape.lanes; ++i) {
                bits[i / 8] |= static_cast<uint8_t>(holds(mode, x[i], y[i]) << (i % 8));
            }
        }
    });
}

template <typename T, typename Second>
inline void select(int line, AscendC::SELMODE mode, const Shape &shape, const Operand<T> &dst,
                   const AscendC::LocalTensor<uint8_t> &mask, const Operand<T> &a, Second second)
{
    static_assert(one_of<T, half, float>, "Select takes half and float");
    check_vector("Select", line, "dst", dst.tensor);
    check_vector("Select", line, "mask", mask);
    check_vector("Select", line, "src0", a.tensor);
    const int64_t lanes = 256 / static_cast<int64_t>(sizeof(T));
    const bool same = mode == AscendC::SELMODE::VSEL_CMPMASK_SPR;
    issue(PIPE_V, "Select", line, [=](Exec &exec) {
        for (int64_t r = 0; r < shape.repeats; ++r) {
            const int64_t first = same || shape.is_count ? 0 : r * lanes / 8;
            const int64_t size = same ? 16 : (shape.lanes + 7) / 8;
            const uint8_t *bits = exec.read(UB, mask.at("Select", exec.line, mask.address() + first, size), size);
            const std::vector<T> x = a.read(exec, shape, r), y = second(exec, shape, r);
            std::vector<T> out(shape.lanes);
            for (int64_t i = 0; i < shape.lanes; ++i) {
                const int64_t bit = same ? i % lanes : i;
                out[i] = bits[bit / 8] >> (bit % 8) & 1 ? x[i] : y[i];
            }
            dst.write(exec, shape, r, out);
        }
    });
}

template <typename T>
inline auto reading(const Operand<T> &operand)
{
    return [=](Exec &exec, const Shape &shape, int64_t r) { return operand.read(exec, shape, r); };
}

template <typename T>
inline auto repeating(T scalar)
{
    return [=](Exec &, const Shape &shape, int64_t) { return std::vector<T>(shape.lanes, scalar); };
}

} // namespace model

namespace AscendC {

template <typename T, typename U>
inline void Cast(const LocalTensor<T> &dst, const LocalTensor<U> &src, const RoundMode &mode, const uint32_t count,
                 int line = __builtin_LINE())
{
    model::cast_lanes<T, U>(line, mode, model::counted("Cast", line, count), {dst}, {src});
}

template <typename T, typename U>
inline void Cast(const LocalTensor<T> &dst, const LocalTensor<U> &src, const RoundMode &mode, const uint64_t mask,
                 const int64_t repeats, const UnaryRepeatParams &p, int line = __builtin_LINE())
{
    const model::Shape shape = model::repeated("Cast", line, mask, repeats, std::max(sizeof(T), sizeof(U)));
    model::cast_lanes<T, U>(line, mode, shape, {dst, p.dstBlkStride, p.dstRepStride}, {src, p.srcBlkStride, p.srcRepStride});
}

template <typename T>
inline void Compare(const LocalTensor<uint8_t> &dst, const LocalTensor<T> &src0, const LocalTensor<T> &src1,
                    CMPMODE mode, uint32_t count, int line = __builtin_LINE())
{
    model::check_vector("Compare", line, "src1", src1);
    model::compare<T>("Compare", line, mode, model::counted("Compare", line, count), dst, {src0},
                      model::reading(model::Operand<T>{src1}));
}

template <typename T>
inline void Compare(const LocalTensor<uint8_t> &dst, const LocalTensor<T> &src0, const LocalTensor<T> &src1,
                    CMPMODE mode, const uint64_t mask, int64_t repeats, const BinaryRepeatParams &p,
                    int line = __builtin_LINE())
{
    model::check_vector("Compare", line, "src1", src1);
    model::compare<T>("Compare", line, mode, model::repeated("Compare", line, mask, repeats, sizeof(T)), dst,
                      {src0, p.src0BlkStride, p.src0RepStride},
                      model::reading(model::Operand<T>{src1, p.src1BlkStride, p.src1RepStride}));
}

template <typename T>
inline void Compares(const LocalTensor<uint8_t> &dst, const LocalTensor<T> &src, const T scalar, CMPMODE mode,
                     uint32_t count, int line = __builtin_LINE())
{
    model::compare<T>("Compares", line, mode, model::counted("Compares", line, count), dst, {src},
                      model::repeating(scalar));
}

template <typename T>
inline void Compares(const LocalTensor<uint8_t> &dst, const LocalTensor<T> &src, const T scalar, CMPMODE mode,
                     const uint64_t mask, int64_t repeats, const UnaryRepeatParams &p, int line = __builtin_LINE())
{
    model::compare<T>("Compares", line, mode, model::repeated("Compares", line, mask, repeats, sizeof(T)), dst,
                      {src, p.srcBlkStride, p.srcRepStride}, model::repeating(scalar));
}

template <typename T>
inline void Select(const LocalTensor<T> &dst, const LocalTensor<uint8_t> &mask, const LocalTensor<T> &src0,
                   const LocalTensor<T> &src1, SELMODE mode, uint32_t count, int line = __builtin_LINE())
{
    model::check_vector("Select", line, "src1", src1);
    model::select<T>(line, mode, model::counted("Select", line, count), {dst}, mask, {src0},
                     model::reading(model::Operand<T>{src1}));
}

template <typename T>
inline void Select(const LocalTensor<T> &dst, const LocalTensor<uint8_t> &mask, const LocalTensor<T> &src0,
                   const LocalTensor<T> &src1, SELMODE mode, uint64_t lanes, int64_t repeats,
                   const BinaryRepeatParams &p, int line = __builtin_LINE())
{
    model::check_vector("Select", line, "src1", src1);
    model::select<T>(line, mode, model::repeated("Select", line, lanes, repeats, sizeof(T)),
                     {dst, p.dstBlkStride, p.dstRepStride}, mask, {src0, p.src0BlkStride, p.src0RepStride},
                     model::reading(model::Operand<T>{src1, p.src1BlkStride, p.src1RepStride}));
}

template <typename T>
inline void Select(const LocalTensor<T> &dst, const LocalTensor<uint8_t> &mask, const LocalTensor<T> &src0, T scalar,
                   SELMODE mode, uint32_t count, int line = __builtin_LINE())
{
    if (mode != SELMODE::VSEL_TENSOR_SCALAR_MODE) {
        model::fail("Select", line, "a scalar needs VSEL_TENSOR_SCALAR_MODE");
    }
    model::select<T>(line, mode, model::counted("Select", line, count), {dst}, mask, {src0}, model::repeating(scalar));
}

template <typename T>
inline void Select(const LocalTensor<T> &dst, const LocalTensor<uint8_t> &mask, const LocalTensor<T> &src0, T scalar,
                   SELMODE mode, uint64_t lanes, int64_t repeats, const BinaryRepeatParams &p, int line = __builtin_LINE())
{
    if (mode != SELMODE::VSEL_TENSOR_SCALAR_MODE) {
        model::fail("Select", line, "a scalar needs VSEL_TENSOR_SCALAR_MODE");
    }
    model::select<T>(line, mode, model::repeated("Select", line, lanes, repeats, sizeof(T)),
                     {dst, p.dstBlkStride, p.dstRepStride}, mask, {src0, p.src0BlkStride, p.src0RepStride},
                     model::repeating(scalar));
}

} // namespace AscendC
