#include <pybind11/stl.h>

#include "bindings/families.hpp"
#include "bindings/window.hpp"
#include "ops/conv.hpp"

namespace fastnn {

namespace {

constexpr std::pair<ConvAlgorithm, const char*> kAlgorithms[] = {
    {ConvAlgorithm::automatic, "auto"}, {ConvAlgorithm::direct, "direct"}, {ConvAlgorithm::winograd, "winograd"}};

}  // namespace

void bind_conv(py::module_& m) {
  m.def(
      "conv2d",
      [](py::handle x, py::handle kernel, py::handle bias, py::handle strides, const std::string& padding,
         py::handle dilation_rate, int64_t groups) {
        const auto [stride_h, stride_w] = as_pair(strides, "conv2d", "strides");
        const auto [dilation_h, dilation_w] = as_pair(dilation_rate, "conv2d", "dilation_rate");
        const ConvParams params{stride_h,        stride_w, dilation_h, dilation_w, groups, is_same(padding, "conv2d"),
                                conv_algorithm()};
        const Tensor w = as_tensor(kernel, "kernel");
        const Tensor t = as_tensor(x, "x");
        if (bias.is_none()) return call1(conv2d(params, false), {t, w});
        return call1(conv2d(params, true), {t, w, as_tensor(bias, "bias")});
      },
      py::arg("x"), py::arg("kernel"), py::arg("bias") = py::none(), py::arg("strides") = 1,
      py::arg("padding") = "valid", py::arg("dilation_rate") = 1, py::arg("groups") = 1);
  m.def("conv_algorithm", [] {
    const auto* found = kAlgorithms;
    while (found->first != conv_algorithm()) ++found;
    return found->second;
  });
  m.def(
      "set_conv_algorithm",
      [](const std::string& algorithm) {
        for (const auto& [value, name] : kAlgorithms)
          if (algorithm == name) return set_conv_algorithm(value);
        throw ValueError(cat("conv_algorithm: expected 'auto', 'direct' or 'winograd', got '", algorithm, "'"));
      },
      py::arg("algorithm"));
}

}  // namespace fastnn
