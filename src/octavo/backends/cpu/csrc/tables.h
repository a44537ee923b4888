// Constants by our own double-precision code: libm's results differ between processors, these do not.
#pragma once
#include <cstdint>

namespace octavo {

// cos and sin of position * base^(-2i / head_dim): each [num_positions][head_dim / 2].
void rope_table(int64_t num_positions, int32_t head_dim, double base, float *cos_out, float *sin_out);

} // namespace octavo
