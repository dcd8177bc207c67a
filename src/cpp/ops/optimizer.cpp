#include "ops/optimizer.hpp"

#include <algorithm>
#include <cmath>

#include "core/parallel.hpp"
#include "core/scratch.hpp"
#include "kernels/table.hpp"

namespace fastnn {

namespace {
// Where the segment behind one that ends there begins.
int64_t segment_begin(int64_t end, DType dtype) {
  const auto align = static_cast<int64_t>(64 / item_size(dtype));
  return (end + align - 1) / align * align;
}
}  // namespace

SegmentLayout segment_layout(std::span<const int64_t> sizes, DType dtype) {
  SegmentLayout layout;
  for (int64_t n : sizes) {
    const int64_t begin = segment_begin(layout.size, dtype);
    layout.offset.push_back(begin);
    layout.size = begin + n;
  }
  return layout;
}

namespace {

// What the three share: which inputs are what, the checks, and the walk over the segments.
class Update : public Op {
 public:
  size_t writes(size_t inputs) const override { return variables(inputs) + slots(); }
  bool differentiable() const override { return false; }
  std::vector<Spec> infer(Specs x) const override {
    if (x.size() < slots() + 2 || (x.size() - slots() - 2) % 2 != 0)
      throw ValueError(cat(name(), ": expected as many gradients as variables"));
    const size_t n = variables(x.size());
    const Spec &rate = x[x.size() - 2], &step = x[x.size() - 1];
    if (rate.shape.rank() != 0 || !is_floating(rate.dtype))
      throw ValueError(cat(name(), ": expected learning_rate to be one floating number, got shape ", rate.shape,
                           " and dtype ", rate.dtype));
    if (step.shape.rank() != 0 || step.dtype != DType::int64)
      throw ValueError(
          cat(name(), ": expected step to be one int64 number, got shape ", step.shape, " and dtype ", step.dtype));
    std::vector<int64_t> sizes;
    for (size_t i = 0; i < n; ++i) {
      const Spec &w = x[i], &g = x[n + slots() + i];
      if (!is_floating(w.dtype) || w.dtype != x[0].dtype)
        throw TypeError(cat(name(), ": expected variables of one floating dtype, got ", x[0].dtype, " and ", w.dtype));
      if (g.dtype != w.dtype)
        throw TypeError(cat(name(), ": expected a gradient of dtype ", w.dtype, ", got ", g.dtype));
      bool same = g.shape.rank() == w.shape.rank();
      for (int d = 0; same && d < w.shape.rank(); ++d) same = same_dim(g.shape[d], w.shape[d]);
      if (!same)
        throw ValueError(cat(name(), ": expected a gradient of the variable's shape ", w.shape, ", got ", g.shape));
      if (!w.shape.known()) return {};
      sizes.push_back(numel(w.shape));
    }
    const int64_t size = n == 0 ? 0 : segment_layout(sizes, x[0].dtype).size;
    for (size_t s = 0; s < slots(); ++s) {
      const Spec& slot = x[n + s];
      if (n > 0 && slot.dtype != x[0].dtype)
        throw TypeError(cat(name(), ": expected a slot of dtype ", x[0].dtype, ", got ", slot.dtype));
      if (slot.shape.known() && numel(slot.shape) != size)
        throw ValueError(cat(name(), ": expected a slot of ", size, " elements, got shape ", slot.shape));
    }
    return {};
  }

 protected:
  virtual size_t slots() const = 0;
  size_t variables(size_t inputs) const { return (inputs - slots() - 2) / 2; }

  static double rate(Tensors x) {
    const Tensor& t = x[x.size() - 2];
    return t.dtype() == DType::float32 ? static_cast<double>(*t.data<float>()) : *t.data<double>();
  }
  static double step(Tensors x) { return static_cast<double>(*x[x.size() - 1].data<int64_t>() + 1); }  // the first is 1

