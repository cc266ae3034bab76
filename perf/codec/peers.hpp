#pragma once
// The codecs that perf_codec compares with: zstd always, LZ4, Blosc and zfp where the build found them.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "foreweave/core/bytes.hpp"
#include "perf/codec/array.hpp"
#include "perf/codec/data_sets.hpp"

namespace foreweave::perf {

/// What a peer is given: the new state as it is, or its difference to the old one.
enum class Given { state, exclusive_or, difference };
inline constexpr Given all_given[] = {Given::state, Given::exclusive_or, Given::difference};
std::string to_string(Given given);

/// One codec with one setting, on one thread. Works on pieces: see piece_bytes().
class Peer {
 public:
  virtual ~Peer() = default;
  virtual std::string name() const = 0;
  /// Returns the bytes written to `to` (room(bytes) bytes); 0 when the codec cannot take these data.
  virtual std::size_t compress(const std::byte* from, std::size_t bytes, std::byte* to) = 0;
  virtual bool decompress(const std::byte* from, std::size_t size, std::byte* to, std::size_t bytes) = 0;
  virtual std::size_t room(std::size_t bytes) const = 0;
  /// True for a codec that predicts numbers by itself: it is given differences as they are, others zigzag-folded,
  /// which is better for them.
  virtual bool numeric() const { return false; }
  /// Called before compress(): differences are integers, whatever the state is.
  virtual void expect(Given) {}
};

/// Peers for elements of this type in pieces of whole planes (if the set has such): see piece_bytes().
std::vector<std::unique_ptr<Peer>> make_peers(const DataSet& set);
/// How much peers are given at once: about 1 MiB, as a segment has (for fields, a multiple of four planes: zfp's
/// blocks are 4³).
std::size_t piece_bytes(const DataSet& set);
/// False when the build found not all of them: then there is nothing to be said of the quickest of all.
bool all_peers_present();

/// A peer on a whole data set, piece by piece, differencing included.
class PeerRun {
 public:
  PeerRun(const DataSet& set, Peer& peer, Given given, Array& out, Bytes& scratch)
      : set_(set), peer_(peer), given_(given), out_(out), scratch_(scratch) {}
  /// Returns the compressed bytes; 0 when the peer cannot take the data.
  std::size_t compress();
  /// Whether the state comes back.
  bool comes_back();

 private:
  const std::byte* input(std::size_t at, std::size_t bytes);
  const DataSet& set_;
  Peer& peer_;
  Given given_;
  Array& out_;
  Bytes& scratch_;
  std::vector<std::size_t> sizes_;
};

}  // namespace foreweave::perf
