#include "ops/pool.hpp"

#include <algorithm>

#include "core/parallel.hpp"
#include "kernels/table.hpp"
#include "ops/finish.hpp"
#include "ops/window.hpp"

namespace fastnn {

namespace {

// body(image, first row, last row) for the rows of a batch of images.
template <class Body>
void for_rows(int64_t images, int64_t rows, int64_t grain, const Body& body) {
  parallel_for(images * rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int64_t n = i / rows, first = i - n * rows, last = std::min(rows, end - n * rows);
      body(n, first, last);
      i += last - first;
    }
  });
}

// y = the maximum or the average of the window's pixels inside the image, per channel.
// dx = the sum over the windows that cover a pixel of dy (where it was the maximum) or dy / pixels.
class Pooling final : public Op {
 public:
  enum class Extent { window, image, image_keepdims };
  Pooling(Pool kind, Extent extent, const PoolParams& params, std::optional<Activation> then = std::nullopt)
      : kind_(kind), extent_(extent), p_(params), then_(then), name_(name_with(title(), then)) {}

  std::string_view name() const override { return name_; }
  std::shared_ptr<const Op> followed_by(const Activation& then) const override {
    return then_ ? nullptr : std::make_shared<Pooling>(kind_, extent_, p_, then);
  }
  bool finishes_gradient(size_t) const override { return true; }
  bool by_rows() const override { return true; }
  bool commutes_with_relu() const override { return kind_ == Pool::max; }
  std::vector<Spec> infer(Specs x) const override {
    const std::string op(name());
    if (x[0].shape.rank() != p_.rank + 2)
      throw ValueError(cat(op, ": expected x of shape (batch, ", p_.rank == 1 ? "length" : "height, width",
                           ", channels), got ", x[0].shape));
    const Shape in = as_image(x[0].shape);
    if (!is_floating(x[0].dtype)) throw TypeError(cat(op, ": expected float32 or float64, got ", x[0].dtype));
    Shape out{in[0], in[3]};
    DType index = DType::int32;
    if (extent_ == Extent::window) {
      if (p_.rank == 2) check_window(op, "pool", "height", in[1], p_.size_h, p_.stride_h, 1, p_.padding);
      check_window(op, "pool", p_.rank == 1 ? "length" : "width", in[2], p_.size_w, p_.stride_w, 1, p_.padding);
      int64_t positions = 0;
      if (__builtin_mul_overflow(p_.size_h, p_.size_w, &positions) || positions > INT32_MAX)
        throw ValueError(cat(op, ": expected pool_size of less than 2**31 pixels, got ",
                             p_.rank == 1 ? Shape{p_.size_w} : Shape{p_.size_h, p_.size_w}));
      if (positions <= 256) index = DType::uint8;
      out = {in[0], rows(in).out, columns(in).out, in[3]};
    } else {
      if (in[1] == 0 || in[2] == 0)
        throw ValueError(cat(op, ": expected images of at least one pixel, got x of shape ", x[0].shape));
      if (in[1] != kUnknown && in[2] != kUnknown && numel(in, 1, 3) > INT32_MAX)
        throw ValueError(cat(op, ": expected images of less than 2**31 pixels, got x of shape ", x[0].shape));
      if (extent_ == Extent::image_keepdims) out = {in[0], 1, 1, in[3]};
    }
    if (p_.rank == 1 && out.rank() == 4) out.erase(1);
    if (kind_ == Pool::max) return {{out, x[0].dtype}, {out, index}};
    return {{out, x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), "pool", [&](auto zero) {
      using T = decltype(zero);
      const auto& k = kernels_for<T>().pool;
      const kernels::PoolSizes s = sizes(as_image(x[0].shape()));
      const int64_t in = s.h * s.w * s.channels, row = s.out_w * s.channels, out = s.out_h * row;
      const Finish<T> finish(then_, y[0]);
      T* const to = y[0].data<T>();
      const auto each = [&](auto&& rows) {
        for_rows(x[0].shape()[0], s.out_h, grain_for(row * s.size_h * s.size_w),
                 [&](int64_t n, int64_t begin, int64_t end) {
                   rows(n * out, x[0].data<T>() + n * in, begin, end);
                   finish(to + n * out + begin * row, (end - begin) * row);
                 });
      };
      if (kind_ == Pool::average)
        each([&](int64_t at, const T* image, int64_t begin, int64_t end) {
          k.average_forward(to + at, image, begin, end, s);
        });
      else if (y[1].dtype() == DType::uint8)
        each([&](int64_t at, const T* image, int64_t begin, int64_t end) {
          k.max8.forward(to + at, y[1].data<uint8_t>() + at, image, begin, end, s);
        });
      else
        each([&](int64_t at, const T* image, int64_t begin, int64_t end) {
          k.max32.forward(to + at, y[1].data<int32_t>() + at, image, begin, end, s);
        });
    });
  }
  bool reads_output(size_t i) const override { return i == 1; }
  void backward(const BackwardArgs& b) const override {
    if (!b.dx[0]) return;
    with_float(b.x_spec[0].dtype, "pool", [&](auto zero) {
      using T = decltype(zero);
      const auto& k = kernels_for<T>().pool;
      const Shape shape = as_image(b.x_spec[0].shape);
      const kernels::PoolSizes s = sizes(shape);
      const int64_t row = s.w * s.channels, in = s.h * row, out = s.out_h * s.out_w * s.channels;
      const T* const dy = b.dy[0].data<T>();
      const bool accumulate = b.dx[0].accumulate;
      const Finish<T> finish(b.dx[0]);
      const auto each = [&](auto&& rows) {
        for_rows(shape[0], s.h, grain_for(2 * row), [&](int64_t n, int64_t begin, int64_t end) {
          T* const dx = b.dx[0].to.template data<T>() + n * in;
          rows(dx, n * out, begin, end);
          finish(dx + begin * row, (end - begin) * row);
        });
      };
      if (kind_ == Pool::average)
        each([&](T* dx, int64_t at, int64_t begin, int64_t end) {
          k.average_backward(dx, dy + at, begin, end, s, accumulate);
        });
      else if (b.y[1].dtype() == DType::uint8)
        each([&](T* dx, int64_t at, int64_t begin, int64_t end) {
          k.max8.backward(dx, dy + at, b.y[1].data<uint8_t>() + at, begin, end, s, accumulate);
        });
      else
        each([&](T* dx, int64_t at, int64_t begin, int64_t end) {
          k.max32.backward(dx, dy + at, b.y[1].data<int32_t>() + at, begin, end, s, accumulate);
        });
    });
  }

