#pragma once
// Context: the one object a program makes. It composes regions, stores, mirrors, transport and trace, and owns the
// threads that serve them.
//
//   foreweave::mpi::Context context(MPI_COMM_WORLD, foreweave::Options::from(argc, argv));   // interop/mpi.hpp
//   context.run([&](MPI_Comm comm) {
//     Simulation simulation(settings, comm);
//     context.protect("u", simulation.u);
//     context.restore();                                    // the newest version, if there is one
//     while (simulation.step < steps) { simulation.advance(); context.step(); }
//   });

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "foreweave/context/group.hpp"
#include "foreweave/context/options.hpp"
#include "foreweave/core/durations.hpp"
#include "foreweave/state/capture.hpp"
#include "foreweave/state/region.hpp"
#include "foreweave/trace/recorder.hpp"

namespace foreweave {

template <class T>
constexpr ElementType element_type_of() {
  if constexpr (std::is_same_v<T, float>) return ElementType::f32;
  else if constexpr (std::is_same_v<T, double>) return ElementType::f64;
  else if constexpr (std::is_integral_v<T> && sizeof(T) == 4) return std::is_signed_v<T> ? ElementType::i32 : ElementType::u32;
  else if constexpr (std::is_integral_v<T> && sizeof(T) == 8) return std::is_signed_v<T> ? ElementType::i64 : ElementType::u64;
  else return ElementType::bytes;
}

/// What this process did so far.
struct Statistics {
  std::uint64_t captures = 0;
  std::uint64_t bytes_captured = 0;      ///< region bytes of all captures
  std::uint64_t bytes_tracked = 0;       ///< of these, where the kernel told what was written, and the rest was not read
  std::uint64_t bytes_stored = 0;        ///< snapshot bytes written to the own store
  std::uint64_t bytes_sent = 0;          ///< to other hubs, payload and heads
  std::uint64_t held_bytes = 0;          ///< bases, staging and scratch now
  Durations blocked;                     ///< what checkpoint() took from the program, over all captures
  int recoveries = 0;
};

/// All calls are made from one thread, the program's, unless said otherwise. With several ranks, checkpoint(), step(),
/// restore(), flush() and run() are called by every rank alike (they are collective in effect, but checkpoint() and
/// step() wait for others only when too many versions are uncommitted).
/// Errors: Error(argument) for what the caller got wrong, RankLost when a rank died, others as they come.
class Context {
 public:
  /// One process, no MPI.
  explicit Context(Options options);
  /// Collective over the group. Starts the hub of this process: its progress thread and its worker.
  Context(std::unique_ptr<Group> group, Options options);
  /// Waits (bounded) until what was captured is committed, unless an exception is in flight; ends the threads.
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// This process's rank in the program; throws Error(state) on a spare that was not needed yet.
  Rank rank() const;
  Rank ranks() const;                    ///< of the program, spares not counted; never changes
  bool is_spare() const;                 ///< whether this process has no rank (yet)
  const Options& options() const;

  /// Protects memory; see RegionSpec and CaptureEngine::add. Where it lies (host, pinned, device) is found out, and a base
  /// of its size is made there. Not collective, but every rank protects the same before restore(). Waits for the capture
  /// under way. Error(argument) names the region and what is wrong with it (a size other than before, extents that do not
  /// fit, a null pointer), Error(resource) when there is no memory for a base, Error(state) on a spare.
  void protect(RegionSpec spec);
  /// A contiguous range of numbers or trivially copyable elements: std::vector, std::span, std::array. What is
  /// protected is the elements; a temporary that owns them (a vector that is returned) is refused by the compiler.
  /// With `part`, the region can be restored on another number of ranks.
  template <std::ranges::contiguous_range R>
    requires std::ranges::borrowed_range<R>
  void protect(std::string name, R&& range, std::vector<std::uint64_t> extents = {},
               std::optional<GlobalPart> part = {}) {
    using T = std::ranges::range_value_t<R>;
    static_assert(std::is_trivially_copyable_v<T>, "only trivially copyable elements can be protected");
    protect(RegionSpec{std::move(name), const_cast<std::remove_const_t<T>*>(std::ranges::data(range)),
                       std::ranges::size(range) * sizeof(T), element_type_of<T>(), std::move(extents), {}, {},
                       std::move(part)});
  }
  /// One value; GlobalPart::replicated() says that every rank has the same.
  template <class T>
    requires(std::is_trivially_copyable_v<T> && !std::ranges::range<T>)
  void protect(std::string name, T& value, std::optional<GlobalPart> part = {}) {
    protect(RegionSpec{std::move(name), &value, sizeof(T), element_type_of<T>(), {}, {}, {}, std::move(part)});
  }
  /// Waits for the capture under way; the next version is a full one, without the region. Not collective, but every rank
  /// does alike. Error(absent) when no region has that name.
  void unprotect(const std::string& name);

  /// Brings every region to the newest version that all ranks can restore; nothing when there is none. A version that
  /// another number of ranks wrote is redistributed by the regions' parts (GlobalPart; Error(argument) names a region
  /// that has none), and a checkpoint follows at once.
  /// Error(format) when the committed version cannot be restored from anywhere, naming what is damaged.
  std::optional<Version> restore();
  /// A named version. Error(absent) lists those that are there.
  void restore(Version version);

  /// Once per step of the program: counts it and takes a checkpoint every Options::every steps.
  void step();
  std::uint64_t steps() const;           ///< counted so far; part of the protected state
  /// Captures all regions as the next version and starts to mirror it. When it returns the regions may change again.
  /// Of device regions the work that their streams have by now comes first. Error(state) after a repair, before
  /// restore(); Error(io) or Error(resource) when an earlier version could not be stored; Error(peer) when versions in
  /// flight are not committed after Options::commit_wait seconds.
  Version checkpoint();
  /// Waits until the newest version is committed (bounded by Options::commit_wait, then Error(peer)).
  void flush();
  Version committed() const;             ///< thread safe

  /// Runs `body`; where the group can be repaired, a lost rank is replaced by a spare and `body` runs again (it
  /// protects and restores as at the start). A spare waits in here. Returns when the body returned on every rank.
  void run(const std::function<void()>& body);

  /// Waits for the capture under way.
  Statistics statistics() const;

 protected:
  Group& group();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace foreweave
