// arithmetic.h: CUDA's device functions on numbers, and its loads and stores with a cache hint.
#pragma once

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldca(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T, class V>
void __stcs(T* p, V value) {
  *p = value;
}
template <class T, class V>
void __stcg(T* p, V value) {
  *p = value;
}

// CUDA's overloads of min and max take mixed types; of a number and a NaN they return the number.
template <class A, class B>
constexpr std::common_type_t<A, B> min(A first, B second) {
  const std::common_type_t<A, B> a = first, b = second;
  return b < a || a != a ? b : a;
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A first, B second) {
  const std::common_type_t<A, B> a = first, b = second;
  return a < b || a != a ? b : a;
}

// ---- integers ----
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
inline int __clzll(long long v) { return v ? __builtin_clzll((unsigned long long)v) : 64; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline unsigned __brev(unsigned v) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; bit++) reversed |= (v >> bit & 1) << (31 - bit);
  return reversed;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
  return by & 31 ? high << (by & 31) | low >> (32 - (by & 31)) : high;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
  return by & 31 ? low >> (by & 31) | high << (32 - (by & 31)) : low;
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const unsigned long long bytes = (unsigned long long)high << 32 | low;
  unsigned result = 0;
  for (int i = 0; i < 4; i++) {
    const unsigned choice = selector >> 4 * i & 15, byte = (unsigned)(bytes >> 8 * (choice & 7)) & 255;
    result |= (choice & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * i;  // the fourth bit spreads the sign
  }
  return result;
}

namespace emulator {
// Products of `count` elements of B, from bit `shift` of b, with as many elements of A from bit 0 of a; sums wrap.
template <class A, class B, class Sum>
Sum dot(int count, unsigned a, unsigned b, int shift, Sum sum) {
  unsigned total = (unsigned)sum;
  for (int i = 0; i < count; i++) {
    const long long left = (A)(a >> 8 * sizeof(A) * i), right = (B)(b >> (shift + 8 * sizeof(B) * i));
    total += (unsigned)(left * right);
  }
  return (Sum)total;
}
typedef unsigned char u8;
typedef signed char s8;
typedef unsigned short u16;
typedef short s16;
}  // namespace emulator
#define EMULATOR_DOT(name, Number, A, B, count, shift)                     \
  inline Number name(Number a, Number b, Number c) {                       \
    return emulator::dot<emulator::A, emulator::B>(count, a, b, shift, c); \
  }
EMULATOR_DOT(__dp4a, unsigned, u8, u8, 4, 0)
EMULATOR_DOT(__dp4a, int, s8, s8, 4, 0)
EMULATOR_DOT(__dp2a_lo, unsigned, u16, u8, 2, 0)
EMULATOR_DOT(__dp2a_lo, int, s16, s8, 2, 0)
EMULATOR_DOT(__dp2a_hi, unsigned, u16, u8, 2, 16)
EMULATOR_DOT(__dp2a_hi, int, s16, s8, 2, 16)

// ---- floating point: <math.h> has the functions of double and, with an f, of float; CUDA has one name for both ----
#define EMULATOR_OF_ONE(name) \
  inline float name(float x) { return __builtin_##name##f(x); }
#define EMULATOR_OF_TWO(name) \
  inline float name(float x, float y) { return __builtin_##name##f(x, y); }
EMULATOR_OF_ONE(fabs)
EMULATOR_OF_ONE(floor)
EMULATOR_OF_ONE(ceil)
EMULATOR_OF_ONE(trunc)
EMULATOR_OF_ONE(rint)
EMULATOR_OF_ONE(nearbyint)
EMULATOR_OF_ONE(round)
EMULATOR_OF_ONE(sqrt)
EMULATOR_OF_ONE(cbrt)
EMULATOR_OF_ONE(exp)
EMULATOR_OF_ONE(exp2)
EMULATOR_OF_ONE(expm1)
EMULATOR_OF_ONE(log)
EMULATOR_OF_ONE(log2)
EMULATOR_OF_ONE(log10)
EMULATOR_OF_ONE(log1p)
EMULATOR_OF_ONE(sin)
EMULATOR_OF_ONE(cos)
EMULATOR_OF_ONE(tan)
EMULATOR_OF_ONE(asin)
EMULATOR_OF_ONE(acos)
EMULATOR_OF_ONE(atan)
EMULATOR_OF_ONE(tanh)
EMULATOR_OF_ONE(erf)
EMULATOR_OF_ONE(erfc)
EMULATOR_OF_TWO(atan2)
EMULATOR_OF_TWO(copysign)
EMULATOR_OF_TWO(fmax)
EMULATOR_OF_TWO(fmin)
EMULATOR_OF_TWO(fmod)
EMULATOR_OF_TWO(hypot)
EMULATOR_OF_TWO(pow)
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
inline float ldexp(float x, int exponent) { return ldexpf(x, exponent); }
inline float abs(float x) { return fabsf(x); }
inline double abs(double x) { return ::fabs(x); }
inline long long abs(long long x) { return llabs(x); }
inline long abs(long x) { return labs(x); }
#define EMULATOR_ROUNDED(T, prefix, suffix)                 \
  inline T prefix##add_##suffix(T a, T b) { return a + b; } \
  inline T prefix##sub_##suffix(T a, T b) { return a - b; } \
  inline T prefix##mul_##suffix(T a, T b) { return a * b; } \
  inline T prefix##div_##suffix(T a, T b) { return a / b; }
EMULATOR_ROUNDED(float, __f, rn)
EMULATOR_ROUNDED(double, __d, rn)
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return ::fma(a, b, c); }
// Down: the nearest float, or its neighbour where that is above the sum, of which double keeps what it rounds off.
inline float __fadd_rd(float a, float b) {
  const double sum = (double)a + b, of_b = sum - a, rest = (a - (sum - of_b)) + (b - of_b);
  const float nearest = (float)sum;
  return nearest > sum || (nearest == sum && rest < 0) ? nextafterf(nearest, -INFINITY) : nearest;
}
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline double __dsqrt_rn(double x) { return ::sqrt(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline double __drcp_rn(double x) { return 1.0 / x; }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }
// Exact to the last digit here, within one or two units of it on a GPU.
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline double rsqrt(double x) { return 1.0 / ::sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float sinpif(float x) { return (float)::sin(3.14159265358979323846 * ::fmod((double)x, 2.0)); }
inline float cospif(float x) { return (float)::cos(3.14159265358979323846 * ::fmod((double)x, 2.0)); }
inline double sinpi(double x) { return (double)sinl(3.14159265358979323846264338327950288L * fmodl(x, 2)); }
inline double cospi(double x) { return (double)cosl(3.14159265358979323846264338327950288L * fmodl(x, 2)); }
inline void sincospif(float x, float* s, float* c) { *s = sinpif(x), *c = cospif(x); }
inline void sincospi(double x, double* s, double* c) { *s = sinpi(x), *c = cospi(x); }

// ---- conversions: they saturate, and a NaN gives 0 ----
namespace emulator {
template <class Integer>
Integer saturating(double x) {
  constexpr bool is_signed = std::is_signed<Integer>::value;
  const double top = ldexp(1.0, 8 * (int)sizeof(Integer) - is_signed), bottom = is_signed ? -top : 0.0;
  if (x != x) return 0;
  if (x >= top) return is_signed ? (Integer)(~0ull >> (65 - 8 * sizeof(Integer))) : (Integer)~0ull;
  return x <= bottom ? (is_signed ? (Integer)(1ull << (8 * sizeof(Integer) - 1)) : 0) : (Integer)x;
}
}  // namespace emulator
#define EMULATOR_CONVERSIONS(Integer, Real, real, integer)                                                       \
  inline Integer __##real##2##integer##_rn(Real x) { return emulator::saturating<Integer>(::rint((double)x)); }  \
  inline Integer __##real##2##integer##_rd(Real x) { return emulator::saturating<Integer>(::floor((double)x)); } \
  inline Integer __##real##2##integer##_ru(Real x) { return emulator::saturating<Integer>(::ceil((double)x)); }  \
  inline Integer __##real##2##integer##_rz(Real x) { return emulator::saturating<Integer>((double)x); }          \
  inline Real __##integer##2##real##_rn(Integer i) { return (Real)i; }
EMULATOR_CONVERSIONS(int, float, float, int)
EMULATOR_CONVERSIONS(unsigned, float, float, uint)
EMULATOR_CONVERSIONS(long long, float, float, ll)
EMULATOR_CONVERSIONS(unsigned long long, float, float, ull)
EMULATOR_CONVERSIONS(int, double, double, int)
EMULATOR_CONVERSIONS(unsigned, double, double, uint)
EMULATOR_CONVERSIONS(long long, double, double, ll)
EMULATOR_CONVERSIONS(unsigned long long, double, double, ull)
inline float __double2float_rn(double x) { return (float)x; }

namespace emulator {
template <class To, class From>
To as(From from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
}  // namespace emulator
inline int __float_as_int(float x) { return emulator::as<int>(x); }
inline unsigned __float_as_uint(float x) { return emulator::as<unsigned>(x); }
inline float __int_as_float(int x) { return emulator::as<float>(x); }
inline float __uint_as_float(unsigned x) { return emulator::as<float>(x); }
inline long long __double_as_longlong(double x) { return emulator::as<long long>(x); }
inline double __longlong_as_double(long long x) { return emulator::as<double>(x); }
inline double __hiloint2double(int high, int low) {
  return emulator::as<double>((unsigned long long)(unsigned)high << 32 | (unsigned)low);
}
inline int __double2hiint(double x) { return (int)(emulator::as<unsigned long long>(x) >> 32); }
inline int __double2loint(double x) { return (int)emulator::as<unsigned long long>(x); }
