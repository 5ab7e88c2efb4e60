// DataCopy: whole blocks between GM, UB, L1 and the bias table, and rows of GM to fractals of L1.
#pragma once

#include "move.h"

namespace AscendC {

struct DataCopyParams {
    uint16_t blockCount = 1, blockLen = 0;
    union {
        uint16_t srcGap = 0;
        uint16_t srcStride;
    };
    union {
        uint16_t dstGap = 0;
        uint16_t dstStride;
    };

    DataCopyParams() = default;
    DataCopyParams(int64_t count, int64_t length, int64_t source, int64_t target)
        : blockCount(model::field<uint16_t>("DataCopyParams.blockCount", count)),
          blockLen(model::field<uint16_t>("DataCopyParams.blockLen", length)),
          srcGap(model::field<uint16_t>("DataCopyParams.srcGap", source)),
          dstGap(model::field<uint16_t>("DataCopyParams.dstGap", target))
    {
    }
};

// All fields have 16 bits on V220.
struct Nd2NzParams {
    uint16_t ndNum = 0, nValue = 0, dValue = 0, srcNdMatrixStride = 0, srcDValue = 0;
    uint16_t dstNzC0Stride = 0, dstNzNStride = 0, dstNzMatrixStride = 0;

    Nd2NzParams() = default;
    Nd2NzParams(int64_t nd, int64_t n, int64_t d, int64_t srcMatrix, int64_t srcD, int64_t c0, int64_t row, int64_t dstMatrix)
        : ndNum(model::field<uint16_t>("Nd2NzParams.ndNum", nd)), nValue(model::field<uint16_t>("Nd2NzParams.nValue", n)),
          dValue(model::field<uint16_t>("Nd2NzParams.dValue", d)),
          srcNdMatrixStride(model::field<uint16_t>("Nd2NzParams.srcNdMatrixStride", srcMatrix)),
          srcDValue(model::field<uint16_t>("Nd2NzParams.srcDValue", srcD)),
          dstNzC0Stride(model::field<uint16_t>("Nd2NzParams.dstNzC0Stride", c0)),
          dstNzNStride(model::field<uint16_t>("Nd2NzParams.dstNzNStride", row)),
          dstNzMatrixStride(model::field<uint16_t>("Nd2NzParams.dstNzMatrixStride", dstMatrix))
    {
    }
};

} // namespace AscendC

namespace model {

// Where a run of bytes of a tensor lies, checked against the tensor.
template <typename T>
inline const uint8_t *read_bytes(Exec &exec, const AscendC::LocalTensor<T> &tensor, int64_t offset, int64_t size)
{
    const uint32_t place = tensor.at(exec.name.c_str(), exec.line, tensor.address() + offset, size);
    return exec.read(tensor.space(), place, size);
}

template <typename T>
inline uint8_t *write_bytes(Exec &exec, const AscendC::LocalTensor<T> &tensor, int64_t offset, int64_t size)
{
    const uint32_t place = tensor.at(exec.name.c_str(), exec.line, tensor.address() + offset, size);
    return exec.write(tensor.space(), place, size);
}

// Rows of blocks: `move(source offset, target offset, bytes)` for each.
template <typename F>
inline void each_row(const AscendC::DataCopyParams &p, F move)
{
    const int64_t size = p.blockLen * BLOCK;
    for (int64_t row = 0; row < p.blockCount; ++row) {
        move(row * (size + p.srcGap * BLOCK), row * (size + p.dstGap * BLOCK), size);
    }
}

inline void check_moved(Space from, Space to, int line)
{
    const bool path = (from == GM && (to == UB || to == L1)) || ((from == UB || from == L1) && to == GM) ||
                      (from == UB && to == UB) || (from == L1 && to == BT);
    if (!path) {
        fail("DataCopy", line, std::string("V220 has no path from ") + SPACE_NAMES[from] + " to " + SPACE_NAMES[to]);
    }
}

} // namespace model

