// Reductions over the lanes of a warp and the warps of a block.
#pragma once

template <class T>
OPTC_DEVICE T optc_shuffle_xor(T value, int mask, int width) {
  if constexpr (sizeof(T) == 8) {
    return optc_bits<T>(__shfl_xor_sync(0xffffffffu, optc_bits<long long>(value), mask, width));
  } else if constexpr (sizeof(T) == 4) {
    return optc_bits<T>(__shfl_xor_sync(0xffffffffu, optc_bits<int>(value), mask, width));
  } else {
    int wide = 0;
    __builtin_memcpy(&wide, &value, sizeof(T));
    wide = __shfl_xor_sync(0xffffffffu, wide, mask, width);
    __builtin_memcpy(&value, &wide, sizeof(T));
    return value;
  }
}

// Combine `value`, which has `combine(other)` and `shuffled(mask, width)`, over groups of `width` neighbouring lanes.
template <int width, class Partial>
OPTC_DEVICE void optc_reduce_lanes(Partial& value) {
  OPTC_UNROLL
  for (int mask = width / 2; mask > 0; mask /= 2) value.combine(value.shuffled(mask, width));
}

// Combine over a block of `threads`; every thread gets the result.
template <int threads, class Partial>
OPTC_DEVICE void optc_reduce_block(Partial& value) {
  static_assert(threads % 32 == 0, "whole warps only");
  optc_reduce_lanes<32>(value);
  if constexpr (threads > 32) {
    OPTC_SHARED Partial partial[threads / 32];
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    __syncthreads();
    value = partial[0];
    for (int i = 1; i < threads / 32; ++i) value.combine(partial[i]);
    __syncthreads();
  }
}
