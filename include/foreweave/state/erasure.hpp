#pragma once
// Reed–Solomon over GF(2⁸) (polynomial 0x11D), through ISA-L: of `data` blocks and the `parity` blocks computed from
// them, any `data` many give all the others. Every block, of either kind, is a linear combination of any `data` others,
// so there is one operation: a BlockSum.
//
// The parity rows are a Cauchy matrix (J. Blömer et al., "An XOR-Based Erasure-Resilient Coding Scheme", ICSI TR-95-048)
// whose columns are scaled so that its first row is all ones: with one parity block the code is XOR. Every square
// submatrix of a Cauchy matrix is invertible, and scaling columns keeps that, so every choice of losses can be undone.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "foreweave/core/bytes.hpp"

namespace foreweave {

/// Some blocks as linear combinations of others. Immutable; thread safe.
class BlockSum {
 public:
  /// @param coefficients row by row: `outputs` rows of `inputs` elements of GF(2⁸)
  BlockSum(std::size_t inputs, std::size_t outputs, std::vector<std::uint8_t> coefficients);
  std::size_t inputs() const { return inputs_; }
  std::size_t outputs() const { return outputs_; }
  const std::vector<std::uint8_t>& coefficients() const { return coefficients_; }
  /// Computes the same stretch of every output from that stretch of every input. All outputs are `bytes` long; an input
  /// that is shorter is continued with zeros, what it has beyond is not read. Host memory, any alignment, any length
  /// (0 and above 4 GiB too); outputs must not overlap inputs. Error(argument) when the number of blocks is not right.
  void apply(std::span<const ByteView> inputs, std::span<std::byte* const> outputs, std::uint64_t bytes) const;

 private:
  std::size_t inputs_, outputs_;
  std::vector<std::uint8_t> coefficients_;
  std::vector<std::uint8_t> tables_;   // ISA-L's, of all inputs
};

class ErasureCode {
 public:
  static constexpr int max_blocks = 256;   ///< data and parity together: so many elements has the field

  /// Error(argument) unless data ≥ 1, parity ≥ 0, data + parity ≤ max_blocks.
  ErasureCode(int data, int parity);
  int data() const { return data_; }
  int parity() const { return parity_; }
  /// How the blocks `wanted` follow from the blocks `from`, data() different ones. Blocks are numbered: 0 … data-1 the
  /// data, then the parity. encode: sum({data, …}, {0, …, data-1}); rebuild: sum(lost, survivors).
  BlockSum sum(std::span<const int> wanted, std::span<const int> from) const;

 private:
  int data_, parity_;
  std::vector<std::uint8_t> generator_;   // (data + parity) rows of data elements, the unit matrix first
};

}  // namespace foreweave
