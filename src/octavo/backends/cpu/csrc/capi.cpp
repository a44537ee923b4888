#include "capi.h"

#include <cstdio>
#include <cstring>
#include <exception>

#include "dispatch.h"
#include "executor.h"
#include "tables.h"
#include "workspace.h"

namespace {

int fail(const char *message, char *error, size_t error_size) {
  snprintf(error, error_size, "%s", message);
  return 1;
}

} // namespace

OCTAVO_API const char *octavo_built_from(void) { return OCTAVO_BUILT_FROM; }

OCTAVO_API const char *octavo_default_isa(void) { return octavo::select_kernels(nullptr)->name; }

OCTAVO_API int octavo_has_isa(const char *isa) { return octavo::select_kernels(isa) != nullptr; }

OCTAVO_API void octavo_rope_table(int64_t num_positions, int32_t num_pairs, const double *frequencies,
                                  double attention_factor, float *cos, float *sin) {
  octavo::rope_table(num_positions, num_pairs, frequencies, attention_factor, cos, sin);
}

OCTAVO_API int octavo_executor_bytes(const octavo::ExecutorDesc *desc, const char *isa,
                                     octavo::WorkspaceBytes *bytes) {
  const octavo::KernelTable *kernels = octavo::select_kernels(isa);
  if (!kernels)
    return 1;
  *bytes = octavo::Workspace(*desc, *kernels).bytes(*desc);
  return 0;
}

OCTAVO_API void *octavo_executor_create(const octavo::ExecutorDesc *desc, const char *isa, char *error,
                                        size_t error_size) {
  const octavo::KernelTable *kernels = octavo::select_kernels(isa);
  if (!kernels) {
    fail("this processor cannot run the instruction set asked for", error, error_size);
    return nullptr;
  }
  try {
    return new octavo::Executor(*desc, *kernels);
  } catch (const std::exception &) {
    fail("not enough memory for the KV cache and the workspace", error, error_size);
    return nullptr;
  }
}

OCTAVO_API void octavo_executor_destroy(void *executor) { delete (octavo::Executor *)executor; }

OCTAVO_API int octavo_executor_forward(void *executor, const octavo::StepDesc *step,
                                       const octavo::ResultDesc *results, char *error, size_t error_size) {
  octavo::Executor &self = *(octavo::Executor *)executor;
  const std::string refusal = self.check(*step);
  if (!refusal.empty())
    return fail(refusal.c_str(), error, error_size);
  self.forward(*step, *results);
  return 0;
}

OCTAVO_API void octavo_executor_sample(void *executor, const octavo::ResultDesc *results,
                                       const uint32_t *masks) {
  ((octavo::Executor *)executor)->sample(*results, masks);
}

OCTAVO_API int octavo_executor_touch_ahead(void *executor) {
  return ((octavo::Executor *)executor)->touch_ahead();
}

OCTAVO_API const void *octavo_executor_buffer(void *executor, int32_t buffer, int64_t *stride) {
  return ((octavo::Executor *)executor)->buffer(buffer, stride);
}
