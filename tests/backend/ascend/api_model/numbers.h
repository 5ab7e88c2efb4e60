// 16-bit floats in software: computed as float, rounded once to nearest, ties to even.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace model {

template <typename To, typename From>
inline To bits(From value)
{
    static_assert(sizeof(To) == sizeof(From), "bits of one width");
    To result;
    std::memcpy(static_cast<void *>(&result), &value, sizeof(To));
    return result;
}

enum class Rounding { NONE, RINT, FLOOR, CEIL, ROUND, TRUNC, ODD };

inline double round_whole(double value, Rounding mode)
{
    switch (mode) {
    case Rounding::FLOOR:
        return std::floor(value);
    case Rounding::CEIL:
        return std::ceil(value);
    case Rounding::ROUND:
        return std::round(value);
    case Rounding::TRUNC:
        return std::trunc(value);
    case Rounding::ODD: {
        const double below = std::trunc(value);
        return below == value || std::fmod(below, 2) != 0 ? below : below + std::copysign(1, value);
    }
    default:
        return std::nearbyint(value);
    }
}

// Round to a float format with `mantissa` stored bits and exponents from `lowest` to `highest`.
inline double round_to(double value, int mantissa, int lowest, int highest, Rounding mode = Rounding::RINT)
{
    if (value == 0 || std::isnan(value) || std::isinf(value)) {
        return value;
    }
    int exponent;
    std::frexp(value, &exponent);  // |value| in [2**(exponent-1), 2**exponent)
    const int unit = std::max(exponent - 1, lowest) - mantissa;
    const double rounded = std::ldexp(round_whole(std::ldexp(value, -unit), mode), unit);
    const double limit = std::ldexp(2.0 - std::ldexp(1.0, -mantissa), highest);
    if (std::fabs(rounded) <= limit) {
        return rounded == 0 ? std::copysign(0.0, value) : rounded;
    }
    const bool inward = mode == Rounding::TRUNC || mode == Rounding::ODD ||
                        mode == (value > 0 ? Rounding::FLOOR : Rounding::CEIL);
    return std::copysign(inward ? limit : std::numeric_limits<double>::infinity(), value);
}

inline uint16_t half_bits(float value)
{
    if (std::isnan(value)) {
        return 0x7e00;
    }
    const uint16_t sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
    const double magnitude = std::fabs(round_to(value, 10, -14, 15));
    if (std::isinf(magnitude)) {
        return sign | 0x7c00;
    }
    if (magnitude < std::ldexp(1.0, -14)) {
        return sign | static_cast<uint16_t>(std::ldexp(magnitude, 24));
    }
    int exponent;
    const double fraction = std::frexp(magnitude, &exponent);
    const int stored = static_cast<int>(std::ldexp(fraction, 11)) - 1024;
    return sign | static_cast<uint16_t>(((exponent + 14) << 10) + stored);
}

inline float half_value(uint16_t encoded)
{
    const int exponent = (encoded >> 10) & 31, fraction = encoded & 1023;
    const float sign = encoded & 0x8000 ? -1.0f : 1.0f;
    if (exponent == 31) {
        return fraction ? std::numeric_limits<float>::quiet_NaN() : sign * std::numeric_limits<float>::infinity();
    }
    return sign * (exponent ? std::ldexp(static_cast<float>(1024 + fraction), exponent - 25)
                            : std::ldexp(static_cast<float>(fraction), -24));
}

inline uint16_t bfloat16_bits(float value)
{
    const uint32_t wide = bits<uint32_t>(value);
    if (std::isnan(value)) {
        return 0x7fc0;
    }
    return static_cast<uint16_t>((wide + 0x7fff + ((wide >> 16) & 1)) >> 16);
}

inline float bfloat16_value(uint16_t encoded)
{
    return bits<float>(static_cast<uint32_t>(encoded) << 16);
}

} // namespace model

struct half {
    uint16_t encoded = 0;

    half() = default;
    half(float value) : encoded(model::half_bits(value)) {}
    explicit half(double value) : encoded(model::half_bits(static_cast<float>(value))) {}
    half(int value) : encoded(model::half_bits(static_cast<float>(value))) {}
    operator float() const { return model::half_value(encoded); }
};

// The C++ conversions of bfloat16_t do not exist on the device: ToFloat and ToBfloat16 are its only way.
struct bfloat16_t {
    uint16_t encoded = 0;

    bfloat16_t() = default;
    bfloat16_t(int zero) : encoded(model::bfloat16_bits(static_cast<float>(zero))) {}  // T paddingValue = 0
};

static_assert(sizeof(half) == 2 && sizeof(bfloat16_t) == 2, "16-bit floats");

namespace AscendC {
inline float ToFloat(const bfloat16_t &value) { return model::bfloat16_value(value.encoded); }

inline bfloat16_t ToBfloat16(const float &value)
{
    bfloat16_t result;
    result.encoded = model::bfloat16_bits(value);
    return result;
}
} // namespace AscendC

namespace model {

// The type that the units compute in.
template <typename T>
inline float widened(T value)
{
    if constexpr (std::is_same_v<T, bfloat16_t>) {
        return AscendC::ToFloat(value);
    } else {
        return static_cast<float>(value);
    }
}

template <typename T>
inline T narrowed(float value)
{
    if constexpr (std::is_same_v<T, bfloat16_t>) {
        return AscendC::ToBfloat16(value);
    } else {
        return static_cast<T>(value);
    }
}

// What saturation makes of a 16-bit float: the largest finite value for inf, 0 for NaN.
template <typename T>
inline T saturated(T value)
{
    const float wide = widened(value);
    if (std::isnan(wide)) {
        return narrowed<T>(0.0f);
    }
    if (!std::isinf(wide)) {
        return value;
    }
    const float largest = std::is_same_v<T, half> ? 65504.0f : bfloat16_value(0x7f7f);
    return narrowed<T>(std::copysign(largest, wide));
}

// What the arithmetic of a core makes of a result: 16-bit floats saturate where the core says so.
template <typename T>
inline T settled(T value, bool saturates)
{
    if constexpr (std::is_same_v<T, half> || std::is_same_v<T, bfloat16_t>) {
        return saturates ? saturated(value) : value;
    } else {
        return value;
    }
}

template <typename T>
constexpr bool is_half = std::is_same_v<T, half> || std::is_same_v<T, bfloat16_t>;

template <typename T>
constexpr bool is_float = std::is_same_v<T, half> || std::is_same_v<T, float> || std::is_same_v<T, bfloat16_t>;

} // namespace model
