// A Plan: a recorded graph made ready to run. Nodes that nothing needs are gone, ops are fused, writes of variables
// come last, and every value has its place in one arena, shared by those that do not live at the same time. It never
// changes.
#pragma once
#include <string>
#include <vector>

#include "graph/graph.hpp"

namespace fastnn {

struct Plan {
  enum class Place { feed, arena, bound };  // bound: a variable or a constant, at its own address
  struct Value {
    Spec spec;
    Place place = Place::arena;
    Tensor bound;
    int feed = -1;
    int root = -1;  // the value whose memory this one is (a view, or an accumulation in place); itself if none
    int first = -1, last = -1;  // steps between which a root's memory is in use
    size_t offset = 0;
  };
  struct Step {
    OpPtr op;
    std::vector<int> x, y;  // values
    std::string scope = {};
    bool backward = false;
  };

  // As a Program's.
  Plan(const Graph& graph, Tensors feeds, Tensors fetches, int64_t capacity);

  // What every value is when open feeds have so many rows: the ops are asked again.
  std::vector<Spec> specs_for(int64_t rows) const;
  // Seconds of a run, at the rates of a slow machine.
  double slow_seconds() const;
  std::string dump() const;

  std::vector<Value> values;
  std::vector<Step> steps;
  std::vector<Spec> feed_specs;  // an open first dimension is unknown
  int64_t capacity;
  std::vector<int> fetches;
  size_t arena_bytes = 0, value_bytes = 0;  // the latter if every value had memory of its own
  bool calls_user = false;                  // a step does

 private:
  void find_scopes(const std::vector<Node>& recorded);
  void share_memory();
  void find_lives();
  void place();
  size_t place(const std::vector<int>& order);  // gives these values their offsets; the bytes it took
};

}  // namespace fastnn
