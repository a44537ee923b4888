// Memory of the executor: mapped from the kernel once, at load, and laid out by hand. Everything allocated in
// this library is counted, so that a test can tell that a step allocates nothing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace octavo {

inline size_t round_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Zeroed, page-aligned memory, reserved as a whole: what a limit on commitments would refuse is refused here.
// Its pages are taken as they are first touched.
class Memory {
public:
  enum class Pages {
    HUGE, // where they can be had
    SMALL // for memory of which only parts are ever touched
  };

  Memory() = default;
  explicit Memory(size_t bytes, Pages pages = Pages::HUGE);
  ~Memory();
  Memory(Memory &&other) noexcept;
  Memory &operator=(Memory &&other) noexcept;
  uint8_t *data() const { return data_; }
  size_t size() const { return bytes_; }
  void touch() { touch(0, bytes_); }    // takes all pages now
  void touch(size_t begin, size_t end); // those that begin there; what they hold is lost

private:
  uint8_t *data_ = nullptr;
  size_t bytes_ = 0;
};

// A list in memory that lies elsewhere and bounds it: whoever fills it sees to that.
template <class T> class FixedList {
public:
  // Takes the place of `capacity` items at `offset`, and moves offset past them.
  void place(uint8_t *memory, size_t &offset, size_t capacity) {
    if (memory)
      items_ = (T *)(memory + offset);
    offset += round_up(capacity * sizeof(T), 64);
  }
  void assign(const T *items, size_t count) {
    count_ = count;
    if (count)
      memcpy(items_, items, count * sizeof(T));
  }
  void insert(size_t index, T item) {
    memmove(items_ + index + 1, items_ + index, (count_++ - index) * sizeof(T));
    items_[index] = item;
  }
  void erase_first() { memmove(items_, items_ + 1, --count_ * sizeof(T)); }
  void push_back(T item) { items_[count_++] = item; }
  void clear() { count_ = 0; }
  size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  T *begin() { return items_; }
  T *end() { return items_ + count_; }
  const T *begin() const { return items_; }
  const T *end() const { return items_ + count_; }

private:
  T *items_ = nullptr;
  size_t count_ = 0;
};

struct Allocations {
  int64_t count; // ever made
  int64_t bytes; // not yet freed
};

Allocations allocations();

} // namespace octavo
