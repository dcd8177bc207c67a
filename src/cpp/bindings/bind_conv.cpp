#include <pybind11/stl.h>

#include <chrono>

#include "bindings/families.hpp"
#include "bindings/window.hpp"
#include "core/parallel.hpp"
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
  m.def(
      "time_conv2d",
      [](py::handle x, py::handle kernel, const std::string& padding, const std::string& what, int repeats) {
        if (what != "y" && what != "dx" && what != "dkernel")
          throw ValueError(cat("time_conv2d: expected what to be 'y', 'dx' or 'dkernel', got '", what, "'"));
        const Tensor inputs[] = {as_tensor(x, "x"), as_tensor(kernel, "kernel")};
        ConvParams params;
        params.same = is_same(padding, "conv2d");
        params.algorithm = conv_algorithm();
        const OpPtr op = conv2d(params, false);
        const Spec specs[] = {inputs[0].spec(), inputs[1].spec()};
        const std::vector<Spec> outs = op->infer(specs);
        const Tensor y[] = {Tensor::zeros(outs[0].shape, outs[0].dtype)};
        Gradient dx[2];
        if (what != "y") {
          const size_t i = what == "dx" ? 0 : 1;
          dx[i].to = Tensor::zeros(specs[i].shape, specs[i].dtype);
        }
        std::vector<double> times;
        for (int r = 0; r < repeats; ++r) {
          const auto start = std::chrono::steady_clock::now();
          {
            FlushToZero flush;
            if (what == "y")
              op->forward(inputs, y);
            else
              op->backward({specs, outs, inputs, {}, y, dx});
          }
          times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        }
        return times;
      },
      py::arg("x"), py::arg("kernel"), py::arg("padding") = "same", py::arg("what") = "y", py::arg("repeats") = 10,
      "Seconds of each of `repeats` convolutions ('y') or of one of their gradients ('dx', 'dkernel'), timed inside "
      "C++.");
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
