// How a kernel file enters the table: FASTNN_REGISTER(family) { f32.family = ...; f64.family = ...; } defines the one
// external symbol of the file, register_<family>_<isa>.
#pragma once
#include "kernels/table.hpp"

#define FASTNN_JOIN_(a, b, c) a##b##_##c
#define FASTNN_JOIN(a, b, c) FASTNN_JOIN_(a, b, c)
#define FASTNN_REGISTER(family) \
  void FASTNN_JOIN(register_, family, FASTNN_ISA)(Kernels<float> & f32, Kernels<double> & f64)
