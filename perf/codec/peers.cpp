#include "perf/codec/peers.hpp"

#include <zstd.h>
#if FOREWEAVE_WITH_LZ4
#include <lz4.h>
#endif
#if FOREWEAVE_WITH_BLOSC
#include <blosc.h>
#endif
#if FOREWEAVE_WITH_ZFP
#include <zfp.h>
#endif

#include <algorithm>
#include <cstring>
#include <utility>

namespace foreweave::perf {
namespace {

class Zstd final : public Peer {
 public:
  explicit Zstd(int level) : level_(level), compressor_(ZSTD_createCCtx()), decompressor_(ZSTD_createDCtx()) {}
  ~Zstd() override {
    ZSTD_freeCCtx(compressor_);
    ZSTD_freeDCtx(decompressor_);
  }
  std::string name() const override { return "zstd-" + std::to_string(level_); }
  std::size_t compress(const std::byte* from, std::size_t bytes, std::byte* to) override {
    const std::size_t size = ZSTD_compressCCtx(compressor_, to, room(bytes), from, bytes, level_);
    return ZSTD_isError(size) ? 0 : size;
  }
  bool decompress(const std::byte* from, std::size_t size, std::byte* to, std::size_t bytes) override {
    return ZSTD_decompressDCtx(decompressor_, to, bytes, from, size) == bytes;
  }
  std::size_t room(std::size_t bytes) const override { return ZSTD_compressBound(bytes); }

 private:
  int level_;
  ZSTD_CCtx* compressor_;
  ZSTD_DCtx* decompressor_;
};

#if FOREWEAVE_WITH_LZ4
class Lz4 final : public Peer {
 public:
  std::string name() const override { return "LZ4"; }
  std::size_t compress(const std::byte* from, std::size_t bytes, std::byte* to) override {
    return static_cast<std::size_t>(LZ4_compress_default(reinterpret_cast<const char*>(from),
                                                         reinterpret_cast<char*>(to), static_cast<int>(bytes),
                                                         static_cast<int>(room(bytes))));
  }
  bool decompress(const std::byte* from, std::size_t size, std::byte* to, std::size_t bytes) override {
    return LZ4_decompress_safe(reinterpret_cast<const char*>(from), reinterpret_cast<char*>(to),
                               static_cast<int>(size), static_cast<int>(bytes)) == static_cast<int>(bytes);
  }
  std::size_t room(std::size_t bytes) const override {
    return static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(bytes)));
  }
};
#endif

#if FOREWEAVE_WITH_BLOSC
class Blosc final : public Peer {
 public:
  Blosc(int shuffle, const char* codec, int level, std::size_t width)
      : shuffle_(shuffle), codec_(codec), level_(level), width_(width) {}
  std::string name() const override {
    return std::string("Blosc ") + (shuffle_ == BLOSC_BITSHUFFLE ? "bitshuffle+" : "shuffle+") + codec_ + "-" +
           std::to_string(level_);
  }
  std::size_t compress(const std::byte* from, std::size_t bytes, std::byte* to) override {
    const int size = blosc_compress_ctx(level_, shuffle_, width_, bytes, from, to, room(bytes), codec_, 0, 1);
    return size > 0 ? static_cast<std::size_t>(size) : 0;
  }
  bool decompress(const std::byte* from, std::size_t, std::byte* to, std::size_t bytes) override {
    return blosc_decompress_ctx(from, to, bytes, 1) == static_cast<int>(bytes);
  }
  std::size_t room(std::size_t bytes) const override { return bytes + BLOSC_MAX_OVERHEAD; }

 private:
  int shuffle_;
  const char* codec_;
  int level_;
  std::size_t width_;
};
#endif

