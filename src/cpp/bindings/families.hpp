// One function per binding file; module.cpp calls them in this order.
#pragma once
#include <pybind11/pybind11.h>

#define FASTNN_BINDING_FAMILIES(X) \
  X(errors)                        \
  X(runtime)                       \
  X(tensor)                        \
  X(graph)                         \
  X(programs)                      \
  X(custom)                        \
  X(elementwise)                   \
  X(dense)                         \
  X(shape)                         \
  X(reduce)                        \
  X(indexing)                      \
  X(conv)                          \
  X(pool)                          \
  X(norm)                          \
  X(loss)                          \
  X(random)                        \
  X(optimizer)

namespace fastnn {
#define FASTNN_DECLARE(family) void bind_##family(pybind11::module_& m);
FASTNN_BINDING_FAMILIES(FASTNN_DECLARE)
#undef FASTNN_DECLARE
}  // namespace fastnn
