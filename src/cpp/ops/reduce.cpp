#include "ops/reduce.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>

#include "core/integer.hpp"
#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/table.hpp"
#include "ops/broadcast.hpp"
#include "ops/strided.hpp"

namespace fastnn {

namespace {

// One way of folding elements into one: of a row, and of rows into a row.
template <class T>
struct Fold {
  T (*all)(const T* x, int64_t n);
  void (*rows)(T* y, const T* x, int64_t rows, int64_t columns, int64_t stride, bool accumulate);
};

// y[o, i] = the rows [o, :, i] of an array (outer, rows, inner), reduced. The rows are cut into chunks by their number
// alone; piece(to, o, first, count, accumulate) reduces some of them to `inner` values, and chunks combine in order.
template <class T, class Combine, class Piece>
void in_chunks(int64_t outer, int64_t rows, int64_t inner, T* y, bool accumulate, Combine combine, const Piece& piece) {
  if (outer * inner == 0) return;
  const int64_t chunk_rows = std::max<int64_t>(1, 4 * kChunkWork / inner);
  const int64_t chunks = std::max<int64_t>(1, (rows + chunk_rows - 1) / chunk_rows);
  if (chunks == 1) {
    parallel_for(outer, grain_for(rows * inner), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) piece(y + o * inner, o, 0, rows, accumulate);
    });
    return;
  }
  Scratch<T> partial(outer * chunks * inner);
  parallel_for(outer * chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / chunks, first = task % chunks * chunk_rows;
      piece(&partial[task * inner], o, first, std::min(chunk_rows, rows - first), false);
    }
  });
  for (int64_t o = 0; o < outer; ++o)
    combine(y + o * inner, &partial[o * chunks * inner], chunks, inner, inner, accumulate);
}

template <class T>
void fold_middle(const Fold<T>& fold, const T* x, int64_t outer, int64_t rows, int64_t inner, T* y, bool accumulate) {
  in_chunks(outer, rows, inner, y, accumulate, fold.rows,
            [&](T* to, int64_t o, int64_t first, int64_t count, bool add) {
              const T* from = x + (o * rows + first) * inner;
              if (inner == 1 && !add)
                *to = fold.all(from, count);
              else if (inner == 1) {
                const T one = fold.all(from, count);
                fold.rows(to, &one, 1, 1, 1, true);
              } else
                fold.rows(to, from, count, inner, inner, add);
            });
}

template <class T>
void sum_middle(const T* x, int64_t outer, int64_t rows, int64_t inner, T* y, bool accumulate) {
  const auto& k = kernels_for<T>().reduce;
  fold_middle<T>({k.sum, k.sum_rows}, x, outer, rows, inner, y, accumulate);
}

}  // namespace

template <class T>
void sum_axes(const T* x, const Shape& shape, uint32_t axes, T* y, bool accumulate) {
  // Runs of reduced axes, the last first: each pass removes one run, the last pass writes y.
  Shape left = shape;
  uint32_t bits = axes;
  for (int d = left.rank() - 1; d >= 0; --d)  // axes of one element need no pass
    if (left[d] == 1) {
      left.erase(d);
      bits = (bits & ((1u << d) - 1)) | ((bits >> (d + 1)) << d);
    }
  if (bits == 0) {
    sum_middle(x, numel(left), 1, 1, y, accumulate);
    return;
  }
  int last = left.rank() - 1;
  while (!(bits >> last & 1)) --last;
  int first = last;
  while (first > 0 && (bits >> (first - 1) & 1)) --first;
  const int64_t outer = numel(left, 0, first), rows = numel(left, first, last + 1);
  const int64_t inner = numel(left, last + 1, left.rank());
  const uint32_t rest = bits & ((1u << first) - 1);
  if (rest == 0) {
    sum_middle(x, outer, rows, inner, y, accumulate);
    return;
  }
  Shape next = left;
  for (int d = last; d >= first; --d) next.erase(d);
  Scratch<T> partial(outer * inner);
  sum_middle(x, outer, rows, inner, partial.data(), false);
  sum_axes(partial.data(), next, rest, y, accumulate);
}

