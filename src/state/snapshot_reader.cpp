#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "foreweave/state/snapshot.hpp"
#include "state/snapshot_format.hpp"

namespace foreweave {

using namespace state_detail;

namespace {

const char* explain(kernels::DecodeStatus status) {
  using kernels::DecodeStatus;
  switch (status) {
    case DecodeStatus::ok:
      return "it is good";
    case DecodeStatus::bad_size:
      return "its size is impossible";
    case DecodeStatus::bad_transform:
      return "its transform is unknown or not allowed for its element type";
    case DecodeStatus::bad_sectors:
      return "it names sectors that it does not have";
    case DecodeStatus::bad_planes:
      return "its bit planes do not add up to its size";
    case DecodeStatus::bad_check:
      return "its check word does not match";
  }
  return "unknown";
}

class ParsedSnapshot final : public Snapshot {
 public:
  ParsedSnapshot(std::shared_ptr<const SnapshotBytes> bytes, const Key* key, std::string what)
      : bytes_(std::move(bytes)), what_(std::move(what)) {
    const std::uint64_t total = bytes_->size();
    Bytes scratch;
    const ByteView begin = bytes_->read(0, std::min<std::uint64_t>(total, header_bytes), scratch);
    const Header header = read_header(begin, total, what_);
    std::memcpy(header_.data(), begin.data(), header_.size());
    const Footer footer = read_footer(bytes_->read(total - footer_bytes, footer_bytes, scratch), total, what_);
    ByteView manifest = bytes_->read(footer.manifest_offset, footer.manifest_bytes, scratch);
    if (digest128(manifest) != footer.manifest_digest) fail(ErrorCategory::format, "its manifest is damaged");
    const bool sealed = (header.flags & flag_sealed) != 0;
    if (sealed && key == nullptr) {
      fail(ErrorCategory::security, "it is sealed, and there is no key: give the job's key");
    }
    if (!sealed && key != nullptr) {
      fail(ErrorCategory::security,
           "a key was given, but it is not sealed: it does not come from this job, or was "
           "written without a key");
    }
    Bytes opened;
    if (sealed) {
      // A copy: the caller's key need not outlive the snapshot.
      key_ = Key::from_bytes(key->bytes());
      salt_ = header.salt;
      Sealer(*key_, salt_).open(manifest_piece, manifest, header_, opened, "manifest of " + what_);
      manifest = opened;
    }
    manifest_ = read_manifest(manifest, footer.manifest_offset, header.format, what_);
    if (manifest_.rank != header.rank || manifest_.version != header.version || manifest_.base != header.base) {
      fail(ErrorCategory::format, "its header and its manifest are of different snapshots");
    }
    std::uint64_t piece = 0;
    for (const auto& region : manifest_.regions) {
      first_piece_.push_back(piece);
      piece += region.segments.size();
      shapes_.push_back(page_shape(region.type, region.extents));
    }
  }

  const Manifest& manifest() const override { return manifest_; }
  std::uint64_t bytes() const override { return bytes_->size(); }

  SegmentPages read(std::size_t region, std::size_t segment, Bytes& scratch) const override {
    const RegionRecord& owner = manifest_.regions.at(region);
    const SegmentRecord& record = owner.segments.at(segment);
    Bytes sealed;
    ByteView plain = bytes_->read(record.offset, record.bytes, key_ ? sealed : scratch);
    if (digest64(plain) != record.digest) fail(ErrorCategory::format, "damaged in " + place(region, record.index));
    if (key_) {
      Sealer(*key_, salt_)
          .open(first_piece_[region] + segment, plain, header_, scratch,
                place(region, record.index) + " of " + what_);
      plain = scratch;
    }
    SegmentPages pages;
    pages.pages = pages_in_segment(owner.bytes, record.index);
    ByteReader reader(plain, place(region, record.index) + " of " + what_);
    const auto bitmap = reader.get<std::uint64_t>();
    if (bitmap == 0 || (pages.pages < 64 && bitmap >> pages.pages != 0)) {
      fail(ErrorCategory::format, place(region, record.index) + " names pages that the region does not have");
    }
    std::uint64_t size = 0;
    for (std::uint64_t page = 0; page < pages.pages; ++page) {
      if ((bitmap >> page & 1) == 0) continue;
      pages.entries[page] = reader.get<kernels::PageEntry>();
      if (kernels::entry_size(pages.entries[page]) == 0) {
        fail(ErrorCategory::format, place(region, record.index) + " has a page without a size");
      }
      size += kernels::entry_size(pages.entries[page]);
    }
    if (std::popcount(bitmap) % 2 != 0 && reader.get<kernels::PageEntry>() != 0) {
      fail(ErrorCategory::format, place(region, record.index) + " has padding that is not zero");
    }
    if (size != reader.remaining()) {
      fail(ErrorCategory::format, "the pages of " + place(region, record.index) + " do not add up to its size");
    }
    pages.bodies = reader.get_bytes(size);
    return pages;
  }

  void apply(std::size_t region, std::size_t segment, std::byte* data, std::uint64_t bytes) const override {
    const RegionRecord& owner = manifest_.regions.at(region);
    const std::uint64_t index = owner.segments.at(segment).index;
    if (bytes != segment_length(owner.bytes, index)) {
      throw Error(ErrorCategory::argument, "decode " + place(region, index) + " of " + what_,
                  std::to_string(bytes) + " bytes were given for the segment's " +
                      std::to_string(segment_length(owner.bytes, index)));
    }
    Bytes scratch;
    const SegmentPages pages = read(region, segment, scratch);
    const auto result = kernels::host::decode_pages({.in = pages.bodies.data(),
                                                     .in_bytes = pages.bodies.size(),
                                                     .entries = pages.entries.data(),
                                                     .data = data,
                                                     .bytes = bytes,
                                                     .shape = shapes_[region]});
    if (result.status != kernels::DecodeStatus::ok) {
      fail(ErrorCategory::format, "page " + std::to_string(index * pages_per_segment + result.page) + " of region '" +
                                      owner.name + "' is damaged: " + explain(result.status));
    }
  }

  void verify() const override {
    Bytes scratch;
    for (std::size_t region = 0; region < manifest_.regions.size(); ++region) {
      for (std::size_t segment = 0; segment < manifest_.regions[region].segments.size(); ++segment) {
        read(region, segment, scratch);
      }
    }
  }

 private:
  [[noreturn]] void fail(ErrorCategory category, const std::string& why) const {
    throw Error(category, "read " + what_, why);
  }
  std::string place(std::size_t region, std::uint64_t index) const {
    return "segment " + std::to_string(index) + " of region '" + manifest_.regions[region].name + "'";
  }

  std::shared_ptr<const SnapshotBytes> bytes_;
  std::string what_;
  std::array<std::byte, header_bytes> header_{};
  std::shared_ptr<const Key> key_;  ///< null when not sealed
  SealSalt salt_{};
  Manifest manifest_;
  std::vector<std::uint64_t> first_piece_;  ///< index: region
  std::vector<kernels::PageShape> shapes_;  ///< index: region
};

}  // namespace

std::shared_ptr<const Snapshot> Snapshot::parse(std::shared_ptr<const SnapshotBytes> bytes, const Key* key,
                                                std::string what) {
  return std::make_shared<ParsedSnapshot>(std::move(bytes), key, std::move(what));
}

}  // namespace foreweave
