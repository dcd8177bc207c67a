// A Program: a recorded graph compiled for its shapes. A run of its Plan is a flat list of kernel calls: no Python, no
// shape rule and no allocation of tensors. Compiled once, it never changes; each run has a workspace of its own.
#pragma once
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "graph/arenas.hpp"
#include "graph/plan.hpp"

namespace fastnn {

// The ops of a program do not fit together for this number of rows.
struct RowsError : ValueError {
  using ValueError::ValueError;
};

// Called every 20 ms or so between the nodes of a long step, until the step begins to write: it may throw to end it.
void set_interrupt_check(void (*check)());

class Program {
 public:
  // feeds: placeholders of the graph that a run will be given data for; fetches: the values it gives back. ValueError
  // when a fetch depends on a placeholder that is not fed. Every shape must be known, but for the first dimension of
  // feeds where there is a capacity: the program then runs any number of rows up to it, the same for all such feeds.
  // arenas: those that it shares with other programs.
  Program(const Graph& graph, Tensors feeds, Tensors fetches, int64_t capacity = 0,
          std::shared_ptr<Arenas> arenas = nullptr);

  // Values of the fetches, in memory of their own. ValueError when a feed's shape or dtype is not the compiled one,
  // RowsError when the program does not go with their number of rows.
  // A run computes first and commits last: writes of variables come after everything that does not read what they
  // write, so an error (a bad label, a check) leaves every variable as it was.
  std::vector<Tensor> run(Tensors feeds);

  // Steps [first, last) of an epoch: step s feeds rows order[s * batch ...] of each source (rows s * batch ... where
  // order is undefined), gathered and cast on the way. Returns the step to go on with: `last`, or an earlier one once
  // `seconds` have passed, so that the caller can look at signals. What the program fetches is dropped.
  int64_t run_rows(Tensors sources, const Tensor& order, int64_t first, int64_t last, double seconds);

  // Seconds of each step, the median of `repeats` runs, and what it is. Variables are as before when it returns.
  struct StepTime {
    std::string scope;  // the layer
    bool backward;
    std::string name;
    std::string algorithm;
    Shape output;
    double seconds, flops;
    int64_t bytes;  // read and written
  };
  std::vector<StepTime> profile(Tensors feeds, int repeats);

  const std::vector<Spec>& feed_specs() const { return plan_.feed_specs; }  // an open first dimension is unknown
  int64_t capacity() const { return plan_.capacity; }
  size_t steps() const { return plan_.steps.size(); }
  size_t arena_bytes() const { return plan_.arena_bytes; }
  size_t value_bytes() const { return plan_.value_bytes; }  // if every value had memory of its own
  std::string dump() const { return plan_.dump(); }

 private:
  // The calls of a run on some number of rows: fewer than the capacity use the beginning of every place in the arena.
  struct Layout {
    int64_t rows;
    std::vector<Spec> specs;  // of the values
    struct Call {
      const Op* op;
      std::vector<Tensor> x, y;
      size_t writes;
    };
    std::vector<Call> calls;
    struct Patch {
      size_t call;
      size_t input;
      int feed;
    };
    std::vector<Patch> patches;    // inputs that a run's feeds replace
    std::vector<Tensor> gathered;  // what run_rows gathers into
  };
  struct Workspace {
    std::shared_ptr<Storage> arena;
    std::vector<Layout> layouts;  // those used last, the last one at the end
  };

  Layout make_layout(const std::shared_ptr<Storage>& arena, int64_t rows) const;
  Layout& layout_for(Workspace& workspace, int64_t rows) const;
  std::unique_ptr<Workspace> take_workspace();
  void give_back(std::unique_ptr<Workspace> workspace);
  Tensor fed(const Layout& layout, Tensors feeds, int value) const;  // a feed, or a view of one
  void patch(Layout& layout, Tensors feeds) const;
  void execute(const Layout& layout) const;
  // body() runs some steps and returns how many; with a team where one thread would need that many seconds for a step,
  // and a team was the faster.
  template <class Body>
  void run_steps(double team_pays, const Body& body, int64_t rows = 0);
  int64_t check_feeds(Tensors feeds, bool rows_differ) const;  // the number of rows, 0 where it is not open

  const Plan plan_;
  const bool looks_long_;
  std::mutex mutex_;
  std::shared_ptr<Arenas> arenas_;
  std::vector<std::unique_ptr<Workspace>> idle_;  // their arenas may be in use by another program meanwhile
  // Seconds of a step (of the capacity) on one thread and with a team: the only thing about a program that is measured.
  std::atomic<int> timed_{0};
  std::atomic<double> serial_seconds_{0}, team_seconds_{0}, tried_seconds_{std::numeric_limits<double>::infinity()};
};

}  // namespace fastnn
