#include "state/tracking_rule.hpp"

#include <algorithm>

namespace foreweave::state_detail {

bool TrackingRule::saw_faults(std::uint64_t faults, std::uint64_t bytes, const TrackingPrices& prices) {
  if (static_cast<double>(faults) * prices.fault > static_cast<double>(bytes) * prices.read_of_byte) {
    give_up();
    return false;
  }
  if (++quiet_ >= forgiven_after) patience_ = first_patience;
  return true;
}

bool TrackingRule::saw_differences(std::uint64_t faults, std::uint64_t bytes, const TrackingPrices& prices) {
  const double saving = static_cast<double>(bytes) * prices.read_of_byte;
  const bool cheap = prices.fault > 0 && static_cast<double>(faults) * prices.fault * margin <= saving;
  quiet_ = cheap && saving > 0 ? std::min(quiet_ + 1, most_patience) : 0;
  return quiet_ >= patience_;
}

void TrackingRule::end() {
  if (tracked_) give_up();
  quiet_ = 0;
}

void TrackingRule::give_up() {
  tracked_ = false;
  quiet_ = 0;
  patience_ = std::min(2 * patience_, most_patience);
}

}  // namespace foreweave::state_detail
