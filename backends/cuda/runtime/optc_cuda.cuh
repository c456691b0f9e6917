// What generated kernels are written in. Compiles as CUDA, and as C++ on a CPU behind optc_emulation.h.
#pragma once

#ifdef OPTC_EMULATION
#include "optc_emulation.h"
#else
#define OPTC_GLOBAL extern "C" __global__
#define OPTC_DEVICE __device__ __forceinline__
#define OPTC_SHARED __shared__
#define OPTC_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define OPTC_UNROLL _Pragma("unroll")
#define OPTC_PRAGMA(text) _Pragma(#text)
#define OPTC_UNROLL_BY(count) OPTC_PRAGMA(unroll count)
#endif

#include "optc_types.cuh"
#include "optc_reduce.cuh"
#include "optc_tile.cuh"
#include "optc_mma.cuh"
#include "optc_attention.cuh"
#include "optc_depthwise.cuh"
