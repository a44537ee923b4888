// A persistent team of threads that run one function together. The calling thread is member 0.
//
// Waiting is a bounded spin, then a futex, also inside a job: two spinning teams on the same cores would slow
// each other by an order of magnitude, a bounded spin costs nothing when alone. Between jobs the members
// park.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace octavo {

// A word that threads wait on until it changes.
class alignas(64) Event {
public:
  uint32_t value() const { return word_.load(std::memory_order_acquire); }
  void advance();                                       // changes the word and wakes who sleeps on it
  void wait_past(uint32_t seen, int spin_microseconds); // returns when the word is no longer `seen`

private:
  std::atomic<uint32_t> word_{0};
  std::atomic<int> sleepers_{0};
};

class Barrier {
public:
  explicit Barrier(int size) : size_(size) {}
  void wait();

private:
  const int size_;
  alignas(64) std::atomic<int> arrived_{0};
  Event released_;
};

class Team {
public:
  using Job = void (*)(void *context, int thread);

  explicit Team(int num_threads);
  ~Team();
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  int size() const { return (int)workers_.size() + 1; }
  // Runs job on every member and returns when all are done. With keep_warm the members spin a moment before
  // they park, because another job follows at once.
  void run(Job job, void *context, bool keep_warm);
  Barrier &barrier() { return barrier_; }

private:
  void work(int thread);

  Barrier barrier_;
  Event started_;
  Job job_ = nullptr;
  void *context_ = nullptr;
  std::atomic<bool> keep_warm_{false};
  std::atomic<bool> is_closing_{false};
  std::vector<std::thread> workers_;
};

} // namespace octavo
