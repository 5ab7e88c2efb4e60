// Vector instructions that place elements: fills, broadcasts, gathers, transpositions.
#pragma once

#include "vector.h"

namespace AscendC {

struct BrcbRepeatParams {
    uint16_t dstBlkStride = 1, dstRepStride = 8;

    BrcbRepeatParams() = default;
    BrcbRepeatParams(int64_t block, int64_t repeat)
        : dstBlkStride(model::field<uint16_t>("dstBlkStride", block)),
          dstRepStride(model::field<uint16_t>("dstRepStride", repeat))
    {
    }
};

struct TransDataTo5HDParams {
    bool dstHighHalf = false, srcHighHalf = false;
    uint8_t repeatTimes = 1;
    uint16_t dstRepStride = 0, srcRepStride = 0;

    TransDataTo5HDParams() = default;
    TransDataTo5HDParams(bool dstHigh, bool srcHigh, int64_t repeats, int64_t dstRep, int64_t srcRep)
        : dstHighHalf(dstHigh), srcHighHalf(srcHigh), repeatTimes(model::field<uint8_t>("repeatTimes", repeats)),
          dstRepStride(model::field<uint16_t>("dstRepStride", dstRep)),
          srcRepStride(model::field<uint16_t>("srcRepStride", srcRep))
    {
    }
};

} // namespace AscendC

namespace model {

template <typename T>
inline T load(Exec &exec, const AscendC::LocalTensor<T> &tensor, int64_t place)
{
    T value;
    std::memcpy(&value, exec.read(UB, tensor.at(exec.name.c_str(), exec.line, place, sizeof(T)), sizeof(T)), sizeof(T));
    return value;
}

template <typename T>
inline void store(Exec &exec, const AscendC::LocalTensor<T> &tensor, int64_t place, T value)
{
    std::memcpy(exec.write(UB, tensor.at(exec.name.c_str(), exec.line, place, sizeof(T)), sizeof(T)), &value, sizeof(T));
}

template <typename T>
constexpr bool is_word = sizeof(T) == 2 || sizeof(T) == 4;

template <typename T>
inline void duplicate(int line, const Shape &shape, const Operand<T> &dst, T value)
{
    static_assert(is_word<T>, "Duplicate takes elements of 16 and 32 bits");
    check_vector("Duplicate", line, "dst", dst.tensor);
    issue(PIPE_V, "Duplicate", line, [=](Exec &exec) {
        for (int64_t r = 0; r < shape.repeats; ++r) {
            dst.write(exec, shape, r, std::vector<T>(shape.lanes, value));
        }
    });
}

} // namespace model

