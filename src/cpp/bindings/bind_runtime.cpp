#include <pybind11/stl.h>

#include <atomic>
#include <chrono>

#include "bindings/array.hpp"
#include "bindings/families.hpp"
#include "bindings/window.hpp"
#include "core/cpu.hpp"
#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"
#include "ops/conv.hpp"
#include "ops/gemm.hpp"

namespace fastnn {

namespace {

double seconds(auto&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Of one thread, or of all that kernels may use at once.
template <class T>
double peak_gflops(double duration, bool all_threads) {
  if (!(duration > 0 && duration < 60))
    throw ValueError(cat("measure_peak: expected a duration of more than 0 and less than 60 seconds, got ", duration));
  const int64_t threads = all_threads ? num_threads() : 1;
  double best = 0, spent = 0;
  auto measure = [&] {
    while (spent < duration) {
      std::atomic<int64_t> fmas = 0;
      const double time = seconds([&] {
        parallel_for(threads, 1, [&](int64_t, int64_t) {
          FlushToZero flush;
          alignas(64) T sink[3] = {T(1.0000001), T(0.9999999), T(0)};
          fmas += kernels_for<T>().gemm.peak(1 << 20, sink);
        });
      });
      best = std::max(best, 2e-9 * static_cast<double>(fmas) / time);
      spent += time;
    }
  };
  if (all_threads)
    with_team(measure);
  else
    measure();
  return best;
}

// GB/s of y = a x + z over three arrays of `bytes` in all: their size over the fastest time.
double triad_bandwidth(double bytes, double duration) {
  if (!(bytes >= 12 && bytes < 0x1p40)) throw ValueError(cat("bytes: expected 12 to 2**40, got ", bytes));
  const auto n = static_cast<int64_t>(bytes / (3 * sizeof(float)));
  const Tensor y = Tensor::zeros({n}, DType::float32), x = Tensor::zeros({n}, DType::float32),
               z = Tensor::zeros({n}, DType::float32);
  const auto triad = kernels_for<float>().elementwise.triad;
  double best = 0, spent = 0;
  with_team([&] {  // as a program runs
    FlushToZero flush;
    while (spent < duration) {
      const double time = seconds([&] {
        parallel_for(n, grain_for(1), [&](int64_t begin, int64_t end) {
          triad(y.data<float>() + begin, 3.0f, x.data<float>() + begin, z.data<float>() + begin, end - begin);
        });
      });
      best = std::max(best, 3e-9 * sizeof(float) * static_cast<double>(n) / time);
      spent += time;
    }
  });
  return best;
}

template <class T>
std::vector<double> time_gemm(int64_t m, int64_t n, int64_t k, bool transpose_a, bool transpose_b, int repeats) {
  const Tensor a = Tensor::zeros({m, k}, DTypeOf<T>::value), b = Tensor::zeros({k, n}, DTypeOf<T>::value);
  const Matrix<T> am{a.data<T>(), transpose_a ? 1 : k, transpose_a ? m : 1};
  const Matrix<T> bm{b.data<T>(), transpose_b ? 1 : n, transpose_b ? k : 1};
  const Tensor c = Tensor::zeros({m, n}, DTypeOf<T>::value);
  std::vector<double> times;
  with_team([&] {  // as a program runs
    for (int r = 0; r < repeats; ++r)
      times.push_back(seconds([&] {
        FlushToZero flush;
        gemm<T>(m, n, k, am, bm, c.data<T>(), n, nullptr, false);
      }));
  });
  return times;
}

// One pass of a convolution alone; pass is "forward", "input_gradient" or "kernel_gradient".
std::vector<double> time_conv2d(const Shape& x_shape, const Shape& kernel_shape, const std::string& pass,
                                int64_t stride, const std::string& padding, int64_t groups, DType dtype, int repeats) {
  if (pass != "forward" && pass != "input_gradient" && pass != "kernel_gradient")
    throw ValueError(cat("time_conv2d: expected pass_ forward, input_gradient or kernel_gradient, got ", pass));
  const OpPtr op = conv({.stride_h = stride,
                         .stride_w = stride,
                         .padding = as_padding(padding, "conv2d"),
                         .groups = groups,
                         .algorithm = conv_algorithm()},
                        false);
  const std::vector<Spec> specs{{x_shape, dtype}, {kernel_shape, dtype}};
  const std::vector<Spec> y_spec = op->infer(specs);
  const std::vector<Tensor> x{Tensor::zeros(x_shape, dtype), Tensor::zeros(kernel_shape, dtype)};
  const std::vector<Tensor> y{Tensor::zeros(y_spec[0].shape, dtype)};
  std::vector<Gradient> dx(2);
  if (pass == "input_gradient") dx[0].to = Tensor::zeros(x_shape, dtype);
  if (pass == "kernel_gradient") dx[1].to = Tensor::zeros(kernel_shape, dtype);
  std::vector<double> times;
  with_team([&] {
    for (int r = 0; r < repeats; ++r)
      times.push_back(seconds([&] {
        FlushToZero flush;
        if (pass == "forward")
          op->forward(x, y);
        else
          op->backward({specs, y_spec, x, {}, y, dx});
      }));
  });
  return times;
}

}  // namespace

void bind_runtime(py::module_& m) {
  m.attr("isa") = name(active_isa());  // reads FASTNN_ISA: an unknown one fails the import
  std::vector<std::string> isas;
  for (Isa isa : supported_isas()) isas.emplace_back(name(isa));
  m.attr("supported_isas") = isas;
  m.def("num_threads", &num_threads, "Threads that kernels may use.");
  m.def("set_num_threads", &set_num_threads, py::arg("num_threads"),
        "Set the number of threads. Results have the same bits for any number. ValueError for less than 1.");
  m.def("default_num_threads", &default_num_threads, "The smallest of CPU affinity, cgroup quota and OMP_NUM_THREADS.");
  m.def("floatx", [] { return numpy_dtype(floatx()); }, "The dtype of Python floats, lists of floats and new weights.");
  m.def("set_floatx", [](py::handle dtype) { set_floatx(as_dtype(dtype)); }, py::arg("dtype"));
  m.def("scratch_bytes", &scratch_bytes, "Working memory that ops keep on this thread from call to call.");
  m.def(
      "measure_peak",
      [](py::handle dtype, double duration, bool all_threads) {
        return with_float(as_dtype(dtype), "measure_peak",
                          [&](auto zero) { return peak_gflops<decltype(zero)>(duration, all_threads); });
      },
      py::arg("dtype") = "float32", py::arg("duration") = 0.1, py::arg("all_threads") = false,
      "GFLOP/s of one thread, or of all that kernels may use at once, on independent fused multiply-adds in registers: "
      "the peak that kernels are held against.");
  m.def("measure_triad", &triad_bandwidth, py::arg("bytes"), py::arg("duration") = 0.2,
        "GB/s of y = a x + z on float32 arrays of `bytes` in all, on the threads that kernels may use: the bandwidth "
        "that ops bound by memory are held against. What the processor reads of y before it writes is not counted.");
  m.def(
      "time_gemm",
      [](int64_t rows, int64_t columns, int64_t depth, py::handle dtype, bool transpose_a, bool transpose_b,
         int repeats) {
        return with_float(as_dtype(dtype), "time_gemm", [&](auto zero) {
          return time_gemm<decltype(zero)>(rows, columns, depth, transpose_a, transpose_b, repeats);
        });
      },
      py::arg("m"), py::arg("n"), py::arg("k"), py::arg("dtype") = "float32", py::arg("transpose_a") = false,
      py::arg("transpose_b") = false, py::arg("repeats") = 10,
      "Seconds of each of `repeats` products (m, k) @ (k, n), either operand stored transposed, timed inside C++ as a "
      "program runs them.");
  m.def(
      "time_conv2d",
      [](py::handle x_shape, py::handle kernel_shape, const std::string& pass, int64_t stride,
         const std::string& padding, int64_t groups, py::handle dtype, int repeats) {
        return time_conv2d(as_shape(x_shape, "x_shape"), as_shape(kernel_shape, "kernel_shape"), pass, stride, padding,
                           groups, as_dtype(dtype), repeats);
      },
      py::arg("x_shape"), py::arg("kernel_shape"), py::arg("pass_"), py::arg("stride") = 1,
      py::arg("padding") = "valid", py::arg("groups") = 1, py::arg("dtype") = "float32", py::arg("repeats") = 10,
      "Seconds of each of `repeats` passes of a convolution, timed inside C++ as a program runs them.");
}

}  // namespace fastnn