template <class T>
void sum_to_shape(const T* x, const Shape& from, T* y, const Shape& to, bool accumulate) {
  uint32_t axes = 0;
  const int offset = from.rank() - to.rank();
  for (int d = 0; d < from.rank(); ++d)
    if (d < offset || (to[d - offset] == 1 && from[d] != 1)) axes |= 1u << d;
  sum_axes(x, from, axes, y, accumulate);
}

template void sum_axes(const float*, const Shape&, uint32_t, float*, bool);
template void sum_axes(const double*, const Shape&, uint32_t, double*, bool);
template void sum_to_shape(const float*, const Shape&, float*, const Shape&, bool);
template void sum_to_shape(const double*, const Shape&, double*, const Shape&, bool);

namespace {

constexpr const char* kNames[] = {"sum",       "mean",   "max",    "min", "prod", "var",
                                  "logsumexp", "argmax", "argmin", "all", "any"};

// Integers and booleans fold one by one.
template <class T, Reduction kind>
struct Plain {
  static T identity() {
    if constexpr (kind == Reduction::sum) return T(0);
    if constexpr (kind == Reduction::prod) return T(1);
    return kind == Reduction::max ? std::numeric_limits<T>::lowest() : std::numeric_limits<T>::max();
  }
  static T apply(T a, T b) {
    if constexpr (kind == Reduction::sum) return wrapping(a, b, std::plus<>());
    if constexpr (kind == Reduction::prod) return wrapping(a, b, std::multiplies<>());
    return kind == Reduction::max ? std::max(a, b) : std::min(a, b);
  }
  static T all(const T* x, int64_t n) {
    T result = identity();
    for (int64_t i = 0; i < n; ++i) result = apply(result, x[i]);
    return result;
  }
  static void rows(T* y, const T* x, int64_t rows, int64_t columns, int64_t stride, bool accumulate) {
    if (!accumulate) std::fill_n(y, columns, identity());
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) y[c] = apply(y[c], x[r * stride + c]);
  }
};

template <class T>
Fold<T> fold_for(Reduction kind) {
  if constexpr (std::is_floating_point_v<T>) {
    const auto& k = kernels_for<T>().reduce;
    switch (kind) {
      case Reduction::max:
        return {k.max, k.max_rows};
      case Reduction::min:
        return {k.min, k.min_rows};
      case Reduction::prod:
        return {k.prod, k.prod_rows};
      default:
        return {k.sum, k.sum_rows};
    }
  } else {
    auto plain = [](auto p) -> Fold<T> { return {decltype(p)::all, decltype(p)::rows}; };
    switch (kind) {
      case Reduction::max:
        return plain(Plain<T, Reduction::max>{});
      case Reduction::min:
        return plain(Plain<T, Reduction::min>{});
      case Reduction::prod:
        return plain(Plain<T, Reduction::prod>{});
      default:
        return plain(Plain<T, Reduction::sum>{});
    }
  }
}

// x as (outer, rows, inner) with the reduced axes in the middle: x itself where they stand together, a transposed copy
// otherwise.
template <class T>
class Block {
 public:
  Block(const T* x, const Shape& shape, uint32_t axes) : data_(x) {
    int first = -1, last = -1;
    bool together = true;
    for (int d = 0; d < shape.rank(); ++d) {
      if (shape[d] == 1) continue;
      if (axes >> d & 1) {
        if (first < 0) first = d;
        for (int between = last + 1; last >= 0 && between < d; ++between)
          together &= shape[between] == 1 || (axes >> between & 1);
        last = d;
      }
    }
    if (first < 0) {
      outer = numel(shape);
    } else if (together) {
      outer = numel(shape, 0, first);
      rows = numel(shape, first, last + 1);
      inner = numel(shape, last + 1, shape.rank());
    } else {
      const Strides strides = row_major(shape);
      Shape turned;
      Strides from{};
      for (const uint32_t reduced : {0u, 1u})
        for (int d = 0; d < shape.rank(); ++d)
          if ((axes >> d & 1) == reduced) {
            from[turned.rank()] = strides[d];
            turned.push_back(shape[d]);
            (reduced ? rows : outer) *= shape[d];
          }
      copy_.emplace(numel(shape));
      move_strided(turned, x, from, copy_->data(), row_major(turned));
      data_ = copy_->data();
    }
  }
  const T* data() const { return data_; }
  int64_t outer = 1, rows = 1, inner = 1;

