#include <algorithm>

#include "ops/convolution.hpp"
#include "ops/reduce.hpp"

namespace fastnn {

namespace {

// y[n, i*s + r*d - before, j*s + q*d - before, f] = sum of x[n, i, j, c] * kernel[r, q, f, c] over all that falls on a
// pixel of y, + bias[f]: the gradient of the input of a convolution of y's size by the kernel. So dx is that
// convolution of dy, and dkernel its gradient of the kernel, with dy as its input and x as its output's gradient.
class ConvTranspose final : public Op {
 public:
  ConvTranspose(const ConvParams& params, const OutputPadding& output_padding, bool has_bias,
                std::optional<Activation> then = std::nullopt)
      : p_(params),
        output_padding_(output_padding),
        has_bias_(has_bias),
        then_(then),
        name_(name_with(title(), then)) {}
  std::string_view name() const override { return name_; }
  // Pixels of one parity leave no whole rows to finish.
  std::shared_ptr<const Op> followed_by(const Activation& then) const override {
    if (then_ || p_.stride_h > 1 || p_.stride_w > 1) return nullptr;
    return std::make_shared<ConvTranspose>(p_, output_padding_, has_bias_, then);
  }
  bool finishes_gradient(size_t i) const override { return i == 0; }
  std::vector<Spec> infer(Specs x) const override {
    const std::string op(title());
    if (x[1].shape.rank() != p_.rank + 2)
      throw ValueError(cat(op, ": expected kernel of shape (", p_.rank == 1 ? "size" : "height, width",
                           ", out, in), got ", x[1].shape));
    const Shape kernel = as_image_kernel(x[1].shape);
    check_convolution(op, p_, x, has_bias_, kernel[3], kernel[2]);
    const Shape in = as_image(x[0].shape);
    if (p_.rank == 2) check_axis("height", in[1], kernel[0], p_.stride_h, p_.dilation_h, output_padding_.h);
    check_axis(p_.rank == 1 ? "length" : "width", in[2], kernel[1], p_.stride_w, p_.dilation_w, output_padding_.w);
    Shape out{in[0], rows(in, kernel).in, columns(in, kernel).in, kernel[2]};
    if (p_.rank == 1) out.erase(1);
    return {{out, x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), "convolution", [&](auto zero) {
      using T = decltype(zero);
      of(x[0].spec(), x[1].shape())
          .template input_gradient<T>(y[0].data<T>(), x[0].data<T>(), x[1].data<T>(),
                                      has_bias_ ? x[2].data<T>() : nullptr, false, Finish<T>(then_, y[0]));
    });
  }
  double flops(Specs x, Specs) const override {
    const Shape kernel = as_image_kernel(x[1].shape);
    return 2.0 * static_cast<double>(numel(x[0].shape)) * static_cast<double>(numel(kernel, 0, 3));
  }
  std::string_view algorithm(Specs x, Specs) const override {
    return of(x[0], x[1].shape).winograd ? "winograd" : "direct";
  }
  bool reads_input(size_t i) const override { return i < 2; }
  bool gradient_reads(size_t of, size_t input) const override { return of + input == 1; }
  void backward(const BackwardArgs& b) const override {
    with_float(b.x_spec[0].dtype, "convolution", [&](auto zero) {
      using T = decltype(zero);
      const Convolution conv = of(b.x_spec[0], b.x_spec[1].shape);
      const T* dy = b.dy[0].data<T>();
      if (b.dx[0])
        conv.forward<T>(b.dx[0].to.template data<T>(), dy, b.x[1].data<T>(), nullptr, b.dx[0].accumulate,
                        Finish<T>(b.dx[0]));
      if (b.dx[1]) conv.kernel_gradient<T>(b.dx[1].to.template data<T>(), dy, b.x[0].data<T>(), b.dx[1].accumulate);
      if (has_bias_ && b.dx[2])
        sum_axes<T>(dy, {conv.in.n * conv.in.h * conv.in.w, conv.in.channels}, 1u, b.dx[2].to.template data<T>(),
                    b.dx[2].accumulate);
    });
  }

 private:
  const char* title() const { return p_.rank == 1 ? "conv1d_transpose" : "conv2d_transpose"; }
  void check_axis(const char* axis, int64_t in, int64_t size, int64_t stride, int64_t dilation,
                  std::optional<int64_t> output_padding) const {
    check_window(title(), "kernel", axis, kUnknown, size, stride, dilation, p_.padding);
    if (output_padding && (*output_padding < 0 || *output_padding >= stride))
      throw ValueError(cat(title(), ": expected output_padding >= 0 and < the stride of ", stride, " along the ", axis,
                           ", got ", *output_padding));
    if (in == 0) throw ValueError(cat(title(), ": expected x of ", axis, " >= 1, got 0"));
    int64_t last = 0;
    if (in != kUnknown && (__builtin_mul_overflow(in, stride, &last) || last >= INT64_MAX / 4))
      throw ValueError(
          cat(title(), ": ", in, " pixels with strides of ", stride, " along the ", axis, " are too large"));
  }
  // The window that takes y back to x. Keras's sizes: valid (in - 1) * stride + max(span, stride), same in * stride,
  // and with output_padding the smallest size that the padding leaves, and so many pixels more.
  Window transposed(int64_t in, int64_t size, int64_t stride, int64_t dilation,
                    std::optional<int64_t> output_padding) const {
    Window w{kUnknown, in, size, stride, dilation, 0};
    if (in == kUnknown || size == kUnknown) return w;
    const int64_t span = (size - 1) * dilation + 1, last = (in - 1) * stride;
    if (p_.padding == PaddingMode::valid) {
      w.in = last + (output_padding ? span + *output_padding : std::max(span, stride));
    } else {
      w.in = last + (output_padding ? span % 2 + *output_padding : stride);
      w.before = std::max<int64_t>(0, last + span - w.in) / 2;
    }
    return w;
  }
  Window rows(const Shape& in, const Shape& kernel) const {
    return transposed(in[1], kernel[0], p_.stride_h, p_.dilation_h, output_padding_.h);
  }
  Window columns(const Shape& in, const Shape& kernel) const {
    return transposed(in[2], kernel[1], p_.stride_w, p_.dilation_w, output_padding_.w);
  }
  Convolution of(const Spec& x, const Shape& kernel_shape) const {
    const Shape in = as_image(x.shape), kernel = as_image_kernel(kernel_shape);
    const Window h = rows(in, kernel), w = columns(in, kernel);
    return {{in[0], h.in, w.in, kernel[2]},
            {in[0], in[1], in[2], in[3]},
            h,
            w,
            1,
            uses_winograd(p_, h, w, kernel[2], kernel[3], 1, x.dtype)};
  }

  ConvParams p_;
  OutputPadding output_padding_;
  bool has_bias_;
  std::optional<Activation> then_;
  std::string name_;
};

}  // namespace

OpPtr conv_transpose(const ConvParams& params, const OutputPadding& output_padding, bool has_bias) {
  return std::make_shared<ConvTranspose>(params, output_padding, has_bias);
}

}  // namespace fastnn
