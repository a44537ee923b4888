// Where a step's time goes, as member 0 of the team sees it: a clock read at each barrier (about 25 ns).
#pragma once
#include <chrono>

namespace octavo {

// core/step.py, StepPhase
enum class StepPhase { LINEAR, ATTENTION, ROWS, SAMPLING, CHANGES };

class StepClock {
public:
  // seconds: [StepPhase], added to; memory of the caller, not written after stop.
  void start(double *seconds, StepPhase phase) {
    seconds_ = seconds;
    phase_ = phase;
    since_ = Clock::now();
  }
  void enter(StepPhase phase) {
    const Clock::time_point now = Clock::now();
    seconds_[(int)phase_] += std::chrono::duration<double>(now - since_).count();
    phase_ = phase;
    since_ = now;
  }
  void stop() { enter(phase_); }

private:
  using Clock = std::chrono::steady_clock;
  double *seconds_ = nullptr;
  StepPhase phase_ = StepPhase::CHANGES;
  Clock::time_point since_;
};

} // namespace octavo
