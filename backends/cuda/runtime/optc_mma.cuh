// Tensor cores: a warp multiplies 16 rows by 8 columns over 8 words of k (16 halves or 32 bytes) in one instruction.
//
// Of such a tile lane 4 g + t holds, as words of 4 bytes: of the rows a[0] = (g, t), a[1] = (g + 8, t), a[2] = (g, t + 4),
// a[3] = (g + 8, t + 4); of the columns b[0] = (g, t), b[1] = (g, t + 4); of the sums c[0..1] = (g, 2t..2t+1) and
// c[2..3] = (g + 8, 2t..2t+1) (PTX ISA, "Matrix fragments for mma.m16n8k16").
#pragma once

#ifdef OPTC_EMULATION

template <class Row, class Column, class Sum>
OPTC_DEVICE void optc_mma_tile(Sum (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  struct Words {
    unsigned a[4], b[2];
  } own;
  std::memcpy(own.a, a, sizeof(own.a));
  std::memcpy(own.b, b, sizeof(own.b));
  unsigned char* slots = optc_emulation::exchange();
  std::memcpy(slots + optc_emulation::kSlot * optc_emulation::lane(), &own, sizeof(own));
  optc_emulation::warp_barrier(0xffffffffu);
  const int g = optc_emulation::lane() / 4, t = optc_emulation::lane() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = g + i / 2 * 8, column = 2 * t + i % 2;
    for (int word = 0; word < 8; ++word) {
      Words left, right;
      std::memcpy(&left, slots + optc_emulation::kSlot * (row % 8 * 4 + word % 4), sizeof(left));
      std::memcpy(&right, slots + optc_emulation::kSlot * (column * 4 + word % 4), sizeof(right));
      Row r[4 / sizeof(Row)];
      Column k[4 / sizeof(Column)];
      std::memcpy(r, &left.a[row / 8 + word / 4 * 2], 4);
      std::memcpy(k, &right.b[word / 4], 4);
      for (unsigned n = 0; n < 4 / sizeof(Row); ++n) c[i] += Sum(r[n]) * Sum(k[n]);
    }
  }
  optc_emulation::warp_barrier(0xffffffffu);
}

// Four matrices of 8 rows by 4 words; lane 8 i + j gives the address of row j of matrix i.
OPTC_DEVICE void optc_load_matrices(unsigned (&to)[4], const void* row) {
  unsigned char* slots = optc_emulation::exchange();
  std::memcpy(slots + optc_emulation::kSlot * optc_emulation::lane(), &row, sizeof(row));
  optc_emulation::warp_barrier(0xffffffffu);
  for (int i = 0; i < 4; ++i) {
    const unsigned char* from;
    std::memcpy(&from, slots + optc_emulation::kSlot * (8 * i + optc_emulation::lane() / 4), sizeof(from));
    std::memcpy(&to[i], from + 4 * (optc_emulation::lane() % 4), 4);
  }
  optc_emulation::warp_barrier(0xffffffffu);
}

#else

#define OPTC_MMA_FOUR(shape, types, d, a, b, x)                                                                    \
  asm volatile("mma.sync.aligned." shape ".row.col." types " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
               : "+" x(d[0]), "+" x(d[1]), "+" x(d[2]), "+" x(d[3])                                                 \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#define OPTC_MMA_HALF(d, a0, a1, b)                                                                                \
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"      \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                     \
               : "r"(a0), "r"(a1), "r"(b))
#define OPTC_MMA_BYTES(types, d0, d1, a, b)                                                                        \
  asm volatile("mma.sync.aligned.m8n8k16.row.col." types " {%0,%1}, {%2}, {%3}, {%0,%1};"                          \
               : "+r"(d0), "+r"(d1)                                                                                 \
               : "r"(a), "r"(b))

template <class Row, class Column>
OPTC_DEVICE void optc_mma_tile(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  OPTC_MMA_FOUR("m16n8k16", "f32.f16.f16.f32", c, a, b, "f");
#else
  OPTC_MMA_HALF(c, a[0], a[1], b[0]);
  OPTC_MMA_HALF(c, a[2], a[3], b[1]);
#endif
}

#if __CUDA_ARCH__ >= 800
#define OPTC_MMA_INTEGERS(types) OPTC_MMA_FOUR("m16n8k32", types, c, a, b, "r")
#else
#define OPTC_MMA_INTEGERS(types)                    \
  do {                                              \
    OPTC_MMA_BYTES(types, c[0], c[1], a[0], b[0]);  \
    OPTC_MMA_BYTES(types, c[2], c[3], a[1], b[0]);  \
    OPTC_MMA_BYTES(types, c[0], c[1], a[2], b[1]);  \
    OPTC_MMA_BYTES(types, c[2], c[3], a[3], b[1]);  \
  } while (0)
#endif

template <class Row, class Column>
OPTC_DEVICE void optc_mma_tile(int (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  constexpr bool kSignedRow = Row(-1) < Row(0), kSignedColumn = Column(-1) < Column(0);
  if constexpr (kSignedRow && kSignedColumn) {
    OPTC_MMA_INTEGERS("s32.s8.s8.s32");
  } else if constexpr (kSignedRow) {
    OPTC_MMA_INTEGERS("s32.s8.u8.s32");
  } else if constexpr (kSignedColumn) {
    OPTC_MMA_INTEGERS("s32.u8.s8.s32");
  } else {
    OPTC_MMA_INTEGERS("s32.u8.u8.s32");
  }
}

OPTC_DEVICE void optc_load_matrices(unsigned (&to)[4], const void* row) {
  const unsigned address = (unsigned)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address));
}

