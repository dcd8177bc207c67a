#include "bindings/families.hpp"
#include "bindings/window.hpp"
#include "ops/pool.hpp"

namespace fastnn {

namespace {

struct Name {
  Pool kind;
  int rank;
  const char* name;
};

}  // namespace

void bind_pool(py::module_& m) {
  for (const auto& [kind, rank, name] :
       {Name{Pool::max, 1, "max_pool1d"}, Name{Pool::max, 2, "max_pool2d"}, Name{Pool::average, 1, "average_pool1d"},
        Name{Pool::average, 2, "average_pool2d"}})
    m.def(
        name,
        [kind = kind, rank = rank, name = name](py::handle x, py::handle pool_size, py::handle strides,
                                                const std::string& padding) {
          const auto [size_h, size_w] = as_sizes(rank, pool_size, name, "pool_size");
          const auto [stride_h, stride_w] =
              strides.is_none() ? std::pair{size_h, size_w} : as_sizes(rank, strides, name, "strides");
          return call1(pool(kind, {rank, size_h, size_w, stride_h, stride_w, as_padding(padding, name)}),
                       {as_tensor(x, "x")});
        },
        py::arg("x"), py::arg("pool_size") = 2, py::arg("strides") = py::none(), py::arg("padding") = "valid");
  for (const auto& [kind, rank, name] :
       {Name{Pool::max, 1, "global_max_pool1d"}, Name{Pool::max, 2, "global_max_pool2d"},
        Name{Pool::average, 1, "global_average_pool1d"}, Name{Pool::average, 2, "global_average_pool2d"}})
    m.def(
        name,
        [kind = kind, rank = rank](py::handle x, bool keepdims) {
          return call1(global_pool(kind, rank, keepdims), {as_tensor(x, "x")});
        },
        py::arg("x"), py::arg("keepdims") = false);
}

}  // namespace fastnn
