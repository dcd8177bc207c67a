#include "core/cpu.hpp"

#include <cstdlib>

#include "core/error.hpp"

namespace fastnn {

const char* name(Isa isa) {
  constexpr const char* names[] = {"baseline", "avx2", "avx512", "avx2x16"};
  return names[static_cast<int>(isa)];
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas{Isa::baseline};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
#if defined(FASTNN_TEST_ISA)
    isas.push_back(Isa::avx2x16);
#endif
    isas.push_back(Isa::avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
      isas.push_back(Isa::avx512);
  }
#endif
  return isas;
}

Isa active_isa() {
  static const Isa active = [] {
    const auto isas = supported_isas();
    const char* forced = std::getenv("FASTNN_ISA");
    if (!forced || !*forced) return isas.back();
    std::string known;
    for (Isa isa : isas) {
      if (std::string(forced) == name(isa)) return isa;
      known += known.empty() ? name(isa) : cat(", ", name(isa));
    }
    throw ValueError(cat("FASTNN_ISA: expected one that this CPU has (", known, "), got '", forced, "'"));
  }();
  return active;
}

}  // namespace fastnn