 private:
  const T* data_;
  std::optional<Scratch<T>> copy_;
};

class Reduce final : public Op {
 public:
  Reduce(Reduction kind, std::vector<int64_t> axes, bool everything, bool keepdims, bool squares = false)
      : kind_(kind), axes_(std::move(axes)), everything_(everything), keepdims_(keepdims), squares_(squares) {}
  std::string_view name() const override { return squares_ ? "square+sum" : kNames[static_cast<int>(kind_)]; }
  // The norm of a gradient, which would be read once, its squares written and read again.
  std::shared_ptr<const Op> preceded_by(const Activation& first, const Spec& x) const override {
    const bool all = everything_ || bits(x.shape.rank()) == (1u << x.shape.rank()) - 1;
    if (first.kind != kernels::Unary::square || kind_ != Reduction::sum || !all || squares_ || !is_floating(x.dtype))
      return nullptr;
    return std::make_shared<Reduce>(kind_, axes_, everything_, keepdims_, true);
  }

  std::vector<Spec> infer(Specs x) const override {
    const Shape& shape = x[0].shape;
    const DType dtype = x[0].dtype;
    const uint32_t axes = bits(shape.rank());
    const bool fractional = kind_ == Reduction::mean || kind_ == Reduction::var || kind_ == Reduction::logsumexp;
    if (fractional && !is_floating(dtype))
      throw TypeError(cat(name(), ": expected x of dtype float32 or float64, got ", dtype));
    Shape result;
    bool empty = false, any = true;  // an extremum of no elements, asked for at least once
    for (int d = 0; d < shape.rank(); ++d) {
      const bool reduced = axes >> d & 1;
      if (!reduced || keepdims_) result.push_back(reduced ? 1 : shape[d]);
      if (shape[d] == 0) (reduced ? empty : any) = reduced;
    }
    if (empty && any && (is_extremum() || is_arg()))
      throw ValueError(cat(name(), ": expected at least one element along the reduced axes of x, got shape ", shape));
    return {{result, is_arg() ? DType::int64 : dtype}};
  }

  void forward(Tensors x, Tensors y) const override {
    with_dtype(x[0].dtype(), [&](auto zero) {
      using T = decltype(zero);
      const Block<T> block(x[0].data<T>(), x[0].shape(), bits(x[0].rank()));
      const int64_t n = block.outer * block.inner;
      if (is_arg()) {
        find(block, y[0].data<int64_t>());
        return;
      }
      T* to = y[0].data<T>();
      if constexpr (std::is_floating_point_v<T>) {
        const auto& k = kernels_for<T>().reduce;
        if (squares_) {
          fold_middle<T>({k.sum_of_squares, k.sum_rows}, block.data(), 1, block.rows, 1, to, false);
          return;
        }
        if (kind_ == Reduction::var) {
          Scratch<T> mean(n);
          means(block, mean.data());
          centered(block, mean.data(), k.sum_squares, k.sum_squares_rows, to);
          for (int64_t i = 0; i < n; ++i) to[i] /= static_cast<T>(block.rows);
          return;
        }
        if (kind_ == Reduction::logsumexp) {
          Scratch<T> center(n), sum(n);
          fold_middle<T>({k.max, k.max_rows}, block.data(), block.outer, block.rows, block.inner, center.data(), false);
          for (int64_t i = 0; i < n; ++i)
            if (!std::isfinite(center[i])) center[i] = 0;  // inf - inf would be NaN
          centered(block, center.data(), k.sum_exp, k.sum_exp_rows, sum.data());
          kernels_for<T>().elementwise.unary[static_cast<int>(kernels::Unary::log)].forward(to, sum.data(), n, 0, 0);
          for (int64_t i = 0; i < n; ++i) to[i] += center[i];
          return;
        }
        if (kind_ == Reduction::mean) {
          means(block, to);
          return;
        }
      }
      const Reduction fold = kind_ == Reduction::all   ? Reduction::min
                             : kind_ == Reduction::any ? Reduction::max
                                                       : kind_;
      fold_middle(fold_for<T>(fold), block.data(), block.outer, block.rows, block.inner, to, false);
    });
  }

