#include "bindings/families.hpp"
#include "bindings/window.hpp"
#include "ops/conv.hpp"

namespace fastnn {

void bind_conv(py::module_& m) {
  m.def(
      "conv2d",
      [](py::handle x, py::handle kernel, py::handle bias, py::handle strides, const std::string& padding,
         py::handle dilation_rate, int64_t groups) {
        const auto [stride_h, stride_w] = as_pair(strides, "conv2d", "strides");
        const auto [dilation_h, dilation_w] = as_pair(dilation_rate, "conv2d", "dilation_rate");
        const ConvParams params{stride_h, stride_w, dilation_h, dilation_w, groups, is_same(padding, "conv2d")};
        const Tensor w = as_tensor(kernel, "kernel");
        const Tensor t = as_tensor(x, "x");
        if (bias.is_none()) return call1(conv2d(params, false), {t, w});
        return call1(conv2d(params, true), {t, w, as_tensor(bias, "bias")});
      },
      py::arg("x"), py::arg("kernel"), py::arg("bias") = py::none(), py::arg("strides") = 1,
      py::arg("padding") = "valid", py::arg("dilation_rate") = 1, py::arg("groups") = 1);
}

}  // namespace fastnn
