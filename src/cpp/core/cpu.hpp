// Which instruction set the kernels run on: picked once at import from CPUID; FASTNN_ISA forces one.
#pragma once
#include <string>
#include <vector>

namespace fastnn {

enum class Isa { baseline, avx2, avx512, avx2x16 };  // avx2x16: test builds only, see CMakeLists.txt

const char* name(Isa isa);
std::vector<Isa> supported_isas();  // by this CPU and this build, best last
Isa active_isa();                   // ValueError when FASTNN_ISA names one that is unknown or that the CPU lacks

}  // namespace fastnn