  bool differentiable() const override { return !is_arg() && kind_ != Reduction::all && kind_ != Reduction::any; }
  bool reads_input(size_t) const override { return kind_ != Reduction::sum && kind_ != Reduction::mean; }
  bool reads_output(size_t) const override { return is_extremum() || kind_ == Reduction::logsumexp; }

  void backward(const BackwardArgs& b) const override {
    if (!b.dx[0]) return;
    with_float(b.x_spec[0].dtype, "backward", [&](auto zero) {
      using T = decltype(zero);
      const auto& k = kernels_for<T>().reduce;
      const Shape& shape = b.x_spec[0].shape;
      const uint32_t axes = bits(shape.rank());
      Shape kept = shape;
      int64_t rows = 1;
      for (int d = 0; d < shape.rank(); ++d)
        if (axes >> d & 1) {
          rows *= shape[d];
          kept[d] = 1;
        }
      const T* x = b.x[0] ? b.x[0].data<T>() : nullptr;
      const T* y = b.y[0] ? b.y[0].data<T>() : nullptr;
      const T* dy = b.dy[0].data<T>();
      T* dx = b.dx[0].to.template data<T>();
      const bool accumulate = b.dx[0].accumulate;
      const int64_t n = numel(kept);
      const BroadcastLoop<2> loop(shape, {shape, kept});
      const int64_t step = loop.inner_strides()[1];
      auto spread = [&](auto kernel, const T* dy_of, const T* y_of, T scale) {
        loop.run(1, [&](int64_t first, const auto& at, int64_t count) {
          kernel(dx + first, dy_of + at[1], x ? x + first : nullptr, y_of ? y_of + at[1] : nullptr, step, count, scale,
                 accumulate);
        });
      };
      if (kind_ == Reduction::sum || kind_ == Reduction::mean) {
        spread(k.sum_backward, dy, nullptr, kind_ == Reduction::sum ? T(1) : T(1) / static_cast<T>(rows));
      } else if (kind_ == Reduction::logsumexp) {
        spread(k.exp_backward, dy, y, T(1));
      } else if (kind_ == Reduction::var) {
        Scratch<T> mean(n);
        means(Block<T>(x, shape, axes), mean.data());
        spread(k.squares_backward, dy, mean.data(), T(2) / static_cast<T>(rows));
      } else if (is_extremum()) {
        Scratch<T> share(n);
        shares(Block<T>(x, shape, axes), y, dy, share.data());
        spread(k.extremum_backward, share.data(), y, T(1));
      } else {
        Scratch<T> product(n), zeros(n);
        nonzero_products(Block<T>(x, shape, axes), product.data(), zeros.data());
        loop.run(4, [&](int64_t first, const auto& at, int64_t count) {
          for (int64_t i = 0; i < count; ++i) {
            const int64_t o = at[1] + i * step;
            const T v = x[first + i];  // the product of the others: of two zeros one is always left
            const T others = zeros[o] == 0 ? product[o] / v : zeros[o] == 1 && v == 0 ? product[o] : T(0);
            dx[first + i] = (accumulate ? dx[first + i] : T(0)) + dy[o] * others;
          }
        });
      }
    });
  }