namespace AscendC {

template <typename T>
inline void DataCopy(const LocalTensor<T> &dst, const GlobalTensor<T> &src, const DataCopyParams &p,
                     int line = __builtin_LINE())
{
    model::check_moved(model::GM, dst.space(), line);
    model::check_range("DataCopy", line, "blockCount", p.blockCount, 0, 4095);
    model::check_aligned("DataCopy", line, "dst", dst.address(), model::BLOCK);
    model::issue(PIPE_MTE2, "DataCopy", line, [=](model::Exec &exec) {
        model::each_row(p, [&](int64_t from, int64_t to, int64_t size) {
            const uint8_t *source = exec.read_global(src.bytes() + from, size);
            std::memcpy(model::write_bytes(exec, dst, to, size), source, size);
        });
    });
}

template <typename T>
inline void DataCopy(const GlobalTensor<T> &dst, const LocalTensor<T> &src, const DataCopyParams &p,
                     int line = __builtin_LINE())
{
    model::check_moved(src.space(), model::GM, line);
    model::check_range("DataCopy", line, "blockCount", p.blockCount, 0, 4095);
    model::check_aligned("DataCopy", line, "src", src.address(), model::BLOCK);
    model::issue(PIPE_MTE3, "DataCopy", line, [=](model::Exec &exec) {
        model::each_row(p, [&](int64_t from, int64_t to, int64_t size) {
            std::vector<T> values(size / sizeof(T));
            std::memcpy(values.data(), model::read_bytes(exec, src, from, size), size);
            model::store_global(exec, dst.bytes() + to, values.data(), static_cast<int64_t>(values.size()));
        });
    });
}

// Rows of bytes, as with DataCopyExtParams, in fields of 16 bits.
template <typename T>
inline void DataCopyPad(const GlobalTensor<T> &dst, const LocalTensor<T> &src, const DataCopyParams &p,
                        int line = __builtin_LINE())
{
    DataCopyPad(dst, src, DataCopyExtParams(p.blockCount, p.blockLen, p.srcStride, p.dstStride, 0), line);
}

// UB to UB on the vector unit; L1 to the bias table, where half becomes float and units are 64 bytes.
template <typename T, typename U>
inline void DataCopy(const LocalTensor<T> &dst, const LocalTensor<U> &src, const DataCopyParams &p,
                     int line = __builtin_LINE())
{
    model::check_moved(src.space(), dst.space(), line);
    model::check_range("DataCopy", line, "blockCount", p.blockCount, 0, 4095);
    model::check_aligned("DataCopy", line, "src", src.address(), model::BLOCK);
    model::check_aligned("DataCopy", line, "dst", dst.address(), dst.space() == model::BT ? 64 : model::BLOCK);
    if (dst.space() == model::UB) {
        if constexpr (!std::is_same_v<T, U>) {
            model::fail("DataCopy", line, "UB to UB does not convert");
        }
        model::issue(PIPE_V, "DataCopy", line, [=](model::Exec &exec) {
            model::each_row(p, [&](int64_t from, int64_t to, int64_t size) {
                const std::vector<uint8_t> held(model::read_bytes(exec, src, from, size),
                                                model::read_bytes(exec, src, from, size) + size);
                std::memcpy(model::write_bytes(exec, dst, to, size), held.data(), size);
            });
        });
        return;
    }
    constexpr bool converts = std::is_same_v<T, float> && std::is_same_v<U, half>;
    if constexpr (!converts && !(std::is_same_v<T, U> && sizeof(T) == 4)) {
        model::fail("DataCopy", line, "the bias table takes 32-bit elements and half that becomes float");
    } else {
        model::issue(PIPE_MTE1, "DataCopy", line, [=](model::Exec &exec) {
            const int64_t count = p.blockCount * p.blockLen * 64 / static_cast<int64_t>(sizeof(U));
            const uint8_t *source = model::read_bytes(exec, src, 0, count * sizeof(U));
            uint8_t *target = model::write_bytes(exec, dst, 0, count * sizeof(T));
            for (int64_t i = 0; i < count; ++i) {
                U value;
                std::memcpy(&value, source + i * sizeof(U), sizeof(U));
                const T wide = static_cast<T>(value);
                std::memcpy(target + i * sizeof(T), &wide, sizeof(T));
            }
        });
    }
}

// The same for a number of elements that are whole blocks.
template <typename D, typename S>
inline void copy_elements(const D &dst, const S &src, uint32_t bytes, int line)
{
    if (bytes % model::BLOCK) {
        model::fail("DataCopy", line, std::to_string(bytes) + " bytes are no whole blocks");
    }
    DataCopy(dst, src, DataCopyParams(1, bytes / model::BLOCK, 0, 0), line);
}

template <typename T>
inline void DataCopy(const LocalTensor<T> &dst, const GlobalTensor<T> &src, uint32_t count, int line = __builtin_LINE())
{
    copy_elements(dst, src, count * sizeof(T), line);
}

template <typename T>
inline void DataCopy(const GlobalTensor<T> &dst, const LocalTensor<T> &src, uint32_t count, int line = __builtin_LINE())
{
    copy_elements(dst, src, count * sizeof(T), line);
}

template <typename T>
inline void DataCopy(const LocalTensor<T> &dst, const GlobalTensor<T> &src, const Nd2NzParams &p,
                     int line = __builtin_LINE())
{
    if (dst.space() != model::L1) {
        model::fail("DataCopy", line, "rows go to fractals on the way to L1 only");
    }
    model::check_range("DataCopy", line, "ndNum", p.ndNum, 0, 4095);
    model::check_range("DataCopy", line, "nValue", p.nValue, 0, 16384);
    model::check_range("DataCopy", line, "dstNzC0Stride", p.dstNzC0Stride, 1, 16384);
    model::check_range("DataCopy", line, "dstNzNStride", p.dstNzNStride, 1, 16384);
    model::check_aligned("DataCopy", line, "dst", dst.address(), model::BLOCK);
    model::issue(PIPE_MTE2, "DataCopy", line, [=](model::Exec &exec) {
        constexpr int64_t size = sizeof(T), c0 = model::BLOCK / size;
        for (int64_t matrix = 0; matrix < p.ndNum; ++matrix) {
            for (int64_t row = 0; row < p.nValue; ++row) {
                const int64_t from = (matrix * p.srcNdMatrixStride + row * p.srcDValue) * size;
                const uint8_t *source = exec.read_global(src.bytes() + from, p.dValue * size);
                for (int64_t first = 0; first < p.dValue; first += c0) {
                    const int64_t blocks = first / c0 * p.dstNzC0Stride + row * p.dstNzNStride;
                    const int64_t to = blocks * model::BLOCK + matrix * p.dstNzMatrixStride * size;
                    uint8_t *target = model::write_bytes(exec, dst, to, model::BLOCK);
                    std::memset(target, 0, model::BLOCK);  // what is left of the last column is zero
                    std::memcpy(target, source + first * size, std::min(c0, p.dValue - first) * size);
                }
            }
        }
    });
}

} // namespace AscendC
