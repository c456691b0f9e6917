// Products of two operands in tiles of rows by columns: C[r][c] = sum over k of R[r][k] * C[k][c], for each batch z.
//
// A block computes one tile. The operands of the next step over k are on their way to registers while the present ones
// are multiplied out of shared memory, of which there are two halves: one barrier a step.
//
// A Problem has
//   using Accumulator;  Row row;  Column column;
//   static constexpr int kRows, kColumns, kTiles;           // extents; steps over k
//   using Math;                                             // optc_simt<...> or optc_mma<...>
//   void finish(int z, int r, int c, Accumulator sum) const // stores what follows from one element
// and a Side (Row, Column)
//   using Element;
//   static constexpr int kOrder;   // which index is contiguous where it is read
//   static constexpr int kVector;  // elements of one read
//   struct Place; Place place(int z, int w) const;
//   optc_pack<Element, kVector> read(const Place&, int tile, int kk) const     // or, of a side in panels,
//   optc_pack<Element, kVector> panel(int z, int w_tile, int tile, int piece) const
#pragma once

constexpr int kAlong = 0;   // neighbours along the rows or columns
constexpr int kDeep = 1;    // neighbours along k
constexpr int kPanels = 2;  // packed as tiles are laid out in shared memory
constexpr int kCoded = 3;   // packed in runs along k of codes of a few bits, run by run of neighbouring rows or columns

template <class T, int n>
struct alignas(sizeof(T) * n) optc_pack {
  T v[n];
};

// The codes of run `unit` of a stream of bits, which begins at a word; two words more than it needs may be read.
template <int bits, bool is_signed, class Byte>
OPTC_DEVICE void optc_unpack(const Byte* stream, int unit, int (&codes)[8]) {
  const unsigned* words = reinterpret_cast<const unsigned*>(stream) + unit * bits / 4;
  const int shift = unit * bits % 4 * 8;
  const unsigned low = __funnelshift_r(words[0], words[1], shift);
  const unsigned high = bits > 4 ? __funnelshift_r(words[1], words[2], shift) : 0;
  OPTC_UNROLL
  for (int i = 0; i < 8; ++i) {
    const int at = i * bits;
    unsigned code = at < 32 ? low >> (at % 32) : high >> (at % 32);
    if (at < 32 && at + bits > 32) code |= high << (32 - at % 32);
    code &= (1u << bits) - 1u;
    codes[i] = is_signed ? (int)(code ^ (1u << (bits - 1))) - (1 << (bits - 1)) : (int)code;
  }
}

// Reads the tiles of one side; `inner_k`: shared memory has k innermost.
template <class Side, int width, int depth, int threads, bool inner_k>
struct optc_loader {
  using Element = typename Side::Element;
  // Single elements that lie across are gathered along k until they fill a word of shared memory.
  static constexpr bool kGathers = inner_k && Side::kOrder == kAlong && Side::kVector == 1 && sizeof(Element) < 4;
  static constexpr int kVector = kGathers ? 4 / (int)sizeof(Element) : Side::kVector;
  static constexpr bool kPacked = Side::kOrder == kPanels || Side::kOrder == kCoded;
  static constexpr bool kCodes = Side::kOrder == kCoded;
  static constexpr int kPieces = width * depth / kVector;
  static constexpr int kCount = (kPieces + threads - 1) / threads;
  static constexpr bool kWhole = kPieces % threads == 0;
  static constexpr bool kFast = Side::kOrder == kPanels ? inner_k : Side::kOrder == kDeep;  // k runs fastest
  static constexpr int kRun = kGathers || kCodes ? width : (kFast ? depth : width) / kVector;
  static constexpr bool kOnePlace = !kFast && threads % kRun == 0;
  static constexpr int kPlaces = kPacked || kOnePlace ? 1 : kCount;
  // Rows of shared memory are a few words longer: columns of it lie in different banks.
  static constexpr int kPitch = inner_k ? depth + 16 / (int)sizeof(Element) : width + 16 / (int)sizeof(Element);
  static constexpr int kSize = inner_k ? width * kPitch : depth * kPitch;

