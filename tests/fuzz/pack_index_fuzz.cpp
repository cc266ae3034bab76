// runs: 60000  max_len: 1200
// The index of a pack by itself: what is accepted fits into the pack, and is written as it was read.
#include "fuzz/pack_bytes.hpp"

namespace foreweave::fuzz {

void run(Input input) {
  using namespace state_detail;
  const std::uint64_t offset = header_bytes + input.get<std::uint32_t>();
  const ExactBuffer bytes(input.rest(), 0);
  allow({ErrorCategory::format}, [&] {
    const PackIndex index = read_index(bytes.view(), offset, "input");
    require(same(write_index(index), bytes.view()) && index.bytes() == bytes.view().size(),
            "an index is written as it was read");
    require(index.own_bytes() + index.frame_bytes() <= offset - header_bytes, "what it says to have fits");
  });
}

std::vector<Bytes> seeds() {
  using namespace state_detail;
  std::vector<Bytes> all;
  for (const Bytes& pack : sample_packs()) {
    const auto footer = read_footer(ByteView(pack).last(footer_bytes), pack.size(), "seed", pack_kind);
    ByteWriter seed;
    seed.put(static_cast<std::uint32_t>(footer.manifest_offset - header_bytes));
    seed.put_bytes(ByteView(pack).subspan(footer.manifest_offset, footer.manifest_bytes));
    all.push_back(seed.take());
  }
  return all;
}

}  // namespace foreweave::fuzz
