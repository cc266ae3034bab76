#include "foreweave/state/erasure.hpp"

#include <isa-l/erasure_code.h>

#include <algorithm>
#include <set>
#include <string>

#include "foreweave/core/error.hpp"

namespace foreweave {
namespace {

/// ISA-L counts in int, and many outputs are made in several passes over the inputs: stretches that stay in the cache
/// between the passes.
constexpr std::uint64_t stretch_bytes = std::uint64_t{64} << 10;
constexpr std::size_t table_bytes = 32;   // of one coefficient

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCategory::argument, "erasure code", what); }

}  // namespace

BlockSum::BlockSum(std::size_t inputs, std::size_t outputs, std::vector<std::uint8_t> coefficients)
    : inputs_(inputs), outputs_(outputs), coefficients_(std::move(coefficients)) {
  if (inputs == 0 || coefficients_.size() != inputs * outputs) refuse("a sum needs a coefficient for each pair of blocks");
  tables_.resize(table_bytes * coefficients_.size());
  if (outputs != 0) ec_init_tables(static_cast<int>(inputs), static_cast<int>(outputs), coefficients_.data(), tables_.data());
}

void BlockSum::apply(std::span<const ByteView> inputs, std::span<std::byte* const> outputs, std::uint64_t bytes) const {
  if (inputs.size() != inputs_ || outputs.size() != outputs_) {
    refuse("a sum of " + std::to_string(inputs_) + " blocks that makes " + std::to_string(outputs_) + " was given " +
           std::to_string(inputs.size()) + " and " + std::to_string(outputs.size()));
  }
  if (outputs_ == 0) return;
  // From one end of an input to the next the same inputs take part; one that has ended adds nothing.
  std::set<std::uint64_t> ends{bytes};
  for (const auto& input : inputs) ends.insert(std::min<std::uint64_t>(input.size(), bytes));
  std::vector<std::uint8_t> some_coefficients, some_tables;
  std::vector<unsigned char*> from, to(outputs_);
  std::uint64_t at = 0;
  for (const auto end : ends) {
    if (end == at) continue;
    std::vector<std::size_t> living;
    for (std::size_t i = 0; i < inputs_; ++i) {
      if (inputs[i].size() >= end) living.push_back(i);
    }
    if (living.empty()) {
      for (auto* output : outputs) std::fill(output + at, output + end, std::byte{0});
      at = end;
      continue;
    }
    const std::uint8_t* tables = tables_.data();
    if (living.size() != inputs_) {
      some_coefficients.clear();
      for (std::size_t row = 0; row < outputs_; ++row) {
        for (const auto i : living) some_coefficients.push_back(coefficients_[row * inputs_ + i]);
      }
      some_tables.resize(table_bytes * some_coefficients.size());
      ec_init_tables(static_cast<int>(living.size()), static_cast<int>(outputs_), some_coefficients.data(),
                     some_tables.data());
      tables = some_tables.data();
    }
    from.resize(living.size());
    for (; at < end;) {
      const auto length = std::min(stretch_bytes, end - at);
      for (std::size_t i = 0; i < living.size(); ++i) {
        // ISA-L's interface has no const; it only reads these.
        from[i] = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(inputs[living[i]].data() + at));
      }
      for (std::size_t o = 0; o < outputs_; ++o) to[o] = reinterpret_cast<unsigned char*>(outputs[o] + at);
      ec_encode_data(static_cast<int>(length), static_cast<int>(living.size()), static_cast<int>(outputs_),
                     const_cast<unsigned char*>(tables), from.data(), to.data());
      at += length;
    }
  }
}

ErasureCode::ErasureCode(int data, int parity) : data_(data), parity_(parity) {
  if (data < 1 || parity < 0 || data > max_blocks || parity > max_blocks - data) {
    refuse(std::to_string(data) + " data and " + std::to_string(parity) + " parity blocks: 1 or more of data, 0 or more " +
           "of parity, and " + std::to_string(max_blocks) + " together at most");
  }
  const auto k = static_cast<std::size_t>(data);
  generator_.resize(static_cast<std::size_t>(data + parity) * k);
  gf_gen_cauchy1_matrix(generator_.data(), data + parity, data);
  if (parity == 0) return;
  for (std::size_t column = 0; column < k; ++column) {
    const auto scale = gf_inv(generator_[k * k + column]);
    for (std::size_t row = k; row < static_cast<std::size_t>(data + parity); ++row) {
      auto& element = generator_[row * k + column];
      element = gf_mul(element, scale);
    }
  }
}

BlockSum ErasureCode::sum(std::span<const int> wanted, std::span<const int> from) const {
  const auto k = static_cast<std::size_t>(data_);
  const auto known = [&](int block) { return block >= 0 && block < data_ + parity_; };
  if (from.size() != k || std::set<int>(from.begin(), from.end()).size() != k ||
      !std::all_of(from.begin(), from.end(), known) || !std::all_of(wanted.begin(), wanted.end(), known)) {
    refuse("blocks follow from " + std::to_string(data_) + " different ones, numbered from 0 to " +
           std::to_string(data_ + parity_ - 1));
  }
  std::vector<std::uint8_t> rows, inverse(k * k);
  for (const auto block : from) {
    const auto row = generator_.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(block) * k);
    rows.insert(rows.end(), row, row + data_);
  }
  if (gf_invert_matrix(rows.data(), inverse.data(), data_) != 0) refuse("the blocks do not determine the others");
  std::vector<std::uint8_t> coefficients;
  for (const auto block : wanted) {
    for (std::size_t column = 0; column < k; ++column) {
      std::uint8_t sum = 0;
      for (std::size_t i = 0; i < k; ++i) {
        sum ^= gf_mul(generator_[static_cast<std::size_t>(block) * k + i], inverse[i * k + column]);
      }
      coefficients.push_back(sum);
    }
  }
  return BlockSum(k, wanted.size(), std::move(coefficients));
}

}  // namespace foreweave
