// Found before the devkit's file of this name: its basic API alone, which is all that emitted kernels use.
#define __ASCENDC_INCLUDE_INTERNAL_HEADERS__
#include "kernel_tpipe.h"
#include "kernel_tensor.h"
#include "kernel_type.h"
#include "kernel_basic_intf.h"
#undef __ASCENDC_INCLUDE_INTERNAL_HEADERS__
