// CPUID says what the processor has, XCR0 what the operating system saves, and Linux grants AMX tiles on
// request.
#include "dispatch.h"

#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace octavo {

namespace portable {
extern const KernelTable KERNELS;
}
#if defined(OCTAVO_HAS_avx2)
namespace avx2 {
extern const KernelTable KERNELS, KERNELS_WITH_VNNI;
}
namespace avx512 {
extern const KernelTable KERNELS, KERNELS_WITH_VNNI;
}
namespace amx {
extern const KernelTable KERNELS;
}
namespace amx_emulated {
extern const KernelTable KERNELS;
}
#endif

namespace {

struct Build {
  const char *name;
  const KernelTable *table;
  bool (*can_run)();
};

bool always() { return true; }

#if defined(__x86_64__)

bool has_all(uint64_t value, uint64_t bits) { return (value & bits) == bits; }

// XCR0: the register state that the operating system saves and restores; zero when it does not use XSAVE.
uint64_t saved_state() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
    return 0;
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

bool can_run_avx2() {
  unsigned a, b, c, d;
  if (!has_all(saved_state(), 0x6) || !__get_cpuid(1, &a, &b, &c, &d) ||
      !has_all(c, bit_FMA | bit_AVX | bit_F16C))
    return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}

// VPDPBUSD as AVX2 has it: without AVX-512.
bool has_avx_vnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && has_all(a, 1u << 4);
}

bool can_run_avx2_vnni() { return can_run_avx2() && has_avx_vnni(); }
bool can_run_avx2_plain() { return can_run_avx2() && !has_avx_vnni(); }

bool can_run_avx512() {
  unsigned a, b, c, d;
  return can_run_avx2() && has_all(saved_state(), 0xe6) && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
         has_all(b, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ);
}

bool has_vnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && has_all(c, 1u << 11);
}

bool can_run_avx512_vnni() { return can_run_avx512() && has_vnni(); }
bool can_run_avx512_plain() { return can_run_avx512() && !has_vnni(); }

bool can_run_amx() {
  const unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24, amx_int8 = 1u << 25;
  const unsigned avx512_bf16 = 1u << 5;
  const long request_permission = 0x1023, tile_data = 18; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned a, b, c, d;
  return can_run_avx512_vnni() && has_all(saved_state(), 0x600e6) &&
         __get_cpuid_count(7, 0, &a, &b, &c, &d) && has_all(d, amx_bf16 | amx_tile | amx_int8) &&
         __get_cpuid_count(7, 1, &a, &b, &c, &d) && has_all(a, avx512_bf16) &&
         syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

#endif

// For tests, and so only when forced, are those behind the build that always runs.
const Build BUILDS[] = {
#if defined(OCTAVO_HAS_avx2)
    {"amx", &amx::KERNELS, can_run_amx},
    {"avx512", &avx512::KERNELS_WITH_VNNI, can_run_avx512_vnni},
    {"avx512", &avx512::KERNELS, can_run_avx512_plain},
    {"avx2", &avx2::KERNELS_WITH_VNNI, can_run_avx2_vnni},
    {"avx2", &avx2::KERNELS, can_run_avx2_plain},
#endif
    {"portable", &portable::KERNELS, always},
#if defined(OCTAVO_HAS_avx2)
    {"amx_emulated", &amx_emulated::KERNELS, can_run_avx2},
    {"avx512_plain", &avx512::KERNELS, can_run_avx512}, // without VNNI, where there is some, too
    {"avx2_plain", &avx2::KERNELS, can_run_avx2},
#endif
};

} // namespace

const KernelTable *select_kernels(const char *forced) {
  const bool is_forced = forced && *forced;
  for (const Build &build : BUILDS)
    if ((!is_forced || strcmp(forced, build.name) == 0) && build.can_run())
      return build.table;
  return nullptr;
}

const char *available_kernels(int index) {
  for (const Build &build : BUILDS)
    if (build.can_run() && index-- == 0)
      return build.name;
  return nullptr;
}

} // namespace octavo
