#pragma once
// When it pays to have the kernel track a piece of memory (write_tracker.hpp), instead of comparing it with its base.
//
// Tracked, the program pays a fault for the first write to each system page after a capture, and the clean pages are not
// read. Compared, all of it is read at each capture, and the base with it. Both prices are measured in this process; the
// rule weighs them by what the piece did lately:
//
//   tracked:   it stays so while  faults x fault < bytes x read.
//   compared:  it is tracked after `patience` captures in a row with  faults x fault <= bytes x read / margin. Faults are
//              not known then; there are at most four (system pages in a page) for each page that differed.
//
// Why two different thresholds and patience: a piece at the border would otherwise change sides at every capture, and
// each change costs about as much as it can save. Patience doubles with each time a piece had to be given up, and is
// forgiven after a while, so that a program which changes its ways is followed, and one that alternates is left alone.

#include <cstdint>

namespace foreweave::state_detail {

/// Measured prices, in nanoseconds.
struct TrackingPrices {
  double fault = 0;          ///< of the first write to a tracked system page
  double read_of_byte = 0;   ///< of comparing one byte with its base; 0: not known yet
};

class TrackingRule {
 public:
  static constexpr int margin = 2;            ///< how much cheaper tracking must look before it is begun
  static constexpr int first_patience = 2;    ///< one quiet capture may be chance
  static constexpr int most_patience = 64;    ///< about what one vain attempt costs is then spread over so many captures
  static constexpr int forgiven_after = 16;   ///< captures that a piece has to stay tracked

  bool tracked() const { return tracked_; }
  /// What a capture saw of the piece while it was tracked: `faults` first writes. Returns whether it stays tracked.
  bool saw_faults(std::uint64_t faults, std::uint64_t bytes, const TrackingPrices& prices);
  /// The same while it was compared: at most `faults` first writes, had it been tracked. Returns whether it should be
  /// tracked from now on.
  bool saw_differences(std::uint64_t faults, std::uint64_t bytes, const TrackingPrices& prices);
  /// It is tracked from now on.
  void begin() { tracked_ = true, quiet_ = 0; }
  /// Tracking was lost without the piece being at fault for its price; it has to be earned again.
  void end();

 private:
  void give_up();

  bool tracked_ = false;
  int quiet_ = 0;      ///< captures in a row: tracked ones, or cheap ones
  int patience_ = first_patience;
};

}  // namespace foreweave::state_detail