namespace AscendC {

template <typename T>
inline void Duplicate(const LocalTensor<T> &dst, const T &value, const int32_t &count, int line = __builtin_LINE())
{
    model::duplicate<T>(line, model::counted("Duplicate", line, count), {dst}, value);
}

template <typename T>
inline void Duplicate(const LocalTensor<T> &dst, const T &value, uint64_t mask, const int64_t repeats,
                      const int64_t block, const int64_t repeat, int line = __builtin_LINE())
{
    model::check_range("Duplicate", line, "dstRepeatStride", repeat, 0, 255);
    model::duplicate<T>(line, model::repeated("Duplicate", line, mask, repeats, sizeof(T)), {dst, block, repeat}, value);
}

template <typename T>
inline void Brcb(const LocalTensor<T> &dst, const LocalTensor<T> &src, const int64_t repeats, const BrcbRepeatParams &p,
                 int line = __builtin_LINE())
{
    static_assert(model::is_word<T>, "Brcb takes elements of 16 and 32 bits");
    model::check_range("Brcb", line, "repeatTime", repeats, 0, 255);
    model::check_vector("Brcb", line, "dst", dst);
    model::check_vector("Brcb", line, "src", src);
    model::issue(PIPE_V, "Brcb", line, [=](model::Exec &exec) {
        const int64_t lanes = model::BLOCK / static_cast<int64_t>(sizeof(T));
        for (int64_t i = 0; i < repeats * 8; ++i) {
            const T value = model::load(exec, src, src.address() + i * static_cast<int64_t>(sizeof(T)));
            const int64_t blocks = i / 8 * p.dstRepStride + i % 8 * p.dstBlkStride;
            for (int64_t lane = 0; lane < lanes; ++lane) {
                const int64_t offset = blocks * model::BLOCK + lane * static_cast<int64_t>(sizeof(T));
                model::store(exec, dst, dst.address() + offset, value);
            }
        }
    });
}

template <typename T>
inline void Gather(const LocalTensor<T> &dst, const LocalTensor<T> &src, const LocalTensor<uint32_t> &offsets,
                   const uint32_t base, const uint32_t count, int line = __builtin_LINE())
{
    static_assert(model::is_word<T>, "Gather takes elements of 16 and 32 bits");
    model::check_vector("Gather", line, "dst", dst);
    model::check_vector("Gather", line, "src", src);
    model::check_vector("Gather", line, "offsets", offsets);
    model::issue(PIPE_V, "Gather", line, [=](model::Exec &exec) {
        for (int64_t i = 0; i < count; ++i) {
            const uint32_t offset = model::load(exec, offsets, offsets.address() + i * 4) + base;
            if (offset % sizeof(T)) {
                exec.fail("offset " + std::to_string(offset) + " is not a multiple of the element size");
            }
            const T value = model::load(exec, src, src.address() + offset);
            model::store(exec, dst, dst.address() + i * static_cast<int64_t>(sizeof(T)), value);
        }
    });
}

template <typename T>
inline void Transpose(const LocalTensor<T> &dst, const LocalTensor<T> &src, int line = __builtin_LINE())
{
    static_assert(sizeof(T) == 2, "Transpose takes elements of 16 bits");
    model::check_vector("Transpose", line, "dst", dst);
    model::check_vector("Transpose", line, "src", src);
    model::issue(PIPE_V, "Transpose", line, [=](model::Exec &exec) {
        T square[256];
        for (int64_t i = 0; i < 256; ++i) {
            square[i % 16 * 16 + i / 16] = model::load(exec, src, src.address() + i * 2);
        }
        for (int64_t i = 0; i < 256; ++i) {
            model::store(exec, dst, dst.address() + i * 2, square[i]);
        }
    });
}

template <typename T>
inline void TransDataTo5HD(const LocalTensor<T> (&targets)[16], const LocalTensor<T> (&sources)[16],
                           const TransDataTo5HDParams &p, int line = __builtin_LINE())
{
    static_assert(model::one_of<T, int8_t, uint8_t, int16_t, uint16_t, half, int32_t, uint32_t, float>,
                  "TransDataTo5HD does not take this type");
    std::array<LocalTensor<T>, 16> to, from;
    for (int i = 0; i < 16; ++i) {
        to[i] = targets[i];
        from[i] = sources[i];
        model::check_vector("TransDataTo5HD", line, "dst", to[i]);
        model::check_vector("TransDataTo5HD", line, "src", from[i]);
    }
    model::issue(PIPE_V, "TransDataTo5HD", line, [=](model::Exec &exec) {
        constexpr int64_t size = sizeof(T);
        constexpr int64_t columns = size == 1 ? 16 : model::BLOCK / size;  // of a row of 16 rows
        for (int64_t r = 0; r < p.repeatTimes; ++r) {
            std::vector<T> square(16 * columns);
            for (int64_t row = 0; row < 16; ++row) {
                const int64_t start = from[row].address() + r * p.srcRepStride * model::BLOCK + (p.srcHighHalf ? 16 : 0);
                for (int64_t column = 0; column < columns; ++column) {
                    square[column * 16 + row] = model::load(exec, from[row], start + column * size);
                }
            }
            const int64_t width = static_cast<int64_t>(square.size()) / 16;
            for (int64_t i = 0; i < static_cast<int64_t>(square.size()); ++i) {
                const LocalTensor<T> &target = to[i / width];
                const int64_t start = target.address() + r * p.dstRepStride * model::BLOCK + (p.dstHighHalf ? 16 : 0);
                model::store(exec, target, start + i % width * size, square[i]);
            }
        }
    });
}

} // namespace AscendC
