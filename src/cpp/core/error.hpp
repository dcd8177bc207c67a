// The exceptions that cross into Python, and the way their one sentence is put together: which argument, what was
// expected, what came.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace fastnn {

struct ValueError : std::runtime_error {  // a shape, a range, a label
  using std::runtime_error::runtime_error;
};
struct TypeError : std::runtime_error {  // a dtype or a kind of object
  using std::runtime_error::runtime_error;
};
struct IndexError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct StateError : std::runtime_error {  // RuntimeError: a call at the wrong time
  using std::runtime_error::runtime_error;
};
struct FloatingPointError : std::runtime_error {  // a value that is not finite, where it was asked to be
  using std::runtime_error::runtime_error;
};
struct MemoryError : std::runtime_error {  // names the bytes that could not be had
  using std::runtime_error::runtime_error;
};

template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

}  // namespace fastnn
