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

constexpr auto SPIN = std::chrono::microseconds(30);
constexpr int PAUSES_PER_CLOCK = 32;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Whether it came true in time.
template <class Condition> bool spin_until(Condition &&is_true) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + SPIN;
  do {
    for (int i = 0; i < PAUSES_PER_CLOCK; i++) {
      if (is_true())
        return true;
      pause();
    }
  } while (Clock::now() < end);
  return false;
}

// event is advanced after whatever may make it true.
template <class Condition> void wait_until(Event &event, Condition &&is_true) {
  if (spin_until(is_true))
    return;
  for (uint32_t seen = event.value(); !is_true(); seen = event.value())
    event.sleep_past(seen);
}

} // namespace

void Event::advance() {
  uint32_t word = word_.load();
  while (!word_.compare_exchange_weak(word, (word & ~HAS_SLEEPERS) + 2)) {
  }
  if (word & HAS_SLEEPERS)
    syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

void Event::sleep_past(uint32_t seen) {
  const uint32_t asleep = seen | HAS_SLEEPERS;
  for (uint32_t word = seen; word_.compare_exchange_strong(word, asleep) || word == asleep; word = seen)
    syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, asleep, nullptr, nullptr, 0);
}

Team::Team(int num_threads) {
  for (int thread = 1; thread < num_threads; thread++)
    workers_.emplace_back([this, thread] { work(thread); });
}

Team::~Team() {
  is_closing_.store(true);
  progress_.advance();
  for (std::thread &worker : workers_)
    worker.join();
}

void Team::run(Job job, void *context, bool keep_warm) {
  job_ = job;
  context_ = context;
  keep_warm_.store(keep_warm, std::memory_order_relaxed);
  is_open_.store(true, std::memory_order_seq_cst);
  progress_.advance();
  job(context, 0);
  is_open_.store(false, std::memory_order_seq_cst);
  wait_until(left_, [this] { return num_inside_.load(std::memory_order_seq_cst) == 0; });
}

bool Team::finish(Items &items, int32_t ran, int thread) {
  if (items.add_done(ran)) {
    progress_.advance();
    return true;
  }
  const auto are_done = [&] { return items.are_done(); };
  if (thread > 0)
    return spin_until(are_done);
  wait_until(progress_, are_done);
  return true;
}

// A worker that finds the job closed has not read what it is about, and does not.
bool Team::enter() {
  num_inside_.fetch_add(1, std::memory_order_seq_cst);
  if (is_open_.load(std::memory_order_seq_cst))
    return true;
  leave();
  return false;
}

void Team::leave() {
  num_inside_.fetch_sub(1, std::memory_order_seq_cst);
  left_.advance();
}

void Team::work(int thread) {
  for (;;) {
    const uint32_t seen = progress_.value(); // before looking for what it announces
    if (is_closing_.load())
      return;
    if (enter()) {
      job_(context_, thread);
      leave();
    }
    const bool is_warm = keep_warm_.load(std::memory_order_relaxed);
    if (!is_warm || !spin_until([&] { return progress_.value() != seen; }))
      progress_.sleep_past(seen);
  }
}

} // namespace octavo
