"""Small functions that emitted kernels carry with them, in namespace ``tile``.

Scalars of the IR wrap, saturate and treat NaN in fixed ways where C++ leaves the result open; these functions
say it once. A kernel gets those that it calls, in the order of this table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

_WRAPPING = """\
template <typename T>
__aicore__ inline T {name}(T a, T b)
{{
    return static_cast<T>(static_cast<uint64_t>(a) {operator} static_cast<uint64_t>(b));
}}
"""
_EXTREMUM = """\
template <typename T>
__aicore__ inline T {name}(T a, T b)
{{
    return a {operator} b || b != b ? a : b;  // a NaN loses
}}
"""
_PROPAGATING = """\
template <typename T>
__aicore__ inline T {name}(T a, T b)
{{
    return a {operator} b || a != a ? a : b;  // a NaN wins
}}
"""

HELPERS: Mapping[str, str] = {
    "global": """\
template <typename T>
__aicore__ inline AscendC::GlobalTensor<T> global(__gm__ T *address)
{
    AscendC::GlobalTensor<T> tensor;
    tensor.SetGlobalBuffer(address);
    return tensor;
}
""",
    "streamed": """\
template <typename T>
__aicore__ inline AscendC::GlobalTensor<T> streamed(__gm__ T *address)
{
    AscendC::GlobalTensor<T> tensor;
    tensor.SetGlobalBuffer(address);
    tensor.SetL2CacheHint(AscendC::CacheMode::CACHE_MODE_DISABLE);
    return tensor;
}
""",
    "store_global": """\
template <typename T>
__aicore__ inline void store_global(__gm__ T *address, T value)
{
    AscendC::GlobalTensor<T> tensor;
    tensor.SetGlobalBuffer(address);
    tensor.SetValue(0, value);  // into the data cache, which no other core or pipe reads
    AscendC::DataCacheCleanAndInvalid<T, AscendC::CacheLine::SINGLE_CACHE_LINE,
                                      AscendC::DcciDst::CACHELINE_OUT>(tensor);
}
""",
    "load_fresh": """\
template <typename T>
__aicore__ inline T load_fresh(__gm__ T *address)
{
    AscendC::GlobalTensor<T> tensor;
    tensor.SetGlobalBuffer(address);
    AscendC::DataCacheCleanAndInvalid<T, AscendC::CacheLine::SINGLE_CACHE_LINE,
                                      AscendC::DcciDst::CACHELINE_OUT>(tensor);
    return tensor.GetValue(0);
}
""",
    "bits_of": """\
template <typename U, typename T>
__aicore__ inline U bits_of(T value)
{
    return *reinterpret_cast<U *>(&value);
}
""",
    "float_of_bits": """\
__aicore__ inline float float_of_bits(uint32_t bits)
{
    return *reinterpret_cast<float *>(&bits);
}
""",
    "add": _WRAPPING.format(name="add", operator="+"),
    "sub": _WRAPPING.format(name="sub", operator="-"),
    "mul": _WRAPPING.format(name="mul", operator="*"),
    "idiv": """\
template <typename T>
__aicore__ inline T idiv(T a, T b)
{
    if (b == 0) {
        return a;
    }
    return b == static_cast<T>(-1) && static_cast<T>(-1) < 0 ? static_cast<T>(0 - static_cast<uint64_t>(a))
                                                             : static_cast<T>(a / b);
}
""",
    "irem": """\
template <typename T>
__aicore__ inline T irem(T a, T b)
{
    if (b == 0 || (b == static_cast<T>(-1) && static_cast<T>(-1) < 0)) {
        return 0;
    }
    return static_cast<T>(a % b);
}
""",
    "shl": """\
template <typename T>
__aicore__ inline T shl(T a, T b)
{
    const bool inside = b >= 0 && static_cast<uint64_t>(b) < 8 * sizeof(T);
    return inside ? static_cast<T>(static_cast<uint64_t>(a) << b) : static_cast<T>(0);
}
""",
    "shr": """\
template <typename T>
__aicore__ inline T shr(T a, T b)
{
    const bool inside = b >= 0 && static_cast<uint64_t>(b) < 8 * sizeof(T);
    return inside ? static_cast<T>(a >> b) : static_cast<T>(a < 0 ? -1 : 0);
}
""",
    "umulhi32": """\
template <typename T, typename W>
__aicore__ inline T umulhi32(T a, T b)
{
    return static_cast<T>((static_cast<W>(a) * static_cast<W>(b)) >> 32);
}
""",
    "umulhi64": """\
