#include "core/parallel.hpp"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace fastnn {

namespace {

// A child of fork() has no workers and libgomp would wait for them for ever: it runs serially.
std::atomic<bool> g_forked{false};
std::atomic<int> g_threads{0};           // 0: not asked yet
std::atomic<bool> g_region_busy{false};  // one parallel region at a time; a second Python thread runs serially

constexpr int kMaxThreads = 512;

// Checks of a waiting thread before it sleeps, about 50 us (with 10 it slept between the parallel steps of small nets,
// and waking it cost a third of their time), and without the pause instruction: a hypervisor takes a processor that
// pauses in a loop for idle and gives it away (measured: two threads then lose to one).
constexpr int kSpins = 50000;

int cgroup_cpus() {
  // cgroup v2 "cpu.max": "<quota|max> <period>"; v1 has two files. Rounded up: half a CPU still needs one thread.
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period) {
    if (quota == "max" || period <= 0) return 0;
    return static_cast<int>((std::strtod(quota.c_str(), nullptr) + period - 1) / period);
  }
  std::ifstream quota_v1("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), period_v1("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double q = 0, p = 0;
  if (quota_v1 >> q && period_v1 >> p && q > 0 && p > 0) return static_cast<int>((q + p - 1) / p);
  return 0;
}

// The smaller of CPU affinity and cgroup quota.
int count_cpus() {
  cpu_set_t set;
  int cpus = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
  if (const int quota = cgroup_cpus(); quota > 0) cpus = std::min(cpus, quota);
  return cpus;
}

int allowed_cpus() {
  static const int cpus = count_cpus();
  return cpus;
}

// Work handed from the one thread that runs the steps to those that stand by in its region. Each takes the chunks of
// its own part first, and then what others have not begun: the ops of a program cut the same rows into the same parts,
// so a thread mostly finds what it reads in its own cache.
//
// A hand-over takes few trips of a cache line between two cores, which are 140 or 540 ns apart, depending on where a
// hypervisor has put them: a worker polls the line that brings its whole job, and counts what it has done in a line
// that nobody else writes.
class Team {
 public:
  // More threads than CPUs: whoever waits keeps somebody else from working, and sleeps at once.
  explicit Team(int threads) : spins_(threads > allowed_cpus() ? 0 : kSpins), members_(static_cast<size_t>(threads)) {}

  // Called by the leader, member 0: all chunks are done when it returns. It takes part, and waits only for chunks that
  // somebody has begun, so a worker that the system does not run holds up one chunk at most.
  void run(int64_t chunks, ChunkFn fn, const void* body) {
    ++generation_;
    issued_ += chunks;
    for (size_t member = members_.size(); member-- > 0;) {
      const int64_t begin = begin_of(member, chunks), end = begin_of(member + 1, chunks);
      if (begin == end) continue;
      Member& m = members_[member];
      m.fn.store(fn, std::memory_order_relaxed);
      m.body.store(body, std::memory_order_relaxed);
      m.end.store(end, std::memory_order_relaxed);
      m.ticket.store(generation_ << kLeftBits | static_cast<uint64_t>(end - begin), std::memory_order_release);
    }
    wake_sleepers();
    work_on(0, generation_);
    for (int spins = 0; done() < issued_; ++spins)
      if (spins >= spins_) sched_yield();
  }

  void stop() {
    for (Member& m : members_) m.ticket.store(kStop, std::memory_order_release);
    wake_sleepers();
  }

  // What a worker does until stop().
  void stand_by(size_t member) {
    const std::atomic<uint64_t>& ticket = members_[member].ticket;
    const int most = spins_;  // read once: it lies beside what the leader writes
    uint64_t seen = 0;
    for (;;) {
      uint64_t now = ticket.load(std::memory_order_acquire);
      for (int spins = 0; now >> kLeftBits == seen && spins < most; ++spins)
        now = ticket.load(std::memory_order_acquire);
      if (now == kStop) return;
      if (now >> kLeftBits == seen) {
        const uint32_t wakes = wakes_.load(std::memory_order_acquire);
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        if (ticket.load(std::memory_order_seq_cst) >> kLeftBits == seen) wakes_.wait(wakes, std::memory_order_acquire);
        sleepers_.fetch_sub(1, std::memory_order_relaxed);
        continue;
      }
      seen = now >> kLeftBits;
      work_on(member, seen);
    }
  }

 private:
  static constexpr int kLeftBits = 32;
  static constexpr uint64_t kStop = ~uint64_t{0};
  static constexpr size_t kLines = 128;  // bytes: some CPUs fetch lines in pairs
  struct Member {
    // The generation of the work, and how many chunks of this part are left.
    alignas(kLines) std::atomic<uint64_t> ticket{0};
    std::atomic<ChunkFn> fn{nullptr};
    std::atomic<const void*> body{nullptr};
    std::atomic<int64_t> end{0};                   // of the chunks of this part
    alignas(kLines) std::atomic<int64_t> done{0};  // chunks that this member has ever done
  };

  // Rounded up: where chunks are fewer than threads the leader has one, which it need not fetch.
  int64_t begin_of(size_t part, int64_t chunks) const {
    const auto parts = static_cast<int64_t>(members_.size());
    return (static_cast<int64_t>(part) * chunks + parts - 1) / parts;
  }

  int64_t done() const {
    int64_t sum = 0;
    for (const Member& m : members_) sum += m.done.load(std::memory_order_acquire);
    return sum;
  }

