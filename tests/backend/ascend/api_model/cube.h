// The cube core: fractals to L0A and L0B, the multiplication, the way out of L0C.
#pragma once

#include "copy.h"
#include "select.h"

enum class QuantMode_t {
    NoQuant, F322F16, F322BF16, DEQF16, VDEQF16, QF322B8_PRE, VQF322B8_PRE, REQ8, VREQ8,
};

namespace AscendC {

struct LoadData2DParams {
    uint16_t startIndex = 0, dstGap = 0, srcStride = 0;
    bool ifTranspose = false;
    uint8_t repeatTimes = 0, sid = 0, addrMode = 0;

    LoadData2DParams() = default;
    LoadData2DParams(int64_t start, int64_t repeats, int64_t stride, int64_t sidIn, int64_t gap, bool transpose, int64_t mode)
        : startIndex(model::field<uint16_t>("LoadData2DParams.startIndex", start)),
          dstGap(model::field<uint16_t>("LoadData2DParams.dstGap", gap)),
          srcStride(model::field<uint16_t>("LoadData2DParams.srcStride", stride)), ifTranspose(transpose),
          repeatTimes(model::field<uint8_t>("LoadData2DParams.repeatTimes", repeats)),
          sid(model::field<uint8_t>("LoadData2DParams.sid", sidIn)),
          addrMode(model::field<uint8_t>("LoadData2DParams.addrMode", mode))
    {
    }
};

struct LoadData2dTransposeParams {
    uint16_t startIndex = 0, srcStride = 0, dstGap = 0, dstFracGap = 0;
    uint8_t repeatTimes = 0;

    LoadData2dTransposeParams() = default;
    LoadData2dTransposeParams(int64_t start, int64_t repeats, int64_t stride, int64_t gap, int64_t fractalGap)
        : startIndex(model::field<uint16_t>("LoadData2dTransposeParams.startIndex", start)),
          srcStride(model::field<uint16_t>("LoadData2dTransposeParams.srcStride", stride)),
          dstGap(model::field<uint16_t>("LoadData2dTransposeParams.dstGap", gap)),
          dstFracGap(model::field<uint16_t>("LoadData2dTransposeParams.dstFracGap", fractalGap)),
          repeatTimes(model::field<uint8_t>("LoadData2dTransposeParams.repeatTimes", repeats))
    {
    }
};

template <typename T>
struct LoadData3DParamsV2 {
    uint8_t padList[4] = {0, 0, 0, 0};
    uint16_t l1H = 0, l1W = 0, channelSize = 0, kExtension = 0, mExtension = 0, kStartPt = 0, mStartPt = 0;
    uint8_t strideW = 1, strideH = 1, filterW = 1, filterH = 1, dilationFilterW = 1, dilationFilterH = 1;
    bool enTranspose = false, filterSizeW = false, filterSizeH = false, fMatrixCtrl = false;
};

struct MmadParams {
    uint16_t m = 0, n = 0, k = 0;
    uint8_t unitFlag = 0;
    bool kDirectionAlign = false, cmatrixSource = false, cmatrixInitVal = true;

    MmadParams() = default;
    MmadParams(int64_t mIn, int64_t nIn, int64_t kIn, int64_t unit, bool source, bool initial)
        : m(model::field<uint16_t>("MmadParams.m", mIn)), n(model::field<uint16_t>("MmadParams.n", nIn)),
          k(model::field<uint16_t>("MmadParams.k", kIn)), unitFlag(model::field<uint8_t>("MmadParams.unitFlag", unit)),
          cmatrixSource(source), cmatrixInitVal(initial)
    {
    }
};

struct FixpipeParamsV220 {
    uint16_t nSize = 0, mSize = 0, srcStride = 0;
    uint32_t dstStride = 0;
    QuantMode_t quantPre = QuantMode_t::NoQuant;
    uint64_t deqScalar = 0;
    uint16_t ndNum = 1, srcNdStride = 0, dstNdStride = 0;
    bool reluEn = false;
    uint8_t unitFlag = 0;

