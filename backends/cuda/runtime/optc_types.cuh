// Element types, and the arithmetic that C++ leaves open.
#pragma once

template <class To, class From>
OPTC_DEVICE To optc_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "sizes differ");
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

OPTC_DEVICE float optc_infinity() { return optc_bits<float>(0x7f800000); }
OPTC_DEVICE float optc_nan() { return optc_bits<float>(0x7fc00000); }

template <class T>
OPTC_DEVICE T optc_min(T a, T b) { return a < b ? a : b; }
template <class T>
OPTC_DEVICE T optc_max(T a, T b) { return a > b ? a : b; }

template <class T>
OPTC_DEVICE T optc_floor_div(T a, T b) {
  T q = a / b;
  return q - (a % b != 0 && (a < 0) != (b < 0));
}
template <class T>
OPTC_DEVICE T optc_floor_mod(T a, T b) {
  T r = a % b;
  return r + ((r != 0 && (r < 0) != (b < 0)) ? b : T(0));
}

#ifdef OPTC_EMULATION
OPTC_DEVICE float optc_half_to_float(unsigned short bits) {
  const unsigned sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, fraction = bits & 0x3ffu;
  if (exponent == 31) return optc_bits<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent) return optc_bits<float>(sign | (exponent + 112u) << 23 | fraction << 13);
  const float small = (float)fraction * 5.9604644775390625e-8f;
  return sign ? -small : small;
}
OPTC_DEVICE unsigned short optc_float_to_half(float value) {
  const unsigned bits = optc_bits<unsigned>(value), sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return sign | 0x7e00u;
  if (size >= 0x477ff000u) return sign | 0x7c00u;
  if (size < 0x38800000u) {
    // Adding half a unit of the smallest half aligns the fraction; the hardware rounds it to the nearest even.
    const float shifted = optc_bits<float>(size) + 0.5f;
    return sign | (optc_bits<unsigned>(shifted) - 0x3f000000u);
  }
  const unsigned rounded = size + 0xfffu + ((size >> 13) & 1u);
  return sign | ((rounded - 0x38000000u) >> 13);
}
#else
OPTC_DEVICE float optc_half_to_float(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
OPTC_DEVICE unsigned short optc_float_to_half(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
#endif

// Each operation rounds once: f32 holds the exact product of two halves, and more than twice their precision.
struct optc_half {
  unsigned short bits;
  OPTC_DEVICE optc_half() {}
  OPTC_DEVICE explicit optc_half(float value) : bits(optc_float_to_half(value)) {}
  OPTC_DEVICE explicit optc_half(double value) : bits(optc_float_to_half((float)value)) {}
  OPTC_DEVICE explicit optc_half(int value) : bits(optc_float_to_half((float)value)) {}
  OPTC_DEVICE explicit optc_half(long long value) : bits(optc_float_to_half((float)value)) {}
  OPTC_DEVICE explicit optc_half(unsigned value) : bits(optc_float_to_half((float)value)) {}
  OPTC_DEVICE explicit optc_half(unsigned char value) : bits(optc_float_to_half((float)value)) {}
  OPTC_DEVICE explicit optc_half(signed char value) : bits(optc_float_to_half((float)value)) {}
  OPTC_DEVICE explicit optc_half(bool value) : bits(optc_float_to_half(value ? 1.0f : 0.0f)) {}
  OPTC_DEVICE explicit operator float() const { return optc_half_to_float(bits); }
  OPTC_DEVICE explicit operator double() const { return optc_half_to_float(bits); }
  OPTC_DEVICE explicit operator int() const { return (int)optc_half_to_float(bits); }
  OPTC_DEVICE explicit operator long long() const { return (long long)optc_half_to_float(bits); }
  OPTC_DEVICE explicit operator signed char() const { return (signed char)optc_half_to_float(bits); }
  OPTC_DEVICE explicit operator unsigned char() const { return (unsigned char)optc_half_to_float(bits); }
  OPTC_DEVICE explicit operator bool() const { return optc_half_to_float(bits) != 0.0f; }
};

struct optc_bfloat {
  unsigned short bits;
  OPTC_DEVICE optc_bfloat() {}
  OPTC_DEVICE explicit optc_bfloat(float value) {
    const unsigned raw = optc_bits<unsigned>(value);
    const bool number = (raw & 0x7fffffffu) <= 0x7f800000u;
    bits = (unsigned short)((number ? raw + 0x7fffu + ((raw >> 16) & 1u) : raw | 0x400000u) >> 16);
  }
  OPTC_DEVICE explicit operator float() const { return optc_bits<float>((unsigned)bits << 16); }
};

#define OPTC_NARROW(type)                                                                                         \
  OPTC_DEVICE type operator+(type a, type b) { return type((float)a + (float)b); }                               \
  OPTC_DEVICE type operator-(type a, type b) { return type((float)a - (float)b); }                               \
  OPTC_DEVICE type operator*(type a, type b) { return type((float)a * (float)b); }                               \
  OPTC_DEVICE type operator/(type a, type b) { return type((float)a / (float)b); }                               \
  OPTC_DEVICE bool operator<(type a, type b) { return (float)a < (float)b; }                                     \
  OPTC_DEVICE bool operator>(type a, type b) { return (float)a > (float)b; }                                     \
  OPTC_DEVICE bool operator<=(type a, type b) { return (float)a <= (float)b; }                                   \
  OPTC_DEVICE bool operator>=(type a, type b) { return (float)a >= (float)b; }                                   \
  OPTC_DEVICE bool operator==(type a, type b) { return (float)a == (float)b; }                                   \
  OPTC_DEVICE bool operator!=(type a, type b) { return (float)a != (float)b; }
OPTC_NARROW(optc_half)
OPTC_NARROW(optc_bfloat)
#undef OPTC_NARROW
