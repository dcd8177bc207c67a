#include "kernels/loss.hpp"

#include "kernels/math.hpp"
#include "kernels/register.hpp"
#include "kernels/tail.hpp"

namespace fastnn::kernels {
namespace {

constexpr double kEpsilon = 1e-7;  // Keras's: probabilities are kept this far from 0 and 1

template <class T>
FASTNN_INLINE Vec<T> clip(Vec<T> p) {  // NaN stays NaN
  const Vec<T> low = splat(T(kEpsilon)), high = splat(T(1) - T(kEpsilon));
  return p < low ? low : p > high ? high : p;
}
// The gradient passes where clip changes nothing, and for NaN.
template <class T>
FASTNN_INLINE Vec<T> unless_clipped(Vec<T> d, Vec<T> p) {
  return ((p < T(kEpsilon)) | (p > T(1) - T(kEpsilon))) ? Vec<T>{} : d;
}

template <class T>
struct Smooth {  // t (1 - a) + a / n
  Vec<T> keep, add;
  Smooth(T smoothing, T n) : keep(splat(T(1) - smoothing)), add(splat(smoothing / n)) {}
  FASTNN_INLINE Vec<T> operator()(Vec<T> t) const { return fma(t, keep, add); }
};

// The largest of n values, in four chains: each step of one waits for the last.
template <class T>
FASTNN_INLINE T largest_of(const T* z, int64_t n) {
  constexpr int L = kLanes<T>;
  Vec<T> m[4];
  for (auto& v : m) v = splat(-kInfinity<T>);
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L)
    for (int k = 0; k < 4; ++k) m[k] = max<T>(m[k], load(z + i + k * L));
  for (; i < n; i += L) m[0] = max<T>(m[0], read(z + i, width_at<T>(i, n), -kInfinity<T>));
  return max_lanes<T>(max<T>(max<T>(m[0], m[1]), max<T>(m[2], m[3])));
}

// Of each row the largest logit and the sum of exponentials relative to it, which are kept for the gradient unless
// `kept` is null; or 0 and the sum of probabilities.
template <class T>
FASTNN_INLINE void sums(T* state, const T* y_pred, int64_t rows, int64_t classes, bool from_logits, T* kept) {
  constexpr int L = kLanes<T>;
  for (int64_t r = 0; r < rows; ++r) {
    const T* z = y_pred + r * classes;
    Vec<T> m{}, sum{};
    if (from_logits) {
      m = splat(largest_of(z, classes));
      for_vectors<T>(classes, [&](int64_t i, int width) {
        const Vec<T> e = exp<T>(read(z + i, width, -kInfinity<T>) - m);  // 0 beyond width
        if (kept) write(kept + r * classes + i, e, width);
        sum += e;
      });
    } else {
      for (int64_t i = 0; i < classes; i += L) sum += read(z + i, width_at<T>(i, classes));
    }
    state[2 * r] = m[0];
    state[2 * r + 1] = sum_lanes<T>(sum);
  }
}
// The same with a row in each lane.
template <class T>
FASTNN_INLINE void short_sums(T* state, const T* y_pred, int64_t rows, int64_t classes, bool from_logits) {
  constexpr int L = kLanes<T>;
  for (int64_t r = 0; r < rows; r += L) {
    const int width = width_at<T>(r, rows);
    T z[kShortRow * L], m[L], s[L];
    turn_in(z, y_pred + r * classes, width, classes);
    Vec<T> largest{}, sum{};
    if (from_logits) {
      largest = splat(-kInfinity<T>);
      for (int64_t i = 0; i < classes; ++i) largest = max<T>(largest, load(z + i * L));
      for (int64_t i = 0; i < classes; ++i) sum += exp<T>(load(z + i * L) - largest);
    } else {
      for (int64_t i = 0; i < classes; ++i) sum += load(z + i * L);
    }
    store(m, largest);
    store(s, sum);
    for (int i = 0; i < width; ++i) {
      state[2 * (r + i)] = m[i];
      state[2 * (r + i) + 1] = s[i];
    }
  }
}

// What rows [r, r + width) hold in turn, a lane for each.
template <class T, class Value>
FASTNN_INLINE Vec<T> lanes_of(int width, const Value& value) {
  T lanes[kLanes<T>] = {};
  for (int i = 0; i < width; ++i) lanes[i] = value(i);
  return load(lanes);
}

// All of it for labels and logits, a row in each lane: what is turned and the exponentials serve the loss and the
// gradient. dx may be null.
template <class T>
FASTNN_INLINE void short_labels(T* loss, T* state, const int64_t* labels, const T* y_pred, int64_t rows,
                                int64_t classes, T* dx, const T* d_loss) {
  constexpr int L = kLanes<T>;
  for (int64_t r = 0; r < rows; r += L) {
    const int width = width_at<T>(r, rows);
    T z[kShortRow * L];
    turn_in(z, y_pred + r * classes, width, classes);
    const Vec<T> label = lanes_of<T>(width, [&](int i) { return T(labels[r + i]); }), zero{}, one = splat(T(1));
    Vec<T> m = splat(-kInfinity<T>), s{}, v{};
    for (int64_t i = 0; i < classes; ++i) m = max<T>(m, load(z + i * L));
    for (int64_t i = 0; i < classes; ++i) {
      const Vec<T> x = load(z + i * L), e = exp<T>(x - m);
      v = label == static_cast<T>(i) ? x : v;
      s += e;
      store(z + i * L, e);
    }
    write(loss + r, -((v - m) - log<T>(s)), width);
    for (int i = 0; i < width; ++i) {
      state[2 * (r + i)] = m[i];
      state[2 * (r + i) + 1] = s[i];
    }
    if (!dx) continue;
    const Vec<T> g = read(d_loss + r, width);
    for (int64_t i = 0; i < classes; ++i)
      store(z + i * L, fma(one, load(z + i * L) / s, -(label == static_cast<T>(i) ? one : zero)) * g);
    turn_out(dx + r * classes, z, width, classes);
  }
}

// The gradient of one row, or of a vector of rows, from its largest logit m and sum s. From logits
// dz = sum(t) softmax(z) - t. From probabilities, q = p / sum(p) and r = t / q where clip passes it:
// dp = (sum(r q) - r) / sum(p).
template <class T>
struct Slope {
  Vec<T> m, s;
  bool from_logits;
  static FASTNN_INLINE Vec<T> ratio(Vec<T> q, Vec<T> y) { return unless_clipped<T>(y / clip<T>(q), q); }
  FASTNN_INLINE Vec<T> term(Vec<T> v, Vec<T> y) const {  // of sum(t) or sum(r q)
    if (from_logits) return y;
    const Vec<T> q = v / s;
    return ratio(q, y) * q;
  }
  FASTNN_INLINE Vec<T> operator()(Vec<T> v, Vec<T> y, Vec<T> sum) const {
    return from_logits ? of_exponential(exp<T>(v - m), y, sum) : (sum - ratio(v / s, y)) / s;
  }
  FASTNN_INLINE Vec<T> of_exponential(Vec<T> e, Vec<T> y, Vec<T> sum) const { return fma(sum, e / s, -y); }
};

template <class T>
FASTNN_INLINE Vec<T> one_at(int lane) {
  return as_float<T>((lanes_below<T>(lane + 1) & ~lanes_below<T>(lane)) & as_int<T>(splat(T(1))));
}

// kKept: dx holds the exponentials of logits.
template <class T, bool kKept>
void slopes(T* dx, const T* d_loss, const T* state, Targets<T> targets, const T* y_pred, int64_t rows, int64_t classes,
            bool from_logits, bool accumulate) {
  constexpr int L = kLanes<T>;
  const Smooth<T> smooth(targets.smoothing, static_cast<T>(classes));
  for (int64_t r = 0; r < rows; ++r) {
    const T *z = y_pred + r * classes, *dense = targets.dense ? targets.dense + r * classes : nullptr;
    T* d = dx + r * classes;
    const Slope<T> slope{splat(state[2 * r]), splat(state[2 * r + 1]), from_logits};
    const Vec<T> g = splat(d_loss[r]);
    auto target = [&](int64_t i, int width) {
      if (dense) return first<T>(smooth(read(dense + i, width)), width);
      const int64_t lane = targets.labels[r] - i;
      return lane >= 0 && lane < L ? one_at<T>(static_cast<int>(lane)) : Vec<T>{};
    };
    const bool one_hot = from_logits && !dense;  // of sum 1
    Vec<T> total = one_hot ? one_at<T>(0) : Vec<T>{};
    for (int64_t i = one_hot ? classes : 0; i < classes; i += L) {
      const int width = width_at<T>(i, classes);
      total += first<T>(slope.term(read(z + i, width), target(i, width)), width);
    }
    const Vec<T> sum = splat(sum_lanes<T>(total));
    for_vectors<T>(classes, [&](int64_t i, int width) {
      const Vec<T> y = target(i, width);
      Vec<T> c = (kKept ? slope.of_exponential(read<T>(d + i, width), y, sum) : slope(read(z + i, width), y, sum)) * g;
      if (!kKept && accumulate) c += read<T>(d + i, width);
      write(d + i, c, width);
    });
  }
}
// The same with a row in each lane.
template <class T>
FASTNN_INLINE void short_slopes(T* dx, const T* d_loss, const T* state, Targets<T> targets, const T* y_pred,
                                int64_t rows, int64_t classes, bool from_logits, bool accumulate) {
  constexpr int L = kLanes<T>;
  const Smooth<T> smooth(targets.smoothing, static_cast<T>(classes));
  for (int64_t r = 0; r < rows; r += L) {
    const int width = width_at<T>(r, rows);
    T z[kShortRow * L], t[kShortRow * L];
    turn_in(z, y_pred + r * classes, width, classes);
    if (targets.dense) turn_in(t, targets.dense + r * classes, width, classes);
    const Slope<T> slope{lanes_of<T>(width, [&](int i) { return state[2 * (r + i)]; }),
                         lanes_of<T>(width, [&](int i) { return state[2 * (r + i) + 1]; }), from_logits};
    const Vec<T> g = read(d_loss + r, width), zero{}, one = splat(T(1));
    const Vec<T> label = targets.dense ? zero : lanes_of<T>(width, [&](int i) { return T(targets.labels[r + i]); });
    auto target = [&](int64_t i) {
      return targets.dense ? smooth(load(t + i * L)) : label == static_cast<T>(i) ? one : zero;
    };
    const bool one_hot = from_logits && !targets.dense;
    Vec<T> sum = one_hot ? one : zero;
    for (int64_t i = one_hot ? classes : 0; i < classes; ++i) sum += slope.term(load(z + i * L), target(i));
    for (int64_t i = 0; i < classes; ++i) store(z + i * L, slope(load(z + i * L), target(i), sum) * g);
    if (accumulate) {
      turn_in(t, dx + r * classes, width, classes);
      for (int64_t i = 0; i < classes; ++i) store(z + i * L, load(z + i * L) + load(t + i * L));
    }
    turn_out(dx + r * classes, z, width, classes);
  }
}

template <class T>
void cross_entropy_backward(T* dx, const T* d_loss, const T* state, Targets<T> targets, const T* y_pred, int64_t rows,
                            int64_t classes, bool from_logits, bool accumulate) {
  (classes <= kShortRow ? short_slopes<T> : slopes<T, false>)(dx, d_loss, state, targets, y_pred, rows, classes,
                                                              from_logits, accumulate);
}

template <class T>
void cross_entropy(T* loss, T* state, Targets<T> targets, const T* y_pred, int64_t rows, int64_t classes,
                   bool from_logits, T* dx, const T* d_loss) {
  constexpr int L = kLanes<T>;
  if (classes <= kShortRow && targets.labels && from_logits)
    return short_labels(loss, state, targets.labels, y_pred, rows, classes, dx, d_loss);
  const bool kept = dx && from_logits && classes > kShortRow;
  if (classes <= kShortRow)
    short_sums(state, y_pred, rows, classes, from_logits);
  else
    sums(state, y_pred, rows, classes, from_logits, kept ? dx : nullptr);
  const Smooth<T> smooth(targets.smoothing, static_cast<T>(classes));
  for (int64_t r = 0; r < rows && targets.dense; ++r) {
    const T *z = y_pred + r * classes, *t = targets.dense + r * classes;
    const Vec<T> m = splat(state[2 * r]), s = splat(state[2 * r + 1]), log_s = from_logits ? log<T>(s) : s;
    Vec<T> total{};
    for (int64_t i = 0; i < classes; i += L) {
      const int width = width_at<T>(i, classes);
      const Vec<T> v = read(z + i, width), y = first<T>(smooth(read(t + i, width)), width);
      const Vec<T> p = from_logits ? (v - m) - log_s : log<T>(clip<T>(v / s));
      // An impossible class that the target rules out costs nothing: 0 * -inf is 0 here.
      total += ((y == T(0)) & (p == -kInfinity<T>)) ? Vec<T>{} : first<T>(y * p, width);
    }
    loss[r] = -sum_lanes<T>(total);
  }
  for (int64_t r = 0; r < rows && targets.labels; r += L) {  // the logarithms of a vector of rows at a time
    const int width = width_at<T>(r, rows);
    const Vec<T> m = lanes_of<T>(width, [&](int i) { return state[2 * (r + i)]; }),
                 s = lanes_of<T>(width, [&](int i) { return state[2 * (r + i) + 1]; }),
                 v = lanes_of<T>(width, [&](int i) { return y_pred[(r + i) * classes + targets.labels[r + i]]; });
    write(loss + r, from_logits ? -((v - m) - log<T>(s)) : -log<T>(clip<T>(v / s)), width);
  }
  if (kept)
    slopes<T, true>(dx, d_loss, state, targets, y_pred, rows, classes, true, false);
  else if (dx)
    cross_entropy_backward(dx, d_loss, state, targets, y_pred, rows, classes, from_logits, false);
}

// loss(t, z) of one element and its derivative with respect to z.
template <class T>
struct binary_logits_fn {  // -t log(sigmoid(z)) - (1 - t) log(1 - sigmoid(z)), without overflow
  static constexpr bool smooth = true;
  static FASTNN_INLINE Vec<T> loss(Vec<T> t, Vec<T> z) {
    return (max<T>(z, Vec<T>{}) - z * t) + log1p<T>(exp<T>(-abs<T>(z)));
  }
  static FASTNN_INLINE Vec<T> gradient(Vec<T> t, Vec<T> z) { return sigmoid<T>(z) - t; }
};
template <class T>
struct binary_probabilities_fn {
  static constexpr bool smooth = true;
  static FASTNN_INLINE Vec<T> loss(Vec<T> t, Vec<T> p) {
    const Vec<T> q = clip<T>(p), one = splat(T(1));
    return -fma(t, log<T>(q), (one - t) * log<T>(one - q));
  }
  static FASTNN_INLINE Vec<T> gradient(Vec<T> t, Vec<T> p) {
    return unless_clipped<T>((p - t) / (p * (splat(T(1)) - p)), p);
  }
};
template <class T>
struct squared_fn {
  static constexpr bool smooth = false;
  static FASTNN_INLINE Vec<T> loss(Vec<T> t, Vec<T> z) { return (z - t) * (z - t); }
  static FASTNN_INLINE Vec<T> gradient(Vec<T> t, Vec<T> z) { return T(2) * (z - t); }
};
template <class T>
struct absolute_fn {  // derivative 0 at 0; NaN stays NaN
  static constexpr bool smooth = false;
  static FASTNN_INLINE Vec<T> loss(Vec<T> t, Vec<T> z) { return abs<T>(z - t); }
  static FASTNN_INLINE Vec<T> gradient(Vec<T> t, Vec<T> z) {
    const Vec<T> d = z - t, one = splat(T(1));
    return d > T(0) ? one : d < T(0) ? -one : d;
  }
};

template <class T, template <class> class F>
FASTNN_INLINE Vec<T> target(Vec<T> t, const Smooth<T>& smooth) {
  return F<T>::smooth ? smooth(t) : t;
}

template <class T, template <class> class F>
void mean_forward(T* loss, const T* y_true, const T* y_pred, int64_t rows, int64_t n, T smoothing) {
  constexpr int L = kLanes<T>;
  const Smooth<T> smooth(smoothing, T(2));
  if (n == 1) {  // a vector of rows at a time
    for (int64_t r = 0; r < rows; r += L) {
      const int width = width_at<T>(r, rows);
      write(loss + r, F<T>::loss(target<T, F>(read(y_true + r, width), smooth), read(y_pred + r, width)), width);
    }
    return;
  }
  for (int64_t r = 0; r < rows; ++r, y_true += n, y_pred += n) {
    Vec<T> total{};
    for (int64_t i = 0; i < n; i += L) {
      const int width = width_at<T>(i, n);
      total += first<T>(F<T>::loss(target<T, F>(read(y_true + i, width), smooth), read(y_pred + i, width)), width);
    }
    loss[r] = sum_lanes<T>(total) / static_cast<T>(n);
  }
}

template <class T, template <class> class F>
void mean_backward(T* dx, const T* d_loss, const T* y_true, const T* y_pred, int64_t rows, int64_t n, T smoothing,
                   bool accumulate) {
  constexpr int L = kLanes<T>;
  const Smooth<T> smooth(smoothing, T(2));
  const bool single = n == 1;  // then all rows are walked as one, each element with a gradient of its own
  const int64_t outer = single ? 1 : rows, inner = single ? rows : n;
  for (int64_t r = 0; r < outer; ++r)
    for (int64_t i = 0; i < inner; i += L) {
      const int width = width_at<T>(i, inner);
      const int64_t at = r * inner + i;
      const Vec<T> g = single ? read(d_loss + i, width) : splat(d_loss[r] / static_cast<T>(n));
      Vec<T> d = g * F<T>::gradient(target<T, F>(read(y_true + at, width), smooth), read(y_pred + at, width));
      if (accumulate) d += read<T>(dx + at, width);
      write(dx + at, d, width);
    }
}

template <class T>
constexpr LossKernels<T> kTable{cross_entropy<T>,
                                cross_entropy_backward<T>,
                                {
#define FASTNN_ROW(name) {mean_forward<T, name##_fn>, mean_backward<T, name##_fn>},
                                    FASTNN_MEAN_LOSS(FASTNN_ROW)
#undef FASTNN_ROW
                                }};

}  // namespace

FASTNN_REGISTER(loss) {
  f32.loss = kTable<float>;
  f64.loss = kTable<double>;
}

}  // namespace fastnn::kernels
