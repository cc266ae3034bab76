#pragma once
// The page codec once more, written from docs/format.md alone: one element, one bit at a time, sharing no code with
// the kernels. It is what the backends are compared with, byte for byte.

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

namespace foreweave::oracle {

struct Shape {
  int width = 8;
  std::uint64_t row = 0;
  std::uint64_t plane = 0;
};

struct Encoded {
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint32_t> entries;
};

using Elements = std::vector<std::uint64_t>;  // one element each, whatever the width

inline std::uint64_t get(const std::uint8_t* p, int bytes) {
  std::uint64_t v = 0;
  for (int i = 0; i < bytes; ++i) v |= std::uint64_t{p[i]} << (8 * i);
  return v;
}
inline void put(std::vector<std::uint8_t>& out, std::uint64_t v, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::uint8_t>(v >> (8 * i)));
}
inline std::uint64_t wrap(std::uint64_t v, int width) {
  return width == 8 ? v : v & ((std::uint64_t{1} << (8 * width)) - 1);
}
inline std::uint64_t zz(std::uint64_t s, int width) {
  const bool negative = (s >> (8 * width - 1) & 1) != 0;
  return wrap((s << 1) ^ (negative ? ~std::uint64_t{0} : 0), width);
}
inline std::uint64_t unzz(std::uint64_t z, int width) { return wrap((z & 1) != 0 ? ~(z >> 1) : z >> 1, width); }

/// Strides of the factors of subtract_3d that are not left out.
inline std::vector<std::uint64_t> outer_strides(const Shape& shape) {
  std::vector<std::uint64_t> strides;
  for (std::uint64_t s : {shape.row, shape.plane}) {
    if (s != 0 && s != 1 && s < 16384u / static_cast<unsigned>(shape.width)) strides.push_back(s);
  }
  return strides;
}

inline bool allowed(int transform, const Shape& shape) {
  if (transform <= 1) return true;
  if (shape.width == 1 || transform > 4) return false;
  return transform <= 3 || !outer_strides(shape).empty();
}

inline Elements apply_factor(const Elements& s, std::uint64_t stride, int width) {
  Elements out(s.size());
  for (std::size_t i = 0; i < s.size(); ++i) out[i] = wrap(s[i] - (i >= stride ? s[i - stride] : 0), width);
  return out;
}

inline std::vector<std::uint64_t> factors(int transform, const Shape& shape) {
  if (transform == 3) return {1};
  if (transform != 4) return {};
  std::vector<std::uint64_t> all = outer_strides(shape);
  all.push_back(1);
  return all;
}

inline Elements transformed(int transform, const Elements& c, const Elements& b, const Shape& shape) {
  Elements out(c.size());
  if (transform == 0) return c;
  for (std::size_t i = 0; i < c.size(); ++i) out[i] = transform == 1 ? c[i] ^ b[i] : wrap(c[i] - b[i], shape.width);
  if (transform == 1) return out;
  for (std::uint64_t stride : factors(transform, shape)) out = apply_factor(out, stride, shape.width);
  for (std::uint64_t& v : out) v = zz(v, shape.width);
  return out;
}

inline std::uint64_t rotate32(std::uint64_t w) { return w << 32 | w >> 32; }

inline std::uint32_t check_word(const std::vector<std::uint8_t>& body, std::uint32_t bitmap, int transform) {
  std::uint64_t h = 0;
  for (std::uint64_t i = 0; 8 + 8 * i < body.size(); ++i) {
    const std::uint64_t w = get(&body[8 + 8 * i], 8);
    const std::uint64_t x = w ^ ((i + 1) * 0x9E3779B97F4A7C15u);
    h += (x % (std::uint64_t{1} << 32)) * (x >> 32) + rotate32(w);
  }
  h ^= bitmap * std::uint64_t{0xC2B2AE3D27D4EB4Fu} ^ static_cast<std::uint64_t>(transform);
  h = (h ^ h >> 29) * 0x165667B19E3779F9u;
  return static_cast<std::uint32_t>(h >> 32);
}