#endif

// A block of warps, each of which has `warp_rows` by `warp_columns` sums; for optc_tile.
template <int rows, int columns, int depth, int warp_rows, int warp_columns>
struct optc_mma {
  static constexpr int kRows = rows, kColumns = columns, kDepth = depth;
  static constexpr bool kInner = true;
  static constexpr int kAcross = columns / warp_columns;
  static constexpr int kThreads = 32 * kAcross * (rows / warp_rows);
  static constexpr int kDown = warp_rows / 16, kSide = warp_columns / 8;
  static_assert(warp_rows % 16 == 0 && warp_columns % 16 == 0, "whole fragments only");

  template <class Accumulator>
  struct Sums {
    Accumulator v[kDown][kSide][4];

    OPTC_DEVICE void clear() {
      OPTC_UNROLL
      for (int i = 0; i < kDown; ++i)
        OPTC_UNROLL
        for (int j = 0; j < kSide; ++j)
          OPTC_UNROLL
          for (int e = 0; e < 4; ++e) v[i][j][e] = Accumulator(0);
    }

    template <int row_pitch, int column_pitch, class Row, class Column>
    OPTC_DEVICE void multiply(const Row* row, const Column* column) {
      constexpr int kWord = 4 / (int)sizeof(Row);
      const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
      const Row* from_row = row + (warp / kAcross * warp_rows + lane % 16) * row_pitch + lane / 16 * 4 * kWord;
      const Column* from_column = column + (warp % kAcross * warp_columns + lane % 8 + lane / 16 * 8) * column_pitch +
                                  lane / 8 % 2 * 4 * kWord;
      OPTC_UNROLL
      for (int k = 0; k < depth; k += 8 * kWord) {
        unsigned a[kDown][4], b[kSide][2];
        OPTC_UNROLL
        for (int i = 0; i < kDown; ++i) optc_load_matrices(a[i], from_row + i * 16 * row_pitch + k);
        OPTC_UNROLL
        for (int j = 0; j < kSide; j += 2) {
          unsigned both[4];
          optc_load_matrices(both, from_column + j * 8 * column_pitch + k);
          b[j][0] = both[0];
          b[j][1] = both[1];
          b[j + 1][0] = both[2];
          b[j + 1][1] = both[3];
        }
        OPTC_UNROLL
        for (int i = 0; i < kDown; ++i)
          OPTC_UNROLL
          for (int j = 0; j < kSide; ++j) optc_mma_tile<Row, Column>(v[i][j], a[i], b[j]);
      }
    }

    template <class Visit>
    OPTC_DEVICE void each(const Visit& visit) const {
      const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
      OPTC_UNROLL
      for (int i = 0; i < kDown; ++i)
        OPTC_UNROLL
        for (int j = 0; j < kSide; ++j)
          OPTC_UNROLL
          for (int e = 0; e < 4; ++e)
            visit(warp / kAcross * warp_rows + i * 16 + lane / 4 + e / 2 * 8,
                  warp % kAcross * warp_columns + j * 8 + lane % 4 * 2 + e % 2, v[i][j][e]);
    }
  };
};
