#include "ops/dense.hpp"

#include <algorithm>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "ops/gemm.hpp"
#include "ops/reduce.hpp"

namespace fastnn {

namespace {

// y = x W + b;  dx = dy W^T, dW = x^T dy, db = sum over rows of dy.  x: (..., K)  W: (K, N)  b: (N)  y: (..., N)
class Dense final : public Op {
 public:
  explicit Dense(bool has_bias, std::optional<Activation> then = std::nullopt)
      : has_bias_(has_bias), then_(then), name_(name_with("dense", then)) {}
  std::string_view name() const override { return name_; }
  std::shared_ptr<const Op> followed_by(const Activation& then) const override {
    return then_ ? nullptr : std::make_shared<Dense>(has_bias_, then);
  }
  bool finishes_gradient(size_t i) const override { return i == 0; }
  std::vector<Spec> infer(Specs x) const override {
    const Shape &in = x[0].shape, &kernel = x[1].shape;
    if (kernel.rank() != 2) throw ValueError(cat("dense: expected kernel of shape (in, out), got ", kernel));
    if (in.rank() < 1 || !same_dim(in.back(), kernel[0]))
      throw ValueError(cat("dense: expected x of shape (..., ", kernel[0], "), got ", in));
    if (x[0].dtype != x[1].dtype)
      throw TypeError(cat("dense: expected x and kernel of one dtype, got ", x[0].dtype, " and ", x[1].dtype));
    if (!is_floating(x[0].dtype)) throw TypeError(cat("dense: expected float32 or float64, got ", x[0].dtype));
    if (has_bias_ && x[2] != Spec{{kernel[1]}, x[0].dtype})
      throw ValueError(cat("dense: expected bias of shape (", kernel[1], ",) and dtype ", x[0].dtype, ", got ",
                           x[2].shape, " and ", x[2].dtype));
    Shape out = in;
    out.back() = kernel[1];
    return {{out, x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), "dense", [&](auto zero) {
      using T = decltype(zero);
      const int64_t K = x[1].shape()[0], N = x[1].shape()[1], M = numel(x[0].shape(), 0, x[0].rank() - 1);
      gemm<T>(M, N, K, {x[0].data<T>(), K, 1}, {x[1].data<T>(), N, 1}, y[0].data<T>(), N,
              has_bias_ ? x[2].data<T>() : nullptr, false, Finish<T>(then_, y[0]));
    });
  }
  double flops(Specs x, Specs y) const override {
    return 2.0 * static_cast<double>(numel(y[0].shape)) * static_cast<double>(x[1].shape[0]);
  }
  std::string_view algorithm(Specs, Specs) const override { return "gemm"; }
  bool reads_input(size_t i) const override { return i < 2; }
  bool gradient_reads(size_t of, size_t input) const override { return of + input == 1; }
  void backward(const BackwardArgs& b) const override {
    with_float(b.x_spec[0].dtype, "dense", [&](auto zero) {
      using T = decltype(zero);
      const Shape& kernel = b.x_spec[1].shape;
      const int64_t K = kernel[0], N = kernel[1], M = numel(b.x_spec[0].shape, 0, b.x_spec[0].shape.rank() - 1);
      const T* dy = b.dy[0].data<T>();
      if (b.dx[0])
        gemm<T>(M, K, N, {dy, N, 1}, {b.x[1].data<T>(), 1, N}, b.dx[0].to.template data<T>(), K, nullptr,
                b.dx[0].accumulate, Finish<T>(b.dx[0]));
      if (b.dx[1])
        gemm<T>(K, N, M, {b.x[0].data<T>(), 1, K}, {dy, N, 1}, b.dx[1].to.template data<T>(), N, nullptr,
                b.dx[1].accumulate);
      if (has_bias_ && b.dx[2]) sum_axes<T>(dy, {M, N}, 1u, b.dx[2].to.template data<T>(), b.dx[2].accumulate);
    });
  }

