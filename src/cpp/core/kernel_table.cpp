#include "core/cpu.hpp"
#include "kernels/table.hpp"

namespace fastnn {
namespace kernels {

#define FASTNN_DECLARE(family, type)                                            \
  void register_##family##_baseline(Kernels<float>& f32, Kernels<double>& f64); \
  void register_##family##_avx2(Kernels<float>& f32, Kernels<double>& f64);     \
  void register_##family##_avx512(Kernels<float>& f32, Kernels<double>& f64);   \
  void register_##family##_avx2x16(Kernels<float>& f32, Kernels<double>& f64);
FASTNN_KERNEL_FAMILIES(FASTNN_DECLARE)
#undef FASTNN_DECLARE

}  // namespace kernels

namespace {

struct Tables {
  kernels::Kernels<float> f32{};
  kernels::Kernels<double> f64{};
  Tables() {
    switch (active_isa()) {
#define FASTNN_FILL(isa, family) kernels::register_##family##_##isa(f32, f64);
#define FASTNN_BASELINE(family, type) FASTNN_FILL(baseline, family)
#define FASTNN_AVX2(family, type) FASTNN_FILL(avx2, family)
#define FASTNN_AVX512(family, type) FASTNN_FILL(avx512, family)
#define FASTNN_AVX2X16(family, type) FASTNN_FILL(avx2x16, family)
#if defined(__x86_64__)
      case Isa::avx512:
        FASTNN_KERNEL_FAMILIES(FASTNN_AVX512) break;
      case Isa::avx2:
        FASTNN_KERNEL_FAMILIES(FASTNN_AVX2) break;
#endif
#if defined(FASTNN_TEST_ISA)
      case Isa::avx2x16:
        FASTNN_KERNEL_FAMILIES(FASTNN_AVX2X16) break;
#endif
      default:
        FASTNN_KERNEL_FAMILIES(FASTNN_BASELINE)
    }
  }
};

const Tables& tables() {
  static const Tables tables;
  return tables;
}

}  // namespace

template <>
const kernels::Kernels<float>& kernels_for<float>() {
  return tables().f32;
}
template <>
const kernels::Kernels<double>& kernels_for<double>() {
  return tables().f64;
}

}  // namespace fastnn