    FixpipeParamsV220() = default;
    FixpipeParamsV220(int64_t n, int64_t m, int64_t source, int64_t target, bool relu, QuantMode_t quant = QuantMode_t::NoQuant,
                      int64_t scale = 0, int64_t nd = 1, int64_t srcNd = 0, int64_t dstNd = 0, int64_t unit = 0)
        : nSize(model::field<uint16_t>("FixpipeParamsV220.nSize", n)),
          mSize(model::field<uint16_t>("FixpipeParamsV220.mSize", m)),
          srcStride(model::field<uint16_t>("FixpipeParamsV220.srcStride", source)),
          dstStride(model::field<uint32_t>("FixpipeParamsV220.dstStride", target)), quantPre(quant),
          deqScalar(static_cast<uint64_t>(scale)), ndNum(model::field<uint16_t>("FixpipeParamsV220.ndNum", nd)),
          srcNdStride(model::field<uint16_t>("FixpipeParamsV220.srcNdStride", srcNd)),
          dstNdStride(model::field<uint16_t>("FixpipeParamsV220.dstNdStride", dstNd)), reluEn(relu),
          unitFlag(model::field<uint8_t>("FixpipeParamsV220.unitFlag", unit))
    {
    }
};

enum class CO2Layout { NZ, ROW_MAJOR };

struct FixpipeConfig {
    CO2Layout format;
    bool isToUB = false;
};

constexpr FixpipeConfig CFG_NZ = {CO2Layout::NZ};
constexpr FixpipeConfig CFG_ROW_MAJOR = {CO2Layout::ROW_MAJOR};

inline void SetMMRowMajor() { model::current->product_order = model::ProductOrder::ROWS; }
inline void SetMMColumnMajor() { model::current->product_order = model::ProductOrder::COLUMNS; }

} // namespace AscendC

