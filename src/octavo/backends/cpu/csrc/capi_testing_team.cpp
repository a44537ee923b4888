// The team of threads by itself, for tests.
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "capi.h"
#include "team.h"

using namespace octavo;

namespace {

constexpr int PHASES = 12, MAX_ITEMS = 17;

// Jobs of some phases; each says how many items the next one has.
struct TeamTest {
  Team &team;
  std::vector<Items> items{PHASES};
  int32_t runs[PHASES][MAX_ITEMS] = {}; // how often an item has been run in this job
  int32_t num_jobs = 0;                 // begun so far
  std::atomic<int32_t> next_count{0};
  std::atomic<int32_t> num_wrong{0}; // items run twice, or before the phase ahead of theirs was done

  int32_t count(int phase) const { return 1 + (num_jobs + 5 * phase) % MAX_ITEMS; }

  void run_item(int phase, int32_t item) {
    num_wrong += runs[phase][item]++ > 0;
    for (int32_t ahead = 0; phase > 0 && ahead < count(phase - 1); ahead++)
      num_wrong += runs[phase - 1][ahead] != 1;
    if (item == 0)
      next_count.store(count(phase + 1), std::memory_order_relaxed);
  }

  int32_t run_phase(int phase, int thread) {
    const int32_t size = team.size();
    const int32_t count = items[phase].count([&] { return phase ? next_count.load() : this->count(0); });
    const auto run = [&](int32_t item) { run_item(phase, item); };
    if (phase % 3 == 0)
      return items[phase].run_in_order(count, run);
    if (phase % 3 == 1)
      return items[phase].run_in_ranges(count, thread, size, run);
    return items[phase].run_in_order_ahead(count, size, [&](int32_t item, int32_t) { run(item); });
  }

  static void job(void *self, int thread) {
    TeamTest &test = *(TeamTest *)self;
    for (int phase = 0; phase < PHASES; phase++)
      if (!test.team.finish(test.items[phase], test.run_phase(phase, thread), thread))
        return;
  }

  void run_job() {
    num_jobs++;
    for (Items &each : items)
      each.reset(team.size());
    team.run(job, this, num_jobs % 2);
    for (int phase = 0; phase < PHASES; phase++)
      for (int32_t item = 0; item < MAX_ITEMS; item++) {
        num_wrong += runs[phase][item] != (item < count(phase));
        runs[phase][item] = 0;
      }
  }
};

// Some threads sleep and some wake them, until the latter have done so often enough.
struct EventTest {
  Event event;
  std::atomic<bool> is_over{false};
  std::atomic<int32_t> num_left; // sleepers that have not noticed

  explicit EventTest(int32_t num_sleepers) : num_left(num_sleepers) {}

  void sleep() {
    for (uint32_t seen = event.value(); !is_over.load(); seen = event.value())
      event.sleep_past(seen);
    num_left--;
  }

  void wake(int32_t count) {
    for (int32_t i = 0; i < count; i++)
      event.advance();
  }

  // Returns how many sleep on.
  static int32_t run(int32_t num_sleepers, int32_t num_wakers, int32_t count) {
    auto *test = new EventTest(num_sleepers); // stays where somebody sleeps on
    std::vector<std::thread> wakers;
    for (int32_t i = 0; i < num_sleepers; i++)
      std::thread([test] { test->sleep(); }).detach();
    for (int32_t i = 0; i < num_wakers; i++)
      wakers.emplace_back([test, count] { test->wake(count); });
    for (std::thread &waker : wakers)
      waker.join();
    test->is_over.store(true);
    test->event.advance();
    for (int32_t i = 0; i < 10'000 && test->num_left.load(); i++)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const int32_t num_asleep = test->num_left.load();
    if (!num_asleep)
      delete test;
    return num_asleep;
  }
};

} // namespace

// Does this `rounds` times, unless some sleep on, and returns how many.
OCTAVO_API int32_t octavo_test_events(int32_t num_sleepers, int32_t num_wakers, int32_t count,
                                      int32_t rounds) {
  for (int32_t i = 0; i < rounds; i++)
    if (const int32_t num_left = EventTest::run(num_sleepers, num_wakers, count))
      return num_left;
  return 0;
}

// Makes num_teams teams, one after the other, each of which runs num_jobs jobs. Returns how many items were
// not run exactly once in each job, or before all of the phase ahead of theirs.
OCTAVO_API int32_t octavo_test_teams(int32_t num_threads, int32_t num_teams, int32_t num_jobs) {
  int32_t num_wrong = 0;
  for (int32_t i = 0; i < num_teams; i++) {
    Team team(num_threads);
    TeamTest test{team};
    while (test.num_jobs < num_jobs)
      test.run_job();
    num_wrong += test.num_wrong;
  }
  return num_wrong;
}
