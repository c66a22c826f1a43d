// The host's own copies of connector files, under the name of their content.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "connector/inspect.hpp"
#include "connector/sealed_file.hpp"

namespace sluice::connector {

inline constexpr std::uint64_t kConnectorFileBytesMax = 256ull << 20;

/// A file in the store, and what was read from exactly those bytes.
struct Admitted {
  std::filesystem::path path;  ///< <store>/<sha256>.so, absolute, mode 0444, never written again
  std::string sha256;
  std::uint64_t size = 0;
  Inspected inspected;
  /// Those bytes themselves: what is loaded, whatever becomes of the file.
  std::shared_ptr<const SealedFile> sealed;
};

/// A directory of <sha256>.so, the host's own: mode 0700. It is a memory, and no word on what a
/// file holds: each is read once, and what was read is what is judged and what is loaded. Any
/// thread, also several hosts on one directory: files appear by rename.
class Store {
 public:
  /// Makes the directory at the first admission.
  explicit Store(std::filesystem::path directory);

  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }

  /// It belongs to the user that this process is; then others are kept out, should they not be. One
  /// that is not there is fine. Said at the start, and before each use. Error:
  /// connector.store_foreign (denied): it is somebody else's, or no directory, and stays as it is.
  [[nodiscard]] Result<void> check() const;

  /// Reads the file once, judges those bytes and keeps them. Admitting the same content again is
  /// the same, and heals a copy that was damaged: these bytes have the hash that names it. Nothing
  /// is left behind for a refused file. Errors: those of inspect(), connector.not_found,
  /// connector.not_regular (also a symbolic link), connector.too_large, connector.store (the
  /// directory), connector.store_memory, those of check().
  Result<Admitted> admit(const std::filesystem::path& file,
                         contract::Admission admission = contract::Admission::now) const;

  /// Removes what a crash in the middle of an admission left behind: temporary files that nobody
  /// has written to for an hour. Returns how many. `now` is wall time.
  std::size_t remove_leftovers(Micros now) const;

  /// A file that was admitted before, e.g. by an earlier process. Its hash is checked again:
  /// connector.store_damaged when it is not what its name says, connector.not_found when it is not
  /// there; and those of check().
  Result<Admitted> open(std::string_view sha256) const;

 private:
  std::filesystem::path directory_;
};

/// Reads a regular file without following a symbolic link, at most kConnectorFileBytesMax.
Result<Bytes> read_connector_file(const std::filesystem::path& file);

}  // namespace sluice::connector
