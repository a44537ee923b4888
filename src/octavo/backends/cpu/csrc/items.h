// The items of one phase, handed out to the threads of a team.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>

namespace octavo {

// One cache line. Each item is run once, by whoever takes it.
class alignas(64) Items {
public:
  void reset(int num_threads) {
    for (int range = 0; range < std::min(num_threads, MAX_RANGES); range++)
      taken_[range].store(0, std::memory_order_relaxed);
  }

  // In order, each to the next thread that is free: for items of unlike length, the longest first.
  template <class Fn> void run_in_order(int32_t count, Fn &&fn) {
    for (int32_t item; (item = taken_[0].fetch_add(1, std::memory_order_relaxed)) < count;)
      fn(item);
  }

  // The same, fn(item, next): next is the item that this thread takes afterwards, or -1. The last ones are
  // not taken ahead of time: they would wait for a thread that is busy while another has nothing to do.
  template <class Fn> void run_in_order_ahead(int32_t count, int num_threads, Fn &&fn) {
    int32_t item = taken_[0].fetch_add(1, std::memory_order_relaxed);
    while (item < count) {
      const bool is_near_end = count - item <= LAST_ITEMS * num_threads;
      const int32_t next = is_near_end ? -1 : taken_[0].fetch_add(1, std::memory_order_relaxed);
      fn(item, next < count ? next : -1);
      item = is_near_end ? taken_[0].fetch_add(1, std::memory_order_relaxed) : next;
    }
  }

  // Neighbours to the same thread, so that what it prefetches behind an item is its own: each has a range, of
  // which it takes half of what is left at a time. Who has none left helps the others, item by item.
  template <class Fn> void run_in_ranges(int32_t count, int thread, int num_threads, Fn &&fn) {
    const int ranges = std::min(num_threads, MAX_RANGES);
    for (int i = 0; i < ranges; i++) {
      const int64_t range = (thread + i) % ranges;
      const int32_t begin = (int32_t)(count * range / ranges);
      const int32_t size = (int32_t)(count * (range + 1) / ranges) - begin;
      for (int32_t left; (left = size - taken_[range].load(std::memory_order_relaxed)) > 0;) {
        const int32_t share = i == 0 ? (left + 1) / 2 : 1;
        const int32_t first = taken_[range].fetch_add(share, std::memory_order_relaxed);
        for (int32_t item = first; item < std::min(first + share, size); item++)
          fn(begin + item);
      }
    }
  }

private:
  static constexpr int MAX_RANGES = 16;
  static constexpr int LAST_ITEMS = 4; // for each thread
  std::atomic<int32_t> taken_[MAX_RANGES] = {};
};

} // namespace octavo