namespace model {

constexpr int64_t FRACTAL = 512;

inline void check_l0(const char *name, int line, Space space, int64_t address)
{
    if (space != L0A && space != L0B) {
        fail(name, line, std::string("fractals go to L0A and L0B, not to ") + SPACE_NAMES[space]);
    }
    check_aligned(name, line, "dst", address, FRACTAL);
}

// A fractal of 16 rows; transposing one of 16-bit elements swaps rows and columns.
inline void store_fractal(uint8_t *target, const uint8_t *source, bool transpose)
{
    if (!transpose) {
        std::memcpy(target, source, FRACTAL);
        return;
    }
    for (int64_t i = 0; i < 256; ++i) {
        std::memcpy(target + (i % 16 * 16 + i / 16) * 2, source + i * 2, 2);
    }
}

inline float scale_of(uint64_t encoded)
{
    return bits<float>(static_cast<uint32_t>(encoded) & 0xffffe000u);  // fixpipe uses 10 bits of the mantissa
}

// One element on its way out of L0C.
template <typename T, typename U>
inline T put_out(U value, const AscendC::FixpipeParamsV220 &p, float scale, const Core &core)
{
    if (p.reluEn && !(value > 0)) {
        value = 0;
    }
    const bool scales = p.quantPre != QuantMode_t::NoQuant && p.quantPre != QuantMode_t::F322F16 &&
                        p.quantPre != QuantMode_t::F322BF16;
    if constexpr (std::is_same_v<T, U>) {
        return value;
    } else {
        const float wide = scales ? static_cast<float>(value) * scale : static_cast<float>(value);
        if constexpr (is_half<T>) {
            const T result = narrowed<T>(wide);
            return core.saturates ? saturated(result) : result;
        } else {
            return clamped<T>(round_whole(wide, Rounding::RINT));
        }
    }
}

template <typename T, typename U>
inline void check_quant(int line, QuantMode_t quant, bool has_scales)
{
    constexpr bool bytes = one_of<T, int8_t, uint8_t>;
    bool fits = false, by_column = false;
    switch (quant) {
    case QuantMode_t::NoQuant:
        fits = std::is_same_v<T, U>;
        break;
    case QuantMode_t::F322F16:
        fits = std::is_same_v<T, half> && std::is_same_v<U, float>;
        break;
    case QuantMode_t::F322BF16:
        fits = std::is_same_v<T, bfloat16_t> && std::is_same_v<U, float>;
        break;
    case QuantMode_t::VDEQF16:
        by_column = true;
        [[fallthrough]];
    case QuantMode_t::DEQF16:
        fits = std::is_same_v<T, half> && std::is_same_v<U, int32_t>;
        break;
    case QuantMode_t::VQF322B8_PRE:
        by_column = true;
        [[fallthrough]];
    case QuantMode_t::QF322B8_PRE:
        fits = bytes && std::is_same_v<U, float>;
        break;
    case QuantMode_t::VREQ8:
        by_column = true;
        [[fallthrough]];
    case QuantMode_t::REQ8:
        fits = bytes && std::is_same_v<U, int32_t>;
        break;
    }
    if (!fits) {
        fail("Fixpipe", line, "this quantPre does not go with the types of src and dst");
    }
    if (by_column != has_scales) {
        fail("Fixpipe", line, "scales by column go with the V modes of quantPre only");
    }
}

// The m x n tile, row by row: `store(row, values of a run of columns from the first on)`.
template <typename T, typename U, typename F>
inline void fixpipe(int line, const AscendC::LocalTensor<U> &src, const AscendC::FixpipeParamsV220 &p,
                    const AscendC::LocalTensor<uint64_t> *scales, int64_t run, bool rows, F store)
{
    if (p.unitFlag && current->product_order != (rows ? ProductOrder::ROWS : ProductOrder::COLUMNS)) {
        fail("Fixpipe", line, "a unit flag needs SetMMRowMajor to GM, SetMMColumnMajor to L1");
    }
    static_assert(one_of<U, float, int32_t>, "L0C holds float and int32");
    check_quant<T, U>(line, p.quantPre, scales != nullptr);
    if (src.space() != L0C) {
        fail("Fixpipe", line, "src is not in L0C");
    }
    check_aligned("Fixpipe", line, "src", src.address(), 64);
    check_range("Fixpipe", line, "nSize", p.nSize, 0, 4095);
    check_range("Fixpipe", line, "ndNum", p.ndNum, 1, 1);
    const AscendC::LocalTensor<uint64_t> table = scales ? *scales : AscendC::LocalTensor<uint64_t>();
    const bool by_column = scales != nullptr;
    issue(PIPE_FIX, "Fixpipe", line, [=](Exec &exec) {
        exec.unit_flag = p.unitFlag != 0;
        std::vector<float> factors(p.nSize, scale_of(p.deqScalar));
        for (int64_t j = 0; by_column && j < p.nSize; ++j) {
            uint64_t encoded;
            std::memcpy(&encoded, read_bytes(exec, table, j * 8, 8), 8);
            factors[j] = scale_of(encoded);
        }
        for (int64_t row = 0; row < p.mSize; ++row) {
            for (int64_t first = 0; first < p.nSize; first += run) {
                std::vector<T> values(std::min<int64_t>(run, p.nSize - first));
                for (int64_t j = first; j < first + static_cast<int64_t>(values.size()); ++j) {
                    U value;
                    const int64_t place = ((j / 16 * p.srcStride + row) * 16 + j % 16) * 4;
                    std::memcpy(&value, read_bytes(exec, src, place, 4), 4);
                    values[j - first] = put_out<T, U>(value, p, factors[j], exec.core);
                }
                store(exec, row, first, values);
            }
        }
    });
}

template <typename T, typename U>
inline void fixpipe_global(int line, const AscendC::GlobalTensor<T> &dst, const AscendC::LocalTensor<U> &src,
                           const AscendC::FixpipeParamsV220 &p, const AscendC::LocalTensor<uint64_t> *scales)
{
    check_range("Fixpipe", line, "mSize", p.mSize, 0, 8192);
    fixpipe<T, U>(line, src, p, scales, 4096, true, [=](Exec &exec, int64_t row, int64_t first, const std::vector<T> &values) {
        uint8_t *target = dst.bytes() + (row * static_cast<int64_t>(p.dstStride) + first) * sizeof(T);
        store_global(exec, target, values.data(), static_cast<int64_t>(values.size()));
    });
}

template <typename T, typename U>
inline void fixpipe_l1(int line, const AscendC::LocalTensor<T> &dst, const AscendC::LocalTensor<U> &src,
                       const AscendC::FixpipeParamsV220 &p, const AscendC::LocalTensor<uint64_t> *scales)
{
    if (dst.space() != L1 || sizeof(T) > 2) {
        fail("Fixpipe", line, "L0C goes to L1 alone, and as 16 or 8 bits");
    }
    constexpr int64_t c0 = BLOCK / static_cast<int64_t>(sizeof(T));
    if (p.nSize % c0) {
        fail("Fixpipe", line, "nSize is " + std::to_string(p.nSize) + ", not a multiple of " + std::to_string(c0));
    }
    check_aligned("Fixpipe", line, "dst", dst.address(), BLOCK);
    fixpipe<T, U>(line, src, p, scales, c0, false, [=](Exec &exec, int64_t row, int64_t first, const std::vector<T> &values) {
        const int64_t place = (first / c0 * static_cast<int64_t>(p.dstStride) + row) * BLOCK;
        std::memcpy(write_bytes(exec, dst, place, BLOCK), values.data(), BLOCK);
    });
}

template <typename T>
inline T element(const uint8_t *bytes, int64_t index)
{
    T value;
    std::memcpy(&value, bytes + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
    return value;
}

// The number at a place, widened. A nibble has a sign.
template <typename T>
inline auto number_at(const uint8_t *bytes, int64_t index)
{
    if constexpr (std::is_same_v<T, AscendC::int4b_t>) {
        const int half = bytes[index / 2] >> index % 2 * 4 & 15;
        return static_cast<int64_t>(half < 8 ? half : half - 16);
    } else if constexpr (std::is_same_v<T, int8_t>) {
        return static_cast<int64_t>(element<T>(bytes, index));
    } else {
        return widened(element<T>(bytes, index));
    }
}

template <typename T, typename U>
inline void multiply_matrices(int line, const AscendC::LocalTensor<T> &dst, const AscendC::LocalTensor<U> &a,
                     const AscendC::LocalTensor<U> &b, const AscendC::LocalTensor<T> *bias, const AscendC::MmadParams &p)
{
    constexpr bool fits = (one_of<U, half, bfloat16_t, float> && std::is_same_v<T, float>) ||
                          (one_of<U, int8_t, AscendC::int4b_t> && std::is_same_v<T, int32_t>);
    static_assert(fits, "the cube multiplies half, bfloat16_t and float to float, int8_t and int4b_t to int32_t");
    if (dst.space() != L0C || a.space() != L0A || b.space() != L0B) {
        fail("Mmad", line, "operands belong in L0C, L0A and L0B");
    }
    check_aligned("Mmad", line, "dst", dst.address(), 1024);
    check_aligned("Mmad", line, "a", a.address(), FRACTAL);
    check_aligned("Mmad", line, "b", b.address(), FRACTAL);
    for (const auto extent : {p.m, p.n, p.k}) {
        check_range("Mmad", line, "an extent", extent, 0, 4095);
    }
    const bool from_bias = (p.cmatrixSource || bias) && !p.cmatrixInitVal;
    if (bias && bias->space() != BT) {
        fail("Mmad", line, "the bias is not in the bias table");
    }
    // Without a tensor the bias is what lies at the start of the table.
    const AscendC::LocalTensor<T> start = bias ? *bias : AscendC::LocalTensor<T>(AscendC::TPosition::C2, 0, 256);
    issue(PIPE_M, "Mmad", line, [=](Exec &exec) {
        if (!p.m || !p.n || !p.k) {
            return;
        }
        constexpr int64_t c0 = std::is_same_v<U, AscendC::int4b_t> ? 64 : BLOCK / static_cast<int64_t>(sizeof(U));
        const int64_t m = (p.m + 15) / 16, n = (p.n + 15) / 16;
        const int64_t k = p.kDirectionAlign ? 2 * ((p.k + 2 * c0 - 1) / (2 * c0)) : (p.k + c0 - 1) / c0;
        const bool gemv = p.m == 1;
        exec.ordered_with_own = m * n >= 10;  // long enough for the one before it to have finished
        exec.unit_flag = p.unitFlag != 0;
        const uint8_t *left = read_bytes(exec, a, 0, gemv ? up(AscendC::bytes_of<U>(p.k), BLOCK) : m * k * FRACTAL);
        const uint8_t *right = read_bytes(exec, b, 0, n * k * FRACTAL);
        const uint8_t *first = from_bias ? read_bytes(exec, start, 0, n * 64) : nullptr;
        const int64_t rows = gemv ? 1 : m * 16;
        for (int64_t j = 0; j < n * 16; ++j) {
            for (int64_t i = 0; i < rows; ++i) {
                const int64_t place = ((j / 16 * m * 16 + i) * 16 + j % 16) * static_cast<int64_t>(sizeof(T));
                T sum = from_bias ? element<T>(first, j) : T(0);
                if (!from_bias && !p.cmatrixInitVal) {
                    sum = element<T>(read_bytes(exec, dst, place, sizeof(T)), 0);
                }
                for (int64_t x = 0; x < p.k; ++x) {
                    const int64_t at = gemv ? x : ((i / 16 * k + x / c0) * 16 + i % 16) * c0 + x % c0;
                    const auto one = number_at<U>(left, at);
                    const auto two = number_at<U>(right, ((x / c0 * n + j / 16) * 16 + j % 16) * c0 + x % c0);
                    sum = static_cast<T>(sum + one * two);
                }
                std::memcpy(write_bytes(exec, dst, place, sizeof(T)), &sum, sizeof(T));
            }
        }
    });
}

} // namespace model

namespace AscendC {

template <typename T>
inline void LoadData(const LocalTensor<T> &dst, const LocalTensor<T> &src, const LoadData2DParams &p,
                     int line = __builtin_LINE())
{
    model::check_l0("LoadData", line, dst.space(), dst.address());
    if (src.space() != model::L1 || (p.ifTranspose && sizeof(T) != 2)) {
        model::fail("LoadData", line, "fractals come from L1, transposed ones with elements of 16 bits");
    }
    model::check_aligned("LoadData", line, "src", src.address(), model::BLOCK);
    model::issue(PIPE_MTE1, "LoadData", line, [=](model::Exec &exec) {
        for (int64_t i = 0; i < p.repeatTimes; ++i) {
            const uint8_t *source =
                model::read_bytes(exec, src, (p.startIndex + i * p.srcStride) * model::FRACTAL, model::FRACTAL);
            uint8_t *target = model::write_bytes(exec, dst, i * (1 + p.dstGap) * model::FRACTAL, model::FRACTAL);
            model::store_fractal(target, source, p.ifTranspose);
        }
    });
}

template <typename T>
inline void LoadData(const LocalTensor<T> &dst, const GlobalTensor<T> &src, const LoadData2DParams &p,
                     int line = __builtin_LINE())
{
    model::check_l0("LoadData", line, dst.space(), dst.address());
    if (p.ifTranspose) {
        model::fail("LoadData", line, "nothing is transposed on the way from GM");
    }
    model::issue(PIPE_MTE2, "LoadData", line, [=](model::Exec &exec) {
        for (int64_t i = 0; i < p.repeatTimes; ++i) {
            const int64_t from = (p.startIndex + i * p.srcStride) * model::FRACTAL;
            const uint8_t *source = exec.read_global(src.bytes() + from, model::FRACTAL);
            uint8_t *target = model::write_bytes(exec, dst, i * (1 + p.dstGap) * model::FRACTAL, model::FRACTAL);
            std::memcpy(target, source, model::FRACTAL);
        }
    });
}

// Squares of fractals: 32x32 bytes, 16x16 of 16 and of 32 bits.
template <typename T>
inline void LoadDataWithTranspose(const LocalTensor<T> &dst, const LocalTensor<T> &src,
                                  const LoadData2dTransposeParams &p, int line = __builtin_LINE())
{
    model::check_l0("LoadDataWithTranspose", line, dst.space(), dst.address());
    model::check_aligned("LoadDataWithTranspose", line, "src", src.address(), model::BLOCK);
    model::issue(PIPE_MTE1, "LoadDataWithTranspose", line, [=](model::Exec &exec) {
        constexpr int64_t size = sizeof(T), fractals = size == 2 ? 1 : 2, side = size == 1 ? 32 : 16;
        const int64_t square = fractals * model::FRACTAL;
        for (int64_t r = 0; r < p.repeatTimes; ++r) {
            const uint8_t *source = model::read_bytes(exec, src, (p.startIndex + r * p.srcStride) * square, square);
            std::vector<uint8_t> turned(square);
            for (int64_t i = 0; i < side * side; ++i) {
                const int64_t row = i / side, column = i % side;
                // Wide squares are two fractals side by side, square ones one below the other.
                const auto at = [](int64_t y, int64_t x) { return size == 4 ? (x / 8 * 16 + y) * 8 + x % 8 : y * side + x; };
                std::memcpy(turned.data() + at(column, row) * size, source + at(row, column) * size, size);
            }
            for (int64_t f = 0; f < fractals; ++f) {
                const int64_t to = (r * (1 + p.dstGap) + f * (1 + p.dstFracGap)) * model::FRACTAL;
                std::memcpy(model::write_bytes(exec, dst, to, model::FRACTAL), turned.data() + f * model::FRACTAL,
                            model::FRACTAL);
            }
        }
    });
}

template <typename T>
inline void LoadData(const LocalTensor<T> &dst, const LocalTensor<T> &src, const LoadData3DParamsV2<T> &p,
                     int line = __builtin_LINE())
{
    model::check_l0("LoadData", line, dst.space(), dst.address());
    constexpr int64_t c0 = model::BLOCK / static_cast<int64_t>(sizeof(T));
    if (p.l1H != 1 || p.enTranspose || dst.space() != model::L0A) {
        model::fail("LoadData", line, "of the 3D form only a matrix to L0A is modelled");
    }
    if (p.mExtension % 16 || p.mStartPt % 16 || p.kExtension % c0 || p.kStartPt % c0) {
        model::fail("LoadData", line, "extensions and starts are multiples of 16 along m and of C0 along k");
    }
    if (p.mStartPt + p.mExtension > p.l1W || p.kStartPt + p.kExtension > p.channelSize) {
        model::fail("LoadData", line, "the tile leaves the matrix");
    }
    model::issue(PIPE_MTE1, "LoadData", line, [=](model::Exec &exec) {
        const int64_t columns = p.kExtension / c0;
        for (int64_t band = 0; band < p.mExtension / 16; ++band) {
            for (int64_t column = 0; column < columns; ++column) {
                const int64_t block = (p.kStartPt / c0 + column) * p.l1W + p.mStartPt + band * 16;
                const uint8_t *source = model::read_bytes(exec, src, block * model::BLOCK, model::FRACTAL);
                const int64_t to = (band * columns + column) * model::FRACTAL;
                std::memcpy(model::write_bytes(exec, dst, to, model::FRACTAL), source, model::FRACTAL);
            }
        }
    });
}

template <typename T, typename U>
inline void Mmad(const LocalTensor<T> &dst, const LocalTensor<U> &a, const LocalTensor<U> &b, const MmadParams &p,
                 int line = __builtin_LINE())
{
    model::multiply_matrices<T, U>(line, dst, a, b, nullptr, p);
}

template <typename T, typename U>
inline void Mmad(const LocalTensor<T> &dst, const LocalTensor<U> &a, const LocalTensor<U> &b,
                 const LocalTensor<T> &bias, const MmadParams &p, int line = __builtin_LINE())
{
    model::multiply_matrices<T, U>(line, dst, a, b, &bias, p);
}

template <typename T, typename U, const FixpipeConfig &config = CFG_ROW_MAJOR>
inline void Fixpipe(const GlobalTensor<T> &dst, const LocalTensor<U> &src, const FixpipeParamsV220 &p,
                    int line = __builtin_LINE())
{
    static_assert(config.format == CO2Layout::ROW_MAJOR && !config.isToUB, "to GM only rows are modelled");
    model::fixpipe_global<T, U>(line, dst, src, p, nullptr);
}

template <typename T, typename U, const FixpipeConfig &config = CFG_ROW_MAJOR>
inline void Fixpipe(const GlobalTensor<T> &dst, const LocalTensor<U> &src, const LocalTensor<uint64_t> &scales,
                    const FixpipeParamsV220 &p, int line = __builtin_LINE())
{
    static_assert(config.format == CO2Layout::ROW_MAJOR && !config.isToUB, "to GM only rows are modelled");
    model::fixpipe_global<T, U>(line, dst, src, p, &scales);
}

template <typename T, typename U, const FixpipeConfig &config>
inline void Fixpipe(const LocalTensor<T> &dst, const LocalTensor<U> &src, const FixpipeParamsV220 &p,
                    int line = __builtin_LINE())
{
    static_assert(config.format == CO2Layout::NZ, "to L1 only NZ exists");
    model::fixpipe_l1<T, U>(line, dst, src, p, nullptr);
}

template <typename T, typename U, const FixpipeConfig &config>
inline void Fixpipe(const LocalTensor<T> &dst, const LocalTensor<U> &src, const LocalTensor<uint64_t> &scales,
                    const FixpipeParamsV220 &p, int line = __builtin_LINE())
{
    static_assert(config.format == CO2Layout::NZ, "to L1 only NZ exists");
    model::fixpipe_l1<T, U>(line, dst, src, p, &scales);
}

} // namespace AscendC
