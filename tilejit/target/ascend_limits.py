"""What the fields of V220's instructions can hold.

Source: CANN documentation of each instruction's parameter structs; widths from the devkit's headers where the
documentation is silent (all fields of Nd2NzParams have 16 bits on V220).
"""

from __future__ import annotations

from tilejit.records import dataclass

_U16 = (1 << 16) - 1
_U32 = (1 << 32) - 1


@dataclass(frozen=True)
class InstructionLimits:
    """Largest values of instruction fields.

    Units: as the fields count - repeats, blocks of 32 bytes, elements - or bytes where the name says so.
    """

    repeats: int = 255  # vector instructions, LoadData (uint8)
    vector_stride: int = 255  # blocks; repeat strides are uint8
    copy_rows: int = 4095  # DataCopyParams, DataCopyExtParams: blockCount
    copy_row_bytes: int = 2_097_151  # DataCopyExtParams: blockLen
    copy_gap: int = _U32  # DataCopyExtParams: bytes in GM, blocks in UB
    copy_blocks: int = _U16  # DataCopyParams: blockLen and gaps, in blocks
    nd2nz_matrices: int = 4095
    nd2nz_rows: int = 16384  # nValue
    nd2nz_columns: int = _U16  # dValue, srcDValue and strides of matrices, in elements
    nd2nz_stride: int = 16384  # dstNzC0Stride, dstNzNStride, in blocks
    fractal_stride: int = _U16  # LoadData: startIndex, srcStride, dstGap, in fractals
    tile_rows: int = 32767  # LoadData3DParamsV2: l1W
    tile_extent: int = _U16  # LoadData3DParamsV2: extents, starts, channels
    mmad_extent: int = 4095  # m, n, k
    fixpipe_columns: int = 4095  # nSize
    fixpipe_rows: int = 8192  # mSize, rows to GM
    fixpipe_nz_rows: int = _U16  # mSize, NZ to L1
    fixpipe_stride: int = _U16  # srcStride, in 16 elements


V220_LIMITS = InstructionLimits()
