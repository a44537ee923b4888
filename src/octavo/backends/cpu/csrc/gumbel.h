// The noise that makes an argmax a sample: a function of (seed, branch, position, token id).
#pragma once
#include "vec16.h"

namespace OCTAVO_KERNEL_NAMESPACE {
namespace {

OCTAVO_INLINE uint64_t splitmix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// -log(E), E exponential, from 32 hashed bits per token id.
OCTAVO_INLINE f32x16 gumbel(uint64_t key, i32x16 token) {
  u32x16 h = ((u32x16)token * 0x9e3779b1u) ^ splat((uint32_t)key);
  h = (h ^ (h >> 16)) * splat((uint32_t)(key >> 32) | 1u);
  h = (h ^ (h >> 15)) * 0x846ca68bu;
  h = h ^ (h >> 16);
  f32x16 high = __builtin_convertvector((i32x16)(h >> 16), f32x16);
  f32x16 low = __builtin_convertvector((i32x16)(h & 0xffffu), f32x16);
  f32x16 uniform = (high * 65536.0f + low) * 0x1p-32f + 0x1p-33f;
  uniform = minimum(uniform, splat(1.0f - 0x1p-24f));
  f32x16 near_zero = uniform + (uniform * uniform) * 0.5f;
  f32x16 exponential = uniform < splat(0x1p-12f) ? near_zero : -log(1.0f - uniform);
  return -log(exponential);
}

// Upper bounds of gumbel(), up to 0.001, without a logarithm: E >= u, and bits of a float grow with its
// logarithm: log2(2^e (1 + f)) >= e + f.
OCTAVO_INLINE FloatPart gumbel_bound(uint64_t key, BitsPart token) {
  BitsPart h = (token * 0x9e3779b1u) ^ (uint32_t)key;
  h = (h ^ (h >> 16)) * ((uint32_t)(key >> 32) | 1u);
  h = (h ^ (h >> 15)) * 0x846ca68bu;
  h = h ^ (h >> 16);
  const FloatPart uniform = __builtin_convertvector((IntPart)(h >> 1), FloatPart); // times 2^-31
  const FloatPart log2_bound = __builtin_convertvector((IntPart)uniform, FloatPart);
  return 109.517255f - log2_bound * 8.2629582e-8f; // (31 + 127) ln 2, ln 2 / 2^23
}

} // namespace
} // namespace OCTAVO_KERNEL_NAMESPACE
