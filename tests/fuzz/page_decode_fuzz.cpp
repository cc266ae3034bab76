// runs: 6000  max_len: 700
// Decoding of pages: arbitrary entries and bodies, any shape, size and alignment. Nothing outside the buffers is read
// or written; every SIMD target finds what docs/format.md says, and writes what the oracle writes.
#include <hwy/highway.h>

#include "fuzz/page_bodies.hpp"
#include "kernels/host/simd_targets.hpp"

namespace foreweave::fuzz {
namespace {

constexpr std::uint8_t make = 1;    ///< bodies are made out of the input's words, and entries have their sizes
constexpr std::uint8_t check = 2;   ///< … and right check words
constexpr std::uint8_t huge = 4;    ///< strides beyond 32 bits
constexpr std::uint8_t widths[] = {8, 4, 1, 0};

struct Job {
  PageShape shape;
  std::uint64_t bytes = 0;
  std::vector<PageEntry> entries;
  Bytes in;
};

Job read_job(Input& input, std::uint8_t mode) {
  Job job;
  job.shape.width = widths[input.byte() % 4];
  job.shape.row = input.get<std::uint16_t>();
  job.shape.plane = input.get<std::uint16_t>();
  if ((mode & huge) != 0) job.shape.row <<= 48;
  job.bytes = input.get<std::uint16_t>() % (2 * kernels::page_bytes + 3000);
  job.entries.resize(kernels::page_count(job.bytes));
  for (auto& entry : job.entries) entry = input.get<PageEntry>();
  if ((mode & make) == 0) {
    job.in = copy_of(input.rest());
    return job;
  }
  // Words of the input, over and over.
  const ByteView words = input.rest();
  std::size_t at = 0;
  std::uint64_t turn = 0;
  const auto next = [&] {
    if (words.size() < 8) return ++turn * kernels::common::check_step;
    if (at + 8 > words.size()) at = 0, ++turn;
    const std::uint64_t word = word_at(words, at);
    at += 8;
    return std::rotl(word, static_cast<int>(turn));
  };
  for (std::uint64_t page = 0; page < job.entries.size(); ++page) {
    PageEntry& entry = job.entries[page];
    unsigned transform = kernels::entry_transform(entry) % 8;
    if (transform == 7) {
      entry = 0;
      continue;
    }
    if ((mode & check) != 0) {
      while (!kernels::common::transform_allowed(transform, job.shape)) --transform;
    }
    Bytes body = make_body(transform, kernels::common::page_length(page, job.bytes), next);
    if ((mode & check) != 0) put_check_word(body, transform);
    entry = static_cast<PageEntry>(body.size()) | transform << 24;
    job.in.insert(job.in.end(), body.begin(), body.end());
  }
  return job;
}

/// Once on each SIMD target that is compiled in and that this CPU has.
template <class Act>
void on_each_target(Act act) {
  hwy::SetSupportedTargetsForTest(0);
  for (std::int64_t left = kernels::host::simd_targets_available(); left != 0; left &= left - 1) {
    hwy::SetSupportedTargetsForTest(left & -left);
    act();
  }
  hwy::SetSupportedTargetsForTest(0);
}

}  // namespace

void run(Input input) {
  const std::uint8_t mode = input.byte(), shift = input.byte() % 64, fill = input.byte();
  const Job job = read_job(input, mode);
  ExactBuffer in(job.in, shift), base(job.bytes, 0, static_cast<std::byte>(fill));
  const ByteView entries_view = std::as_bytes(std::span(job.entries));
  ExactBuffer entries(entries_view, 0);

  const auto expected = judge(job.entries, job.in, job.bytes, job.shape);
  // What comes before the first bad page may have been decoded; here it has been, on the host.
  oracle::Encoded good{octets(job.in), {job.entries.begin(), job.entries.end()}};
  const bool any = expected.status == DecodeStatus::ok || expected.status > DecodeStatus::bad_transform;
  for (std::uint64_t page = 0; page < good.entries.size(); ++page) {
    if (!any || (expected.status != DecodeStatus::ok && page >= expected.page)) good.entries[page] = 0;
  }
  const auto content = oracle::decode(good, octets(base.view()), {job.shape.width, job.shape.row, job.shape.plane});

  on_each_target([&] {
    ExactBuffer data(base.view(), 63u - shift);
    const auto result = kernels::host::decode_pages({.in = in.data(),
                                                     .in_bytes = job.in.size(),
                                                     .entries = reinterpret_cast<const PageEntry*>(entries.data()),
                                                     .data = data.data(),
                                                     .bytes = job.bytes,
                                                     .shape = job.shape});
    require(result.status == expected.status && result.page == expected.page, "decoding finds what the format says");
    require(same(data.view(), std::as_bytes(std::span(content))), "decoding writes what the oracle writes");
    require(same(in.view(), job.in) && same(entries.view(), entries_view), "decoding leaves its input alone");
  });
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> all;
  for (const std::uint8_t mode : {0, 1, 3, 7}) {
    for (const std::uint8_t width : {0, 1, 2}) {
      for (std::uint32_t transform = 0; transform < 5; ++transform) {
        for (const std::uint16_t bytes : {100, 4097, 16384 + 1000}) {
          ByteWriter seed;
          seed.put(mode);
          seed.put(static_cast<std::uint8_t>(bytes + transform));
          seed.put(std::uint8_t{0x3C});
          seed.put(width);
          seed.put(static_cast<std::uint16_t>(transform == 4 ? 16 : 0));
          seed.put(static_cast<std::uint16_t>(width == 1 ? 256 : 0));
          seed.put(bytes);
          for (std::uint64_t page = 0; page < kernels::page_count(bytes); ++page) seed.put(transform << 24 | 24u);
          seed.put(std::uint64_t{0x0000'0000'8000'0081});
          for (const std::uint64_t word : {0x0000'0000'0000'0101u, 0xFFFF'0000u, 0x1234u, 0x8000'0001u}) {
            seed.put(std::uint64_t{word});
          }
          all.push_back(seed.take());
        }
      }
    }
  }
  return all;
}

}  // namespace foreweave::fuzz
