#include "tables.h"

#include <cmath>
#include <initializer_list>

namespace octavo {

namespace {

struct CosSin {
  double cos, sin;
};

// Additions, multiplications and divisions only (floor is exact), mirrored operation by operation in
// backends/reference/tables.py.
CosSin exact_cos_sin(double angle) {
  double quadrant = std::floor(angle * 0.6366197723675814 + 0.5);
  double r = angle;
  // pi / 2 in three parts of 33 bits (Cody and Waite): the products with the quadrant number are exact.
  for (double part : {1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21})
    r = r - quadrant * part;
  double r2 = r * r, sin = 1.0, cos = 1.0;
  for (int k = 20; k > 0; k -= 2)
    sin = 1.0 - sin * r2 / (k * (k + 1.0));
  sin = sin * r;
  for (int k = 19; k > 0; k -= 2)
    cos = 1.0 - cos * r2 / (k * (k + 1.0));
  switch ((int64_t)quadrant & 3) {
  case 0:
    return {cos, sin};
  case 1:
    return {-sin, cos};
  case 2:
    return {-cos, -sin};
  default:
    return {sin, -cos};
  }
}

} // namespace

void rope_table(int64_t num_positions, int32_t num_pairs, const double *frequencies, double attention_factor,
                float *cos_out, float *sin_out) {
  for (int i = 0; i < num_pairs; i++)
    for (int64_t position = 0; position < num_positions; position++) {
      CosSin value = exact_cos_sin((double)position * frequencies[i]);
      cos_out[position * num_pairs + i] = (float)(value.cos * attention_factor);
      sin_out[position * num_pairs + i] = (float)(value.sin * attention_factor);
    }
}

} // namespace octavo
