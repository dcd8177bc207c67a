#include "graph/backward.hpp"

#include <array>
#include <memory>

namespace fastnn {

namespace {

// Room for n values: on the stack for the few that most ops have, as a program runs backward ops at every step.
template <class V>
class Few {
 public:
  explicit Few(size_t n) : n_(n), more_(n > kFew ? n : 0) {
    if (n <= kFew) std::uninitialized_value_construct_n(few(), n);
  }
  ~Few() {
    if (n_ <= kFew) std::destroy_n(few(), n_);
  }
  Few(const Few&) = delete;
  V& operator[](size_t i) { return data()[i]; }
  operator std::span<const V>() { return {data(), n_}; }

 private:
  static constexpr size_t kFew = 6;
  V* few() { return reinterpret_cast<V*>(room_.data()); }
  V* data() { return n_ <= kFew ? few() : more_.data(); }
  size_t n_;
  alignas(V) std::array<std::byte, kFew * sizeof(V)> room_;
  std::vector<V> more_;
};

}  // namespace

std::shared_ptr<BackwardOp> BackwardOp::of(OpPtr op, std::vector<Spec> x_spec, std::vector<Spec> y_spec) const {
  auto made = std::make_shared<BackwardOp>(std::move(op), std::move(x_spec), std::move(y_spec));
  made->x_at = x_at;
  made->y_at = y_at;
  made->dy_at = dy_at;
  made->requests = requests;
  return made;
}

std::vector<Spec> BackwardOp::infer(Specs) const {
  std::vector<Spec> specs;
  for (const Request& r : requests) specs.push_back(x_spec_[r.x]);
  return specs;
}

bool BackwardOp::may_overwrite(size_t output, size_t input) const {
  const Request& r = requests[output];
  return r.accumulate < 0 && static_cast<int>(input) == dy_at[0] &&
         op_->gradient_may_overwrite(r.x, output + 1 == requests.size());
}

double BackwardOp::flops(Specs, Specs) const {
  double sum = 0;
  for (const Request& r : requests)
    if (r.x < 2) sum += op_->flops(x_spec_, y_spec_);
  return sum;
}

void BackwardOp::forward(Tensors in, Tensors out) const {
  Few<Tensor> x(x_at.size()), y(y_at.size());
  for (size_t i = 0; i < x_at.size(); ++i)
    if (x_at[i] >= 0) x[i] = in[x_at[i]].borrowed();
  for (size_t i = 0; i < y_at.size(); ++i)
    if (y_at[i] >= 0) y[i] = in[y_at[i]].borrowed();
  Few<Gradient> dx(x_spec_.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const Request& r = requests[i];
    Gradient& gradient = dx[r.x];
    gradient.to = out[i].borrowed();
    gradient.accumulate = r.accumulate >= 0;
    gradient.through = r.through;
    if (r.at >= 0) gradient.at = in[r.at].borrowed();
  }
  op_->backward({x_spec_, y_spec_, x, y, {&in[dy_at[0]], 1}, dx});
}

}  // namespace fastnn
