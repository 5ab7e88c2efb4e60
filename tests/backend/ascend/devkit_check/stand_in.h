// What CANN's compiler has built in, as far as types go, for clang. Its intrinsics get stand-ins of type Anything,
// made by devkit.py as clang asks for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#define __aicore__
#define __global__
#define __vector__
#define __cube__
#define __mix__(...)
#define __inout_pipe__(...)
#define __in_pipe__(...)
#define __out_pipe__(...)
#define __sync_alias__
#define __check_sync_alias__
#define __sync_noalias__
#define __simd_callee__
#define __simd_vf__
#define __no_simd_vf_fusion__
#define __inline__ inline
#define __gm__
#define __ssbuf__
#define __ubuf__ __attribute__((address_space(1)))
#define __cbuf__ __attribute__((address_space(2)))
#define __ca__ __attribute__((address_space(3)))
#define __cb__ __attribute__((address_space(4)))
#define __cc__ __attribute__((address_space(5)))
#define __fbuf__ __attribute__((address_space(6)))
#define __biasbuf__ __attribute__((address_space(7)))

typedef _Float16 half;

struct bfloat16_t {
    uint16_t bits;
    bfloat16_t() = default;
    constexpr bfloat16_t(int) : bits(0) {}
};

enum pipe_t {
    PIPE_S, PIPE_V, PIPE_M, PIPE_MTE1, PIPE_MTE2, PIPE_MTE3, PIPE_ALL, PIPE_MTE4, PIPE_MTE5, PIPE_V2, PIPE_FIX,
};
enum event_t { EVENT_ID0, EVENT_ID1, EVENT_ID2, EVENT_ID3, EVENT_ID4, EVENT_ID5, EVENT_ID6, EVENT_ID7 };

inline float sqrt(float value) { return value; }

// A function of any arguments and a value of any type.
struct Anything {
    template <typename... A>
    constexpr Anything operator()(A &&...) const
    {
        return {};
    }
    template <typename T, typename = std::enable_if_t<!std::is_reference_v<T>>>
    constexpr operator T() const
    {
        return T();
    }
};

namespace bisheng {
namespace cce {
static constexpr Anything metrics_prof_start{}, metrics_prof_stop{};
} // namespace cce
} // namespace bisheng