  // Either this sees who has gone to sleep, or they, before they do, see the new tickets.
  void wake_sleepers() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_relaxed) == 0) return;
    wakes_.fetch_add(1, std::memory_order_release);
    wakes_.notify_all();
  }

  // Takes chunks of this generation of work, as long as there are any. What was read of the job holds if a ticket can
  // still be drawn from that generation: the next one begins only when all its chunks are done.
  void work_on(size_t member, uint64_t generation) {
    std::atomic<int64_t>& done = members_[member].done;
    for (size_t k = 0; k < members_.size(); ++k) {
      Member& m = members_[(member + k) % members_.size()];
      uint64_t ticket = m.ticket.load(std::memory_order_acquire);
      while (ticket >> kLeftBits == generation && (ticket & 0xFFFFFFFFu) > 0) {
        const ChunkFn fn = m.fn.load(std::memory_order_relaxed);
        const void* const body = m.body.load(std::memory_order_relaxed);
        const int64_t end = m.end.load(std::memory_order_relaxed);
        if (!m.ticket.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel)) continue;
        fn(body, end - static_cast<int64_t>(ticket & 0xFFFFFFFFu));
        done.store(done.load(std::memory_order_relaxed) + 1, std::memory_order_release);
        ticket = m.ticket.load(std::memory_order_acquire);
      }
    }
  }

  const int spins_;
  uint64_t generation_ = 0;  // of the leader
  int64_t issued_ = 0;       // chunks, ever
  alignas(kLines) std::atomic<int> sleepers_{0};
  std::atomic<uint32_t> wakes_{0};
  std::vector<Member> members_;
};

thread_local Team* t_team = nullptr;  // of the leader, inside its region
thread_local bool t_one_thread = false;

}  // namespace

int default_num_threads() {
  int cpus = count_cpus();
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    char* end = nullptr;
    const long asked = std::strtol(text, &end, 10);
    if (end != text && asked > 0) cpus = static_cast<int>(std::min<long>(cpus, asked));
  }
  return std::clamp(cpus, 1, kMaxThreads);
}

int num_threads() {
  int n = g_threads.load(std::memory_order_relaxed);
  if (n == 0) {
    static const bool registered = pthread_atfork(nullptr, nullptr, [] {
                                     g_forked = true;
                                     g_region_busy = false;
                                   }) == 0;
    (void)registered;
    n = default_num_threads();
    g_threads.store(n, std::memory_order_relaxed);
  }
  return n;
}

void set_num_threads(int n) {
  // libgomp ends the process when the system refuses it a thread.
  if (n < 1 || n > kMaxThreads)
    throw ValueError(cat("num_threads: expected a positive int up to ", kMaxThreads, ", got ", n));
  num_threads();  // registers the fork handler
  g_threads.store(n, std::memory_order_relaxed);
}

#if defined(__x86_64__)
FlushToZero::FlushToZero(bool flush) : saved_(_mm_getcsr()) {
  const uint64_t wanted = flush ? saved_ | 0x8040u : saved_ & ~uint64_t{0x8040u};
  if (saved_ != wanted) _mm_setcsr(static_cast<unsigned>(wanted));
}
FlushToZero::~FlushToZero() {
  if (((_mm_getcsr() ^ saved_) & 0x8040u) != 0) _mm_setcsr(static_cast<unsigned>(saved_));
}
#elif defined(__aarch64__)
FlushToZero::FlushToZero(bool flush) {
  constexpr uint64_t kFlush = uint64_t{1} << 24;
  asm volatile("mrs %0, fpcr" : "=r"(saved_));
  asm volatile("msr fpcr, %0" ::"r"(flush ? saved_ | kFlush : saved_ & ~kFlush));
}
FlushToZero::~FlushToZero() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }
#else
FlushToZero::FlushToZero(bool) : saved_(0) {}
FlushToZero::~FlushToZero() = default;
#endif

void with_team(void (*body)(const void*), const void* context) {
  const int threads = num_threads();
  bool free = false;
  if (threads <= 1 || g_forked.load(std::memory_order_relaxed) || omp_in_parallel() ||
      !g_region_busy.compare_exchange_strong(free, true, std::memory_order_acquire)) {
    body(context);
    return;
  }
  Team team(threads);
  std::exception_ptr error;
#pragma omp parallel num_threads(threads)
  {
    if (omp_get_thread_num() != 0) {
      FlushToZero flush;
      team.stand_by(static_cast<size_t>(omp_get_thread_num()));
    } else {
      t_team = &team;
      try {
        body(context);
      } catch (...) {  // none may leave the region
        error = std::current_exception();
      }
      t_team = nullptr;
      team.stop();
    }
  }
  g_region_busy.store(false, std::memory_order_release);
  if (error) std::rethrow_exception(error);
}

OneThread::OneThread(bool one) : before_(t_one_thread) { t_one_thread |= one; }
OneThread::~OneThread() { t_one_thread = before_; }

bool in_team() { return t_team != nullptr; }

bool is_serial() {
  return !t_team &&
         (t_one_thread || num_threads() == 1 || g_forked.load(std::memory_order_relaxed) || omp_in_parallel());
}

void run_chunks(int64_t chunks, ChunkFn fn, const void* body) {
  if (Team* team = t_team; team && chunks > 1 && chunks < int64_t{1} << 32) {
    t_team = nullptr;  // a parallel_for inside a chunk runs serially
    team->run(chunks, fn, body);
    t_team = team;
    return;
  }
  const int threads = t_one_thread ? 1 : static_cast<int>(std::min<int64_t>(num_threads(), chunks));
  bool free = false;
  if (threads <= 1 || g_forked.load(std::memory_order_relaxed) || omp_in_parallel() ||
      !g_region_busy.compare_exchange_strong(free, true, std::memory_order_acquire)) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) fn(body, chunk);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    FlushToZero flush;
    fn(body, chunk);
  }
  g_region_busy.store(false, std::memory_order_release);
}

}  // namespace fastnn
