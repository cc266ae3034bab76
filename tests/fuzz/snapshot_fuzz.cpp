// runs: 40000  max_len: 3000
// A snapshot's bytes, damaged anywhere: they are read, verified and applied, or refused by Error(format) or
// Error(security); never more.
#include "fuzz/snapshot_bytes.hpp"

namespace foreweave::fuzz {
namespace {

constexpr std::uint8_t repair = 1, repair_check_words = 2, seal = 4, give_key = 8, format_1 = 16;
constexpr auto refused = {ErrorCategory::format, ErrorCategory::security};

}  // namespace

void run(Input input) {
  const std::uint8_t mode = input.byte();
  Bytes bytes = copy_of(input.rest());
  if ((mode & repair) != 0) {
    bytes = repaired(bytes, {(mode & repair_check_words) != 0, (mode & seal) != 0,
                             static_cast<std::uint16_t>((mode & format_1) != 0 ? 1 : 2)});
  }
  bytes.shrink_to_fit();
  const auto held = std::make_shared<test::MemoryStore::Held>(std::move(bytes));
  const Key* const key = (mode & give_key) != 0 ? fuzz_key().get() : nullptr;
  std::shared_ptr<const Snapshot> snapshot;
  if (!allow(refused, [&] { snapshot = Snapshot::parse(held, key, "input"); })) return;

  const Manifest& manifest = snapshot->manifest();
  const bool verified = allow(refused, [&] { snapshot->verify(); });
  int left = 32;
  bool all_read = true;
  for (std::size_t r = 0; r < manifest.regions.size(); ++r) {
    const auto& region = manifest.regions[r];
    for (std::size_t s = 0; s < region.segments.size(); ++s) {
      if (--left < 0) return;
      Bytes scratch;
      all_read &= allow(refused, [&] {
        const SegmentPages pages = snapshot->read(r, s, scratch);
        for (const std::byte byte : pages.bodies) (void)static_cast<volatile std::byte>(byte);
      });
      ExactBuffer data(segment_length(region.bytes, region.segments[s].index), s % 8);
      allow(refused, [&] { snapshot->apply(r, s, data.data(), data.view().size()); });
    }
  }
  require(all_read == verified, "verify() is to read every segment");
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> all;
  for (const bool delta : {false, true}) {
    const Bytes plain = sample_snapshot(delta), sealed = sample_snapshot(delta, fuzz_key());
    for (const std::uint8_t mode : {0, 1, 3, 1 | 4 | 8, 3 | 4 | 8, 1 | 16}) {
      Bytes seed{static_cast<std::byte>(mode)};
      seed.insert(seed.end(), plain.begin(), plain.end());
      all.push_back(std::move(seed));
    }
    Bytes seed{static_cast<std::byte>(give_key)};
    seed.insert(seed.end(), sealed.begin(), sealed.end());
    all.push_back(std::move(seed));
  }
  return all;
}

}  // namespace foreweave::fuzz
