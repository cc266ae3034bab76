// runs: 25000  max_len: 2000
// The archive stage: archived bytes, damaged anywhere, give a segment or Error(format); any bytes come back from it,
// within its bound; the plane order can be undone, in buffers of exactly its size.
#include <zstd.h>

#include <iterator>

#include "foreweave/state/archive.hpp"
#include "fuzz/page_bodies.hpp"
#include "fuzz/snapshot_bytes.hpp"
#include "state/plane_order.hpp"

namespace foreweave::fuzz {
namespace {

enum Mode : std::uint8_t { archived, compressed, segment, ordered };

/// Bytes that are said to be archived.
void unarchive(ByteView bytes) {
  static Archiver archiver;
  const ExactBuffer exact(bytes, 0);
  Bytes out{std::byte{7}};
  if (!allow({ErrorCategory::format}, [&] { archiver.unarchive(exact.view(), out, "input"); })) {
    require(out == Bytes{std::byte{7}}, "a refusal leaves the output alone");
    return;
  }
  require(out[0] == std::byte{7} && out.size() - 1 <= state_detail::max_segment_plain_bytes, "memory is bounded");
  const Bytes plain(std::next(out.begin()), out.end());
  Bytes again, back;
  archiver.archive(plain, again);
  archiver.unarchive(again, back, "archived anew");
  require(back == plain, "what went in comes out");
}

void round_trip(ByteView bytes) {
  static Archiver archiver;
  const ExactBuffer exact(bytes, 0);
  Bytes out, back;
  archiver.archive(exact.view(), out);
  require(out.size() <= bytes.size() + archive_head_bytes, "an archived segment is never larger than the bound");
  out.shrink_to_fit();
  archiver.unarchive(out, back, "archived");
  require(same(back, bytes), "what went in comes out");
  ExactBuffer order(bytes.size(), 0), undone(bytes.size(), 0);
  if (!state_detail::to_plane_order(exact.view(), order.data())) return;
  require(state_detail::from_plane_order(order.view(), undone.data()) == nullptr, "a plane order can be undone");
  require(same(undone.view(), bytes), "undoing a plane order gives the segment");
}

void undo(ByteView bytes) {
  const ExactBuffer exact(bytes, 0);
  ExactBuffer plain(bytes.size(), 0), again(bytes.size(), 0);
  if (state_detail::from_plane_order(exact.view(), plain.data()) != nullptr) return;
  require(state_detail::to_plane_order(plain.view(), again.data()), "what was undone can be ordered");
  require(same(again.view(), bytes), "to and from plane order are inverse");
}

/// The first words of the input as the head of a segment whose entries have sizes that fit the bytes there are: the last
/// page takes the rest. Otherwise hardly one input in a million passes that check.
void fit_head(Bytes& bytes) {
  bytes.resize(bytes.size() / 8 * 8);
  if (bytes.size() < 40) return;
  const std::uint64_t bitmap = word_at(bytes, 0);
  const auto pages = static_cast<std::size_t>(std::popcount(bitmap));
  const std::size_t head = 8 + (pages + pages % 2) * sizeof(PageEntry);
  if (pages == 0 || head + 16 * pages > bytes.size()) return;
  std::size_t rest = bytes.size() - head;
  for (std::size_t page = 0; page < pages; ++page) {
    PageEntry entry;
    std::memcpy(&entry, bytes.data() + 8 + 4 * page, 4);
    const std::size_t most = rest - 16 * (pages - page - 1);
    std::size_t size = page + 1 == pages ? rest : 16 + kernels::entry_size(entry) / 8 * 8 % (most - 8);
    size = std::min({size / 8 * 8, most, kernels::max_encoded_page_bytes});
    entry = static_cast<PageEntry>(size) | (entry >> 24) % 5 << 24;
    std::memcpy(bytes.data() + 8 + 4 * page, &entry, 4);
    rest -= size;
  }
  bytes.resize(bytes.size() - rest);
}

}  // namespace

void run(Input input) {
  const std::uint8_t mode = input.byte();
  if (mode % 4 == archived) return unarchive(input.rest());
  Bytes bytes = copy_of(input.rest());
  if ((mode & 4) != 0) fit_head(bytes);
  if (mode % 4 == segment) return round_trip(bytes);
  if (mode % 4 == ordered) return undo(bytes);
  // As archive() does it, but of bytes that may be no plane order.
  Bytes out(archive_head_bytes + ZSTD_compressBound(bytes.size()));
  out[0] = std::byte{1};
  const auto size = static_cast<std::uint32_t>(bytes.size() + (mode >> 3));
  std::memcpy(out.data() + 4, &size, sizeof size);
  const std::size_t found = ZSTD_compress(out.data() + archive_head_bytes, out.size() - archive_head_bytes, bytes.data(),
                                          bytes.size(), 1);
  require(ZSTD_isError(found) == 0, "zstd compresses");
  out.resize(archive_head_bytes + found);
  unarchive(out);
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> all;
  const auto add = [&](std::uint8_t mode, ByteView bytes) {
    Bytes seed{static_cast<std::byte>(mode)};
    seed.insert(seed.end(), bytes.begin(), bytes.end());
    all.push_back(std::move(seed));
  };
  Archiver archiver;
  for (const bool delta : {false, true}) {
    const Bytes bytes = sample_snapshot(delta);
    const auto held = std::make_shared<test::MemoryStore::Held>(bytes);
    const auto snapshot = Snapshot::parse(held, nullptr, "seed");
    for (const auto& region : snapshot->manifest().regions) {
      for (const auto& record : region.segments) {
        const ByteView plain = ByteView(bytes).subspan(record.offset, record.bytes);
        Bytes out, order(plain.size());
        archiver.archive(plain, out);
        add(archived, out);
        require(state_detail::to_plane_order(plain, order.data()), "a segment can be ordered");
        for (const std::uint8_t fit : {0, 4}) {
          add(static_cast<std::uint8_t>(compressed | fit), order);
          add(static_cast<std::uint8_t>(segment | fit), plain);
          add(static_cast<std::uint8_t>(ordered | fit), order);
        }
      }
    }
  }
  return all;
}

}  // namespace foreweave::fuzz
