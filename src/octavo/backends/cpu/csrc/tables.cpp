#include "tables.h"

#include <cmath>
#include <initializer_list>

namespace octavo {

namespace {

// Additions, multiplications and divisions only (frexp, ldexp and floor are exact), mirrored operation by
// operation in backends/reference/tables.py.
double exact_log(double x) {
  int e;
  double m = std::frexp(x, &e);
  if (m < 0.75) {
    m = 2 * m;
    e = e - 1;
  }
  double s = (m - 1.0) / (m + 1.0);
  double s2 = s * s;
  double series = 0.0;
  for (int k = 27; k > 0; k -= 2)
    series = series * s2 + 1.0 / k;
  return 2.0 * s * series + e * 0.6931471805599453;
}

double exact_exp(double x) {
  double n = std::floor(x / 0.6931471805599453 + 0.5);
  double r = x - n * 0.6931471805599453;
  double series = 1.0;
  for (int k = 18; k > 0; k--)
    series = series * r / k + 1.0;
  return std::ldexp(series, (int)n);
}

struct CosSin {
  double cos, sin;
};

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

void rope_table(int64_t num_positions, int32_t head_dim, double base, float *cos_out, float *sin_out) {
  const double log_base = exact_log(base);
  const int pairs = head_dim / 2;
  for (int i = 0; i < pairs; i++) {
    const double frequency = exact_exp(-(2.0 * i / head_dim) * log_base);
    for (int64_t position = 0; position < num_positions; position++) {
      CosSin value = exact_cos_sin((double)position * frequency);
      cos_out[position * pairs + i] = (float)value.cos;
      sin_out[position * pairs + i] = (float)value.sin;
    }
  }
}

} // namespace octavo
