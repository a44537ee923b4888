#include "memory.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <malloc.h>
#include <new>
#include <sys/mman.h>

namespace octavo {

namespace {

constexpr size_t PAGE = 4096;
constexpr int POPULATE_WRITE = 23; // MADV_POPULATE_WRITE, which older headers do not know

std::atomic<int64_t> count{0}, live_bytes{0};

void note(int64_t bytes) {
  count.fetch_add(bytes > 0, std::memory_order_relaxed);
  live_bytes.fetch_add(bytes, std::memory_order_relaxed);
}

void *counted(void *data) {
  if (!data)
    throw std::bad_alloc();
  note((int64_t)malloc_usable_size(data));
  return data;
}

void release(void *data) {
  if (data)
    note(-(int64_t)malloc_usable_size(data));
  free(data);
}

} // namespace

Memory::Memory(size_t bytes, Pages pages) : bytes_(round_up(std::max<size_t>(bytes, 1), PAGE)) {
  void *data = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    throw std::bad_alloc();
  madvise(data, bytes_, pages == Pages::HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  data_ = (uint8_t *)data;
  note((int64_t)bytes_);
}

Memory::~Memory() {
  if (!data_)
    return;
  munmap(data_, bytes_);
  note(-(int64_t)bytes_);
}

Memory::Memory(Memory &&other) noexcept { *this = std::move(other); }

Memory &Memory::operator=(Memory &&other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void Memory::touch(size_t begin, size_t end) {
  begin = round_up(begin, PAGE);
  if (begin >= end || madvise(data_ + begin, end - begin, POPULATE_WRITE) == 0)
    return;
  for (size_t offset = begin; offset < end; offset += PAGE)
    ((volatile uint8_t *)data_)[offset] = 0;
}

Allocations allocations() { return {count.load(), live_bytes.load()}; }

} // namespace octavo

// In place of the standard library's within this library; they are not exported.
void *operator new(size_t bytes) { return octavo::counted(malloc(bytes)); }
void *operator new(size_t bytes, std::align_val_t align) {
  return octavo::counted(aligned_alloc((size_t)align, octavo::round_up(bytes, (size_t)align)));
}
void operator delete(void *data) noexcept { octavo::release(data); }
void operator delete(void *data, size_t) noexcept { octavo::release(data); }
void operator delete(void *data, std::align_val_t) noexcept { octavo::release(data); }
void operator delete(void *data, size_t, std::align_val_t) noexcept { octavo::release(data); }
