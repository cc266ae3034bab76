// The transposition of a 64 × 64 bit matrix where there are 32-byte vectors but no bit-matrix instructions: AVX2 and
// the first AVX-512. Bytes are put in place by interleaving, bits by exchanging halves of ever smaller squares
// between registers (H. S. Warren, Hacker's Delight, "Transposing a Bit Matrix", on four words at a time).
#if defined(FOREWEAVE_KERNELS_HOST_TRANSPOSE_NETWORK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef FOREWEAVE_KERNELS_HOST_TRANSPOSE_NETWORK_INL
#undef FOREWEAVE_KERNELS_HOST_TRANSPOSE_NETWORK_INL
#else
#define FOREWEAVE_KERNELS_HOST_TRANSPOSE_NETWORK_INL
#endif

#include "kernels/host/simd-inl.hpp"

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && HWY_TARGET > HWY_AVX3_DL

HWY_BEFORE_NAMESPACE();
namespace foreweave::kernels::host {
namespace HWY_NAMESPACE {

// What is where is said by the bits of two numbers: word j (bits j0 to j5) and bit p of it (p0 to p5). Read, a
// register holds j0 as its 64-bit half, j5 as its 128-bit lane; bytes are p3 to p5, bits in the byte p0 to p2. An
// interleaving of bytes of two registers makes the bit in which they differ the lowest one of the byte's place in a
// lane; the others move up, and the highest says which of the two results it is. Two of them put j3 and j4 into the
// place of bytes and sort p5 (in which half of the planes) and j0 into different registers. Eight registers that
// differ in j0, j1, j2 then exchange these with p0, p1, p2. What is left is to order whole 32-bit pieces of planes.

using Words32 = hn::FixedTag<std::uint64_t, 4>;
using Quad = hn::Vec<Words32>;

/// Eight registers that differ in j0 + 2 j1 + 4 j2, all of planes 0 to 31 or all of planes 32 to 63.
struct HalfMatrix {
  Quad r0, r1, r2, r3, r4, r5, r6, r7;
};

HWY_INLINE Quad interleave_bytes_lower(Quad even, Quad odd) {
  const hn::FixedTag<std::uint8_t, 32> d;
  return hn::BitCast(Words32(), hn::InterleaveLower(d, hn::BitCast(d, even), hn::BitCast(d, odd)));
}

HWY_INLINE Quad interleave_bytes_upper(Quad even, Quad odd) {
  const hn::FixedTag<std::uint8_t, 32> d;
  return hn::BitCast(Words32(), hn::InterleaveUpper(d, hn::BitCast(d, even), hn::BitCast(d, odd)));
}

/// Words 0, 1, 32, 33 from `words` on.
HWY_INLINE Quad load_apart(const std::uint64_t* words) {
  const hn::FixedTag<std::uint64_t, 2> pair;
  return hn::Combine(Words32(), hn::LoadU(pair, words + 32), hn::LoadU(pair, words));
}

/// Registers j0 = 0 and 1 of both halves, from the words that j1 and j2 at `words` say.
HWY_INLINE void gather_bytes(const std::uint64_t* words, Quad& low0, Quad& low1, Quad& high0, Quad& high1) {
  const Quad w0 = load_apart(words), w1 = load_apart(words + 8);
  const Quad w2 = load_apart(words + 16), w3 = load_apart(words + 24);
  const Quad a0 = interleave_bytes_lower(w0, w2), a1 = interleave_bytes_lower(w1, w3);
  const Quad b0 = interleave_bytes_upper(w0, w2), b1 = interleave_bytes_upper(w1, w3);
  low0 = interleave_bytes_lower(a0, a1);
  high0 = interleave_bytes_upper(a0, a1);
  low1 = interleave_bytes_lower(b0, b1);
  high1 = interleave_bytes_upper(b0, b1);
}

/// Exchanges the bits of `low` that `~mask` names with those of `high` that lie `Step` bits lower.
template <int Step>
HWY_INLINE void exchange(Quad& low, Quad& high, Quad mask) {
  const Quad swap = hn::And(hn::Xor(hn::ShiftRight<Step>(low), high), mask);
  high = hn::Xor(high, swap);
  low = hn::Xor(low, Step == 1 ? hn::Add(swap, swap) : hn::ShiftLeft<Step>(swap));
}

/// Exchanges j0, j1, j2 with p0, p1, p2.
HWY_INLINE void turn_bits(HalfMatrix& m) {
  const Words32 d;
  const Quad ones = hn::Set(d, 0x5555555555555555u);
  exchange<1>(m.r0, m.r1, ones);
  exchange<1>(m.r2, m.r3, ones);
  exchange<1>(m.r4, m.r5, ones);
  exchange<1>(m.r6, m.r7, ones);
  const Quad pairs = hn::Set(d, 0x3333333333333333u);
  exchange<2>(m.r0, m.r2, pairs);
  exchange<2>(m.r1, m.r3, pairs);
  exchange<2>(m.r4, m.r6, pairs);
  exchange<2>(m.r5, m.r7, pairs);
  const Quad nibbles = hn::Set(d, 0x0F0F0F0F0F0F0F0Fu);
  exchange<4>(m.r0, m.r4, nibbles);
  exchange<4>(m.r1, m.r5, nibbles);
  exchange<4>(m.r2, m.r6, nibbles);
  exchange<4>(m.r3, m.r7, nibbles);
}

/// Orders the pieces of the 16 planes with one p2, from registers that differ in p0 + 2 p1, and stores those of their
/// bits that `keep` has: four planes in a row at `out`, then each 8 planes on.
HWY_INLINE void store_planes(Quad q0, Quad q1, Quad q2, Quad q3, Quad keep, std::uint64_t* out) {
  const Words32 d;
  const hn::FixedTag<std::uint32_t, 8> half;
  const auto pieces = [half](Quad v) HWY_ATTR { return hn::BitCast(half, v); };
  const auto e0 = pieces(hn::ConcatLowerLower(d, q2, q0)), e1 = pieces(hn::ConcatUpperUpper(d, q2, q0));
  const auto o0 = pieces(hn::ConcatLowerLower(d, q3, q1)), o1 = pieces(hn::ConcatUpperUpper(d, q3, q1));
  const Quad even_low = hn::BitCast(d, hn::InterleaveLower(half, e0, e1));
  const Quad even_high = hn::BitCast(d, hn::InterleaveUpper(half, e0, e1));
  const Quad odd_low = hn::BitCast(d, hn::InterleaveLower(half, o0, o1));
  const Quad odd_high = hn::BitCast(d, hn::InterleaveUpper(half, o0, o1));
  hn::StoreU(hn::And(keep, hn::InterleaveLower(d, even_low, odd_low)), d, out);
  hn::StoreU(hn::And(keep, hn::InterleaveUpper(d, even_low, odd_low)), d, out + 8);
  hn::StoreU(hn::And(keep, hn::InterleaveLower(d, even_high, odd_high)), d, out + 16);
  hn::StoreU(hn::And(keep, hn::InterleaveUpper(d, even_high, odd_high)), d, out + 24);
}

HWY_INLINE void store_half(const HalfMatrix& m, Quad keep, std::uint64_t* out) {
  store_planes(m.r0, m.r1, m.r2, m.r3, keep, out);
  store_planes(m.r4, m.r5, m.r6, m.r7, keep, out + 4);
}

/// `in` holds 64 words; writes 64 words to `out`, any alignment of both, or only the first 32 where `upper` is false
/// (the others are known to be zero). What stands in the words that `keep` has no bit for does not count. Not inlined:
/// it is a few hundred instructions, and every transform packs and unpacks.
inline HWY_NOINLINE void transpose_64x64(const std::uint64_t* in, std::uint64_t* out, bool upper, std::uint64_t keep) {
  const Quad kept = hn::Set(Words32(), keep);
  HalfMatrix low, high;
  gather_bytes(in, low.r0, low.r1, high.r0, high.r1);
  gather_bytes(in + 2, low.r2, low.r3, high.r2, high.r3);
  gather_bytes(in + 4, low.r4, low.r5, high.r4, high.r5);
  gather_bytes(in + 6, low.r6, low.r7, high.r6, high.r7);
  turn_bits(low);
  store_half(low, kept, out);
  if (!upper) return;
  turn_bits(high);
  store_half(high, kept, out + 32);
}

}  // namespace HWY_NAMESPACE
}  // namespace foreweave::kernels::host
HWY_AFTER_NAMESPACE();

#endif  // 32-byte vectors without bit-matrix instructions

#endif