#if FOREWEAVE_WITH_ZFP
/// Reversible mode. Integers (differences too) must leave the two upper bits to zfp; what does not come back counts
/// as data that it cannot take.
class Zfp final : public Peer {
 public:
  explicit Zfp(const DataSet& set) : width_(element_width(set.type)) {
    const bool real = set.type == ElementType::f32 || set.type == ElementType::f64;
    integer_ = width_ == 8 ? zfp_type_int64 : zfp_type_int32;
    own_ = !real ? integer_ : width_ == 8 ? zfp_type_double : zfp_type_float;
    type_ = own_;
    const std::size_t rank = set.extents.size();
    row_ = rank >= 3 ? set.extents[rank - 1] : 0;
    plane_ = rank >= 3 ? set.extents[rank - 2] : 0;
    stream_ = zfp_stream_open(nullptr);
    zfp_stream_set_reversible(stream_);
  }
  ~Zfp() override { zfp_stream_close(stream_); }
  std::string name() const override { return "zfp reversible"; }
  bool numeric() const override { return true; }
  void expect(Given given) override { type_ = given == Given::state ? own_ : integer_; }
  std::size_t compress(const std::byte* from, std::size_t bytes, std::byte* to) override {
    return run(const_cast<std::byte*>(from), bytes, to, room(bytes), zfp_compress);
  }
  bool decompress(const std::byte* from, std::size_t size, std::byte* to, std::size_t bytes) override {
    return run(to, bytes, const_cast<std::byte*>(from), size, zfp_decompress) != 0;
  }
  std::size_t room(std::size_t bytes) const override { return bytes + bytes / 2 + 65536; }

 private:
  template <class Way>
  std::size_t run(std::byte* data, std::size_t bytes, std::byte* stream, std::size_t room, Way way) {
    const std::size_t count = bytes / width_;
    zfp_field* const field = row_ != 0 ? zfp_field_3d(data, type_, row_, plane_, count / (row_ * plane_))
                                       : zfp_field_1d(data, type_, count);
    bitstream* const bits = stream_open(stream, room);
    zfp_stream_set_bit_stream(stream_, bits);
    zfp_stream_rewind(stream_);
    const std::size_t size = way(stream_, field);
    zfp_field_free(field);
    stream_close(bits);
    return size;
  }
  std::size_t width_, row_, plane_;
  zfp_type integer_, own_, type_;
  zfp_stream* stream_;
};
#endif

template <class Word>
void differences(const std::byte* now, const std::byte* before, std::byte* to, std::size_t bytes, Given given,
                 bool fold) {
  const auto each = [&](auto difference) {
    std::size_t at = 0;
    for (; at + sizeof(Word) <= bytes; at += sizeof(Word)) {
      Word a, b;
      std::memcpy(&a, now + at, sizeof a);
      std::memcpy(&b, before + at, sizeof b);
      const Word d = difference(a, b);
      std::memcpy(to + at, &d, sizeof d);
    }
    std::memcpy(to + at, now + at, bytes - at);
  };
  constexpr int top = 8 * sizeof(Word) - 1;
  if (given == Given::exclusive_or) {
    each([](Word a, Word b) { return static_cast<Word>(a ^ b); });
  } else if (fold) {
    each([](Word a, Word b) {
      const Word s = static_cast<Word>(a - b);
      return static_cast<Word>(static_cast<Word>(s << 1) ^ static_cast<Word>(0 - (s >> top)));
    });
  } else {
    each([](Word a, Word b) { return static_cast<Word>(a - b); });
  }
}

#if defined(__x86_64__)
#define FOREWEAVE_QUICK __attribute__((target_clones("avx2", "default"), optimize("O3"), flatten))
#else
#define FOREWEAVE_QUICK
#endif
/// Wide vectors: the peers are not to pay for a slow subtraction.
FOREWEAVE_QUICK void difference(const DataSet& set, std::size_t at, std::size_t bytes, Given given, bool fold,
                                std::byte* to) {
  const std::byte *now = set.after.data() + at, *before = set.before.data() + at;
  switch (element_width(set.type)) {
    case 8:
      return differences<std::uint64_t>(now, before, to, bytes, given, fold);
    case 4:
      return differences<std::uint32_t>(now, before, to, bytes, given, fold);
    default:
      return differences<std::uint8_t>(now, before, to, bytes, given, fold);
  }
}

/// Undoes difference(), in place, on what came back.
template <class Word>
void undo(std::byte* data, const std::byte* before, std::size_t bytes, Given given, bool fold) {
  for (std::size_t at = 0; at + sizeof(Word) <= bytes; at += sizeof(Word)) {
    Word d, b;
    std::memcpy(&d, data + at, sizeof d);
    std::memcpy(&b, before + at, sizeof b);
    if (given == Given::exclusive_or) {
      d = static_cast<Word>(d ^ b);
    } else {
      if (fold) d = static_cast<Word>((d >> 1) ^ static_cast<Word>(0 - (d & 1)));
      d = static_cast<Word>(d + b);
    }
    std::memcpy(data + at, &d, sizeof d);
  }
}

}  // namespace

