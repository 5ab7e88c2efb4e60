#ifndef VECTOR_ADD_TILING_H
#define VECTOR_ADD_TILING_H

#include <cstdint>

struct VectorAddTiling {
    int32_t n;
};

#endif // VECTOR_ADD_TILING_H
