// Whether a piece of work keeps this host busy, or waits for something that costs the host nothing.
#pragma once

namespace sluice {

/// Told by the work itself; what is kept for it (a slot) can go to others while nothing of it is
/// busy. Counted: a session computes, and two of its requests are at the vendor. One loop.
class AtWork {
 public:
  AtWork() = default;
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;
  virtual ~AtWork() = default;
  /// One more part of it is busy.
  virtual void begin() = 0;
  /// One part less.
  virtual void end() = 0;

  /// Busy while it lives. `of` may be null.
  class Busy {
   public:
    explicit Busy(AtWork* of) : of_(of) {
      if (of_ != nullptr) of_->begin();
    }
    ~Busy() {
      if (of_ != nullptr) of_->end();
    }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

   private:
    AtWork* of_;
  };

  /// Not busy while it lives, in the midst of being so. `of` may be null.
  class Waits {
   public:
    explicit Waits(AtWork* of) : of_(of) {
      if (of_ != nullptr) of_->end();
    }
    ~Waits() {
      if (of_ != nullptr) of_->begin();
    }
    Waits(const Waits&) = delete;
    Waits& operator=(const Waits&) = delete;

   private:
    AtWork* of_;
  };
};

}  // namespace sluice
