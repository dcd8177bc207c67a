#include "bindings/families.hpp"
#include "bindings/window.hpp"
#include "ops/pool.hpp"

namespace fastnn {

void bind_pool(py::module_& m) {
  for (const auto& [kind, name] : {std::pair{Pool::max, "max_pool2d"}, std::pair{Pool::average, "average_pool2d"}}) {
    m.def(
        name,
        [kind, name](py::handle x, py::handle pool_size, py::handle strides, const std::string& padding) {
          const auto [size_h, size_w] = as_pair(pool_size, name, "pool_size");
          const auto [stride_h, stride_w] =
              strides.is_none() ? std::pair{size_h, size_w} : as_pair(strides, name, "strides");
          return call1(pool2d(kind, {size_h, size_w, stride_h, stride_w, is_same(padding, name)}), {as_tensor(x, "x")});
        },
        py::arg("x"), py::arg("pool_size") = 2, py::arg("strides") = py::none(), py::arg("padding") = "valid");
  }
  for (const auto& [kind, name] :
       {std::pair{Pool::max, "global_max_pool2d"}, std::pair{Pool::average, "global_average_pool2d"}})
    m.def(
        name, [kind](py::handle x, bool keepdims) { return call1(global_pool2d(kind, keepdims), {as_tensor(x, "x")}); },
        py::arg("x"), py::arg("keepdims") = false);
}

}  // namespace fastnn
