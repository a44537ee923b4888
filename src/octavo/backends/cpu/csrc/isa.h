// The namespace of the instruction set this file is being compiled for.
#pragma once

#ifndef OCTAVO_ISA
#error "kernel sources are compiled with -DOCTAVO_ISA=<portable|avx2|avx512|amx|amx_emulated>"
#endif
#define OCTAVO_KERNEL_NAMESPACE octavo::OCTAVO_ISA
#define OCTAVO_INLINE static inline __attribute__((always_inline))
#define OCTAVO_INLINE_MEMBER inline __attribute__((always_inline))