  // kernel(w, g, offset into every slot, elements), for pieces of segments
  template <class T, class Kernel>
  void run(Tensors x, const Kernel& kernel) const {
    struct Segment {
      T* w;
      const T* g;
      int64_t begin, end;
    };
    const size_t n = variables(x.size());
    const Scratch<Segment> segments(static_cast<int64_t>(n));
    Segment *const first = segments.data(), *const last = first + n;
    int64_t size = 0;
    for (size_t i = 0; i < n; ++i) {
      const int64_t begin = segment_begin(size, DTypeOf<T>::value);
      size = begin + x[i].size();
      first[i] = {x[i].data<T>(), x[n + slots() + i].template data<T>(), begin, size};
    }
    parallel_for(size, grain_for(2), [&](int64_t begin, int64_t end) {
      auto it = std::partition_point(first, last, [&](const Segment& s) { return s.end <= begin; });
      for (; it != last && it->begin < end; ++it) {
        const int64_t from = std::max(begin, it->begin), to = std::min(end, it->end);
        if (from < to) kernel(it->w + (from - it->begin), it->g + (from - it->begin), from, to - from);
      }
    });
  }
  template <class T>
  T* slot(Tensors x, size_t i) const {
    return x[variables(x.size()) + i].template data<T>();
  }
};

class SgdUpdate final : public Update {
 public:
  explicit SgdUpdate(const SgdParams& params) : p_(params) {}
  std::string_view name() const override { return "sgd_update"; }
  void forward(Tensors x, Tensors) const override {
    with_float(x[0].dtype(), "sgd_update", [&](auto zero) {
      using T = decltype(zero);
      const auto& k = kernels_for<T>().optimizer;
      const double lr = rate(x);
      const T decay = static_cast<T>(lr * p_.weight_decay);
      if (p_.momentum == 0) {
        run<T>(x, [&](T* w, const T* g, int64_t, int64_t n) { k.sgd(w, g, n, static_cast<T>(lr), decay); });
        return;
      }
      const double factor = p_.form == MomentumForm::keras ? -lr : p_.form == MomentumForm::torch ? 1 : 1 - p_.momentum;
      const kernels::MomentumStep<T> step{static_cast<T>(p_.momentum), static_cast<T>(factor),
                                          static_cast<T>(p_.form == MomentumForm::keras ? 1 : -lr), decay, p_.nesterov};
      T* v = slot<T>(x, 0);
      run<T>(x, [&](T* w, const T* g, int64_t at, int64_t n) { k.momentum(w, g, v + at, n, step); });
    });
  }

 protected:
  size_t slots() const override { return p_.momentum == 0 ? 0 : 1; }

 private:
  SgdParams p_;
};

class RmspropUpdate final : public Update {
 public:
  explicit RmspropUpdate(const RmspropParams& params) : p_(params) {}
  std::string_view name() const override { return "rmsprop_update"; }
  void forward(Tensors x, Tensors) const override {
    with_float(x[0].dtype(), "rmsprop_update", [&](auto zero) {
      using T = decltype(zero);
      const auto kernel = kernels_for<T>().optimizer.rmsprop;
      const double lr = rate(x);
      const kernels::RmspropStep<T> step{
          static_cast<T>(p_.rho), static_cast<T>(1 - p_.rho), static_cast<T>(p_.momentum),
          static_cast<T>(lr),     static_cast<T>(p_.epsilon), static_cast<T>(lr * p_.weight_decay),
          p_.epsilon_inside};
      T* s = slot<T>(x, 0);
      T* mean = p_.centered ? slot<T>(x, 1) : nullptr;
      T* v = p_.momentum != 0 ? slot<T>(x, slots() - 1) : nullptr;
      run<T>(x, [&](T* w, const T* g, int64_t at, int64_t n) {
        kernel(w, g, s + at, mean ? mean + at : nullptr, v ? v + at : nullptr, n, step);
      });
    });
  }

 protected:
  size_t slots() const override { return 1 + (p_.centered ? 1 : 0) + (p_.momentum != 0 ? 1 : 0); }

 private:
  RmspropParams p_;
};

class AdamUpdate final : public Update {
 public:
  explicit AdamUpdate(const AdamParams& params) : p_(params) {}
  std::string_view name() const override { return "adam_update"; }
  void forward(Tensors x, Tensors) const override {
    with_float(x[0].dtype(), "adam_update", [&](auto zero) {
      using T = decltype(zero);
      const auto kernel = kernels_for<T>().optimizer.adam;
      const double lr = rate(x), t = step(x);
      // Both bias corrections are numbers: they go into the rate and, where epsilon stands after the correction, into
      // epsilon, so that an element costs nothing more.
      const double root = std::sqrt(1 - std::pow(p_.beta_2, t)), corrected = lr * root / (1 - std::pow(p_.beta_1, t));
      const double epsilon = p_.epsilon_after_correction ? p_.epsilon * root : p_.epsilon;
      const kernels::AdamStep<T> step{static_cast<T>(1 - p_.beta_1), static_cast<T>(1 - p_.beta_2),
                                      static_cast<T>(corrected), static_cast<T>(epsilon),
                                      static_cast<T>(lr * p_.weight_decay)};
      T *m = slot<T>(x, 0), *v = slot<T>(x, 1), *largest = p_.amsgrad ? slot<T>(x, 2) : nullptr;
      run<T>(x, [&](T* w, const T* g, int64_t at, int64_t n) {
        kernel(w, g, m + at, v + at, largest ? largest + at : nullptr, n, step);
      });
    });
  }

 protected:
  size_t slots() const override { return p_.amsgrad ? 3 : 2; }

 private:
  AdamParams p_;
};

}  // namespace

OpPtr sgd_update(const SgdParams& params) { return std::make_shared<SgdUpdate>(params); }
OpPtr rmsprop_update(const RmspropParams& params) { return std::make_shared<RmspropUpdate>(params); }
OpPtr adam_update(const AdamParams& params) { return std::make_shared<AdamUpdate>(params); }

}  // namespace fastnn
