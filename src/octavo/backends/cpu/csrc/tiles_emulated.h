// AMX tiles in plain C++, bit for bit: the build `amx_emulated` runs every line of the AMX kernels on
// processors that have no tiles. Slow, for tests. The order within TDPBF16PS is that of linear_block.h,
// chunk(), checked against the hardware; like the hardware it is only defined with denormals flushed, as
// FloatMode sets.
#pragma once
#include <cstdint>
#include <cstring>

#include "isa.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

struct EmulatedTiles {
  static constexpr int COUNT = 8, MAX_ROWS = 16, MAX_ROW_BYTES = 64;

  uint8_t rows[COUNT];
  uint16_t row_bytes[COUNT];
  alignas(64) uint8_t data[COUNT][MAX_ROWS][MAX_ROW_BYTES];

  // config: 64 bytes as LDTILECFG reads them.
  void configure(const void *config) {
    memcpy(row_bytes, (const uint8_t *)config + 16, sizeof row_bytes);
    memcpy(rows, (const uint8_t *)config + 48, sizeof rows);
    memset(data, 0, sizeof data);
  }
  void zero(int tile) { memset(data[tile], 0, sizeof data[tile]); }
  void load(int tile, const void *from, int64_t stride) {
    zero(tile);
    for (int row = 0; row < rows[tile]; row++)
      memcpy(data[tile][row], (const uint8_t *)from + row * stride, row_bytes[tile]);
  }
  void store(int tile, void *to, int64_t stride) const {
    for (int row = 0; row < rows[tile]; row++)
      memcpy((uint8_t *)to + row * stride, data[tile][row], row_bytes[tile]);
  }
  // sum[m][n] += x[m][k] * w[k][n], x and w in pairs of bf16.
  void multiply(int sum, int x, int w) {
    require_shapes(sum, x, w);
    const int columns = row_bytes[sum] / 4, pairs = row_bytes[x] / 4;
    for (int m = 0; m < rows[sum]; m++) {
      float even[MAX_ROW_BYTES / 4] = {}, odd[MAX_ROW_BYTES / 4] = {};
      for (int k = 0; k < pairs; k++)
        for (int n = 0; n < columns; n++) {
          even[n] = __builtin_fmaf(value(x, m, 2 * k), value(w, k, 2 * n), even[n]);
          odd[n] = __builtin_fmaf(value(x, m, 2 * k + 1), value(w, k, 2 * n + 1), odd[n]);
        }
      float *total = (float *)data[sum][m];
      for (int n = 0; n < columns; n++)
        total[n] += even[n] + odd[n];
    }
  }
  // The same of signed bytes, four to a word.
  void multiply_bytes(int sum, int x, int w) {
    require_shapes(sum, x, w);
    const int columns = row_bytes[sum] / 4, words = row_bytes[x] / 4;
    for (int m = 0; m < rows[sum]; m++)
      for (int n = 0; n < columns; n++) {
        int32_t total;
        memcpy(&total, data[sum][m] + 4 * n, 4);
        for (int k = 0; k < words; k++)
          for (int i = 0; i < 4; i++)
            total += (int8_t)data[x][m][4 * k + i] * (int8_t)data[w][k][4 * n + i];
        memcpy(data[sum][m] + 4 * n, &total, 4);
      }
  }

private:
  // Others are an invalid opcode.
  void require_shapes(int sum, int x, int w) const {
    if (rows[sum] != rows[x] || row_bytes[sum] != row_bytes[w] || row_bytes[x] != 4 * rows[w])
      __builtin_trap();
  }
  float value(int tile, int row, int index) const {
    uint16_t half;
    memcpy(&half, data[tile][row] + 2 * index, 2);
    const uint32_t bits = (uint32_t)half << 16;
    float result;
    memcpy(&result, &bits, 4);
    return result;
  }
};

thread_local EmulatedTiles emulated_tiles;

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig(config) emulated_tiles.configure(config)
#define _tile_release() emulated_tiles.zero(0)
#define _tile_zero(tile) emulated_tiles.zero(tile)
#define _tile_loadd(tile, from, stride) emulated_tiles.load(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated_tiles.store(tile, to, stride)
#define _tile_dpbf16ps(sum, x, w) emulated_tiles.multiply(sum, x, w)
#define _tile_dpbssd(sum, x, w) emulated_tiles.multiply_bytes(sum, x, w)
