#include "core/parallel.hpp"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "core/error.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace fastnn {

namespace {

// A child of fork() has no workers and libgomp would wait for them for ever: it runs serially.
std::atomic<bool> g_forked{false};
std::atomic<int> g_threads{0};        // 0: not asked yet
std::atomic<bool> g_region_busy{false};  // one parallel region at a time; a second Python thread runs serially

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

}  // namespace

int default_num_threads() {
  cpu_set_t set;
  int cpus = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
  if (const int quota = cgroup_cpus(); quota > 0) cpus = std::min(cpus, quota);
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    char* end = nullptr;
    const long asked = std::strtol(text, &end, 10);
    if (end != text && asked > 0) cpus = static_cast<int>(std::min<long>(cpus, asked));
  }
  return std::max(1, cpus);
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
  if (n < 1) throw ValueError(cat("num_threads: expected a positive int, got ", n));
  num_threads();  // registers the fork handler
  g_threads.store(n, std::memory_order_relaxed);
}

#if defined(__x86_64__)
FlushToZero::FlushToZero() : saved_(_mm_getcsr()) {
  if ((saved_ & 0x8040u) != 0x8040u) _mm_setcsr(static_cast<unsigned>(saved_) | 0x8040u);
}
FlushToZero::~FlushToZero() {
  if ((saved_ & 0x8040u) != 0x8040u) _mm_setcsr(static_cast<unsigned>(saved_));
}
#elif defined(__aarch64__)
FlushToZero::FlushToZero() {
  asm volatile("mrs %0, fpcr" : "=r"(saved_));
  asm volatile("msr fpcr, %0" ::"r"(saved_ | (uint64_t{1} << 24)));
}
FlushToZero::~FlushToZero() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }
#else
FlushToZero::FlushToZero() : saved_(0) {}
FlushToZero::~FlushToZero() = default;
#endif

void run_chunks(int64_t chunks, ChunkFn fn, const void* body) {
  const int threads = static_cast<int>(std::min<int64_t>(num_threads(), chunks));
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
