#include "foreweave/state/parity.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "foreweave/core/error.hpp"
#include "foreweave/state/erasure.hpp"

namespace foreweave {
namespace {

constexpr std::array<char, 8> magic{'F', 'W', 'P', 'A', 'R', 'I', 'T', 'Y'}, end_magic{'F', 'W', 'P', 'A', 'R', 'E', 'N', 'D'};
constexpr std::uint16_t format_number = 1;
constexpr std::size_t footer_bytes = 32;
constexpr const char* operation = "read a parity block";

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCategory::format, operation, what); }

bool begins_with(ByteView bytes, const std::array<char, 8>& text) {
  return std::equal(text.begin(), text.end(), bytes.begin(),
                    [](char a, std::byte b) { return static_cast<std::byte>(a) == b; });
}

}  // namespace

Rank ParityRecord::key(const std::vector<Rank>& members, int parity, int row) {
  ByteWriter all;
  all.put(static_cast<std::int32_t>(parity));
  all.put(static_cast<std::int32_t>(row));
  for (const auto rank : members) all.put(rank);
  return static_cast<Rank>(digest64(all.bytes()) & 0x7FFFFFFF);
}

std::vector<Rank> ParityRecord::ranks() const {
  std::vector<Rank> all;
  for (const auto& member : members) all.push_back(member.rank);
  return all;
}

SnapshotId ParityRecord::id() const { return {key(ranks(), parity, row), version}; }

Bytes ParityRecord::encode() const {
  ByteWriter out;
  out.put_bytes(std::as_bytes(std::span(magic)));
  out.put(format_number);
  out.put(static_cast<std::uint16_t>(members.size()));
  out.put(static_cast<std::uint16_t>(parity));
  out.put(static_cast<std::uint16_t>(row));
  out.put(version);
  out.put(bytes);
  out.put(content.low);
  out.put(content.high);
  for (const auto& member : members) {
    out.put(member.rank);
    out.put(std::uint32_t{0});
    out.put(member.base);
    out.put(member.bytes);
    out.put(member.content.low);
    out.put(member.content.high);
  }
  out.put(bytes);
  out.put(static_cast<std::uint64_t>(out.size() - sizeof bytes));
  out.put(digest64(out.bytes()));
  out.put_bytes(std::as_bytes(std::span(end_magic)));
  return out.take();
}

ParityRecord ParityRecord::decode(ByteView file) {
  if (file.size() < footer_bytes || !begins_with(file.last(8), end_magic)) refuse("its end is not that of a parity block");
  ByteReader footer(file.last(footer_bytes), "parity footer");
  const auto payload = footer.get<std::uint64_t>(), length = footer.get<std::uint64_t>(), digest = footer.get<std::uint64_t>();
  if (length > file.size() - footer_bytes) refuse("its record does not fit into it");
  const auto record = file.last(footer_bytes + length);
  if (record.size() != file.size() && file.size() - record.size() != payload) {
    refuse("it has " + std::to_string(file.size() - record.size()) + " bytes before its record, and should have " +
           std::to_string(payload));
  }
  if (digest64(record.first(length + 16)) != digest) refuse("its record does not match its digest");
  if (length < 8 || !begins_with(record, magic)) refuse("its record does not begin as one");
  ByteReader in(record.subspan(8, length - 8), "parity record");
  if (const auto format = in.get<std::uint16_t>(); format != format_number) {
    refuse("format " + std::to_string(format) + " is not known");
  }
  ParityRecord result;
  const auto count = in.get<std::uint16_t>();
  result.parity = in.get<std::uint16_t>();
  result.row = in.get<std::uint16_t>();
  result.version = in.get<Version>();
  result.bytes = in.get<std::uint64_t>();
  result.content.low = in.get<std::uint64_t>();
  result.content.high = in.get<std::uint64_t>();
  std::uint64_t longest = 0;
  for (int i = 0; i < count; ++i) {
    Member member;
    member.rank = in.get<Rank>();
    if (in.get<std::uint32_t>() != 0) refuse("a member's unused bytes are not 0");
    member.base = in.get<Version>();
    member.bytes = in.get<std::uint64_t>();
    member.content.low = in.get<std::uint64_t>();
    member.content.high = in.get<std::uint64_t>();
    if (member.base >= result.version) refuse("a member is a delta against a later version");
    longest = std::max(longest, member.bytes);
    result.members.push_back(member);
  }
  in.expect_end();
  if (count == 0 || result.row >= result.parity || count + result.parity > ErasureCode::max_blocks ||
      result.bytes != longest || result.bytes != payload || result.version == 0) {
    refuse("its numbers do not fit together");
  }
  return result;
}

}  // namespace foreweave
