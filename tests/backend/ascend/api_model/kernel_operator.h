// A small model of the part of the AscendC API that emitted kernels use, for any C++17 compiler: it runs kernels
// on the host with the hardware's rules - in-order pipes, flags, separate memories, field widths - and reports
// races and broken limits. Made from the public documentation of the API; see also run.h.
#pragma once

#define __aicore__
#define __global__
#define __vector__
#define __cube__
#define __mix__(cube, vector)
#define __gm__
#define GM_ADDR uint8_t *
#define KERNEL_TASK_TYPE_DEFAULT(type) static_assert(true, "")
#define ASCEND_IS_AIC (::model::current->kind == ::model::Kind::AIC)
#define ASCEND_IS_AIV (::model::current->kind == ::model::Kind::AIV)

#include "cube.h"
#include "queue.h"
#include "reduce.h"
#include "select.h"
#include "vector.h"
#include "vector_move.h"
