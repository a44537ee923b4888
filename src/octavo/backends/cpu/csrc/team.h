// A persistent team of threads that run one function together. The calling thread is member 0.
//
// Nobody waits for a thread that has no work of the others in its hands: where a machine is shared, a worker
// may not be run for milliseconds, and then the rest do its share. It joins again where they are by then.
//
// Waiting is a bounded spin, then a futex: two spinning teams on the same cores would slow each other by an
// order of magnitude, a bounded spin costs nothing when alone. Between jobs the workers park.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "items.h"

namespace octavo {

// An even number that threads wait on until it changes.
class alignas(64) Event {
public:
  uint32_t value() const { return word_.load(std::memory_order_seq_cst) & ~HAS_SLEEPERS; }
  void advance();                 // changes the value and wakes who sleeps on it
  void sleep_past(uint32_t seen); // returns when the value is no longer `seen`

private:
  // Beside the value, in one word: who is about to sleep sets it, and whoever changes the value takes it away
  // and wakes. A count of its own could be taken away from one who is not asleep yet, and is not woken then.
  static constexpr uint32_t HAS_SLEEPERS = 1;

  std::atomic<uint32_t> word_{0};
};

class Team {
public:
  // Of a worker it may return before all is done: it is called again when there is more to do.
  using Job = void (*)(void *context, int thread);

  explicit Team(int num_threads);
  ~Team();
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  int size() const { return (int)workers_.size() + 1; }

  // Runs job on the members and returns when member 0 has ended it and no worker is in it any more. With
  // keep_warm the workers spin a moment before they park, because another job follows at once.
  void run(Job job, void *context, bool keep_warm);

  // Within a job, when no items are left to take, of which `thread` has run `ran`: waits until all are
  // done. False: a worker has waited long enough; it leaves the job, which goes on without it.
  bool finish(Items &items, int32_t ran, int thread);

private:
  void work(int thread);
  bool enter();
  void leave();

  Event progress_; // a job has begun, or items of it are done
  Event left_;     // a worker has left a job
  Job job_ = nullptr;
  void *context_ = nullptr;
  std::atomic<bool> is_open_{false}; // workers may enter the job
  std::atomic<int> num_inside_{0};   // workers that have
  std::atomic<bool> keep_warm_{false};
  std::atomic<bool> is_closing_{false};
  std::vector<std::thread> workers_;
};

} // namespace octavo