template <typename T>
__aicore__ inline T umulhi64(T a, T b)
{
    const uint64_t x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b), low = 0xffffffffULL;
    const uint64_t middle = (x >> 32) * (y & low) + (((x & low) * (y & low)) >> 32);
    const uint64_t other = (x & low) * (y >> 32) + (middle & low);
    const uint64_t high = (x >> 32) * (y >> 32) + (middle >> 32) + (other >> 32);
    return static_cast<T>(high - (a < 0 ? y : 0) - (b < 0 ? x : 0));  // a negative a stands for a + 2**64
}
""",
    "min": _EXTREMUM.format(name="min", operator="<"),
    "max": _EXTREMUM.format(name="max", operator=">"),
    "min_or_nan": _PROPAGATING.format(name="min_or_nan", operator="<"),
    "max_or_nan": _PROPAGATING.format(name="max_or_nan", operator=">"),
    "abs": """\
template <typename T>
__aicore__ inline T abs(T a)
{
    return a < 0 ? static_cast<T>(0 - static_cast<uint64_t>(a)) : a;
}
""",
    "fabs": """\
__aicore__ inline float fabs(float a)
{
    uint32_t bits = *reinterpret_cast<uint32_t *>(&a) & 0x7fffffffu;
    return *reinterpret_cast<float *>(&bits);
}
""",
    "floor": """\
__aicore__ inline float floor(float a)
{
    if (!(a > -8388608.0f && a < 8388608.0f) || a == 0.0f) {
        return a;  // from 2**23 on every float is whole
    }
    const float whole = static_cast<float>(static_cast<int32_t>(a));
    return whole > a ? whole - 1.0f : whole;
}
""",
    "ceil": """\
__aicore__ inline float ceil(float a)
{
    if (!(a > -8388608.0f && a < 8388608.0f) || a == 0.0f) {
        return a;  // from 2**23 on every float is whole
    }
    const float whole = static_cast<float>(static_cast<int32_t>(a));
    return whole < a ? whole + 1.0f : (whole == 0.0f && a < 0.0f ? -0.0f : whole);
}
""",
    "saturate": """\
template <typename T>
__aicore__ inline T saturate(float a, T lowest, T highest)
{
    if (a != a) {
        return 0;
    }
    if (a <= static_cast<float>(lowest)) {
        return lowest;
    }
    return a >= static_cast<float>(highest) ? highest : static_cast<T>(a);
}
""",
    "tile_of_matrix": """\
template <typename T>
__aicore__ inline AscendC::LoadData3DParamsV2<T> tile_of_matrix(
    int32_t rows, int32_t channels, int32_t m, int32_t k, int32_t m_start, int32_t k_start)
{
    AscendC::LoadData3DParamsV2<T> params;  // a matrix is an image of height 1 under a filter of 1x1
    params.l1H = 1;
    params.l1W = rows;
    params.channelSize = channels;
    params.mExtension = m;
    params.kExtension = k;
    params.mStartPt = m_start;
    params.kStartPt = k_start;
    return params;
}
""",
    "k_aligned": """\
__aicore__ inline AscendC::MmadParams k_aligned(AscendC::MmadParams params)
{
    params.kDirectionAlign = true;
    return params;
}
""",
    "transpose_blocks": """\
template <typename T>
__aicore__ inline void transpose_blocks(
    const AscendC::LocalTensor<T> &dst, const AscendC::LocalTensor<T> &src, int32_t dst_stride,
    int32_t src_stride, const AscendC::TransDataTo5HDParams &params)
{
    using Moved = std::conditional_t<std::is_same_v<T, bfloat16_t>, half, T>;  // there is none of bfloat16_t
    constexpr int32_t BLOCK = 32 / sizeof(T);
    AscendC::LocalTensor<Moved> targets[16], sources[16];
    for (int32_t i = 0; i < 16; ++i) {
        targets[i] = dst[i * dst_stride * BLOCK].template ReinterpretCast<Moved>();
        sources[i] = src[i * src_stride * BLOCK].template ReinterpretCast<Moved>();
    }
    AscendC::TransDataTo5HD<Moved>(targets, sources, params);
}
""",
}


def helper_text(names: Collection[str]) -> str:
    """Return the namespace with the named helpers, or nothing where there are none."""
    if not names:
        return ""
    functions = "\n".join(text for name, text in HELPERS.items() if name in names)
    return f"namespace tile {{\n{functions}}} // namespace tile\n"
