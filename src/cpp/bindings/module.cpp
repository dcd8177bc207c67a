#include "bindings/families.hpp"

PYBIND11_MODULE(_core, m) {
  m.doc() = "fastnn's C++ core. Use it through the fastnn package.";
#define FASTNN_BIND(family) fastnn::bind_##family(m);
  FASTNN_BINDING_FAMILIES(FASTNN_BIND)
#undef FASTNN_BIND
}