 private:
  bool is_extremum() const { return kind_ == Reduction::max || kind_ == Reduction::min; }
  bool is_arg() const { return kind_ == Reduction::argmax || kind_ == Reduction::argmin; }

  uint32_t bits(int rank) const {
    return everything_ ? (1u << rank) - 1 : axis_bits(axes_, rank, kNames[static_cast<int>(kind_)]);
  }

  template <class T>
  static void means(const Block<T>& block, T* mean) {
    sum_middle(block.data(), block.outer, block.rows, block.inner, mean, false);
    for (int64_t i = 0; i < block.outer * block.inner; ++i) mean[i] /= static_cast<T>(block.rows);
  }

  template <class T, class Row, class Rows>
  static void centered(const Block<T>& block, const T* center, Row row, Rows rows, T* y) {
    const int64_t inner = block.inner;
    in_chunks(block.outer, block.rows, inner, y, false, kernels_for<T>().reduce.sum_rows,
              [&](T* to, int64_t o, int64_t first, int64_t count, bool) {
                const T* from = block.data() + (o * block.rows + first) * inner;
                if (inner == 1)
                  *to = row(from, center[o], count);
                else
                  rows(to, from, center + o * inner, count, inner);
              });
  }

  // The first place of the extremum, which is the first NaN if there is one.
  template <class T>
  void find(const Block<T>& block, int64_t* index) const {
    const int64_t inner = block.inner, rows = block.rows;
    Scratch<T> best(block.outer * inner);
    fold_middle(fold_for<T>(kind_ == Reduction::argmax ? Reduction::max : Reduction::min), block.data(), block.outer,
                rows, inner, best.data(), false);
    parallel_for(block.outer, grain_for(rows * inner), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o)
        for (int64_t i = 0; i < inner; ++i) {
          const T* column = block.data() + o * rows * inner + i;
          const T wanted = best[o * inner + i];
          int64_t r = 0;
          while (r + 1 < rows && column[r * inner] != wanted && column[r * inner] == column[r * inner]) ++r;
          index[o * inner + i] = r;
        }
    });
  }

  // dy over the number of equal extrema.
  template <class T>
  static void shares(const Block<T>& block, const T* y, const T* dy, T* share) {
    const int64_t inner = block.inner, rows = block.rows;
    parallel_for(block.outer, grain_for(rows * inner), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        T* count = share + o * inner;
        std::fill_n(count, inner, T(0));
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t i = 0; i < inner; ++i) {
            const T v = block.data()[(o * rows + r) * inner + i];
            count[i] += v == y[o * inner + i] || v != v ? T(1) : T(0);
          }
        for (int64_t i = 0; i < inner; ++i) count[i] = dy[o * inner + i] / count[i];
      }
    });
  }

  template <class T>
  static void nonzero_products(const Block<T>& block, T* product, T* zeros) {
    const int64_t inner = block.inner, rows = block.rows;
    parallel_for(block.outer, grain_for(rows * inner), [&](int64_t begin, int64_t end) {
      std::fill(product + begin * inner, product + end * inner, T(1));
      std::fill(zeros + begin * inner, zeros + end * inner, T(0));
      for (int64_t o = begin; o < end; ++o)
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t i = 0; i < inner; ++i) {
            const T v = block.data()[(o * rows + r) * inner + i];
            (v == 0 ? zeros[o * inner + i] : product[o * inner + i]) =
                v == 0 ? zeros[o * inner + i] + 1 : product[o * inner + i] * v;
          }
    });
  }

  Reduction kind_;
  std::vector<int64_t> axes_;
  bool everything_, keepdims_;
  bool squares_;  // of the squares of x, all of them
};

}  // namespace

OpPtr reduce(Reduction kind, std::vector<int64_t> axes, bool everything, bool keepdims) {
  return std::make_shared<Reduce>(kind, std::move(axes), everything, keepdims);
}

}  // namespace fastnn
