// The items of one phase, handed out to the threads of a team.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>

namespace octavo {

// Each item is run once, by whoever takes it. The run functions return how many a thread has run; what those
// wrote is seen by whoever sees them done.
class alignas(64) Items {
public:
  void reset(int num_threads) {
    for (int range = 0; range < std::min(num_threads, MAX_RANGES); range++)
      taken_[range].store(0, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    count_.store(UNKNOWN, std::memory_order_relaxed);
  }

  // How many there are: what number() said to the first thread that asked. It may say something else to one
  // that is late, since when others have gone on.
  template <class Number> int32_t count(Number &&number) {
    int32_t count = count_.load(std::memory_order_acquire);
    if (count != UNKNOWN)
      return count;
    const int32_t now = number();
    return count_.compare_exchange_strong(count, now, std::memory_order_acq_rel) ? now : count;
  }

  // Says that `ran` items more are done; true if they are the last ones.
  bool add_done(int32_t ran) {
    return ran > 0 &&
           done_.fetch_add(ran, std::memory_order_acq_rel) + ran == count_.load(std::memory_order_relaxed);
  }
  bool are_done() const {
    return done_.load(std::memory_order_acquire) == count_.load(std::memory_order_relaxed);
  }

  // In order, each to the next thread that is free: for items of unlike length, the longest first.
  template <class Fn> int32_t run_in_order(int32_t count, Fn &&fn) {
    int32_t ran = 0;
    for (int32_t item; (item = take()) < count; ran++)
      fn(item);
    return ran;
  }

  // The same, fn(item, next): next is the item that this thread takes afterwards, or -1. The last ones are
  // not taken ahead of time: they would wait for a thread that is busy while another has nothing to do.
  template <class Fn> int32_t run_in_order_ahead(int32_t count, int num_threads, Fn &&fn) {
    int32_t ran = 0;
    for (int32_t item = take(); item < count; ran++) {
      const bool is_near_end = count - item <= LAST_ITEMS * num_threads;
      const int32_t next = is_near_end ? -1 : take();
      fn(item, next < count ? next : -1);
      item = is_near_end ? take() : next;
    }
    return ran;
  }

  // Neighbours to the same thread, so that what it prefetches behind an item is its own: each has a range, of
  // which it takes half of what is left at a time. Who has none left helps the others, item by item.
  template <class Fn> int32_t run_in_ranges(int32_t count, int thread, int num_threads, Fn &&fn) {
    const int ranges = std::min(num_threads, MAX_RANGES);
    int32_t ran = 0;
    for (int i = 0; i < ranges; i++) {
      const int64_t range = (thread + i) % ranges;
      const int32_t begin = (int32_t)(count * range / ranges);
      const int32_t size = (int32_t)(count * (range + 1) / ranges) - begin;
      for (int32_t left; (left = size - taken_[range].load(std::memory_order_relaxed)) > 0;) {
        const int32_t share = i == 0 ? (left + 1) / 2 : 1;
        const int32_t first = taken_[range].fetch_add(share, std::memory_order_relaxed);
        for (int32_t item = first; item < std::min(first + share, size); item++, ran++)
          fn(begin + item);
      }
    }
    return ran;
  }

private:
  static constexpr int MAX_RANGES = 14; // with the other two, a cache line
  static constexpr int32_t UNKNOWN = -1;
  static constexpr int LAST_ITEMS = 4; // for each thread

  int32_t take() { return taken_[0].fetch_add(1, std::memory_order_relaxed); }

  std::atomic<int32_t> taken_[MAX_RANGES] = {};
  std::atomic<int32_t> done_{0}, count_{UNKNOWN};
};

} // namespace octavo