/// The body of a page under one transform; `c` and `b` hold whole sectors, `length` bytes of them exist.
inline std::vector<std::uint8_t> body_of(int transform, const std::vector<std::uint8_t>& c,
                                         const std::vector<std::uint8_t>& b, std::size_t length, const Shape& shape) {
  const std::size_t sectors = c.size() / 512, width = static_cast<std::size_t>(shape.width);
  Elements ce, be;
  for (std::size_t i = 0; i < c.size(); i += width) {
    ce.push_back(get(&c[i], shape.width));
    be.push_back(get(&b[i], shape.width));
  }
  const Elements values = transformed(transform, ce, be, shape);
  std::vector<std::uint8_t> raw;
  for (std::uint64_t v : values) put(raw, v, shape.width);

  std::uint32_t bitmap = 0;
  std::vector<std::uint8_t> data;
  for (std::size_t k = 0; k < sectors; ++k) {
    bool stored = false;
    for (std::size_t i = 512 * k; i < 512 * (k + 1); ++i) stored |= transform >= 3 ? raw[i] != 0 : c[i] != b[i];
    if (!stored) continue;
    bitmap |= std::uint32_t{1} << k;
    if (transform == 0) {
      for (std::size_t word = 64 * k; word < 64 * (k + 1) && 8 * word < length; ++word)
        put(data, get(&raw[8 * word], 8), 8);
      continue;
    }
    std::array<std::uint64_t, 64> planes{};
    std::uint64_t mask = 0;
    for (unsigned j = 0; j < 64; ++j) {
      const std::uint64_t word = get(&raw[512 * k + 8 * j], 8);
      for (unsigned p = 0; p < 64; ++p) planes[p] |= (word >> p & 1) << j;
    }
    for (unsigned p = 0; p < 64; ++p) mask |= std::uint64_t{planes[p] != 0} << p;
    put(data, mask, 8);
    for (unsigned p = 0; p < 64; ++p) {
      if (planes[p] != 0) put(data, planes[p], 8);
    }
  }
  std::vector<std::uint8_t> body;
  put(body, bitmap, 4);
  put(body, 0, 4);
  body.insert(body.end(), data.begin(), data.end());
  const std::uint32_t check = check_word(body, bitmap, transform);
  for (int i = 0; i < 4; ++i) body[4 + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(check >> (8 * i));
  return body;
}

/// An empty base is a base of zeros.
inline Encoded encode(const std::vector<std::uint8_t>& current, const std::vector<std::uint8_t>& base, Shape shape) {
  if (shape.width != 4 && shape.width != 8) shape.width = 1;
  Encoded out;
  for (std::size_t at = 0; at < current.size(); at += 16384) {
    const std::size_t length = current.size() - at < 16384 ? current.size() - at : 16384;
    const std::size_t whole = (length + 511) / 512 * 512;
    std::vector<std::uint8_t> c(whole), b(whole);
    for (std::size_t i = 0; i < length; ++i) {
      c[i] = current[at + i];
      if (!base.empty()) b[i] = base[at + i];
    }
    if (c == b) {
      out.entries.push_back(0);
      continue;
    }
    std::vector<std::uint8_t> best;
    std::uint32_t chosen = 0;
    for (int t = 0; t <= 4; ++t) {
      if (!allowed(t, shape)) continue;
      std::vector<std::uint8_t> body = body_of(t, c, b, length, shape);
      if (best.empty() || body.size() < best.size()) {
        best = std::move(body);
        chosen = static_cast<std::uint32_t>(t);
      }
    }
    out.entries.push_back(static_cast<std::uint32_t>(best.size()) | chosen << 24);
    out.bytes.insert(out.bytes.end(), best.begin(), best.end());
  }
  return out;
}

/// Decodes what `encode` (or a backend) made; the input is taken to be good. Returns the new content.
inline std::vector<std::uint8_t> decode(const Encoded& in, std::vector<std::uint8_t> data, Shape shape) {
  if (shape.width != 4 && shape.width != 8) shape.width = 1;
  const std::size_t width = static_cast<std::size_t>(shape.width);
  std::size_t from = 0;
  for (std::size_t page = 0; page < in.entries.size(); ++page) {
    const std::uint32_t entry = in.entries[page];
    if (entry == 0) continue;
    const int transform = static_cast<int>(entry >> 24);
    const std::size_t at = page * 16384;
    const std::size_t length = data.size() - at < 16384 ? data.size() - at : 16384;
    std::vector<std::uint8_t> whole((length + 511) / 512 * 512), values(whole.size());
    std::memcpy(whole.data(), &data[at], length);
    const std::uint8_t* body = &in.bytes[from];
    std::size_t read = 8;
    for (std::size_t k = 0; k < whole.size() / 512; ++k) {
      if ((get(body, 4) >> k & 1) == 0) continue;
      if (transform == 0) {
        for (std::size_t word = 64 * k; word < 64 * (k + 1) && 8 * word < length; ++word, read += 8) {
          std::memcpy(&whole[8 * word], body + read, 8);
        }
        continue;
      }
      const std::uint64_t mask = get(body + read, 8);
      read += 8;
      for (unsigned p = 0; p < 64; ++p) {
        if ((mask >> p & 1) == 0) continue;
        const std::uint64_t plane = get(body + read, 8);
        read += 8;
        for (unsigned j = 0; j < 64; ++j) {
          values[512 * k + 8 * j + p / 8] |= static_cast<std::uint8_t>((plane >> j & 1) << (p % 8));
        }
      }
    }
    if (transform != 0) {
      Elements s;
      for (std::size_t i = 0; i < values.size(); i += width) {
        const std::uint64_t v = get(&values[i], shape.width);
        s.push_back(transform == 1 ? v : unzz(v, shape.width));
      }
      for (std::uint64_t stride : factors(transform, shape)) {
        for (std::size_t i = stride; i < s.size(); ++i) s[i] = wrap(s[i] + s[i - stride], shape.width);
      }
      for (std::size_t i = 0; i < s.size(); ++i) {
        const std::uint64_t b = get(&whole[i * width], shape.width);
        const std::uint64_t c = transform == 1 ? b ^ s[i] : wrap(b + s[i], shape.width);
        for (std::size_t byte = 0; byte < width; ++byte)
          whole[i * width + byte] = static_cast<std::uint8_t>(c >> (8 * byte));
      }
    }
    std::memcpy(&data[at], whole.data(), length);
    from += entry & 0xFFFFFFu;
  }
  return data;
}

}  // namespace foreweave::oracle