 private:
  bool has_bias_;
  std::optional<Activation> then_;
  std::string name_;
};

// Y = A' B', A' = A or A^T on the last two axes.
// dA' = dY B'^T and dB' = A'^T dY, each summed over the leading dimensions its operand was broadcast along.
class Matmul final : public Op {
 public:
  Matmul(bool transpose_a, bool transpose_b) : ta_(transpose_a), tb_(transpose_b) {}
  std::string_view name() const override { return "matmul"; }
  std::vector<Spec> infer(Specs x) const override {
    const Shape &a = x[0].shape, &b = x[1].shape;
    if (a.rank() < 2 || b.rank() < 2)
      throw ValueError(cat("matmul: expected operands of at least 2 dimensions, got shapes ", a, " and ", b));
    if (x[0].dtype != x[1].dtype || !is_floating(x[0].dtype))
      throw TypeError(
          cat("matmul: expected two float32 or two float64 operands, got ", x[0].dtype, " and ", x[1].dtype));
    const int64_t m = a[a.rank() - (ta_ ? 1 : 2)], k = a[a.rank() - (ta_ ? 2 : 1)];
    const int64_t k2 = b[b.rank() - (tb_ ? 1 : 2)], n = b[b.rank() - (tb_ ? 2 : 1)];
    if (!same_dim(k, k2))
      throw ValueError(cat("matmul: expected inner dimensions to agree, got shapes ", a, " and ", b,
                           ta_ ? ", the first transposed" : "", tb_ ? ", the second transposed" : ""));
    Shape out = broadcast(lead(a), lead(b), "matmul");
    out.push_back(m);
    out.push_back(n);
    return {{out, x[0].dtype}};
  }
  void forward(Tensors x, Tensors y) const override {
    with_float(x[0].dtype(), "matmul", [&](auto zero) {
      using T = decltype(zero);
      const Sizes s(*this, x[0].shape(), x[1].shape(), y[0].shape());
      for (int64_t i = 0; i < s.batch; ++i)
        gemm<T>(s.m, s.n, s.k, s.a(x[0].data<T>() + s.a_index(i) * s.m * s.k),
                s.b(x[1].data<T>() + s.b_index(i) * s.k * s.n), y[0].data<T>() + i * s.m * s.n, s.n, nullptr, false);
    });
  }
  double flops(Specs x, Specs y) const override {
    const Shape& a = x[0].shape;
    return 2.0 * static_cast<double>(numel(y[0].shape)) * static_cast<double>(a[a.rank() - (ta_ ? 2 : 1)]);
  }
  std::string_view algorithm(Specs, Specs) const override { return "gemm"; }
  bool reads_input(size_t) const override { return true; }
  void backward(const BackwardArgs& args) const override {
    with_float(args.x_spec[0].dtype, "matmul", [&](auto zero) {
      using T = decltype(zero);
      const Sizes s(*this, args.x_spec[0].shape, args.x_spec[1].shape, args.y_spec[0].shape);
      const T* dy = args.dy[0].data<T>();
      // A broadcast operand gets the sum over the batches that read it, added in their order.
      if (args.dx[0]) {
        T* da = args.dx[0].to.template data<T>();
        Scratch<bool> written(s.a_count);
        for (int64_t i = 0; i < s.a_count; ++i) written[i] = args.dx[0].accumulate;
        if (s.batch == 0 && !args.dx[0].accumulate) std::fill_n(da, s.a_count * s.m * s.k, T(0));  // a sum of nothing
        for (int64_t i = 0; i < s.batch; ++i) {
          const int64_t ia = s.a_index(i);
          const Matrix<T> b = s.b(args.x[1].data<T>() + s.b_index(i) * s.k * s.n), g{dy + i * s.m * s.n, s.n, 1};
          T* to = da + ia * s.m * s.k;
          if (ta_)  // A is (k, m): dA = B' dY^T
            gemm<T>(s.k, s.m, s.n, b, {g.data, 1, s.n}, to, s.m, nullptr, written[ia]);
          else  // dA = dY B'^T
            gemm<T>(s.m, s.k, s.n, g, {b.data, b.col, b.row}, to, s.k, nullptr, written[ia]);
          written[ia] = true;
        }
      }
      if (args.dx[1]) {
        T* db = args.dx[1].to.template data<T>();
        Scratch<bool> written(s.b_count);
        for (int64_t i = 0; i < s.b_count; ++i) written[i] = args.dx[1].accumulate;
        if (s.batch == 0 && !args.dx[1].accumulate) std::fill_n(db, s.b_count * s.k * s.n, T(0));
        for (int64_t i = 0; i < s.batch; ++i) {
          const int64_t ib = s.b_index(i);
          const Matrix<T> a = s.a(args.x[0].data<T>() + s.a_index(i) * s.m * s.k), g{dy + i * s.m * s.n, s.n, 1};
          T* to = db + ib * s.k * s.n;
          if (tb_)  // B is (n, k): dB = dY^T A'
            gemm<T>(s.n, s.k, s.m, {g.data, 1, s.n}, a, to, s.k, nullptr, written[ib]);
          else  // dB = A'^T dY
            gemm<T>(s.k, s.n, s.m, {a.data, a.col, a.row}, g, to, s.n, nullptr, written[ib]);
          written[ib] = true;
        }
      }
    });
  }

 private:
  static Shape lead(const Shape& s) {
    Shape front = s;
    front.erase(s.rank() - 1);
    front.erase(s.rank() - 2);
    return front;
  }

  struct Sizes {
    bool ta, tb;
    int64_t m, n, k, batch, a_count, b_count;
    Shape out, a_shape, b_shape;
    Sizes(const Matmul& op, const Shape& as, const Shape& bs, const Shape& ys)
        : ta(op.ta_),
          tb(op.tb_),
          m(ys[ys.rank() - 2]),
          n(ys.back()),
          k(as[as.rank() - (op.ta_ ? 2 : 1)]),
          out(lead(ys)),
          a_shape(lead(as)),
          b_shape(lead(bs)) {
      batch = numel(out);
      a_count = numel(a_shape);
      b_count = numel(b_shape);
    }
    template <class T>
    Matrix<T> a(const T* p) const {
      return ta ? Matrix<T>{p, 1, m} : Matrix<T>{p, k, 1};
    }
    template <class T>
    Matrix<T> b(const T* p) const {
      return tb ? Matrix<T>{p, 1, k} : Matrix<T>{p, n, 1};
    }
    int64_t a_index(int64_t i) const { return index(a_shape, i); }
    int64_t b_index(int64_t i) const { return index(b_shape, i); }
    // Which matrix of an operand with leading shape `own` belongs to matrix i of the output.
    int64_t index(const Shape& own, int64_t i) const {
      int64_t at = 0, stride = 1;
      for (int d = out.rank() - 1; d >= 0; --d) {
        const int64_t here = i % out[d];
        i /= out[d];
        const int o = d - (out.rank() - own.rank());
        if (o < 0) continue;
        if (own[o] != 1) at += here * stride;
        stride *= own[o];
      }
      return at;
    }
  };

  bool ta_, tb_;
};

}  // namespace

OpPtr dense(bool has_bias) { return std::make_shared<Dense>(has_bias); }
OpPtr matmul(bool transpose_a, bool transpose_b) { return std::make_shared<Matmul>(transpose_a, transpose_b); }

}  // namespace fastnn
