#pragma once
// The page codec, declared once for every backend. The byte format is docs/format.md, "Pages".
//
// Plain C++ and the standard library only: this header is included by .cu files.

#include <cstddef>
#include <cstdint>

namespace foreweave::kernels {

inline constexpr std::size_t page_bytes = 16384;   ///< unit of encoding and transfer
inline constexpr std::size_t sector_bytes = 512;   ///< unit of dirty detection inside a page
inline constexpr std::size_t sectors_per_page = page_bytes / sector_bytes;
inline constexpr std::size_t page_header_bytes = 8;
/// No encoded page is larger than this, whatever the data.
inline constexpr std::size_t max_encoded_page_bytes = page_header_bytes + page_bytes;

/// How a page is transformed against its base before its bit planes are packed. Values are part of the format.
enum class Transform : std::uint8_t {
  raw = 0,    ///< the dirty sectors as they are
  exclusive_or = 1,
  subtract = 2,      ///< zigzag(current − base), per element
  subtract_1d = 3,   ///< subtract, then the difference to the element before, in the page
  subtract_3d = 4,   ///< subtract, then the differences over strides 1, row and plane (Lorenzo), in the page
};
inline constexpr int transform_count = 5;

/// What the codec needs to know of the memory a page comes from.
struct PageShape {
  std::uint8_t width = 8;    ///< element bytes: 1 (raw and exclusive_or only), 4 or 8
  std::uint64_t row = 0;     ///< elements from one row to the next; 0: unknown
  std::uint64_t plane = 0;   ///< elements from one plane to the next; 0: unknown
};

/// One page's entry: encoded size in bytes in bits 0–23, Transform in bits 24–31; 0 where the page is clean.
using PageEntry = std::uint32_t;
constexpr PageEntry make_entry(std::uint32_t size, Transform t) { return size | std::uint32_t(t) << 24; }
constexpr std::uint32_t entry_size(PageEntry e) { return e & 0xFFFFFFu; }
constexpr std::uint8_t entry_transform(PageEntry e) { return static_cast<std::uint8_t>(e >> 24); }

constexpr std::uint64_t page_count(std::uint64_t bytes) { return (bytes + page_bytes - 1) / page_bytes; }
constexpr std::uint64_t encode_bound(std::uint64_t bytes) { return page_count(bytes) * max_encoded_page_bytes; }

/// A run of whole pages to encode (the last may be short). Pointers are in the backend's memory space, any alignment.
struct EncodeJob {
  const std::byte* current = nullptr;
  std::byte* base = nullptr;         ///< null: a base of zeros
  std::uint64_t bytes = 0;           ///< of current and base
  PageShape shape;
  bool update_base = false;          ///< write `current` into `base` where they differ (base must not be null)
  std::byte* out = nullptr;          ///< encode_bound(bytes) bytes; bodies in page order, without gaps, each a multiple of 8
  PageEntry* entries = nullptr;      ///< page_count(bytes) entries, one a page, clean ones 0
};

/// A run of pages to decode in place: `data` holds the base on entry and the new content on return.
struct DecodeJob {
  const std::byte* in = nullptr;
  std::uint64_t in_bytes = 0;        ///< must be the sum of the entries' sizes
  const PageEntry* entries = nullptr;
  std::byte* data = nullptr;
  std::uint64_t bytes = 0;
  PageShape shape;
};

/// What decoding found. Everything is checked before a page is written; a page that fails is left untouched, and so
/// are all after it.
enum class DecodeStatus : std::uint8_t {
  ok = 0,
  bad_size,        ///< an entry's size is impossible, or the sizes do not add up to in_bytes
  bad_transform,   ///< unknown, or not allowed for this shape
  bad_sectors,     ///< the sector bitmap names sectors that the page does not have, or none
  bad_planes,      ///< the plane masks do not add up to the entry's size
  bad_check,       ///< the page's check word does not match: damaged
};
struct DecodeResult {
  DecodeStatus status = DecodeStatus::ok;
  std::uint64_t page = 0;            ///< the first bad page, when status is not ok
};

namespace host {
/// Returns the bytes written to `out`. Thread safe; one thread; allocates nothing. SIMD by run-time dispatch.
std::uint64_t encode_pages(const EncodeJob& job);
DecodeResult decode_pages(const DecodeJob& job);
/// Which SIMD target runs, for `foreweave info`: "AVX3_ZEN4", "AVX2", …
const char* simd_target();
/// The first byte range compare of capture: true when the two ranges are equal. Stops at the first difference.
bool equal(const std::byte* a, const std::byte* b, std::uint64_t bytes);
}  // namespace host

namespace cuda {
/// One of the regions that are encoded in one launch. The table of them lies in device memory, as what it points to.
struct EncodeRegion {
  const std::byte* current = nullptr;  ///< any alignment; multiples of 8 are quickest
  std::byte* base = nullptr;           ///< not touched by a batch that neither compares nor updates
  std::uint64_t bytes = 0;             ///< at least 1
  std::uint64_t first_page = 0;        ///< number of its first page in the batch: the regions' pages follow each other
  PageShape shape;
};
/// How far a batch came, in device memory.
struct EncodeProgress {
  std::uint64_t next_page = 0;  ///< the first page that is not encoded yet; `pages` of the batch when all are
  std::uint64_t bytes = 0;      ///< put into `out` by this launch
};
/// Several regions, encoded in one launch, or in a few where `out` does not hold it all: each goes on from the page
/// that the one before ended at. Pointers are device memory.
struct EncodeBatch {
  const EncodeRegion* regions = nullptr;
  std::uint32_t count = 0;           ///< of the regions, at least 1
  std::uint64_t pages = 0;           ///< of all regions, at least 1
  bool compare = true;               ///< against the bases; false: against zeros, and no base is read
  bool update_base = false;          ///< write what was encoded into the bases
  std::byte* out = nullptr;          ///< bodies in the order of the pages, without gaps; aligned to 8
  std::uint64_t out_bytes = 0;       ///< room in `out`, at least max_encoded_page_bytes
  PageEntry* entries = nullptr;      ///< one for each page of the batch; those from next_page on are not final
  const EncodeProgress* after = nullptr;  ///< how far the batch came before; null: this is the first launch
  EncodeProgress* progress = nullptr;     ///< how far it is then; not `after`
};
/// Bytes of device memory that encode_regions needs as scratch for `pages` (ticket, placement).
std::uint64_t encode_scratch_bytes(std::uint64_t pages);
/// Encodes what of the batch fits into `out`: each page's bytes are those of host::encode_pages. Bases of pages that
/// did not fit are not updated. Asynchronous on `stream` (a cudaStream_t), waits for nothing, and may be recorded in a
/// graph. Batches that use the same scratch must be in one stream. Throws Error(cuda) when a launch fails.
void encode_regions(const EncodeBatch& batch, std::byte* scratch, void* stream);
/// Brings what a launch put into `out` to `to`, in pinned host memory or device memory, `out` and `to` aligned to 16:
/// how much, it reads in `progress` on the device. `room` (of `to`, a multiple of 16) is never exceeded.
void copy_encoded(const std::byte* out, const EncodeProgress* progress, std::byte* to, std::uint64_t room,
                  void* stream);

std::uint64_t decode_scratch_bytes(std::uint64_t bytes);
/// As host::decode_pages with every pointer in device memory, asynchronous; *result is device memory. Pages are checked
/// all before any is written.
void decode_pages(const DecodeJob& job, std::byte* scratch, DecodeResult* result, void* stream);
}  // namespace cuda

}  // namespace foreweave::kernels
