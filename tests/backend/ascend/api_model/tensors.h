// Tensors: views of a memory of the core or of GM.
#pragma once

#include "machine.h"
#include "numbers.h"

namespace AscendC {

enum class TPosition { GM, A1, A2, B1, B2, C1, C2, CO1, CO2, VECIN, VECOUT, VECCALC, TSCM, C2PIPE2GM };

} // namespace AscendC

namespace model {

inline Space space_of(AscendC::TPosition position)
{
    switch (position) {
    case AscendC::TPosition::A1:
    case AscendC::TPosition::B1:
    case AscendC::TPosition::C1:
    case AscendC::TPosition::TSCM:
        return L1;
    case AscendC::TPosition::A2:
        return L0A;
    case AscendC::TPosition::B2:
        return L0B;
    case AscendC::TPosition::CO1:
        return L0C;
    case AscendC::TPosition::C2:
        return BT;
    case AscendC::TPosition::C2PIPE2GM:
        return FB;
    case AscendC::TPosition::VECIN:
    case AscendC::TPosition::VECOUT:
    case AscendC::TPosition::VECCALC:
        return UB;
    default:
        throw Failure("a local tensor in a position that V220 does not have");
    }
}

} // namespace model

namespace AscendC {

// Two lie in a byte, the lower half first.
struct int4b_t {
    uint8_t pair;
};

template <typename T, typename U>
struct IsSameType {
    static constexpr bool value = std::is_same_v<T, U>;
};

// Bytes of so many elements.
template <typename T>
constexpr int64_t bytes_of(int64_t elements)
{
    return std::is_same_v<T, int4b_t> ? elements / 2 : elements * static_cast<int64_t>(sizeof(T));
}

template <typename T>
class LocalTensor {
public:
    LocalTensor() = default;

    LocalTensor(TPosition position, int64_t address, int64_t elements)
        : position_(position), address_(model::field<uint32_t>("the address of a LocalTensor", address)),
          first_(address_), end_(address_ + bytes_of<T>(elements))
    {
        const model::Space space = model::space_of(position);
        if (elements <= 0 || end_ > model::CAPACITY[space]) {
            throw model::Failure("a LocalTensor of " + std::to_string(elements) + " elements at byte " +
                                 std::to_string(address) + " does not lie in " + model::SPACE_NAMES[space]);
        }
    }

    LocalTensor operator[](int64_t offset) const
    {
        LocalTensor view = *this;
        view.address_ = address_ + bytes_of<T>(offset);
        return view;
    }

    template <typename U>
    LocalTensor<U> ReinterpretCast() const
    {
        LocalTensor<U> view;
        view.position_ = position_;
        view.address_ = address_;
        view.first_ = first_;
        view.end_ = end_;
        return view;
    }

    T GetValue(int64_t index, int line = __builtin_LINE()) const
    {
        return model::on_scalar("GetValue", line, [&](model::Exec &exec) {
            const int64_t place = address_ + index * static_cast<int64_t>(sizeof(T));
            T value;
            std::memcpy(&value, exec.read(space(), at("GetValue", line, place, sizeof(T)), sizeof(T)), sizeof(T));
            return value;
        });
    }

    void SetValue(int64_t index, T value, int line = __builtin_LINE()) const
    {
        model::on_scalar("SetValue", line, [&](model::Exec &exec) {
            const int64_t place = address_ + index * static_cast<int64_t>(sizeof(T));
            std::memcpy(exec.write(space(), at("SetValue", line, place, sizeof(T)), sizeof(T)), &value, sizeof(T));
        });
    }

    int64_t GetPhyAddr() const { return address_; }
    model::Space space() const { return model::space_of(position_); }
    int64_t address() const { return address_; }

    // Check that bytes from `place` on lie in the tensor and return the address.
    uint32_t at(const char *name, int line, int64_t place, int64_t size) const
    {
        if (size > 0 && (place < first_ || place + size > end_)) {
            model::fail(name, line, "bytes " + std::to_string(place) + " to " + std::to_string(place + size) + " of " +
                                        model::SPACE_NAMES[space()] + " leave the tensor, which has " +
                                        std::to_string(first_) + " to " + std::to_string(end_));
        }
        return static_cast<uint32_t>(place);
    }

private:
    template <typename U>
    friend class LocalTensor;

    TPosition position_ = TPosition::GM;
    int64_t address_ = 0, first_ = 0, end_ = 0;
};

enum class CacheMode { CACHE_MODE_DISABLE, CACHE_MODE_NORMAL };
enum class CacheLine { SINGLE_CACHE_LINE, ENTIRE_DATA_CACHE };
enum class DcciDst { CACHELINE_ALL, CACHELINE_UB, CACHELINE_OUT, CACHELINE_ATOMIC };

template <typename T>
class GlobalTensor {
public:
    using PrimType = T;

    void SetGlobalBuffer(T *address, uint64_t = 0) { address_ = address; }
    void SetL2CacheHint(CacheMode) {}

    GlobalTensor operator[](int64_t offset) const
    {
        GlobalTensor view;
        view.address_ = address_ + offset;
        return view;
    }

    T GetValue(uint64_t offset, int line = __builtin_LINE()) const
    {
        return model::on_scalar("GetValue", line, [&](model::Exec &exec) {
            T value;
            std::memcpy(&value, exec.read_global(reinterpret_cast<uint8_t *>(address_ + offset), sizeof(T)), sizeof(T));
            return value;
        });
    }

    void SetValue(uint64_t offset, T value, int line = __builtin_LINE())
    {
        model::on_scalar("SetValue", line, [&](model::Exec &exec) {
            std::memcpy(exec.write_global(reinterpret_cast<uint8_t *>(address_ + offset), sizeof(T)), &value, sizeof(T));
        });
    }

    uint8_t *bytes() const { return reinterpret_cast<uint8_t *>(address_); }

private:
    T *address_ = nullptr;
};

template <typename T, CacheLine line, DcciDst destination>
inline void DataCacheCleanAndInvalid(const GlobalTensor<T> &)
{
}

} // namespace AscendC