 private:
  const char* title() const {
    constexpr const char* titles[2][2][2] = {
        {{"global_average_pool1d", "global_max_pool1d"}, {"global_average_pool2d", "global_max_pool2d"}},
        {{"average_pool1d", "max_pool1d"}, {"average_pool2d", "max_pool2d"}}};
    return titles[extent_ == Extent::window][p_.rank == 2][kind_ == Pool::max];
  }
  Window rows(const Shape& in) const { return window(in[1], p_.size_h, p_.stride_h, 1, p_.padding); }
  Window columns(const Shape& in) const { return window(in[2], p_.size_w, p_.stride_w, 1, p_.padding); }
  kernels::PoolSizes sizes(const Shape& in) const {
    if (extent_ != Extent::window) return {in[1], in[2], in[3], 1, 1, in[1], in[2], in[1], in[2], 0, 0};
    const Window h = rows(in), w = columns(in);
    return {h.in, w.in, in[3], h.out, w.out, h.size, w.size, h.stride, w.stride, h.before, w.before};
  }

  Pool kind_;
  Extent extent_;
  PoolParams p_;
  std::optional<Activation> then_;
  std::string name_;
};

}  // namespace

OpPtr pool(Pool kind, const PoolParams& params) {
  return std::make_shared<Pooling>(kind, Pooling::Extent::window, params);
}
OpPtr global_pool(Pool kind, int rank, bool keepdims) {
  return std::make_shared<Pooling>(kind, keepdims ? Pooling::Extent::image_keepdims : Pooling::Extent::image,
                                   PoolParams{.rank = rank});
}

}  // namespace fastnn
