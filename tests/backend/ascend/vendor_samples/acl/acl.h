// What the host programs of the vendor's samples call, on the API model: device memory is host memory.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "run.h"

using aclrtStream = void *;
enum aclrtMemMallocPolicy { ACL_MEM_MALLOC_HUGE_FIRST };
enum aclrtMemcpyKind { ACL_MEMCPY_HOST_TO_DEVICE, ACL_MEMCPY_DEVICE_TO_HOST };

namespace host {

inline std::vector<model::GlobalArgument> device_memory;

enum class Cores { CUBE, VECTOR, MIXED };

inline void launch(int blocks, Cores cores, const std::function<void()> &kernel)
{
    const int vectors = cores == Cores::MIXED ? 2 : cores == Cores::VECTOR ? 1 : 0;
    const std::string error = model::run(blocks, cores != Cores::VECTOR, vectors, device_memory, kernel);
    if (!error.empty()) {
        std::fprintf(stderr, "%s\n", error.c_str());
        std::exit(3);
    }
}

} // namespace host

inline int aclInit(const char *) { return 0; }
inline int aclFinalize() { return 0; }
inline int aclrtSetDevice(int) { return 0; }
inline int aclrtResetDevice(int) { return 0; }
inline int aclrtCreateStream(aclrtStream *) { return 0; }
inline int aclrtDestroyStream(aclrtStream) { return 0; }
inline int aclrtSynchronizeStream(aclrtStream) { return 0; }

inline int aclrtMallocHost(void **address, size_t size)
{
    *address = std::malloc(size);
    return 0;
}

inline int aclrtMalloc(void **address, size_t size, aclrtMemMallocPolicy)
{
    *address = std::malloc(size);
    std::memset(*address, 0xff, size);
    host::device_memory.push_back({static_cast<uint8_t *>(*address), size});
    return 0;
}

inline int aclrtFree(void *) { return 0; }
inline int aclrtFreeHost(void *) { return 0; }

inline int aclrtMemset(void *target, size_t room, int value, size_t size)
{
    if (size > room) {
        std::abort();
    }
    std::memset(target, value, size);
    return 0;
}

inline int aclrtMemcpy(void *target, size_t room, const void *source, size_t size, aclrtMemcpyKind)
{
    if (size > room) {
        std::abort();
    }
    std::memcpy(target, source, size);
    return 0;
}
