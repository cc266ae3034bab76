// runs: 100000  max_len: 400
// The record at the end of a parity block: read, and then the same bytes when written again; or refused.
#include "foreweave/state/parity.hpp"
#include "fuzz/page_bodies.hpp"

namespace foreweave::fuzz {
namespace {

constexpr std::uint8_t repair = 1;

/// Gives the record's footer a length that fits, its digest and its magic.
void repair_footer(Bytes& bytes) {
  if (bytes.size() < 32) return;
  const std::size_t footer = bytes.size() - 32;
  const std::uint64_t length = std::min<std::uint64_t>(word_at(bytes, footer + 8), footer);
  std::memcpy(bytes.data() + footer + 8, &length, 8);
  const std::uint64_t digest = digest64(ByteView(bytes).subspan(footer - length, length + 16));
  std::memcpy(bytes.data() + footer + 16, &digest, 8);
  std::memcpy(bytes.data() + footer + 24, "FWPAREND", 8);
}

}  // namespace

void run(Input input) {
  const std::uint8_t mode = input.byte();
  Bytes bytes = copy_of(input.rest());
  if ((mode & repair) != 0) repair_footer(bytes);
  const ExactBuffer exact(bytes, 0);
  allow({ErrorCategory::format}, [&] {
    const ParityRecord record = ParityRecord::decode(exact.view());
    const Bytes again = record.encode();
    require(again.size() <= exact.view().size() && same(again, exact.view().last(again.size())),
            "a record is written as it was read");
    require(ParityRecord::decode(again) == record, "a record by itself is the record");
    (void)record.id();
  });
}

std::vector<Bytes> seeds() {
  const Bytes end = ParityRecord{7, 2, 1, {{0, 6, 40, {1, 2}}, {3, 0, 33, {3, 4}}}, 40, {5, 6}}.encode();
  std::vector<Bytes> all;
  for (const std::uint8_t mode : {std::uint8_t{0}, repair}) {
    for (const std::size_t block : {0, 40}) {
      ByteWriter seed;
      seed.put(mode);
      seed.put_bytes(Bytes(block, std::byte{1}));
      seed.put_bytes(end);
      all.push_back(seed.take());
    }
  }
  return all;
}

}  // namespace foreweave::fuzz
