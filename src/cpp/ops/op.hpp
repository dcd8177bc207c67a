// An op: the shape rule, forward and backward of one function, side by side, and what backward reads. One file per
// family holds the definitions; a factory per op is all that its header shows.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/tensor.hpp"
#include "kernels/elementwise.hpp"

namespace fastnn {

using Specs = std::span<const Spec>;
using Tensors = std::span<const Tensor>;

// An elementwise function of one tensor.
struct Activation {
  kernels::Unary kind;
  double a = 0, b = 0;
};

// Where one gradient goes: undefined `to` means nobody asked for it.
struct Gradient {
  Tensor to;
  bool accumulate = false;  // add to `to` (which holds earlier contributions) instead of overwriting it
  // The activation that made this input of the op: the finished gradient is multiplied by its derivative, which reads
  // `at`. Only where Op::finishes_gradient says so.
  std::optional<Activation> through = std::nullopt;
  Tensor at = {};
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

  // What the compiler of programs may do with the op; the bits stay the same.
  virtual std::optional<Activation> activation() const { return std::nullopt; }  // that it is, if it is one
  // This op with y[0] passed through the activation, null if it cannot.
  virtual std::shared_ptr<const Op> followed_by(const Activation&) const { return nullptr; }
  // This op with x[0] passed through the activation first, null if it cannot.
  virtual std::shared_ptr<const Op> preceded_by(const Activation&, const Spec& /*x*/) const { return nullptr; }
  // Whether what followed_by gives can be differentiated as a whole.
  virtual bool differentiates(const Activation&) const { return false; }
  // Whether the gradient of one input reads another: where not, a large input can be forgotten between the two.
  virtual bool gradient_reads(size_t /*of*/, size_t input) const { return reads_input(input); }
  virtual bool finishes_gradient(size_t /*input*/) const { return false; }
  // The gradient of this input is dy itself where their shapes are the same.
  virtual bool passes_gradient(size_t /*input*/) const { return false; }
  // relu before the op is relu after it, for y[0] and for the gradient.
  virtual bool commutes_with_relu() const { return false; }
  // An output may take the memory of an input of its size that nobody reads any more.
  virtual bool may_overwrite(size_t /*output*/, size_t /*input*/) const { return false; }
  // The gradient of an input may take the memory of dy; `last`: backward serves no other one after it.
  virtual bool gradient_may_overwrite(size_t /*input*/, bool /*last*/) const { return false; }
  // How y[0] is computed anew, to the bit and in one walk, from some inputs and other outputs: what is large can then
  // be forgotten between the forward and the backward pass.
  struct Again {
    std::shared_ptr<const Op> op;
    std::vector<int> x, y;  // its inputs: these of the op's inputs, then these of its outputs
  };
  virtual std::optional<Again> again() const { return std::nullopt; }
  // This op and its gradient of `input` in one walk: its inputs are x and dy, its outputs y and dx. Null if it has
  // none.
  virtual std::shared_ptr<const Op> with_gradient(size_t /*input*/) const { return nullptr; }
  // This op with the moments of y[0] (ops/moments.hpp) as one more output, null if it has none to give; and this op
  // taking the moments of x[0], which is of such a spec, as one more input, null if it needs none.
  virtual std::shared_ptr<const Op> with_moments() const { return nullptr; }
  virtual std::shared_ptr<const Op> from_moments(const Spec&) const { return nullptr; }
  // Row i of every output follows from row i of x[0] and its other inputs as wholes, and so does the gradient of x[0].
  virtual bool by_rows() const { return false; }
  // Of an op by rows: so many rows at a time are summed up for the gradients of the other inputs, block after block. A
  // program may run it, and another op by rows beside it, in such blocks. 0: all rows at once.
  virtual int64_t block_rows(Specs /*x*/) const { return 0; }
  // Its inputs lend their shapes alone.
  virtual bool ignores_values() const { return false; }
  // For profiles: the multiplications and additions of one forward pass (0: what counts are the bytes), and how they
  // are done.
  virtual double flops(Specs /*x*/, Specs /*y*/) const { return 0; }
  virtual std::string_view algorithm(Specs /*x*/, Specs /*y*/) const { return {}; }
  // Runs although nobody reads its outputs: it may refuse the step by an error.
  virtual bool refuses() const { return false; }
  // Runs code of the user's: in every run of a program, whatever its inputs are, and with no team standing by.
  virtual bool calls_user() const { return false; }
};

using OpPtr = std::shared_ptr<const Op>;

}  // namespace fastnn
