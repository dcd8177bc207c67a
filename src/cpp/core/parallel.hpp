// parallel_for: the only door to threads. Work is cut into chunks by problem size, never by thread count, so whatever
// is computed per chunk has the same bits for any number of threads.
#pragma once
#include <cstdint>
#include <type_traits>

namespace fastnn {

int num_threads();
void set_num_threads(int n);  // ValueError for n < 1
int default_num_threads();    // the smallest of CPU affinity, cgroup quota and OMP_NUM_THREADS

// Flush-to-zero and denormals-are-zero while it lives; the caller's floating-point state afterwards. Denormals cost a
// factor of up to 27 (recurrent nets), and one thread with and one without the flag would give different bits.
// FlushToZero(false): denormals as usual, for code in the middle of ours that is not ours.
class FlushToZero {
 public:
  explicit FlushToZero(bool flush = true);
  ~FlushToZero();
  FlushToZero(const FlushToZero&) = delete;

 private:
  uint64_t saved_;
};

// The work, in elementary operations (about a nanosecond each), that one chunk should hold: under it a region of 2-4
// threads costs more than it saves (a warm fork and join takes 1-5 us, a cold one 50).
constexpr int64_t kChunkWork = 32768;

using ChunkFn = void (*)(const void* body, int64_t chunk);
void run_chunks(int64_t chunks, ChunkFn fn, const void* body);

// Runs body() with the workers of one OpenMP region standing by, for many parallel_for in a row: handing them work
// costs a fraction of a microsecond, opening a region for each several. parallel_for inside uses them by itself.
void with_team(void (*body)(const void*), const void* context);
template <class Body>
void with_team(const Body& body) {
  with_team([](const void* context) { (*static_cast<const Body*>(context))(); }, &body);
}

// parallel_for of this thread runs serially while it lives.
class OneThread {
 public:
  explicit OneThread(bool one = true);
  ~OneThread();
  OneThread(const OneThread&) = delete;

 private:
  bool before_;
};

bool in_team();    // whether parallel_for would hand its chunks to workers that stand by
bool is_serial();  // whether parallel_for would run all chunks on this thread

// body(begin, end) over [0, n) in chunks of `grain`. body must not throw or allocate.
template <class Body>
void parallel_for(int64_t n, int64_t grain, const Body& body) {
  if (n <= 0) return;
  if (grain < 1) grain = 1;
  struct Context {
    const Body* body;
    int64_t n, grain;
  } context{&body, n, grain};
  run_chunks((n + grain - 1) / grain,
             [](const void* p, int64_t chunk) {
               const auto& c = *static_cast<const Context*>(p);
               const int64_t begin = chunk * c.grain;
               (*c.body)(begin, begin + c.grain < c.n ? begin + c.grain : c.n);
             },
             &context);
}

// Items per chunk when one item costs `work_per_item` operations, where the cut changes no bit: finer where workers
// stand by, whom a chunk of a microsecond already pays.
inline int64_t grain_for(int64_t work_per_item) {
  const int64_t work = in_team() ? kChunkWork / 4 : kChunkWork;
  return work_per_item >= work ? 1 : (work + work_per_item - 1) / (work_per_item > 0 ? work_per_item : 1);
}

}  // namespace fastnn