std::vector<std::unique_ptr<Peer>> make_peers(const DataSet& set) {
  std::vector<std::unique_ptr<Peer>> peers;
#if FOREWEAVE_WITH_LZ4
  peers.push_back(std::make_unique<Lz4>());
#endif
  peers.push_back(std::make_unique<Zstd>(1));
  peers.push_back(std::make_unique<Zstd>(3));
#if FOREWEAVE_WITH_BLOSC
  const std::size_t width = element_width(set.type);
  peers.push_back(std::make_unique<Blosc>(BLOSC_BITSHUFFLE, "lz4", 1, width));
  peers.push_back(std::make_unique<Blosc>(BLOSC_BITSHUFFLE, "lz4", 5, width));
  peers.push_back(std::make_unique<Blosc>(BLOSC_SHUFFLE, "lz4", 1, width));
  peers.push_back(std::make_unique<Blosc>(BLOSC_SHUFFLE, "lz4", 5, width));
  peers.push_back(std::make_unique<Blosc>(BLOSC_SHUFFLE, "zstd", 1, width));
  peers.push_back(std::make_unique<Blosc>(BLOSC_BITSHUFFLE, "zstd", 1, width));
#endif
#if FOREWEAVE_WITH_ZFP
  if (element_width(set.type) >= 4) peers.push_back(std::make_unique<Zfp>(set));
#endif
  return peers;
}

bool all_peers_present() { return FOREWEAVE_WITH_LZ4 && FOREWEAVE_WITH_BLOSC && FOREWEAVE_WITH_ZFP; }

std::size_t piece_bytes(const DataSet& set) {
  constexpr std::size_t wanted = std::size_t{1} << 20;
  const std::size_t rank = set.extents.size();
  if (rank < 3) return wanted;
  const std::size_t four = 4 * set.extents[rank - 1] * set.extents[rank - 2] * element_width(set.type);
  return std::max<std::size_t>(wanted / four, 1) * four;
}

std::string to_string(Given given) {
  return given == Given::state ? "as is" : given == Given::exclusive_or ? "xor" : "sub";
}

const std::byte* PeerRun::input(std::size_t at, std::size_t bytes) {
  if (given_ == Given::state) return set_.after.data() + at;
  difference(set_, at, bytes, given_, !peer_.numeric(), scratch_.data());
  return scratch_.data();
}

std::size_t PeerRun::compress() {
  const std::size_t piece = piece_bytes(set_), total = set_.after.size();
  scratch_.resize(piece);
  const std::size_t room = (total + piece - 1) / piece * peer_.room(piece);
  if (out_.size() < room) out_ = Array(room);
  sizes_.clear();
  peer_.expect(given_);
  std::size_t size = 0;
  for (std::size_t at = 0; at < total; at += piece) {
    const std::size_t bytes = std::min(piece, total - at);
    const std::size_t one = peer_.compress(input(at, bytes), bytes, out_.data() + size);
    if (one == 0) return 0;
    sizes_.push_back(one);
    // zfp reads and writes words of its stream.
    size += (one + 7) / 8 * 8;
  }
  return size;
}

bool PeerRun::comes_back() {
  const std::size_t piece = piece_bytes(set_), total = set_.after.size();
  scratch_.resize(piece);
  peer_.expect(given_);
  std::size_t from = 0, number = 0;
  for (std::size_t at = 0; at < total; at += piece, ++number) {
    const std::size_t bytes = std::min(piece, total - at);
    if (!peer_.decompress(out_.data() + from, sizes_[number], scratch_.data(), bytes)) return false;
    from += (sizes_[number] + 7) / 8 * 8;
    if (given_ != Given::state) {
      const std::byte* const before = set_.before.data() + at;
      const bool fold = !peer_.numeric();
      switch (element_width(set_.type)) {
        case 8:
          undo<std::uint64_t>(scratch_.data(), before, bytes, given_, fold);
          break;
        case 4:
          undo<std::uint32_t>(scratch_.data(), before, bytes, given_, fold);
          break;
        default:
          undo<std::uint8_t>(scratch_.data(), before, bytes, given_, fold);
      }
    }
    if (std::memcmp(scratch_.data(), set_.after.data() + at, bytes) != 0) return false;
  }
  return true;
}

}  // namespace foreweave::perf
