#include <pybind11/stl.h>

#include <tuple>

#include "bindings/families.hpp"
#include "bindings/window.hpp"
#include "ops/conv.hpp"

namespace fastnn {

namespace {

constexpr std::pair<ConvAlgorithm, const char*> kAlgorithms[] = {
    {ConvAlgorithm::automatic, "auto"}, {ConvAlgorithm::direct, "direct"}, {ConvAlgorithm::winograd, "winograd"}};

ConvParams params_of(int rank, const char* op, py::handle strides, PaddingMode padding, py::handle dilation_rate) {
  ConvParams params{.rank = rank, .padding = padding, .algorithm = conv_algorithm()};
  std::tie(params.stride_h, params.stride_w) = as_sizes(rank, strides, op, "strides");
  std::tie(params.dilation_h, params.dilation_w) = as_sizes(rank, dilation_rate, op, "dilation_rate");
  return params;
}

// `make(has_bias)` is the op.
template <class Make>
Tensor call_with(py::handle x, py::handle kernel, py::handle bias, const Make& make) {
  const Tensor w = as_tensor(kernel, "kernel");
  const Tensor t = as_tensor(x, "x");
  if (bias.is_none()) return call1(make(false), {t, w});
  return call1(make(true), {t, w, as_tensor(bias, "bias")});
}

}  // namespace

void bind_conv(py::module_& m) {
  for (const auto& [rank, name] : {std::pair{1, "conv1d"}, std::pair{2, "conv2d"}})
    m.def(
        name,
        [rank = rank, name = name](py::handle x, py::handle kernel, py::handle bias, py::handle strides,
                                   const std::string& padding, py::handle dilation_rate, int64_t groups) {
          ConvParams params = params_of(rank, name, strides, as_padding(padding, name, rank == 1), dilation_rate);
          params.groups = groups;
          return call_with(x, kernel, bias, [&](bool has_bias) { return conv(params, has_bias); });
        },
        py::arg("x"), py::arg("kernel"), py::arg("bias") = py::none(), py::arg("strides") = 1,
        py::arg("padding") = "valid", py::arg("dilation_rate") = 1, py::arg("groups") = 1);
  for (const auto& [rank, name] : {std::pair{1, "depthwise_conv1d"}, std::pair{2, "depthwise_conv2d"}})
    m.def(
        name,
        [rank = rank, name = name](py::handle x, py::handle kernel, py::handle bias, py::handle strides,
                                   const std::string& padding, py::handle dilation_rate) {
          ConvParams params = params_of(rank, name, strides, as_padding(padding, name), dilation_rate);
          params.depthwise = true;
          return call_with(x, kernel, bias, [&](bool has_bias) { return conv(params, has_bias); });
        },
        py::arg("x"), py::arg("kernel"), py::arg("bias") = py::none(), py::arg("strides") = 1,
        py::arg("padding") = "valid", py::arg("dilation_rate") = 1);
  for (const auto& [rank, name] : {std::pair{1, "conv1d_transpose"}, std::pair{2, "conv2d_transpose"}})
    m.def(
        name,
        [rank = rank, name = name](py::handle x, py::handle kernel, py::handle bias, py::handle strides,
                                   const std::string& padding, py::handle output_padding, py::handle dilation_rate) {
          const ConvParams params = params_of(rank, name, strides, as_padding(padding, name), dilation_rate);
          OutputPadding more;
          if (!output_padding.is_none()) {
            std::tie(more.h, more.w) = as_sizes(rank, output_padding, name, "output_padding");
            if (rank == 1) more.h = 0;
          }
          return call_with(x, kernel, bias, [&](bool has_bias) { return conv_transpose(params, more, has_bias); });
        },
        py::arg("x"), py::arg("kernel"), py::arg("bias") = py::none(), py::arg("strides") = 1,
        py::arg("padding") = "valid", py::arg("output_padding") = py::none(), py::arg("dilation_rate") = 1);
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
