#include "team.h"

#include <chrono>
#include <climits>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace octavo {

namespace {

constexpr int SPIN_MICROSECONDS = 30;
constexpr int PAUSES_PER_CLOCK = 32;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

} // namespace

void Event::advance() {
  word_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0)
    syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

void Event::wait_past(uint32_t seen, int spin_microseconds) {
  using clock = std::chrono::steady_clock;
  if (spin_microseconds > 0) {
    const auto end = clock::now() + std::chrono::microseconds(spin_microseconds);
    do {
      for (int i = 0; i < PAUSES_PER_CLOCK; i++) {
        if (word_.load(std::memory_order_acquire) != seen)
          return;
        pause();
      }
    } while (clock::now() < end);
  }
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  while (word_.load(std::memory_order_seq_cst) == seen)
    syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

void Barrier::wait() {
  if (size_ == 1)
    return;
  const uint32_t seen = released_.value();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    released_.advance();
  } else {
    released_.wait_past(seen, SPIN_MICROSECONDS);
  }
}

Team::Team(int num_threads) : barrier_(num_threads) {
  for (int thread = 1; thread < num_threads; thread++)
    workers_.emplace_back([this, thread] { work(thread); });
}

Team::~Team() {
  is_closing_.store(true);
  started_.advance();
  for (std::thread &worker : workers_)
    worker.join();
}

void Team::run(Job job, void *context, bool keep_warm) {
  job_ = job;
  context_ = context;
  keep_warm_.store(keep_warm, std::memory_order_relaxed);
  started_.advance();
  job(context, 0);
  barrier_.wait();
}

void Team::work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    started_.wait_past(seen, keep_warm_.load(std::memory_order_relaxed) ? SPIN_MICROSECONDS : 0);
    if (is_closing_.load())
      return;
    seen = started_.value();
    job_(context_, thread);
    barrier_.wait();
  }
}

} // namespace octavo
