// Denormals flushed (FTZ and DAZ), rounding to nearest, for the calling thread while this lives.
#pragma once
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace octavo {

class FloatMode {
public:
#if defined(__x86_64__)
  FloatMode() : saved_(_mm_getcsr()) { _mm_setcsr(0x9fc0); } // all exceptions masked, nearest, FTZ, DAZ
  ~FloatMode() { _mm_setcsr((unsigned)saved_); }
#elif defined(__aarch64__)
  FloatMode() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(uint64_t{1} << 24)); // FZ: flushes inputs and results
  }
  ~FloatMode() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }
#endif
  FloatMode(const FloatMode &) = delete;
  FloatMode &operator=(const FloatMode &) = delete;

private:
  uint64_t saved_;
};

} // namespace octavo
