#pragma once
// Bodies of pages (docs/format.md, "Pages") as a fuzzer needs them: made out of arbitrary words, put right, and judged
// by checks that share no code with the decoders.

#include <bit>

#include "foreweave/core/bytes.hpp"
#include "fuzz/support.hpp"
#include "kernels/common/check_word.hpp"
#include "kernels/common/page_layout.hpp"
#include "kernels/page_codec_oracle.hpp"

namespace foreweave::fuzz {

using kernels::DecodeStatus;
using kernels::PageEntry;
using kernels::PageShape;

inline std::uint64_t word_at(ByteView bytes, std::size_t at) {
  std::uint64_t word;
  std::memcpy(&word, bytes.data() + at, 8);
  return word;
}

/// Writes the check word that the body's bitmap, words and transform ask for.
inline void put_check_word(std::span<std::byte> body, unsigned transform) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; 8 * i + 16 <= body.size(); ++i) {
    sum += kernels::common::check_term(i, word_at(body, 8 * i + 8));
  }
  const auto bitmap = static_cast<std::uint32_t>(word_at(body, 0));
  const std::uint32_t check = kernels::common::check_finish(sum, bitmap, transform);
  std::memcpy(body.data() + 4, &check, sizeof check);
}

/// Makes the body of a page of `length` bytes out of words of the input: the sectors that the bitmap asks for, each with
/// as many planes as its mask has. Too large ones are left so.
template <class NextWord>
Bytes make_body(unsigned transform, std::uint32_t length, NextWord next) {
  ByteWriter body;
  std::uint64_t first = next();
  std::uint32_t stored = static_cast<std::uint32_t>(first) & kernels::common::sector_mask(length);
  if (stored == 0) stored = 1;
  body.put((first & 0xFFFFFFFF00000000u) | stored);
  for (std::uint32_t left = stored; left != 0; left &= left - 1) {
    if (transform == 0) {
      const auto sector = static_cast<std::uint32_t>(std::countr_zero(left));
      for (std::uint32_t i = kernels::common::raw_words(sector, length); i != 0; --i) body.put(next());
    } else {
      std::uint64_t mask = next();
      if (mask == 0) mask = 1;
      body.put(mask);
      for (int i = std::popcount(mask); i != 0; --i) body.put(next());
    }
  }
  return body.take();
}

/// What decoding must find, by the list in docs/format.md.
inline kernels::DecodeResult judge(std::span<const PageEntry> entries, ByteView in, std::uint64_t bytes,
                                   const PageShape& shape) {
  const oracle::Shape plain{shape.width == 4 || shape.width == 8 ? shape.width : 1, shape.row, shape.plane};
  const auto length_of = [&](std::uint64_t page) { return std::min<std::uint64_t>(16384, bytes - page * 16384); };
  std::uint64_t total = 0;
  for (std::uint64_t page = 0; page < entries.size(); ++page) {
    const std::uint64_t size = entries[page] & 0xFFFFFF;
    const int transform = static_cast<int>(entries[page] >> 24);
    if (entries[page] == 0) continue;
    if (size % 8 != 0 || size < 16 || size > 8 + (length_of(page) + 7) / 8 * 8) return {DecodeStatus::bad_size, page};
    if (!oracle::allowed(transform, plain)) return {DecodeStatus::bad_transform, page};
    total += size;
    if (total > in.size()) return {DecodeStatus::bad_size, page};
  }
  if (total != in.size()) return {DecodeStatus::bad_size, entries.size()};
  std::size_t at = 0;
  for (std::uint64_t page = 0; page < entries.size(); ++page) {
    if (entries[page] == 0) continue;
    const std::size_t size = entries[page] & 0xFFFFFF;
    const auto body = octets(in.subspan(at, size));
    at += size;
    const auto transform = static_cast<int>(entries[page] >> 24);
    const std::uint64_t length = length_of(page), sectors = (length + 511) / 512;
    const auto bitmap = static_cast<std::uint32_t>(oracle::get(body.data(), 4));
    if (bitmap == 0 || std::uint64_t{bitmap} >> sectors != 0) return {DecodeStatus::bad_sectors, page};
    std::size_t read = 8;
    for (std::uint64_t k = 0; k < sectors; ++k) {
      if ((bitmap >> k & 1) == 0) continue;
      if (transform == 0) {
        read += 8 * std::min<std::uint64_t>(64, (length + 7) / 8 - 64 * k);
        continue;
      }
      if (read + 8 > size) return {DecodeStatus::bad_planes, page};
      const std::uint64_t mask = oracle::get(body.data() + read, 8);
      if (mask == 0) return {DecodeStatus::bad_planes, page};
      read += 8 + 8 * static_cast<std::size_t>(std::popcount(mask));
    }
    if (read != size) return {DecodeStatus::bad_planes, page};
    if (oracle::check_word(body, bitmap, transform) != oracle::get(body.data() + 4, 4)) {
      return {DecodeStatus::bad_check, page};
    }
  }
  return {};
}

}  // namespace foreweave::fuzz
