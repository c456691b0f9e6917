// softmax(s Q K^T + mask) V in one pass over the keys, without a matrix of scores in global memory.
//
// A block has some queries of one head. Each block of keys raises the running maximum of every query, and what was
// summed before is scaled down to it (Milakov and Gimelshein 2018; Dao et al., FlashAttention, 2022). `lanes` threads
// of a warp share `rows` queries: each scores every lanes-th key, and sums its part of the columns of the values.
//
// A Problem has
//   static constexpr int kQueries, kKeys, kDepth, kWidth;    // kDepth of queries and keys, kWidth of values
//   float query(int z, int i, int d) const; key(z, j, d); value(z, j, d);  // z counts heads and batches
//   float masked(int z, int i, int j, float score) const;    // minus infinity where the key is not attended to
//   void finish(int z, int i, int d, float sum) const;
#pragma once

template <int rows, int lanes, int keys, int threads, class Problem>
OPTC_DEVICE void optc_attention(const Problem& problem) {
  constexpr int kQueries = threads / lanes * rows;
  constexpr int kDepth = (Problem::kDepth + 3) / 4 * 4, kPitch = kDepth + 4;
  constexpr int kColumns = ((Problem::kWidth + lanes - 1) / lanes + 3) / 4 * 4;  // of a thread
  constexpr int kWidth = kColumns * lanes, kValuePitch = kWidth + 4;
  constexpr int kScored = keys / lanes;
  using Four = optc_pack<float, 4>;
  OPTC_SHARED __attribute__((aligned(16))) float query[kQueries * kPitch];
  OPTC_SHARED __attribute__((aligned(16))) float key[keys * kPitch];
  OPTC_SHARED __attribute__((aligned(16))) float value[keys * kValuePitch];
  OPTC_SHARED __attribute__((aligned(16))) float power[kQueries * (keys + 4)];
  const int z = blockIdx.y, first = blockIdx.x * kQueries;
  const int lane = threadIdx.x % lanes, own = threadIdx.x / lanes * rows;

  for (int e = threadIdx.x; e < kQueries * kDepth; e += threads) {
    const int i = e / kDepth, d = e % kDepth;
    const bool inside = first + i < Problem::kQueries && d < Problem::kDepth;
    query[i * kPitch + d] = inside ? problem.query(z, first + i, d) : 0.0f;
  }
  float highest[rows], total[rows], sum[rows][kColumns];
  OPTC_UNROLL
  for (int i = 0; i < rows; ++i) {
    highest[i] = -3.4028234663852886e38f;
    total[i] = 0.0f;
    OPTC_UNROLL
    for (int c = 0; c < kColumns; ++c) sum[i][c] = 0.0f;
  }
  for (int start = 0; start < Problem::kKeys; start += keys) {
    __syncthreads();
    for (int e = threadIdx.x; e < keys * kDepth; e += threads) {
      const int j = e / kDepth, d = e % kDepth;
      const bool inside = start + j < Problem::kKeys && d < Problem::kDepth;
      key[j * kPitch + d] = inside ? problem.key(z, start + j, d) : 0.0f;
    }
    for (int e = threadIdx.x; e < keys * kWidth; e += threads) {
      const int j = e / kWidth, d = e % kWidth;
      const bool inside = start + j < Problem::kKeys && d < Problem::kWidth;
      value[j * kValuePitch + d] = inside ? problem.value(z, start + j, d) : 0.0f;
    }
    __syncthreads();
    float score[rows][kScored];
    OPTC_UNROLL
    for (int i = 0; i < rows; ++i)
      OPTC_UNROLL
      for (int j = 0; j < kScored; ++j) score[i][j] = 0.0f;
    OPTC_UNROLL_BY(4)
    for (int d = 0; d < kDepth; d += 4) {
      Four q[rows], k[kScored];
      OPTC_UNROLL
      for (int i = 0; i < rows; ++i) q[i] = *reinterpret_cast<const Four*>(query + (own + i) * kPitch + d);
      OPTC_UNROLL
      for (int j = 0; j < kScored; ++j) k[j] = *reinterpret_cast<const Four*>(key + (lane + j * lanes) * kPitch + d);
      OPTC_UNROLL
      for (int i = 0; i < rows; ++i)
        OPTC_UNROLL
        for (int j = 0; j < kScored; ++j)
          OPTC_UNROLL
          for (int n = 0; n < 4; ++n) score[i][j] += q[i].v[n] * k[j].v[n];
    }
    OPTC_UNROLL
    for (int i = 0; i < rows; ++i) {
      float raised = highest[i];
      OPTC_UNROLL
      for (int j = 0; j < kScored; ++j) {
        const int query_at = first + own + i, key_at = start + lane + j * lanes;
        const bool inside = query_at < Problem::kQueries && key_at < Problem::kKeys;
        score[i][j] = inside ? problem.masked(z, query_at, key_at, score[i][j]) : -optc_infinity();
        raised = optc_max(raised, score[i][j]);
      }
      OPTC_UNROLL
      for (int mask = lanes / 2; mask > 0; mask /= 2) raised = optc_max(raised, optc_shuffle_xor(raised, mask, 32));
      const float scale = expf(highest[i] - raised);
      highest[i] = raised;
      float part = 0.0f;
      OPTC_UNROLL
      for (int j = 0; j < kScored; ++j) {
        const float p = expf(score[i][j] - raised);
        power[(own + i) * (keys + 4) + lane + j * lanes] = p;
        part += p;
      }
      OPTC_UNROLL
      for (int mask = lanes / 2; mask > 0; mask /= 2) part += optc_shuffle_xor(part, mask, 32);
      total[i] = total[i] * scale + part;
      OPTC_UNROLL
      for (int c = 0; c < kColumns; ++c) sum[i][c] *= scale;
    }
    __syncwarp();
    for (int j = 0; j < keys; j += 4) {
      Four p[rows];
      OPTC_UNROLL
      for (int i = 0; i < rows; ++i) p[i] = *reinterpret_cast<const Four*>(power + (own + i) * (keys + 4) + j);
      OPTC_UNROLL
      for (int n = 0; n < 4; ++n)
        OPTC_UNROLL
        for (int c = 0; c < kColumns; c += 4) {
          const Four v = *reinterpret_cast<const Four*>(value + (j + n) * kValuePitch + (c * lanes + lane * 4));
          OPTC_UNROLL
          for (int i = 0; i < rows; ++i)
            OPTC_UNROLL
            for (int m = 0; m < 4; ++m) sum[i][c + m] += p[i].v[n] * v.v[m];
        }
    }
  }
  OPTC_UNROLL
  for (int i = 0; i < rows; ++i) {
    const float factor = total[i] == 0.0f ? 0.0f : 1.0f / total[i];
    OPTC_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      const int query_at = first + own + i, d = c / 4 * 4 * lanes + lane * 4 + c % 4;
      if (query_at < Problem::kQueries && d < Problem::kWidth) problem.finish(z, query_at, d, sum[i][c] * factor);
    }
  }
}
