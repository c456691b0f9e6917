// Convolutions with one input channel a group: a thread makes `rows` by `columns` neighbouring results of one channel.
//
// Each row of data is read once into registers and meets every row of the kernel that it belongs to.
//
// A Problem has
//   using Accumulator;
//   static constexpr int kChannels, kHeight, kWidth;            // of the result; kImages of them
//   static constexpr int kDataHeight, kDataWidth, kKernelRows, kKernelColumns, kStrideY, kStrideX, kDilationY, kDilationX,
//                        kBeforeY, kBeforeX;
//   Accumulator data(int n, int c, int y, int x) const;         // c counts channels of the result
//   Accumulator weight(int c, int y, int x) const;
//   void finish(int n, int c, int y, int x, Accumulator sum) const;
#pragma once

template <int rows, int columns, int threads, class Problem>
OPTC_DEVICE void optc_depthwise(const Problem& problem) {
  using P = Problem;
  using Accumulator = typename P::Accumulator;
  constexpr int kAcross = (P::kWidth + columns - 1) / columns, kDown = (P::kHeight + rows - 1) / rows;
  constexpr int kTiles = P::kImages * P::kChannels * kDown * kAcross;
  constexpr int kDataRows = (rows - 1) * P::kStrideY + (P::kKernelRows - 1) * P::kDilationY + 1;
  constexpr int kDataColumns = (columns - 1) * P::kStrideX + (P::kKernelColumns - 1) * P::kDilationX + 1;
  const int i = blockIdx.x * threads + threadIdx.x;
  if (i >= kTiles) return;
  const int x = i % kAcross * columns, y = i / kAcross % kDown * rows;
  const int c = i / (kAcross * kDown) % P::kChannels, n = i / (kAcross * kDown * P::kChannels);
  const int data_y = y * P::kStrideY - P::kBeforeY, data_x = x * P::kStrideX - P::kBeforeX;

  Accumulator weight[P::kKernelRows][P::kKernelColumns];
  OPTC_UNROLL
  for (int ky = 0; ky < P::kKernelRows; ++ky)
    OPTC_UNROLL
    for (int kx = 0; kx < P::kKernelColumns; ++kx) weight[ky][kx] = problem.weight(c, ky, kx);
  Accumulator sum[rows][columns];
  OPTC_UNROLL
  for (int r = 0; r < rows; ++r)
    OPTC_UNROLL
    for (int k = 0; k < columns; ++k) sum[r][k] = Accumulator(0);
  OPTC_UNROLL
  for (int dy = 0; dy < kDataRows; ++dy) {
    const int at = data_y + dy;
    const bool row = at >= 0 && at < P::kDataHeight;
    Accumulator data[kDataColumns];
    OPTC_UNROLL
    for (int dx = 0; dx < kDataColumns; ++dx) {
      const int from = data_x + dx;
      data[dx] = row && from >= 0 && from < P::kDataWidth ? problem.data(n, c, at, from) : Accumulator(0);
    }
    OPTC_UNROLL
    for (int r = 0; r < rows; ++r) {
      const int tap = dy - r * P::kStrideY;
      if (tap < 0 || tap % P::kDilationY || tap / P::kDilationY >= P::kKernelRows) continue;
      OPTC_UNROLL
      for (int k = 0; k < columns; ++k)
        OPTC_UNROLL
        for (int kx = 0; kx < P::kKernelColumns; ++kx)
          sum[r][k] += data[k * P::kStrideX + kx * P::kDilationX] * weight[tap / P::kDilationY][kx];
    }
  }
  OPTC_UNROLL
  for (int r = 0; r < rows; ++r)
    OPTC_UNROLL
    for (int k = 0; k < columns; ++k)
      if (y + r < P::kHeight && x + k < P::kWidth) problem.finish(n, c, y + r, x + k, sum[r][k]);
}
