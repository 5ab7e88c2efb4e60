// DataCopyPad between GM and UB.
#pragma once

#include "sync.h"

namespace AscendC {

struct DataCopyExtParams {
    uint16_t blockCount = 1;
    uint32_t blockLen = 0, srcStride = 0, dstStride = 0, rsv = 0;

    DataCopyExtParams() = default;
    DataCopyExtParams(int64_t count, int64_t length, int64_t source, int64_t target, int64_t reserved)
        : blockCount(model::field<uint16_t>("DataCopyExtParams.blockCount", count)),
          blockLen(model::field<uint32_t>("DataCopyExtParams.blockLen", length)),
          srcStride(model::field<uint32_t>("DataCopyExtParams.srcStride", source)),
          dstStride(model::field<uint32_t>("DataCopyExtParams.dstStride", target)),
          rsv(model::field<uint32_t>("DataCopyExtParams.rsv", reserved))
    {
    }
};

template <typename T>
struct DataCopyPadExtParams {
    bool isPad = false;
    uint8_t leftPadding = 0, rightPadding = 0;
    T paddingValue = 0;

    DataCopyPadExtParams() = default;
    DataCopyPadExtParams(bool pad, int64_t left, int64_t right, T value)
        : isPad(pad), leftPadding(model::field<uint8_t>("DataCopyPadExtParams.leftPadding", left)),
          rightPadding(model::field<uint8_t>("DataCopyPadExtParams.rightPadding", right)), paddingValue(value)
    {
    }
};

} // namespace AscendC

namespace model {

constexpr int64_t BLOCK = 32;

inline int64_t up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

inline void check_rows(const char *name, int line, const AscendC::DataCopyExtParams &rows, size_t size)
{
    check_range(name, line, "blockCount", rows.blockCount, 0, 4095);
    check_range(name, line, "blockLen", rows.blockLen, 0, 2097151);
    if (rows.blockLen % size) {
        fail(name, line, "blockLen " + std::to_string(rows.blockLen) + " is not a multiple of the element size");
    }
}

template <typename T>
inline T combined(Atomic atomic, T old, T value)
{
    if (atomic == Atomic::NONE) {
        return value;
    }
    if constexpr (is_float<T>) {
        const float a = widened(old), b = widened(value);
        if (atomic == Atomic::ADD) {
            return narrowed<T>(a + b);
        }
        const bool first = std::isnan(a) || (!std::isnan(b) && (atomic == Atomic::MAX ? a > b : a < b));
        return first ? old : value;
    } else {
        return static_cast<T>(atomic == Atomic::ADD ? old + value : atomic == Atomic::MAX ? std::max(old, value)
                                                                                          : std::min(old, value));
    }
}

// Store elements to GM as the core's atomic mode says.
template <typename T>
inline void store_global(Exec &exec, uint8_t *address, const T *values, int64_t count)
{
    uint8_t *target = exec.write_global(address, count * sizeof(T));
    for (int64_t i = 0; i < count; ++i) {
        T old;
        std::memcpy(&old, target + i * sizeof(T), sizeof(T));
        T value = combined(exec.core.atomic, old, values[i]);
        if (exec.core.atomic != Atomic::NONE) {
            value = settled(value, exec.core.saturates);
        }
        std::memcpy(target + i * sizeof(T), &value, sizeof(T));
    }
}

} // namespace model

namespace AscendC {

template <typename T>
inline void DataCopyPad(const LocalTensor<T> &dst, const GlobalTensor<T> &src, const DataCopyExtParams &rows,
                        const DataCopyPadExtParams<T> &pad, int line = __builtin_LINE())
{
    const char *name = "DataCopyPad";
    model::check_rows(name, line, rows, sizeof(T));
    model::check_aligned(name, line, "dst", dst.address(), model::BLOCK);
    model::check_range(name, line, "leftPadding in bytes", pad.leftPadding * sizeof(T), 0, model::BLOCK);
    model::check_range(name, line, "rightPadding in bytes", pad.rightPadding * sizeof(T), 0, model::BLOCK);
    if (dst.space() != model::UB) {
        model::fail(name, line, "V220 pads on the way to UB only");
    }
    model::issue(PIPE_MTE2, name, line, [=](model::Exec &exec) {
        if (rows.blockLen == 0) {
            return;
        }
        const int64_t left = pad.leftPadding * sizeof(T), right = pad.rightPadding * sizeof(T);
        const int64_t whole = model::up(left + rows.blockLen + right, model::BLOCK);
        const uint8_t *from = src.bytes();
        int64_t place = dst.address();
        for (int row = 0; row < rows.blockCount; ++row) {
            const uint8_t *source = exec.read_global(from, rows.blockLen);
            uint8_t *target = exec.write(model::UB, dst.at("DataCopyPad", exec.line, place, whole), whole);
            for (int64_t at = 0; at < whole; at += sizeof(T)) {
                const bool inside = at >= left && at < left + static_cast<int64_t>(rows.blockLen);
                std::memcpy(target + at, inside ? source + at - left : pad.isPad ? reinterpret_cast<const uint8_t *>(&pad.paddingValue) : source, sizeof(T));
            }
            from += static_cast<int64_t>(rows.blockLen) + rows.srcStride;
            place += whole + static_cast<int64_t>(rows.dstStride) * model::BLOCK;
        }
    });
}

template <typename T>
inline void DataCopyPad(const GlobalTensor<T> &dst, const LocalTensor<T> &src, const DataCopyExtParams &rows,
                        int line = __builtin_LINE())
{
    const char *name = "DataCopyPad";
    model::check_rows(name, line, rows, sizeof(T));
    model::check_aligned(name, line, "src", src.address(), model::BLOCK);
    model::issue(PIPE_MTE3, name, line, [=](model::Exec &exec) {
        if (rows.blockLen == 0) {
            return;
        }
        uint8_t *to = dst.bytes();
        int64_t place = src.address();
        for (int row = 0; row < rows.blockCount; ++row) {
            const uint32_t from = src.at("DataCopyPad", exec.line, place, rows.blockLen);
            const uint8_t *source = exec.read(model::UB, from, rows.blockLen);
            std::vector<T> values(rows.blockLen / sizeof(T));
            std::memcpy(values.data(), source, rows.blockLen);
            model::store_global(exec, to, values.data(), static_cast<int64_t>(values.size()));
            to += static_cast<int64_t>(rows.blockLen) + rows.dstStride;
            place += model::up(rows.blockLen, model::BLOCK) + static_cast<int64_t>(rows.srcStride) * model::BLOCK;
        }
    });
}

} // namespace AscendC
