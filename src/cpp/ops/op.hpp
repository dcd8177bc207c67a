// An op: the shape rule, forward and backward of one function, side by side, and what backward reads. One file per
// family holds the definitions; a factory per op is all that its header shows.
#pragma once
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/tensor.hpp"

namespace fastnn {

using Specs = std::span<const Spec>;
using Tensors = std::span<const Tensor>;

// Where one gradient goes: undefined `to` means nobody asked for it.
struct Gradient {
  Tensor to;
  bool accumulate = false;  // add to `to` (which holds earlier contributions) instead of overwriting it
  explicit operator bool() const { return static_cast<bool>(to); }
};

struct BackwardArgs {
  Specs x_spec, y_spec;
  Tensors x, y;                  // undefined where reads_input / reads_output says no
  Tensors dy;                    // dy[0]: only the first output carries a gradient
  std::span<const Gradient> dx;  // serve in order
};

class Op {
 public:
  virtual ~Op() = default;
  virtual std::string_view name() const = 0;

  // The one place where shapes and dtypes are judged: ValueError or TypeError here, never later. Unknown dimensions
  // pass through.
  virtual std::vector<Spec> infer(Specs x) const = 0;

  // y is allocated as infer said and not initialised. Throws only before the first write (a bad label, say).
  virtual void forward(Tensors x, Tensors y) const = 0;

  virtual bool differentiable() const { return true; }
  // Inputs of floating dtype that no gradient flows to: targets, weights. backward writes every other gradient that it
  // is asked for.
  virtual bool has_gradient(size_t /*input*/) const { return true; }
  virtual bool reads_input(size_t) const { return false; }
  virtual bool reads_output(size_t) const { return false; }
  virtual void backward(const BackwardArgs&) const { throw StateError(std::string(name()) + ": has no gradient"); }

  // y[0] is x[0] under another shape: no memory moves and forward is not called.
  virtual bool is_view() const { return false; }
  // The input in whose memory an output continues (an accumulation), -1 for none.
  virtual int in_place_of(size_t /*output*/) const { return -1; }
  // Inputs [0, writes) are variables that forward updates in place: an effect.
  virtual size_t writes(size_t /*inputs*/) const { return 0; }
  // Runs although nobody reads its outputs: it may refuse the step by an error.
  virtual bool refuses() const { return false; }
  // Runs code of the user's: in every run of a program, whatever its inputs are, and with no team standing by.
  virtual bool calls_user() const { return false; }
};

using OpPtr = std::shared_ptr<const Op>;

}  // namespace fastnn