  const Side& side;
  const int z, w_tile;
  typename Side::Place places[kPlaces];
  optc_pack<Element, kVector> held[kCount];

  static OPTC_DEVICE int w_of(int piece) { return kFast ? piece / kRun : piece % kRun * (kGathers || kCodes ? 1 : kVector); }
  static OPTC_DEVICE int k_of(int piece) { return kFast ? piece % kRun * kVector : piece / kRun * (kGathers || kCodes ? kVector : 1); }

  OPTC_DEVICE optc_loader(const Side& side, int z, int w_tile) : side(side), z(z), w_tile(w_tile) {
    if constexpr (!kPacked) {
      OPTC_UNROLL
      for (int j = 0; j < kPlaces; ++j) places[j] = side.place(z, w_tile * width + w_of(threadIdx.x + j * threads));
    }
  }

  OPTC_DEVICE void read(int tile) {
    OPTC_UNROLL
    for (int j = 0; j < kCount; ++j) {
      const int piece = threadIdx.x + j * threads;
      if (!kWhole && piece >= kPieces) continue;
      if constexpr (kPacked) {
        held[j] = side.panel(z, w_tile, tile, piece);
      } else if constexpr (kGathers) {
        OPTC_UNROLL
        for (int i = 0; i < kVector; ++i)
          held[j].v[i] = side.read(places[kOnePlace ? 0 : j], tile, k_of(piece) + i).v[0];
      } else {
        held[j] = side.read(places[kOnePlace ? 0 : j], tile, k_of(piece));
      }
    }
  }

  OPTC_DEVICE void write(Element* shared) const {
    OPTC_UNROLL
    for (int j = 0; j < kCount; ++j) {
      const int piece = threadIdx.x + j * threads;
      if (!kWhole && piece >= kPieces) continue;
      const int w = w_of(piece), k = k_of(piece);
      if constexpr (kGathers || (kCodes ? inner_k : kFast == inner_k)) {
        *reinterpret_cast<optc_pack<Element, kVector>*>(shared + (inner_k ? w * kPitch + k : k * kPitch + w)) = held[j];
      } else {
        OPTC_UNROLL
        for (int i = 0; i < kVector; ++i) {
          shared[inner_k ? (w + i) * kPitch + k : (k + i) * kPitch + w] = held[j].v[i];
        }
      }
    }
  }
};

// Register tiles of `tile_rows` by `tile_columns` elements a thread.
template <int rows, int columns, int depth, int tile_rows, int tile_columns>
struct optc_simt {
  static constexpr int kRows = rows, kColumns = columns, kDepth = depth;
  static constexpr bool kInner = false;
  static constexpr int kAcross = columns / tile_columns, kDown = rows / tile_rows;
  static constexpr int kThreads = kAcross * kDown;
  static constexpr int kRowRun = tile_rows % 4 ? (tile_rows % 2 ? 1 : 2) : 4;
  static constexpr int kColumnRun = tile_columns % 4 ? (tile_columns % 2 ? 1 : 2) : 4;

  template <class Accumulator>
  struct Sums {
    Accumulator v[tile_rows][tile_columns];

    OPTC_DEVICE void clear() {
      OPTC_UNROLL
      for (int i = 0; i < tile_rows; ++i)
        OPTC_UNROLL
        for (int j = 0; j < tile_columns; ++j) v[i][j] = Accumulator(0);
    }

