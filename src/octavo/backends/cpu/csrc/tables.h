// Constants by our own double-precision code: libm's results differ between processors, these do not.
#pragma once
#include <cstdint>

namespace octavo {

// cos and sin of position * frequency, times attention_factor: each [num_positions][num_pairs].
void rope_table(int64_t num_positions, int32_t num_pairs, const double *frequencies, double attention_factor,
                float *cos_out, float *sin_out);

} // namespace octavo
