// AMX tiles: how a thread configures them, for linear layers and for attention.
#pragma once
#include <cstdint>
#include <immintrin.h>

#include "isa.h"
#if defined(OCTAVO_EMULATED_TILES)
#include "tiles_emulated.h"
#endif

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

constexpr int TILE_ROWS = 16;
constexpr int TILE_ROW_BYTES = 64;

// Every tile 16 rows of 64 bytes, until set otherwise.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};

  OCTAVO_INLINE_MEMBER void load() const {
    asm volatile("" ::"r"(this)
                 : "memory"); // GCC 12 deletes the stores that fill the configuration without it
    _tile_loadconfig(this);
  }
};

// Tile loads do not tell the compiler what they read.
OCTAVO_INLINE void memory_barrier() { asm volatile("" ::: "memory"); }

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