    template <int row_pitch, int column_pitch, class Row, class Column>
    OPTC_DEVICE void multiply(const Row* row, const Column* column) {
      const int down = threadIdx.x / kAcross, across = threadIdx.x % kAcross;
      OPTC_UNROLL
      for (int k = 0; k < depth; ++k) {
        optc_pack<Row, kRowRun> r[tile_rows / kRowRun];
        optc_pack<Column, kColumnRun> c[tile_columns / kColumnRun];
        OPTC_UNROLL
        for (int i = 0; i < tile_rows / kRowRun; ++i)
          r[i] = *reinterpret_cast<const optc_pack<Row, kRowRun>*>(row + k * row_pitch +
                                                                       (i * kDown + down) * kRowRun);
        OPTC_UNROLL
        for (int j = 0; j < tile_columns / kColumnRun; ++j)
          c[j] = *reinterpret_cast<const optc_pack<Column, kColumnRun>*>(column + k * column_pitch +
                                                                          (j * kAcross + across) * kColumnRun);
        OPTC_UNROLL
        for (int i = 0; i < tile_rows; ++i)
          OPTC_UNROLL
          for (int j = 0; j < tile_columns; ++j)
            v[i][j] += Accumulator(r[i / kRowRun].v[i % kRowRun]) * Accumulator(c[j / kColumnRun].v[j % kColumnRun]);
      }
    }

    template <class Visit>
    OPTC_DEVICE void each(const Visit& visit) const {
      const int down = threadIdx.x / kAcross, across = threadIdx.x % kAcross;
      OPTC_UNROLL
      for (int i = 0; i < tile_rows; ++i)
        OPTC_UNROLL
        for (int j = 0; j < tile_columns; ++j)
          visit((i / kRowRun * kDown + down) * kRowRun + i % kRowRun,
                (j / kColumnRun * kAcross + across) * kColumnRun + j % kColumnRun, v[i][j]);
    }
  };
};

template <class Problem>
OPTC_DEVICE void optc_tile(const Problem& problem) {
  using Math = typename Problem::Math;
  using Accumulator = typename Problem::Accumulator;
  using RowLoader = optc_loader<typename Problem::Row, Math::kRows, Math::kDepth, Math::kThreads, Math::kInner>;
  using ColumnLoader =
      optc_loader<typename Problem::Column, Math::kColumns, Math::kDepth, Math::kThreads, Math::kInner>;
  OPTC_SHARED __attribute__((aligned(16))) typename RowLoader::Element shared_rows[2][RowLoader::kSize];
  OPTC_SHARED __attribute__((aligned(16))) typename ColumnLoader::Element shared_columns[2][ColumnLoader::kSize];
  constexpr int kColumnTiles = (Problem::kColumns + Math::kColumns - 1) / Math::kColumns;
  const int z = blockIdx.z;
  const int r_tile = blockIdx.x / kColumnTiles, c_tile = blockIdx.x % kColumnTiles;
  // Each part of the sum over k is a block of its own.
  constexpr int kPart = (Problem::kTiles + Problem::kParts - 1) / Problem::kParts;
  const int first = Problem::kParts > 1 ? (int)blockIdx.y * kPart : 0;
  const int last = first + kPart < Problem::kTiles ? first + kPart : Problem::kTiles;

  RowLoader rows(problem.row, z, r_tile);
  ColumnLoader columns(problem.column, z, c_tile);
  typename Math::template Sums<Accumulator> sums;
  sums.clear();
  rows.read(first);
  columns.read(first);
  rows.write(shared_rows[0]);
  columns.write(shared_columns[0]);
  __syncthreads();
  for (int tile = first; tile < last; ++tile) {
    const int half = (tile - first) & 1;
    if (tile + 1 < last) {
      rows.read(tile + 1);
      columns.read(tile + 1);
    }
    sums.template multiply<RowLoader::kPitch, ColumnLoader::kPitch>(shared_rows[half], shared_columns[half]);
    if (tile + 1 < last) {
      rows.write(shared_rows[half ^ 1]);
      columns.write(shared_columns[half ^ 1]);
    }
    __syncthreads();
  }
  sums.each([&](int i, int j, Accumulator sum) {
    const int r = r_tile * Math::kRows + i, c = c_tile * Math::kColumns + j;
    if (r < Problem::kRows && c < Problem::kColumns) problem.finish(z, r, c, sum);
  });
}
